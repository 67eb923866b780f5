"""python -m contexture.annotate on real sentences, with a real model of spaCy."""

from __future__ import annotations

import gzip
import importlib.util
import json
from pathlib import Path

import pytest
import support

from contexture import annotate

ANNOTATED = support.TESTS / "golden" / "annotated.jsonl.gz"


@pytest.fixture(scope="module", autouse=True)
def needs_model() -> None:
    pytest.importorskip("spacy", reason="spaCy is not installed")
    if not any(importlib.util.find_spec(name) for name in annotate.MODELS):
        pytest.skip("no English model of spaCy is installed")


def test_annotator_on_real_sentences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Text in, gzip out, and again from JSONL: the words are those of the committed file. Labels may change a little with the processor's arithmetic."""
    with gzip.open(ANNOTATED, "rt", encoding="utf-8") as file:
        expected = [document for document in map(json.loads, file) if document["id"].startswith("people")]
    texts = tmp_path / "texts.txt"
    texts.write_text("\ufeff\n" + "\r\n".join(document["text"] for document in expected) + "\n \n", encoding="utf-8")
    assert annotate.main(["-i", str(texts), "-o", str(tmp_path / "out.jsonl.gz"), "--label", "tag"]) == 0
    with gzip.open(tmp_path / "out.jsonl.gz", "rt", encoding="utf-8") as file:
        found = [json.loads(line) for line in file]
    assert [document["text"] for document in found] == [document["text"] for document in expected]
    same = words = 0
    for ours, theirs in zip(found, expected, strict=True):
        assert [(word["start"], word["end"]) for word in ours["words"]] == [(word["start"], word["end"]) for word in theirs["words"]]
        same += sum(ours == theirs for ours, theirs in zip(ours["words"], theirs["words"], strict=True))
        words += len(ours["words"])
    assert same >= 0.99 * words, f"{same} of {words} words have the labels of {ANNOTATED.name}"
    assert sum("ner" in word for document in found for word in document["words"]) > 500

    lines = support.write_jsonl(tmp_path / "two.jsonl", [{"id": "x", "body": "Marie Curie was born in Warsaw. She died in France.", "source": "own"}])
    assert annotate.main(["-i", str(lines), "--text-field", "body", "--sentences", "--label", "dep"]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["id"], first["body"], first["source"]) == ("x.1", "Marie Curie was born in Warsaw.", "own")
    assert (second["id"], second["words"][0]["label"]) == ("x.2", "nsubj")
    assert [word.get("ner") for word in first["words"]][:2] == ["B-PERSON", "I-PERSON"]


def test_annotator_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert annotate.main(["-m", "no_such_model"]) == 1
    assert "the spaCy model no_such_model is not installed" in capsys.readouterr().err
    out, lines = tmp_path / "out.jsonl", tmp_path / "bad.jsonl"
    out.write_text("older\n", encoding="utf-8")
    for content, sentence in (
        (b'{"text": "a"}\n{"body": "a"}\n', 'line 2 has no text in a field "text"'),
        (b'{"text": "a"}\n{"text": "\\ud800"}\n', 'line 2: the field "text" holds half of a surrogate pair'),
        (b"\x28\xb5\x2f\xfd rest", "is packed by zstd"),
        (gzip.compress(b'{"text": "a"}\n' * 1000)[:-20], "end-of-stream"),
    ):
        lines.write_bytes(content)
        assert annotate.main(["-i", str(lines), "-o", str(out)]) == 1
        assert sentence in capsys.readouterr().err
    assert annotate.main(["-i", str(lines), "-o", str(tmp_path / "out.jsonl.zst")]) == 1
    assert "does not pack by zstd" in capsys.readouterr().err
    assert out.read_text(encoding="utf-8") == "older\n" and sorted(path.name for path in tmp_path.iterdir()) == ["bad.jsonl", "out.jsonl"]


def test_a_corpus_is_annotated_in_its_place(tmp_path: Path) -> None:
    """The input is read to its end before the output has its name. What is packed shows by its contents, not by its name."""
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_bytes(gzip.compress(b'{"text": "Oslo is near."}\n'))
    assert annotate.main(["-i", str(corpus), "-o", str(corpus)]) == 0
    assert json.loads(corpus.read_text(encoding="utf-8"))["words"][0]["ner"] == "B-GPE"


def test_words_of_two_texts(tmp_path: Path) -> None:
    corpus = support.write_jsonl(tmp_path / "pairs.jsonl", [{"text": "Is Oslo near?", "answer": "Yes."}])
    assert annotate.main(["-i", str(corpus), "-o", str(tmp_path / "out.jsonl"), "--pair-field", "answer"]) == 0
    (document,) = map(json.loads, (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines())
    assert [word["end"] for word in document["words"]] == [2, 7, 12, 13] and [word["end"] for word in document["words_pair"]] == [3, 4]
    with pytest.raises(SystemExit):
        annotate.main(["-i", str(corpus), "--pair-field", "answer", "--sentences"])


def test_a_text_too_long_for_the_model_stays_without_words(capsys: pytest.CaptureFixture[str]) -> None:
    nlp = annotate.load_model()
    nlp.max_length = 20
    documents = [{"text": "Oslo is near."}, {"text": "Bergen is far from Oslo."}, {"text": ""}]
    first, second, third = annotate.annotate(documents, nlp)
    assert first["words"][0] == {"start": 0, "end": 4, "pos": "PROPN", "ner": "B-GPE"}
    assert second == documents[1] and third["words"] == []
    assert "24 characters" in capsys.readouterr().err
    split = annotate.split_sentences(documents[:2], annotate.load_model(sentences=True), "text")
    assert [document["text"] for document in split] == ["Oslo is near.", "Bergen is far from Oslo."]

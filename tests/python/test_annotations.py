"""Annotated sentences through the program: words, mentions and labels of every token against a second computation, and masking."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import support

import contexture

ANNOTATED = support.TESTS / "golden" / "annotated.jsonl.gz"


def documents() -> list[dict]:
    with gzip.open(ANNOTATED, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def best_word(words: list[dict], begin: int, end: int) -> int:
    """The word that shares most characters with begin … end - 1, the first of several."""
    shared = [min(end, word["end"]) - max(begin, word["start"]) for word in words]
    best = max(range(len(words)), key=lambda k: (shared[k], -k), default=-1)
    return best if best >= 0 and shared[best] > 0 else -1


def mentions(words: list[dict]) -> list[int]:
    """The number of the mention of every word, by its first word; -1: none."""
    found: list[int] = []
    for number, word in enumerate(words):
        prefix, _, label = word.get("ner", "O").partition("-")
        goes_on = prefix == "I" and number > 0 and words[number - 1].get("ner", "O")[2:] == label
        found.append(found[-1] if goes_on else number if label else -1)
    return found


def by_appearance(numbers: list[int]) -> list[int]:
    seen: dict[int, int] = {}
    return [-1 if number < 0 else seen.setdefault(number, len(seen)) for number in numbers]


def assert_annotated(sequence: contexture.Sequence, document: dict, text_start: int) -> None:
    words = document["words"]
    chosen = [
        -1 if special else best_word(words, begin + text_start, end + text_start)
        for special, (begin, end) in zip(sequence.special.tolist(), sequence.char_spans.tolist(), strict=True)
    ]
    entity = mentions(words)
    where = f"sequence {sequence.id}"
    assert contexture.Flags.ANNOTATED in sequence.flags and sequence.annotated
    assert sequence.word.tolist() == by_appearance(chosen), where
    assert sequence.entity.tolist() == by_appearance([entity[k] if k >= 0 else -1 for k in chosen]), where
    assert sequence.pos == [words[k].get("pos", "") if k >= 0 else "" for k in chosen], where
    assert sequence.entity_label == [words[k].get("ner", "O-")[2:] if k >= 0 else "" for k in chosen], where
    assert sequence.label == [words[k].get("label", "") if k >= 0 else "" for k in chosen], where


def text_starts(folder: Path) -> Iterator[int]:
    with h5py.File(folder / "run.h5") as file:
        yield from file["/text/start"][:].tolist()


def run_program(folder: Path, corpus: Path, out: Path, *options: str | int, expect: int = 0) -> Path:
    support.contexture("run", "--model", folder, "--corpus", corpus, "--out", out, "--stages", "none", "-q", *map(str, options), expect=expect)
    return out


def test_words_of_tokens(random_checkpoints: dict[str, Path], tmp_path: Path) -> None:
    """Windows, too: the random model's vocabulary is letters, and it has 64 positions."""
    expected = documents()
    assert len(expected) >= 200
    folder = random_checkpoints["gelu"]
    out = run_program(folder, ANNOTATED, tmp_path / "out", "--too-long", "window", "--shard-size", 30)
    support.contexture("verify", out)
    pieces = named = 0
    with contexture.open_run(out, check_files=True) as run:
        assert run.manifest is not None and run.manifest.stripped == []
        assert len(run) > len(expected)
        for sequence, start in zip(run, text_starts(out), strict=True):
            assert_annotated(sequence, expected[sequence.document], start)
            pieces += len(sequence) - 2 - len(set(sequence.word.tolist()) - {-1})
            named += sequence.entity.max() + 1
        assert pieces > 1000 and named > 400
        with contexture.open_run(out / "run.h5") as joined:
            assert joined[7].pos == run[7].pos and joined[-1].entity_label == run[-1].entity_label
    # Threads show in no byte, shards in no value.
    options = ("--too-long", "window", "--limit", 40, "--shard-size")
    one, two = (run_program(folder, ANNOTATED, tmp_path / f"threads-{threads}", *options, 15, "--threads", threads) for threads in (1, 2))
    for part in sorted((one / "parts").iterdir()):
        assert part.read_bytes() == (two / "parts" / part.name).read_bytes(), part.name
    with contexture.open_run(one) as first, contexture.open_run(out) as run:
        assert all(a.word.tolist() == b.word.tolist() and a.pos == b.pos for a, b in zip(first, run))


def test_masking(random_checkpoints: dict[str, Path], tmp_path: Path) -> None:
    folder, rate = random_checkpoints["gelu"], 0.12
    plain = run_program(folder, ANNOTATED, tmp_path / "plain", "--max-tokens", 32, "--limit", 60)
    masked = run_program(folder, ANNOTATED, tmp_path / "masked", "--max-tokens", 32, "--limit", 60, "--mask-rate", rate, "--seed", 5)
    shards = run_program(
        folder, ANNOTATED, tmp_path / "shards", "--max-tokens", 32, "--limit", 60, "--mask-rate", rate, "--seed", 5, "--shard-size", 7, "--batch-tokens", 64
    )
    other = run_program(folder, ANNOTATED, tmp_path / "seed", "--max-tokens", 32, "--limit", 60, "--mask-rate", rate, "--seed", 6)
    vocabulary = json.loads((masked / "tokens.json").read_text())
    special = {vocabulary.index(token) for token in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")}
    with contexture.open_run(plain) as a, contexture.open_run(masked) as b, contexture.open_run(shards) as c, contexture.open_run(other) as d:
        ordinary = chosen = differing = 0
        for whole, first, second, third in zip(a, b, c, d, strict=True):
            np.testing.assert_array_equal(first.original_ids, whole.input_ids)
            np.testing.assert_array_equal(first.input_ids, second.input_ids)
            np.testing.assert_array_equal(first.word, whole.word)
            assert not whole.masked.any()
            assert set(first.input_ids[first.masked].tolist()) <= {vocabulary.index("[MASK]")}
            free = ~np.isin(whole.input_ids, list(special))
            assert not first.masked[~free].any()
            ordinary, chosen = ordinary + free.sum(), chosen + first.masked.sum()
            differing += (first.masked != third.masked).sum()
        assert abs(chosen - rate * ordinary) < 4 * np.sqrt(ordinary * rate * (1 - rate)), f"{chosen} of {ordinary} tokens are masked"
        assert differing > chosen
        assert b[0].word.tolist() == a[0].word.tolist()


def test_text_without_annotations(random_checkpoints: dict[str, Path], tmp_path: Path) -> None:
    """The tokenizer's words, whether the corpus could have annotations or not."""
    texts = ["the cat sat on the river bank.", "unknown words, many pieces!"]
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(texts) + "\n", encoding="utf-8")
    lines = support.write_jsonl(tmp_path / "corpus.jsonl", [{"text": text} for text in texts])
    folder = random_checkpoints["gelu"]
    with contexture.open_run(run_program(folder, corpus, tmp_path / "a")) as plain, contexture.open_run(run_program(folder, lines, tmp_path / "b")) as json_lines:
        for first, second in zip(plain, json_lines, strict=True):
            assert first.word.tolist() == second.word.tolist() == by_appearance(first.word_ids.tolist())
            assert set(first.entity.tolist()) == set(second.entity.tolist()) == {-1}
            assert first.pos == second.pos == first.label == second.entity_label == [""] * len(first)
            assert not first.annotated and not second.annotated and not first.masked.any()


def test_bad_annotations_are_listed(random_checkpoints: dict[str, Path], tmp_path: Path) -> None:
    good = {"text": "the cat", "words": [{"start": 0, "end": 3, "pos": "DET"}]}
    corpus = support.write_jsonl(tmp_path / "corpus.jsonl", [good, good | {"words": [{"start": 0, "end": 30}]}, good])
    folder = random_checkpoints["gelu"]
    with contexture.open_run(run_program(folder, corpus, tmp_path / "strip")) as run:
        assert [sequence.annotated for sequence in run] == [True, False, True]
        assert run.manifest is not None and run.manifest.left_out == []
        [listed] = run.manifest.stripped
        assert (listed["document"], listed["line"]) == (1, 2) and "outside of the text's 7 characters" in listed["reason"]
    with contexture.open_run(run_program(folder, corpus, tmp_path / "skip", "--bad-annotations", "skip", expect=3)) as run:
        assert len(run) == 2 and run.manifest is not None
        assert run.manifest.stripped == [] and [document["line"] for document in run.manifest.left_out] == [2]
    run_program(folder, corpus, tmp_path / "fail", "--bad-annotations", "fail", expect=1)

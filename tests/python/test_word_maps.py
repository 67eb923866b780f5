"""`--granularity word` on whole checkpoints: maps against the stored parts, what must not show, and what the reader makes of them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import support

import contexture
from contexture import heatmap, plot, report

PAIRS = ("--pair-field", "pair")
BOUND = 1e-5  # relative, of every entry
TEXT = "The river banks overflowed unexpectedly, again and again; nobody's café in Zürich survived."
# Words of the annotation over several of the tokenizer's ("river banks", "nobody's café"), one that cuts a token's word in two, and a stretch in no word.
SPANS = [(0, 3), (4, 15), (16, 22), (22, 26), (41, 46), (58, 71), (75, 81)]
DOCUMENTS: list[dict] = [
    {"id": "plain", "text": TEXT, "pair": "again"},
    {"id": "annotated", "text": TEXT, "pair": "overflowing", "words": [{"start": begin, "end": end, "pos": "X"} for begin, end in SPANS]},
    {"id": "pair", "text": "unbelievable", "pair": "unbelievable overflowing riverbanks"},
    {"id": "one", "text": "a", "pair": "a"},
    {"id": "ids", "input_ids": [7, 9, 9, 11]},
]


def run_program(checkpoint: Path, corpus: Path, out: Path, *options: str | int) -> contexture.Run:
    support.contexture("run", "--model", checkpoint, "--corpus", corpus, "--out", out, *options)
    support.contexture("verify", out)
    return contexture.open_run(out)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return support.write_jsonl(tmp_path_factory.mktemp("words") / "corpus.jsonl", DOCUMENTS)


@pytest.fixture(scope="module", params=["gelu", "causal"])
def runs(request: pytest.FixtureRequest, random_checkpoints: dict[str, Path], corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple:
    """By words, with statistics; and by tokens, with the parts themselves."""
    folder, checkpoint = tmp_path_factory.mktemp("runs"), random_checkpoints[request.param]
    analyses = "contextualization_change,mixing_ratio,cancellation"
    words = run_program(checkpoint, corpus, folder / "words", *PAIRS, "--granularity", "word", "--vectors", 0, "--analyses", analyses)
    return words, run_program(checkpoint, corpus, folder / "tokens", *PAIRS, "--vectors", "all")


def membership(sequence: contexture.Sequence) -> np.ndarray:
    """[m, n] 1 where the token is the word's, from the tokens' own words."""
    rows: list[np.ndarray] = []
    for token, word in enumerate(sequence.word.tolist()):
        if token == 0 or word < 0 or word != sequence.word[token - 1]:
            rows.append(np.zeros(sequence.n_tokens))
        rows[-1][token] = 1
    return np.array(rows)


def expected_map(sequence: contexture.Sequence, name: str, layer: int) -> np.ndarray:
    words = membership(sequence)
    if name == "attn_weight":
        of_tokens = sequence.maps[name, layer].astype(np.float64) @ words.T
    else:
        of_tokens = np.linalg.norm(np.einsum("ijd,wj->iwd", sequence.vectors[name, layer].astype(np.float64), words), axis=2)
    return words / words.sum(axis=1, keepdims=True) @ of_tokens


def test_maps_are_those_of_the_summed_parts(runs: tuple[contexture.Run, contexture.Run]) -> None:
    by_words, by_tokens = runs
    pieces = 0
    for words, tokens in zip(by_words, by_tokens, strict=True):
        pieces += tokens.n_tokens - words.map_size
        for name in by_words.maps:
            for layer in range(len(by_words.layers)):
                error = support.worst_relative(words.maps[name, layer], expected_map(tokens, name, layer), 0)
                assert error < BOUND, f"{words.id}, layer {layer}, {name}: {error:.2e}"
        for stage in by_words.stages:
            np.testing.assert_allclose(words.mixing_ratio[stage], tokens.mixing_ratio[stage], rtol=1e-5, err_msg=words.id)
            np.testing.assert_array_equal(words.bias_norm[stage], tokens.bias_norm[stage], err_msg=words.id)
            np.testing.assert_array_equal(words.vectors[stage, 0], tokens.vectors[stage, 0], err_msg=words.id)  # of tokens, as ever
    assert pieces > 20


def test_words_are_those_of_text_or_annotation(runs: tuple[contexture.Run, contexture.Run]) -> None:
    for run in runs:
        assert run["plain"].words[:4] == ["[CLS]", "The", "river", "banks"] and run["plain"].words[-5:] == ["survived", ".", "[SEP]", "again", "[SEP]"]
        annotated = run["annotated"].words
        assert "river banks" in annotated and "nobody's café" in annotated and annotated[-2:] == ["overflowing", "[SEP]"]
        assert run["pair"].words == ["[CLS]", "unbelievable", "[SEP]", "unbelievable", "overflowing", "riverbanks", "[SEP]"]
        assert run["ids"].words == run["ids"].tokens and len(run["one"].words) == 5
        for sequence in run:
            assert sequence.word_first.tolist() == membership(sequence).argmax(axis=1).tolist()
            assert len(sequence.words) == len(sequence.word_first)
    words, tokens = runs
    assert words.granularity == "word" and tokens.granularity == "token"
    assert words.map_sizes.tolist() == [len(sequence.words) for sequence in words] and tokens.map_sizes.tolist() == tokens.n_tokens.tolist()


def test_statistics_are_of_the_words_maps(runs: tuple[contexture.Run, contexture.Run]) -> None:
    run, by_tokens = runs
    table = run.contextualization_change()
    for variant in ("all", "no_special", "no_diagonal"):
        for row in table[(table["variant"] == variant)].itertuples():
            changes = []
            for sequence in run:
                special = sequence.special[sequence.word_first]
                kept = {"all": np.ones(2 * special.shape, bool), "no_special": ~special & ~special[:, None], "no_diagonal": ~np.eye(len(special), dtype=bool)}[variant]
                maps = [sequence.maps[name, run.layers.index(row.layer)][kept] for name in (row.before, row.after)]
                if all(len(np.unique(values)) > 1 for values in maps):
                    changes.append(1 - scipy.stats.spearmanr(*maps).statistic)
            assert row.count == len(changes)
            assert row.mean == pytest.approx(np.mean(changes), rel=1e-9, abs=1e-12)
    assert (run.cancellation()["count"] > 0).any()
    ratios = run.mixing_ratio()
    for row in ratios.itertuples():
        values = np.concatenate([sequence.mixing_ratio[row.stage, by_tokens.layers.index(row.layer)] for sequence in by_tokens])
        assert row.count == len(values) and row.mean == pytest.approx(values.mean(), rel=1e-5)


def test_words_of_one_token_are_tokens(random_checkpoints: dict[str, Path], tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("the cat\nold dog ran\na\n", encoding="utf-8")
    words, tokens = (run_program(random_checkpoints["relu-gamma"], corpus, tmp_path / name, "--granularity", name) for name in ("word", "token"))
    assert words.map_sizes.tolist() == tokens.n_tokens.tolist()
    for one, other in zip(words, tokens, strict=True):
        assert one.words[1:-1] == one.tokens[1:-1] or len(one.tokens) == 3
        for name in words.maps:
            np.testing.assert_array_equal(one.maps[name], other.maps[name], err_msg=f"{one.id}, {name}")


def test_threads_and_shards_do_not_show(random_checkpoints: dict[str, Path], corpus: Path, tmp_path: Path) -> None:
    options = (*PAIRS, "--granularity", "word", "--batch-tokens", 1, "--shard-size")
    one = run_program(random_checkpoints["gelu"], corpus, tmp_path / "one", *options, 3, "--threads", 1)
    three = run_program(random_checkpoints["gelu"], corpus, tmp_path / "three", *options, 3, "--threads", 3)
    shards = run_program(random_checkpoints["gelu"], corpus, tmp_path / "shards", *options, 1)
    for path in ("run.h5", "parts/shard-000000.h5", "parts/shard-000001.h5"):
        assert (one.path / path).read_bytes() == (three.path / path).read_bytes(), path
    for whole, alone in zip(one, shards, strict=True):
        assert whole.words == alone.words
        for name in one.maps:
            np.testing.assert_array_equal(whole.maps[name], alone.maps[name], err_msg=f"{whole.id}, {name}")


@pytest.mark.parametrize("runs", ["gelu"], indirect=True)
def test_other_libraries_have_words(runs: tuple[contexture.Run, contexture.Run]) -> None:
    run = runs[0]
    sequence = run["annotated"]
    data = sequence.to_xarray()
    assert data["map"].shape == (len(run.maps), len(run.layers), len(sequence.words), len(sequence.words))
    assert data["target_word"].values.tolist() == data["source_word"].values.tolist() == sequence.words
    assert data["token_text"].values.tolist() == sequence.tokens
    table = sequence.to_pandas("maps")
    place = sequence.words.index("river banks")
    row = table[(table["map"] == "ff") & (table["layer"] == run.layers[1]) & (table["target"] == 1) & (table["source"] == place)].iloc[0]
    assert row["source_word"] == "river banks" and row["value"] == sequence.maps["ff", 1, 1, place]
    attention, labels = sequence.to_bertviz()
    assert labels == sequence.words and attention[0].shape[-1] == len(labels)
    figure = plot.map_grid(sequence, maps=["ff"], layers=run.layers[:1])
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == sequence.words
    assert heatmap.heatmap(sequence).tokens == sequence.words
    page = report.render(run)
    assert "river banks" in page or "riverbanks" in page
    for begin, end in pairwise([*sequence.word_first.tolist(), sequence.n_tokens]):
        assert begin < end

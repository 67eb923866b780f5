"""Statistics of a run as data frames and pictures, on folders where every number is known, and on a run of the program."""

from __future__ import annotations

from pathlib import Path

import fake_statistics
import numpy as np
import pandas
import pytest
import support
from fake_run import LAYERS, STAGES
from fake_statistics import CATEGORIES, COMPONENTS, Options, change_mean

import contexture
from contexture import plot_statistics
from contexture.convert import row_shares

QUANTILE = 1.959963984540054


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_statistics.write_run(tmp_path_factory.mktemp("statistics") / "out")


@pytest.fixture()
def run(folder: Path) -> contexture.Run:
    return contexture.open_run(folder)


def one(table: pandas.DataFrame, **keys: object) -> pandas.Series:
    for column, wanted in keys.items():
        table = table[table[column] == wanted]
    assert len(table) == 1, f"{len(table)} rows for {keys}"
    return table.iloc[0]


def test_contextualization_change(run: contexture.Run) -> None:
    table = run.contextualization_change()
    assert list(table)[:7] == ["layer", "before", "after", "variant", "mean", "std", "count"]
    assert len(table) == len(LAYERS) * 7 * 3
    row = one(table, layer=3, before="attn_res_ln", after="ff", variant="no_special")
    # Step 2, layer 3, variant 1; the standard error is 0.05 / √4.
    assert row["mean"] == pytest.approx(0.3 + 0.03 + 0.001) == change_mean(3, 2, "no_special")
    assert (row["low"], row["high"]) == pytest.approx((0.331 - QUANTILE * 0.025, 0.331 + QUANTILE * 0.025))
    assert (row["component"], row["count"], row["std"]) == ("ff", 4, 0.05)
    assert list(dict.fromkeys(table["component"])) == ["res1", "ln1", "ff", "res2", "ln2", "ff_block", "after_attn"]


def test_mixing_ratio(run: contexture.Run) -> None:
    row = one(run.mixing_ratio(), layer=3, stage="ff")
    assert (row["mean"], row["count"]) == (pytest.approx(0.33), 40)
    classes = run.mixing_ratio("class")
    assert set(classes["class"]) == {"all", "special", "word_start"}
    assert one(classes, layer=1, stage="attn", **{"class": "word_start"})["mean"] == pytest.approx(0.102)
    assert list(run.mixing_ratio("pos")["label"].unique()) == ["NOUN"] and list(run.mixing_ratio("entity")["label"].unique()) == ["PER"]
    row = one(run.mixing_ratio("frequency"), layer=1, stage="ff", bin=2)
    assert (row["least"], row["most"], row["types"], row["type_mean"]) == (4, 7, 3, pytest.approx(0.3))
    assert set(run.mixing_ratio("correlation")["spearman"]) == {-0.25}
    with pytest.raises(contexture.UnknownName, match="'frequenc'; the nearest is 'frequency'"):
        run.mixing_ratio("frequenc")
    # The mixing ratios of one sequence are what they were.
    assert run[0].mixing_ratio["ff"].shape == (len(LAYERS), 4)


def test_top_pairs(run: contexture.Run) -> None:
    table = run.top_pairs("ff", 3, 2)
    assert table["sign"].tolist() == ["positive"] * 2 + ["negative"] * 2 and set(table["layer"]) == {3}
    assert table["target_token"].tolist() == ["cat", "naïve"] * 2 and table["source_token"].tolist() == ["the"] * 2 + ["$"] * 2
    np.testing.assert_allclose(table["mean"], [0.1, 0.09, -0.1, -0.09])
    assert run.top_pairs("ff", 3, sign="positive")["target_token"].tolist() == ["cat", "naïve", "[77]"]
    assert len(run.top_pairs()) == len(LAYERS) * 5 * 2 * 3
    every = run.top_pairs(k=None)
    chosen = every[(every["layer"] == 3) & (every["component"] == "ln2") & (every["sign"] == "negative") & (every["rank"] < 2)].reset_index(drop=True)
    assert len(chosen) == 2 and run.top_pairs("ln2", 3, 2, "negative").equals(chosen)
    assert run.top_pairs("ff", 3, 0).empty and list(run.top_pairs("ff", 3, 0).columns) == list(table.columns)
    with pytest.raises(contexture.UnknownName, match="no layer 2; there are 1, 3"):
        run.top_pairs("ff", 2)
    with pytest.raises(contexture.UnknownName, match="no component 'fff'; the nearest is 'ff'"):
        run.top_pairs("fff")


def test_categories(run: contexture.Run) -> None:
    table = run.categories()
    assert len(table) == len(LAYERS) * len(COMPONENTS) * len(CATEGORIES)
    row = one(table, layer=1, component="ff", category="same_word")
    assert (row["mean"], row["low"], row["count"], row["sequences"]) == (pytest.approx(0.05), pytest.approx(0.046), 40, 4)
    assert one(run.categories("pos"), layer=1, component="ff", target_pos="NOUN", source_pos="NOUN")["count"] == 7
    with pytest.raises(contexture.UnknownName, match="no way to divide pairs 'pairs'"):
        run.categories("pairs")


def test_difference_of_categories_by_bootstrap(run: contexture.Run) -> None:
    """Both means of a replicate are of the same sequences; a replicate that draws no such pair is left out."""
    table = run.statistics.category_difference("same_word", "other_word")
    drawn = [1 / 10 - 0.5 / 10, 2 / 20 - 0.5 / 10, 3 / 10 - 1 / 10]
    row = one(table, layer=3, component="ff")
    assert row["difference"] == pytest.approx(0.02) and row["method"] == "bootstrap"
    assert (row["low"], row["high"]) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])))
    over_layers = run.statistics.category_difference("same_word", "other_word", by_layer=False)
    assert over_layers["component"].tolist() == list(COMPONENTS) and over_layers["low"].tolist() == pytest.approx([row["low"]] * len(COMPONENTS))
    with pytest.raises(contexture.UnknownName, match="no category 'same_words'; the nearest is 'same_word'"):
        run.statistics.category_difference("same_words", "all")


def test_difference_of_categories_without_bootstrap(tmp_path: Path) -> None:
    run = contexture.open_run(fake_statistics.write_run(tmp_path / "out", Options(bootstrap=False)))
    row = one(run.statistics.category_difference("same_entity", ("both_entities", "no_entity")), layer=1, component="ff")
    # Half widths are 0.006, and 0.007 of 70 pairs and 0.009 of 90.
    spread = 0.006 + (70 * 0.007 + 90 * 0.009) / 160
    assert (row["difference"], row["low"], row["high"], row["method"]) == (
        pytest.approx(0.03),
        pytest.approx(0.03 - spread),
        pytest.approx(0.03 + spread),
        "errors added",
    )


def test_run_without_annotations_has_no_entities_to_compare(tmp_path: Path) -> None:
    run = contexture.open_run(fake_statistics.write_run(tmp_path / "out", Options(annotated=False)))
    difference = run.statistics.category_difference("same_entity", ("both_entities", "no_entity"))
    assert len(difference) and set(difference["method"]) == {"errors added"}
    assert run.categories("pos").empty and run.mixing_ratio("entity").empty and run.statistics.difference_at_distance("same_entity").empty
    for by, what in (("pos", "part of speech"), ("entity", "named entity")):
        with pytest.raises(contexture.RunError, match=f"no token has a {what}"):
            plot_statistics.mixing_ratio(run, by)


def test_difference_at_distance(run: contexture.Run) -> None:
    """The others are words' pairs that are not in the category; all distances together weigh as the category's pairs do."""
    table = run.categories("distance")
    assert one(table, layer=1, component="ff", category="same_entity", distance="1")["mean"] == pytest.approx(0.03) and run.statistics.distances[-1] == "17+"
    word, entity = (run.statistics.difference_at_distance(name) for name in ("same_word", "same_entity"))
    row = one(word, layer=3, component="ff", distance="1")
    assert (row["difference"], row["low"], row["high"], row["method"]) == (*map(pytest.approx, (0.02, 0.012, 0.028)), "errors added")
    assert one(word, layer=3, component="ff", distance="all")["difference"] == pytest.approx(0.01)
    # 20 of the 60 other pairs are of the entity: the rest of them have a mean of (0.6 - 0.6) / 40.
    assert one(entity, layer=3, component="ff", distance="1")["difference"] == pytest.approx(0.03)
    whole = run.statistics.difference_at_distance("same_entity", by_layer=False)
    (x, n), (y, m) = (map(np.array, fake_statistics.NEAR_REPLICATES[name]) for name in ("same_entity", "other_word"))
    drawn = (x / n - (y - x) / (m - n))[m > n]
    for distance in ("1", "all"):
        row = one(whole, component="ff", distance=distance)
        assert row["method"] == "bootstrap" and (row["low"], row["high"]) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])))
    with pytest.raises(contexture.UnknownName, match="no category to compare at a distance 'other_word'"):
        run.statistics.difference_at_distance("other_word")


def test_cancellation(run: contexture.Run) -> None:
    row = one(run.cancellation(), layer=1, earlier="ff", later="res2_ln2", variant="all")
    assert (row["share_mean"], row["pearson_mean"], row["spearman_mean"]) == pytest.approx((-0.2, -0.19, -0.18))
    assert (row["share_low"], row["share_high"]) == pytest.approx((-0.2 - QUANTILE * 0.05, -0.2 + QUANTILE * 0.05))
    row = one(run.cancellation("category"), layer=3, later="ln2", category="same_word")
    assert (row["share"], row["low"], row["high"]) == pytest.approx((-0.5, -0.6, -0.4))
    with pytest.raises(contexture.UnknownName):
        run.cancellation("layer")


def test_norm_dimensions(tmp_path: Path) -> None:
    run = contexture.open_run(fake_statistics.write_run(tmp_path / "out", Options(analyses=fake_statistics.WITH_NORMS)))
    table = run.norm_dimensions()
    assert list(table) == ["layer", "norm", "dimensions", "variant", "mean", "std", "count", "low", "high"] and len(table) == len(LAYERS) * 2 * 3 * 3
    row = one(table, layer=3, norm="ln1", dimensions="difference", variant="all")
    assert (row["mean"], row["low"], row["high"]) == pytest.approx((-0.1, -0.1 - QUANTILE * 0.005, -0.1 + QUANTILE * 0.005))
    assert one(run.norm_dimensions("share"), layer=1, norm="ln2", side="after", variant="no_special")["mean"] == 0.25
    masked = run.norm_dimensions("dimension")
    assert masked.loc[(masked["layer"] == 3) & (masked["norm"] == "ln2"), "dimension"].tolist() == [30, 31]
    assert run.statistics.mask == "2 dimensions with the largest |γ|"
    change, share = plot_statistics.norm_dimensions(run).axes
    np.testing.assert_allclose(lines(change), [[0.2] * 2, [0.1] * 2, [0.1] * 2, [0.15] * 2])
    np.testing.assert_allclose(lines(share), [[0.5] * 2, [0.25] * 2] * 2)
    with pytest.raises(contexture.UnknownName, match="'shares'; the nearest is 'share'"):
        run.norm_dimensions("shares")


# What is not there.


def test_run_without_statistics_says_how_to_get_them(tmp_path: Path) -> None:
    run = contexture.open_run(fake_statistics.write_run(tmp_path / "out", Options(analyses=())))
    for table in (run.contextualization_change, run.mixing_ratio, run.top_pairs, run.categories, run.cancellation):
        with pytest.raises(contexture.RunError, match="no such statistics; run contexture with --analyses all"):
            table()


def test_analysis_that_was_not_made_is_named(tmp_path: Path) -> None:
    run = contexture.open_run(fake_statistics.write_run(tmp_path / "out", Options(analyses=("cancellation",))))
    assert len(run.cancellation())
    with pytest.raises(contexture.RunError, match="--analyses mixing_ratio"):
        run.mixing_ratio()
    with pytest.raises(contexture.RunError, match="--analyses pair_amplification"):
        run.top_pairs()
    with pytest.raises(contexture.RunError, match="--analyses norm_dimensions --mask-dims"):
        run.norm_dimensions()


def test_run_of_statistics_alone_converts_to_what_there_is(tmp_path: Path) -> None:
    run = contexture.open_run(fake_statistics.write_run(tmp_path / "out", maps=False))
    assert run.maps == [] and run.stages == [] and len(run.categories())
    assert run.to_pandas().empty and list(run.to_pandas().columns) == list(run.to_pandas([]).columns) and run[0].to_pandas("maps").empty
    assert set(run[0].to_xarray().variables) == {"completeness_error", "layer", "token", "token_text", "special"}
    with pytest.raises(contexture.RunError, match="--stages all"):
        run[0].plot_maps()
    with pytest.raises(contexture.RunError, match="holds no mixing ratios by token"):
        run[0].plot_mixing_ratio()


def test_unfinished_and_outdated_runs_ask_for_a_merge(tmp_path: Path) -> None:
    folder = fake_statistics.write_run(tmp_path / "out")
    lines = (folder / "manifest.json").read_bytes().splitlines(keepends=True)
    (folder / "manifest.json").write_bytes(b"".join(lines[:3]))
    with pytest.raises(contexture.RunError, match="holds 5 of the 4 sequences of the run; `contexture merge"):
        contexture.open_run(folder).categories()
    (folder / "run.h5").unlink()
    with pytest.raises(contexture.RunError, match="no run.h5 yet, .* `contexture merge"):
        contexture.open_run(folder).categories()


def test_code_that_stands_for_nothing_is_an_error(tmp_path: Path) -> None:
    import h5py

    folder = fake_statistics.write_run(tmp_path / "out")
    with h5py.File(folder / "run.h5", "r+") as file:
        file["/stats/categories/category/category"][3] = 99
    with pytest.raises(contexture.RunError, match="categories/category/category has a code that stands for nothing"):
        contexture.open_run(folder).categories()


def test_joined_file_alone_has_the_statistics(folder: Path) -> None:
    run = contexture.open_run(folder / "run.h5")
    assert len(run.categories()) and run.statistics.annotated and not run.statistics.raw_maps
    run.close()
    assert len(run.cancellation())
    with pytest.raises(contexture.RunError, match="is one part of a run, which holds the sums of its documents alone"):
        contexture.open_run(next((folder / "parts").iterdir())).categories()


def test_statistics_outlive_the_cache_of_open_files(folder: Path) -> None:
    from contexture.hdf5_file import FileCache

    run = contexture.open_run(folder)
    run._cache = FileCache(limit=1)
    assert (run.statistics.category_difference("same_word", "other_word")["method"] == "bootstrap").all()
    assert len(run.categories())


# Pictures.


def test_bars_are_the_means(run: contexture.Run) -> None:
    axis = plot_statistics.contextualization_change(run).axes[0]
    heights = [bar.get_height() for container in axis.containers if hasattr(container, "patches") for bar in container.patches]
    np.testing.assert_allclose(heights, [change_mean(layer, step, "all") for step in range(5) for layer in LAYERS])
    assert len(plot_statistics.contextualization_change(run, "no_diagonal", ["ff_block"]).axes[0].get_legend().get_texts()) == 1
    with pytest.raises(contexture.UnknownName, match="no variant 'none'"):
        plot_statistics.contextualization_change(run, "none")


def test_many_layers_are_drawn_as_lines(tmp_path: Path) -> None:
    layers = list(range(24))
    run = contexture.open_run(fake_statistics.write_run(tmp_path / "out", Options(layers=layers, bootstrap=False)))
    axis = plot_statistics.contextualization_change(run).axes[0]
    np.testing.assert_allclose(lines(axis), [[change_mean(layer, step, "all") for layer in layers] for step in range(5)])
    axis = plot_statistics.mixing_ratio(run, "frequency").axes[0]
    shown = [text.get_text() for text in axis.get_legend().get_texts()]
    assert len(shown) == 8 and (shown[0], shown[-1]) == ("layer 0", "layer 23")


def lines(axis: object) -> list[np.ndarray]:
    return [container.lines[0].get_ydata() for container in axis.containers]


def test_lines_are_the_means(run: contexture.Run) -> None:
    panels = plot_statistics.categories(run, "ff").axes
    assert len(panels) == 2
    np.testing.assert_allclose(lines(panels[0])[0], [5.0, 5.0])  # percentage points
    np.testing.assert_allclose(lines(plot_statistics.categories_by_distance(run).axes[0]), [[3, 1], [3, 1], [1, 1]])
    np.testing.assert_allclose(lines(plot_statistics.cancellation(run).axes[0]), [[-0.8] * 2, [-0.5] * 2, [-0.2] * 2])
    np.testing.assert_allclose(lines(plot_statistics.mixing_ratio(run, "class", "attn").axes[0]), [[0.101, 0.301], [0.102, 0.302]])
    np.testing.assert_allclose(lines(plot_statistics.mixing_ratio(run, "frequency").axes[0]), [[0.1, 0.2, 0.3]] * 2)
    bars = plot_statistics.top_pairs(run, "ff", 3, 2).axes[0]
    assert [text.get_text() for text in bars.get_yticklabels()][0] == "cat ← the  (5)"
    assert [text.get_text() for text in bars.get_yticklabels()][-1] == r"cat ← \$  (5)"


# The program's own.


def test_what_cannot_be_drawn_is_named(run: contexture.Run) -> None:
    for draw, name in (
        (lambda: plot_statistics.mixing_ratio(run, "correlation"), "way to draw mixing ratios"),
        (lambda: plot_statistics.categories(run, panels=[["same_word", "same_wrd"]]), "no category 'same_wrd'; the nearest is 'same_word'"),
        (lambda: plot_statistics.categories_by_distance(run, names=["near"]), "no category 'near'"),
        (lambda: plot_statistics.cancellation(run, "ln2"), "no earlier component 'ln2'"),
    ):
        with pytest.raises(contexture.UnknownName, match=name):
            draw()
    for call in (
        lambda: plot_statistics.contextualization_change(run, components=[]),
        lambda: run.statistics.category_difference("same_word", ()),
        lambda: run.top_pairs("ff", 3, -1),
    ):
        with pytest.raises(ValueError, match="empty|no category|not -1"):
            call()


def test_statistics_of_the_program(random_checkpoints: dict[str, Path], tmp_path: Path) -> None:
    """The reader's tables are what its maps give: codes, labels, layers and units are understood as they were meant."""
    from scipy.stats import spearmanr

    words = [
        {"start": 0, "end": 3, "pos": "DET"},
        {"start": 4, "end": 12, "pos": "NOUN", "ner": "B-LOC"},
        {"start": 13, "end": 18, "pos": "NOUN", "ner": "I-LOC"},
    ]
    documents = [{"text": f"the riverbank {ending} is here", "words": words} for ending in ("sat", "rat", "floor", "is")]
    documents = [document | {"words": words[:2]} if len(document["text"]) < 26 else document for document in documents]
    corpus = support.write_jsonl(tmp_path / "corpus.jsonl", documents)
    support.contexture(
        "run",
        "--model",
        random_checkpoints["gelu"],
        "--corpus",
        corpus,
        "--out",
        tmp_path / "out",
        "--analyses",
        "all",
        "--min-count",
        2,
        "--shard-size",
        3,
        "-q",
    )
    with contexture.open_run(tmp_path / "out") as run:
        assert run.statistics.analyses == list(fake_statistics.ANALYSES) and run.statistics.layers == run.layers
        maps = {stage: [sequence.maps[stage].astype(float) for sequence in run] for stage in STAGES}
        layer = run.layers[-1]
        changes = [1 - spearmanr(a[-1].ravel(), b[-1].ravel())[0] for a, b in zip(maps["attn_res_ln"], maps["ff"])]
        row = one(run.contextualization_change(), layer=layer, component="ff", variant="all")
        assert (row["mean"], row["std"], row["count"]) == (
            pytest.approx(np.mean(changes), rel=1e-6),
            pytest.approx(np.std(changes, ddof=1), rel=1e-6),
            len(run),
        )

        deltas = [row_shares(b[-1]) - row_shares(a[-1]) for a, b in zip(maps["attn_res_ln"], maps["ff"])]
        same_word = [(word := sequence.word)[:, None] == word[None] for sequence in run]
        chosen = [same & (sequence.word >= 0)[:, None] & ~np.eye(len(sequence), dtype=bool) for same, sequence in zip(same_word, run)]
        values = np.concatenate([delta[keep] for delta, keep in zip(deltas, chosen)])
        row = one(run.categories(), layer=layer, component="ff", category="same_word")
        assert (row["count"], row["mean"]) == (len(values), pytest.approx(values.mean(), rel=1e-5))
        assert run.statistics.annotated and "NOUN" in set(run.mixing_ratio("pos")["label"])

        later = [row_shares(b[-1]) - row_shares(a[-1]) for a, b in zip(maps["ff"], maps["ff_res"])]
        shares = [(a * b).sum() / (a * a).sum() for a, b in zip(deltas, later)]
        row = one(run.cancellation(), layer=layer, earlier="ff", later="res2", variant="all")
        assert row["share_mean"] == pytest.approx(np.mean(shares), rel=1e-5)

        ratios = np.concatenate([sequence.mixing_ratio["ff"][-1] for sequence in run])
        row = one(run.mixing_ratio(), layer=layer, stage="ff")
        assert (row["count"], row["mean"]) == (len(ratios), pytest.approx(ratios.mean(), rel=1e-5))

        top = run.top_pairs("ff", layer, 1, "positive").iloc[0]
        found = [
            delta[i, j]
            for delta, s in zip(deltas, run)
            for i in range(len(s))
            for j in range(len(s))
            if (s.tokens[i], s.tokens[j]) == (top.target_token, top.source_token)
        ]
        assert top["count"] == len(found) >= 2 and top["mean"] == pytest.approx(np.mean(found), rel=1e-5)
        assert (run.statistics.category_difference("same_word", "other_word")["method"] == "bootstrap").all()

"""The statistics of a run, recomputed in plain numpy and scipy from the maps that the same run wrote."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas
import pytest
import support
from scipy import stats

import contexture

# What is expected uses nothing of contexture.statistics, not even its names: what is written down twice can be compared.
STAGES = ("attn", "attn_res", "attn_res_ln", "ff", "ff_res", "ff_res_ln")
COMPONENTS = {
    "res1": ("attn", "attn_res"),
    "ln1": ("attn_res", "attn_res_ln"),
    "ff": ("attn_res_ln", "ff"),
    "res2": ("ff", "ff_res"),
    "ln2": ("ff_res", "ff_res_ln"),
    "res2_ln2": ("ff", "ff_res_ln"),
    "ff_block": ("attn_res_ln", "ff_res_ln"),
}
SINGLE = tuple(COMPONENTS)[:5]
STEPS = [*[COMPONENTS[name] for name in SINGLE], ("attn_res_ln", "ff_res_ln"), ("attn", "ff_res_ln")]
LAYERS, BOOTSTRAP, MIN_COUNT, TOP = (0, 5), 40, 4, 20
SUM_BOUND = 1e-9  # float64 sums of some 1e5 terms in another order
DISTANCES = {"0": (0, 0), "1": (1, 1), "2": (2, 2), "3-4": (3, 4), "5-8": (5, 8), "9-16": (9, 16), "17+": (17, 10**9)}
FIXTURE = support.TESTS / "golden" / "annotated.jsonl.gz"


@dataclass
class Sequence:
    """One sequence of a run, with what the statistics look at."""

    document: int
    n: int
    maps: np.ndarray  # [stage, layer, target, source], float64
    mixing_ratio: np.ndarray  # [stage, token, layer]
    ids: np.ndarray
    special: np.ndarray
    masked: np.ndarray
    word: np.ndarray
    entity: np.ndarray
    pos: list[str]
    entity_label: list[str]
    annotated: bool


def sequences(path: Path) -> Iterator[Sequence]:
    with h5py.File(path) as file:
        tok, offsets = file["tok"], file["seq/tok_offset"][:]
        has = {name: name in tok for name in ("word", "entity", "pos", "entity_label", "original_id")}
        layers = len(file.attrs["stored_layers"])
        for number, (first, end) in enumerate(zip(offsets[:-1], offsets[1:], strict=True)):
            n, at = int(end - first), slice(first, end)
            start = file["seq/map_offset"][number]
            block = slice(start, start + layers * n * n)
            ids = tok["input_id"][at]
            yield Sequence(
                document=int(file["seq/document"][number]),
                n=n,
                maps=np.stack([file["maps"][stage][block].reshape(layers, n, n).astype(np.float64) for stage in STAGES]),
                mixing_ratio=np.stack([file["tokstat/mixing_ratio"][stage][at].astype(np.float64) for stage in STAGES]),
                ids=ids,
                special=tok["special"][at] != 0,
                masked=tok["original_id"][at] != ids if has["original_id"] else np.zeros(n, bool),
                word=tok["word"][at],
                entity=tok["entity"][at] if has["entity"] else np.full(n, -1),
                pos=[label.decode() for label in tok["pos"][at]] if has["pos"] else [""] * n,
                entity_label=[label.decode() for label in tok["entity_label"][at]] if has["entity_label"] else [""] * n,
                annotated=bool(file["seq/flags"][number] & 32),
            )


class Table:
    """A table of /stats: its columns, and its rows by key, where codes and labels are names."""

    def __init__(self, path: Path, name: str) -> None:
        with h5py.File(path) as file:
            group = file["stats"][name]
            labels = [label.decode() for label in file["stats/labels"][:]]
            self.columns = {column: group[column][:] for column in group}
            self.names = {column: [text.decode() for text in group[column].attrs["names"]] for column in group if "names" in group[column].attrs}
        for column in ("label", "target_pos", "source_pos"):
            if column in self.columns:
                self.names[column] = labels

    def rows(self, *keys: str) -> dict[tuple, dict[str, np.ndarray]]:
        decoded = [[self.names[key][value] for value in self.columns[key]] if key in self.names else self.columns[key].tolist() for key in keys]
        rows = {key: {name: values[row] for name, values in self.columns.items()} for row, key in enumerate(zip(*decoded, strict=True))}
        assert len(rows) == len(self.columns[keys[0]]), "a key stands in two rows"
        return rows


def relative(actual: np.ndarray, expected: np.ndarray, scale: float | np.ndarray = 0) -> float:
    """The largest difference relative to the expected value, or to `scale` where values of both signs were added up to less."""
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
    bound = np.maximum(np.maximum(np.abs(expected), scale), 1e-300)
    return float((np.abs(actual - expected) / bound).max(initial=0))


def variants(sequence: Sequence) -> dict[str, np.ndarray]:
    ordinary = ~sequence.special
    return {"all": np.ones((sequence.n, sequence.n), bool), "no_special": np.outer(ordinary, ordinary), "no_diagonal": ~np.eye(sequence.n, dtype=bool)}


def normalized(sequence: Sequence) -> np.ndarray:
    return sequence.maps / sequence.maps.sum(-1, keepdims=True)


def changes(maps: np.ndarray) -> dict[str, np.ndarray]:
    """ΔM [layer, target, source] of every component."""
    return {name: maps[STAGES.index(after)] - maps[STAGES.index(before)] for name, (before, after) in COMPONENTS.items()}


def categories(sequence: Sequence) -> dict[str, np.ndarray]:
    n, special, word, entity = sequence.n, sequence.special, sequence.word, sequence.entity
    pos = np.array(sequence.pos, object)
    self_pair = np.eye(n, dtype=bool)
    target, source = special[:, None], special[None]
    ordinary = ~target & ~source & ~self_pair
    same_word = ordinary & (word[:, None] == word[None]) & (word[:, None] >= 0)
    in_target, in_source = entity[:, None] >= 0, entity[None] >= 0
    has_pos = ordinary & ~same_word & (pos[:, None] != "") & (pos[None] != "")
    result = {
        "all": np.ones((n, n), bool),
        "self": self_pair,
        "ordinary": ordinary,
        "same_word": same_word,
        "other_word": ordinary & ~same_word,
        "same_entity": ordinary & in_target & in_source & (entity[:, None] == entity[None]) & ~same_word,
        "both_entities": ordinary & in_target & in_source & (entity[:, None] != entity[None]),
        "entity_other": ordinary & (in_target ^ in_source),
        "no_entity": ordinary & ~in_target & ~in_source,
        "same_pos": has_pos & (pos[:, None] == pos[None]),
        "different_pos": has_pos & (pos[:, None] != pos[None]),
        "adjacent": ordinary & (np.abs(np.subtract.outer(np.arange(n), np.arange(n))) == 1),
        "from_special": source & ~target,
        "to_special": target & ~source,
        "special": target & source & ~self_pair,
    }
    if not sequence.annotated:
        for name in ("same_entity", "both_entities", "entity_other", "no_entity"):
            result[name] = np.zeros((n, n), bool)
    return result


def draws(sequence: Sequence) -> np.ndarray:
    """How often each replicate of the bootstrap draws the sequence: splitmix64 and the Poisson distribution."""
    mask = (1 << 64) - 1

    def mix(value: int) -> int:
        value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & mask
        value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & mask
        return value ^ (value >> 31)

    step = 0x9E3779B97F4A7C15
    key = mix(mix((sequence.document + step) & mask))
    uniform = [(mix((key + (k + 1) * step) & mask) >> 32) / 2**32 for k in range(BOOTSTRAP)]
    return stats.poisson.ppf(np.array(uniform) + 2.0**-33, 1).astype(int)


# --- the runs ---


@pytest.fixture(scope="module")
def real_run(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real annotated sentences through the real model, masked here and there, in several shards."""
    out = tmp_path_factory.mktemp("real") / "out"
    options = ("--layers", "0,5", "--analyses", "all", "--bootstrap", BOOTSTRAP, "--min-count", MIN_COUNT, "--top-pairs", TOP)
    support.contexture("run", "--model", minilm, "--corpus", FIXTURE, "--out", out, "--shard-size", 60, "--mask-rate", 0.05, *options)
    support.contexture("verify", out)
    return out


@pytest.fixture(scope="module")
def real_sequences(real_run: Path) -> list[Sequence]:
    found = list(sequences(real_run / "run.h5"))
    assert len(found) >= 200 and all(sequence.annotated for sequence in found)
    assert any(sequence.masked.any() for sequence in found)
    return found


def test_contextualization_change(real_run: Path, real_sequences: list[Sequence]) -> None:
    expected = defaultdict(list)
    for sequence in real_sequences:
        for variant, taken in variants(sequence).items():
            ranks = {
                (place, stage): stats.rankdata(sequence.maps[index, place][taken]) for place in range(len(LAYERS)) for index, stage in enumerate(STAGES)
            }
            for place, layer in enumerate(LAYERS):
                for before, after in STEPS:
                    expected[layer, before, after, variant].append(1 - np.corrcoef(ranks[place, before], ranks[place, after])[0, 1])
    rows = Table(real_run / "run.h5", "contextualization_change/sequence").rows("layer", "before", "after", "variant")
    assert rows.keys() == expected.keys()
    for key, values in expected.items():
        row = rows[key]
        assert row["count"] == len(values), key
        assert relative(row["sum"], np.sum(values), 1e-3 * len(values)) < SUM_BOUND, key
        assert relative(row["sum_squares"], np.square(values).sum(), 1e-3 * len(values)) < SUM_BOUND, key
        assert relative(row["mean"], np.mean(values), 1e-3) < SUM_BOUND and relative(row["std"], np.std(values, ddof=1), 1e-3) < 1e-7, key


def test_spearman_is_scipy(real_run: Path, real_sequences: list[Sequence]) -> None:
    """One sequence alone against scipy's own function, so that the test above does not rest on its own idea of a rank correlation."""
    values = [1 - stats.spearmanr(s.maps[2, 1].ravel(), s.maps[3, 1].ravel()).statistic for s in real_sequences]
    row = Table(real_run / "run.h5", "contextualization_change/sequence").rows("layer", "before", "after", "variant")[5, "attn_res_ln", "ff", "all"]
    assert relative(row["sum"], np.sum(values)) < SUM_BOUND


def test_zeros_of_a_causal_model_are_ranked(random_checkpoints: dict[str, Path], tmp_path: Path) -> None:
    """Half of every map is ties at 0: they take part, with the mean of their ranks, and nothing becomes NaN."""
    texts = ["the cat sat on the river bank", "many people use water a long time", "an old tree", "find a way"]
    corpus, out = support.write_jsonl(tmp_path / "corpus.jsonl", [{"text": text} for text in texts]), tmp_path / "out"
    support.contexture("run", "--model", random_checkpoints["causal"], "--corpus", corpus, "--out", out, "--analyses", "all")
    found = list(sequences(out / "run.h5"))
    assert len(found) == len(texts)
    rows = Table(out / "run.h5", "contextualization_change/sequence").rows("layer", "before", "after", "variant")
    for before, after in STEPS:
        maps = [(sequence.maps[STAGES.index(before), 1].ravel(), sequence.maps[STAGES.index(after), 1].ravel()) for sequence in found]
        assert all((first == 0).mean() > 0.3 for first, _ in maps)
        row = rows[1, before, after, "all"]
        assert row["count"] == len(found)
        assert relative(row["sum"], sum(1 - stats.spearmanr(*two).statistic for two in maps), 1e-3) < SUM_BOUND
    changed = [row["mean"] for key, row in Table(out / "run.h5", "categories/category").rows("layer", "component", "category").items() if key[2] == "all"]
    assert changed and np.isfinite(changed).all()


def token_classes(sequence: Sequence, token: int) -> Iterator[tuple[str, str]]:
    yield "all", ""
    word = sequence.word[token]
    if sequence.special[token]:
        yield "special", ""
    elif sequence.masked[token]:
        yield "mask", ""
    elif word < 0:
        yield "no_word", ""
    else:
        yield ("word_piece" if word in sequence.word[:token] else "word_start"), ""
    if sequence.annotated and not sequence.special[token]:
        yield ("in_entity" if sequence.entity[token] >= 0 else "no_entity"), ""
    if sequence.pos[token]:
        yield "pos", sequence.pos[token]
    if sequence.entity_label[token]:
        yield "entity", sequence.entity_label[token]


def test_mixing_ratio(real_run: Path, real_sequences: list[Sequence]) -> None:
    by_class, by_token = defaultdict(list), defaultdict(list)
    for sequence in real_sequences:
        for token in range(sequence.n):
            for key in token_classes(sequence, token):
                by_class[key].append(sequence.mixing_ratio[:, token])
            if not sequence.special[token] and not sequence.masked[token]:
                by_token[int(sequence.ids[token])].append(sequence.mixing_ratio[:, token])
    rows = Table(real_run / "run.h5", "mixing_ratio/class").rows("layer", "stage", "class", "label")
    assert {key[2:] for key in rows} == by_class.keys() and len(rows) == len(by_class) * len(LAYERS) * len(STAGES)
    assert {"pos", "entity", "mask", "word_piece"} <= {name for name, _ in by_class}
    frequency = Table(real_run / "run.h5", "mixing_ratio/frequency").rows("layer", "stage", "bin")
    correlation = Table(real_run / "run.h5", "mixing_ratio/correlation").rows("layer", "stage")
    counts = np.array([len(values) for values in by_token.values()])
    bins = np.floor(np.log2(counts)).astype(int)
    for stage, name in enumerate(STAGES):
        for place, layer in enumerate(LAYERS):
            for (token_class, label), values in by_class.items():
                found, row = np.array(values)[:, stage, place], rows[layer, name, token_class, label]
                assert row["count"] == len(found)
                assert relative([row["sum"], row["sum_squares"]], [found.sum(), (found**2).sum()]) < SUM_BOUND, (layer, name, token_class, label)
                assert relative(row["mean"], found.mean()) < SUM_BOUND
            sums = np.array([np.array(values)[:, stage, place].sum() for values in by_token.values()])
            row = correlation[layer, name]
            assert row["types"] == len(counts)
            assert abs(row["spearman"] - stats.spearmanr(np.log(counts), sums / counts).statistic) < SUM_BOUND
            for number in np.unique(bins):
                taken, row = bins == number, frequency[layer, name, int(number)]
                means = (sums / counts)[taken]
                assert (row["types"], row["count"]) == (taken.sum(), counts[taken].sum())
                assert relative([row["mean"], row["type_mean"]], [sums[taken].sum() / counts[taken].sum(), means.mean()]) < SUM_BOUND
                assert np.isnan(row["type_std"]) if taken.sum() < 2 else relative(row["type_std"], means.std(ddof=1)) < 1e-7
    assert len(frequency) == len(np.unique(bins)) * len(LAYERS) * len(STAGES)


def test_pair_amplification(real_run: Path, real_sequences: list[Sequence]) -> None:
    found = defaultdict(list)
    for sequence in real_sequences:
        delta = changes(normalized(sequence))
        values = np.stack([delta[name] for name in SINGLE], 1)  # [layer, component, target, source]
        for i, j in zip(*np.nonzero(categories(sequence)["ordinary"]), strict=True):
            found[int(sequence.ids[i]), int(sequence.ids[j])].append(values[:, :, i, j])
    kept = {pair: np.array(values) for pair, values in found.items() if len(values) >= MIN_COUNT}
    table = Table(real_run / "run.h5", "pair_amplification/top")
    rows = table.rows("layer", "component", "sign", "rank")
    assert len(rows) == len(LAYERS) * len(SINGLE) * 2 * TOP
    for place, layer in enumerate(LAYERS):
        for component, name in enumerate(SINGLE):
            means = {pair: values[:, place, component].mean() for pair, values in kept.items()}
            for sign, factor in (("positive", 1), ("negative", -1)):
                best = sorted(means.values(), key=lambda mean: -factor * mean)
                for rank in range(TOP):
                    row = rows[layer, name, sign, rank]
                    values = kept[int(row["target"]), int(row["source"])][:, place, component]
                    assert row["count"] == len(values)
                    assert relative(row["mean"], values.mean()) < SUM_BOUND and relative(row["mean"], best[rank]) < SUM_BOUND
                    assert relative(row["std"], values.std(ddof=1), 1e-2 * abs(values.mean())) < 1e-6


def test_categories(real_run: Path, real_sequences: list[Sequence]) -> None:
    sums = defaultdict(lambda: np.zeros(4))  # Σ, Σ², and over sequences Σ S², Σ S n
    sizes = defaultdict(lambda: np.zeros(4))  # of the sums' terms: what rounding is relative to
    counts, pos_counts = defaultdict(lambda: np.zeros(3, np.int64)), defaultdict(lambda: np.zeros(3, np.int64))
    replicates, replicate_counts = defaultdict(lambda: np.zeros(BOOTSTRAP)), defaultdict(lambda: np.zeros(BOOTSTRAP))
    for sequence in real_sequences:
        delta, drawn = changes(normalized(sequence)), draws(sequence)
        groups: dict[tuple, np.ndarray] = {(name,): taken for name, taken in categories(sequence).items()}
        labels = sorted(set(sequence.pos) - {""})
        pos = np.array(sequence.pos, object)
        with_pos = groups["same_pos",] | groups["different_pos",]
        apart = np.abs(np.subtract.outer(np.arange(sequence.n), np.arange(sequence.n)))
        groups |= {(name, bin): groups[name,] & (apart >= least) & (apart <= most) for (name,) in list(groups) for bin, (least, most) in DISTANCES.items()}
        groups |= {(first, second): with_pos & np.outer(pos == first, pos == second) for first in labels for second in labels}
        for group, taken in groups.items():
            n = int(taken.sum())
            if n == 0:
                continue
            counts[group] += [n, 1, n * n]
            if len(group) == 1:
                replicate_counts[group] += drawn * n
            for component, values in delta.items():
                for place, layer in enumerate(LAYERS):
                    chosen = values[place][taken]
                    total, size = chosen.sum(), np.abs(chosen).sum()
                    sums[layer, component, *group] += [total, (chosen**2).sum(), total**2, total * n]
                    sizes[layer, component, *group] += [size, 0, size**2, size * n]
                    if len(group) == 1:
                        replicates[layer, component, *group] += drawn * total
    rows = Table(real_run / "run.h5", "categories/category").rows("layer", "component", "category")
    rows |= Table(real_run / "run.h5", "categories/distance").rows("layer", "component", "category", "distance")
    rows |= Table(real_run / "run.h5", "categories/pos").rows("layer", "component", "target_pos", "source_pos")
    assert {key for key, row in rows.items() if row["count"] > 0} == sums.keys()
    for key, expected in sums.items():
        row, (n, k, squares), size = rows[key], counts[key[2:]], sizes[key]
        assert (row["count"], row["sequences"], row["sequence_count_squares"]) == (n, k, squares), key
        actual = [row[name] for name in ("sum", "sum_squares", "sequence_sum_squares", "sequence_sum_count")]
        # A row of normalized maps adds up to 0, so the sum over all pairs is what rounding leaves.
        assert relative(actual, expected, 1e-3 * size) < SUM_BOUND, key
        mean = expected[0] / n
        assert relative(row["mean"], mean, 1e-3 * size[0] / n) < SUM_BOUND
        if k > 1:
            residuals = expected[2] - 2 * mean * expected[3] + mean**2 * squares
            error = stats.norm.ppf(0.975) * np.sqrt(k / (k - 1) * max(residuals, 0)) / n
            if key[2:] != ("all",):
                assert relative([row["low"], row["high"]], [mean - error, mean + error], 1e-2 * size[0] / n) < 1e-6, key
        if len(key) == 3 and key[2] != "all":
            drawn = replicate_counts[key[2:]] > 0
            means = replicates[key][drawn] / replicate_counts[key[2:]][drawn]
            quantiles = np.quantile(means, [0.025, 0.975])
            assert relative([row["bootstrap_low"], row["bootstrap_high"]], quantiles, 1e-3 * size[0] / n) < SUM_BOUND, key


def test_cancellation(real_run: Path, real_sequences: list[Sequence]) -> None:
    pairs = [(first, second) for place, first in enumerate(SINGLE) for second in SINGLE[place + 1 :]] + [("ff", "res2_ln2")]
    by_sequence, by_category = defaultdict(list), defaultdict(list)
    cancellation_layers = [(1, LAYERS[1])]  # one alone, to save time
    for sequence in real_sequences:
        delta, groups = changes(normalized(sequence)), categories(sequence)
        for place, layer in cancellation_layers:
            for variant, taken in variants(sequence).items():
                values = {name: change[place][taken] for name, change in delta.items()}
                ranks = {name: stats.rankdata(change) for name, change in values.items()}
                for first, second in pairs:
                    x, y = values[first], values[second]
                    by_sequence[layer, first, second, variant].append(
                        [np.corrcoef(x, y)[0, 1], np.corrcoef(ranks[first], ranks[second])[0, 1], (x * y).sum() / (x * x).sum()]
                    )
            for first, second in pairs:
                for category, taken in groups.items():
                    if taken.any():
                        by_category[layer, first, second, category].append((delta[first][place][taken], delta[second][place][taken]))
    rows = Table(real_run / "run.h5", "cancellation/sequence").rows("layer", "earlier", "later", "variant")
    assert {key for key in rows if key[0] == LAYERS[1]} == by_sequence.keys()
    for key, values in by_sequence.items():
        found, row = np.array(values), rows[key]
        assert row["count"] == len(found)
        for column, name in enumerate(("pearson", "spearman", "share")):
            size = 1e-3 * len(found)
            # Equal changes may differ in the last bit here and there, and neighbours change places.
            bound = 1e-8 if name == "spearman" else SUM_BOUND
            assert relative(row[name], found[:, column].sum(), size) < bound, (key, name)
            assert relative(row[f"{name}_squares"], (found[:, column] ** 2).sum(), size) < bound, (key, name)
            assert relative(row[f"{name}_mean"], found[:, column].mean(), 1e-3) < bound
            assert relative(row[f"{name}_std"], found[:, column].std(ddof=1), 1e-3) < 1e-6
    rows = Table(real_run / "run.h5", "cancellation/category").rows("layer", "earlier", "later", "category")
    assert {key for key, row in rows.items() if row["count"] > 0 and key[0] == LAYERS[1]} == by_category.keys()
    for key, values in by_category.items():
        row, x, y = rows[key], np.concatenate([first for first, _ in values]), np.concatenate([second for _, second in values])
        assert (row["count"], row["sequences"]) == (len(x), len(values))
        assert relative([row["sum_earlier_squares"], row["sum_later_squares"]], [(x * x).sum(), (y * y).sum()]) < SUM_BOUND
        assert relative(row["sum_products"], (x * y).sum(), 1e-3 * np.abs(x * y).sum()) < SUM_BOUND, key
        share = (x * y).sum() / (x * x).sum()
        assert relative(row["share"], share, 1e-3) < SUM_BOUND
        a, b = np.array([(first * second).sum() for first, second in values]), np.array([(first * first).sum() for first, _ in values])
        if len(values) > 1:
            error = stats.norm.ppf(0.975) * np.sqrt(len(a) / (len(a) - 1) * ((a - share * b) ** 2).sum()) / b.sum()
            assert relative([row["low"], row["high"]], [share - error, share + error], 1e-2) < 1e-6
        if len(x) > 2:
            assert abs(row["pearson"] - np.corrcoef(x, y)[0, 1]) < 1e-7


def test_differences_at_one_distance(real_run: Path, real_sequences: list[Sequence]) -> None:
    """FF's change of a category's pairs against that of other words' pairs as far apart, by pandas from the maps, and by the reader."""
    names = ("same_word", "other_word", "same_entity")
    frames = []
    for number, sequence in enumerate(real_sequences):
        delta, groups = changes(normalized(sequence))["ff"], categories(sequence)
        i, j = np.nonzero(groups["ordinary"])
        columns = {"sequence": number, "apart": np.abs(i - j), "change": delta[:, i, j].mean(0), "first_layer": delta[0, i, j]}
        frames.append(pandas.DataFrame(columns | {name: groups[name][i, j] for name in names}))
    pairs = pandas.concat(frames)
    pairs["distance"] = ""
    for name, (least, most) in DISTANCES.items():
        pairs.loc[pairs["apart"].between(least, most), "distance"] = name
    drawn = np.array([draws(sequence) for sequence in real_sequences])
    with contexture.open_run(real_run) as run:
        for category in ("same_word", "same_entity"):
            one, rest = pairs[pairs[category]], pairs[pairs["other_word"] & ~pairs[category]]
            several = [name for name, part in one.groupby("distance") if part["sequence"].nunique() > 1]
            assert {"1", "2", "3-4"} <= set(several)
            found = run.statistics.difference_at_distance(category, by_layer=False)
            found = found[found["component"] == "ff"].set_index("distance")
            by_layer = run.statistics.difference_at_distance(category).set_index(["layer", "component", "distance"])
            weighted, weights = np.zeros(BOOTSTRAP), np.zeros(BOOTSTRAP)
            for name in several:
                a, b = one[one["distance"] == name], rest[rest["distance"] == name]
                assert found.loc[name, "count"] == len(a)
                assert relative(found.loc[name, "difference"], a["change"].mean() - b["change"].mean(), 1e-3) < SUM_BOUND
                expected = a["first_layer"].mean() - b["first_layer"].mean()
                assert relative(by_layer.loc[(LAYERS[0], "ff", name), "difference"], expected, 1e-3) < SUM_BOUND
                n, m = drawn[a["sequence"]].sum(0), drawn[b["sequence"]].sum(0)
                there = (n > 0) & (m > 0)
                with np.errstate(invalid="ignore"):
                    values = a["change"].to_numpy() @ drawn[a["sequence"]] / n - b["change"].to_numpy() @ drawn[b["sequence"]] / m
                ends = np.quantile(values[there], [0.025, 0.975])
                assert found.loc[name, "method"] == "bootstrap" and relative(found.loc[name, ["low", "high"]].astype(float), ends, 1e-3) < SUM_BOUND
                weighted[there] += (n * values)[there]
                weights[there] += n[there]
            near = one[one["distance"].isin(several)]
            expected = near["change"].mean() - (near["distance"].map(rest.groupby("distance")["change"].mean())).mean()
            assert found.loc["all", "count"] == len(near) and relative(found.loc["all", "difference"], expected, 1e-3) < SUM_BOUND
            ends = np.quantile(weighted / weights, [0.025, 0.975])
            assert relative(found.loc["all", ["low", "high"]].astype(float), ends, 1e-3) < SUM_BOUND

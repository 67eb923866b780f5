"""Layer norms without their outlier dimensions, recomputed by numpy and scipy: from the parts that the same run stored, and from the oracle's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import oracle
import pytest
import support
from scipy import stats

import contexture

NORMS = {"ln1": ("attn_res", "attn_res_ln"), "ln2": ("ff_res", "ff_res_ln")}
VECTOR_STAGES = tuple(stage for stages in NORMS.values() for stage in stages)
# Norms in float32 and those of vectors differ by some 1e-7, so numbers that are almost equal may change places, which moves 1 - ρ by 12 / n⁴ for each place
# that lies between them in the other map. Seen, of means over 5 sequences: 5e-7.
CHANGE_BOUND, SHARE_BOUND = 5e-6, 1e-6


def table(path: Path, name: str) -> dict[tuple, dict[str, float]]:
    """Rows of /stats/norm_dimensions/<name> by their keys; codes are names."""
    with h5py.File(path) as file:
        group = file["stats/norm_dimensions"][name]
        columns = {column: group[column][:] for column in group}
        names = {column: [text.decode() for text in group[column].attrs["names"]] for column in group if "names" in group[column].attrs}
    keys = {"change": ("layer", "norm", "dimensions", "variant"), "share": ("layer", "norm", "side", "variant"), "dimension": ("layer", "norm", "dimension")}
    decoded = [[names[key][value] for value in columns[key]] if key in names else columns[key].tolist() for key in keys[name]]
    return {key: {column: columns[column][row] for column in columns} for row, key in enumerate(zip(*decoded, strict=True))}


def masked(path: Path) -> dict[tuple[int, str], list[int]]:
    chosen = defaultdict(list)
    for layer, norm, dimension in table(path, "dimension"):
        chosen[layer, norm].append(dimension)
    return chosen


def expected_sums(sequences: Iterator[tuple[contexture.Sequence, dict[str, np.ndarray]]], layers: list[int], chosen: dict) -> tuple[dict, dict]:
    """Values of every sequence by the keys of the tables change and share, from parts [layer, target, source, dimension] by stage."""
    change, share = defaultdict(list), defaultdict(list)
    for sequence, vectors in sequences:
        ordinary = ~sequence.special.astype(bool)
        variants = {"all": np.ones((len(ordinary),) * 2, bool), "no_special": np.outer(ordinary, ordinary), "no_diagonal": ~np.eye(len(ordinary), dtype=bool)}
        for place, layer in enumerate(layers):
            for norm, stages in NORMS.items():
                keep = np.ones(vectors[stages[0]].shape[-1], bool)
                keep[chosen[layer, norm]] = False
                maps = {
                    dimensions: [np.linalg.norm(vectors[stage][place].astype(np.float64)[..., taken], axis=-1) for stage in stages]
                    for dimensions, taken in (("all", np.ones_like(keep)), ("kept", keep))
                }
                for variant, pairs in variants.items():
                    if pairs.sum() > 1:
                        values = {dimensions: 1 - stats.spearmanr(*(each[pairs] for each in both)).statistic for dimensions, both in maps.items()}
                        for dimensions, value in (*values.items(), ("difference", values["kept"] - values["all"])):
                            change[layer, norm, dimensions, variant].append(value)
                    for side, whole, rest in zip(("before", "after"), maps["all"], maps["kept"], strict=True):
                        if pairs.any():
                            share[layer, norm, side, variant].append(1 - np.square(rest[pairs]).sum() / np.square(whole[pairs]).sum())
    return change, share


def assert_equal_to(found: dict[tuple, dict[str, float]], expected: dict[tuple, list[float]], bound: float) -> None:
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        row, count = found[key], len(values)
        assert row["count"] == count, key
        assert abs(row["mean"] - np.mean(values)) < bound, (key, row["mean"] - np.mean(values))
        np.testing.assert_allclose([row["sum"], row["sum_squares"]], [np.sum(values), np.square(values).sum()], rtol=0, atol=bound * 2 * count, err_msg=str(key))
        if count > 1:
            np.testing.assert_allclose(row["std"], np.std(values, ddof=1), rtol=0, atol=10 * bound, err_msg=str(key))


def run_it(model: Path, corpus: Path, out: Path, mask: str, *options: str | int) -> list[int]:
    """Statistics and vectors of a run; its layers."""
    stages = ("--stages", "none", "--vector-stages", ",".join(VECTOR_STAGES))
    support.contexture("run", "--model", model, "--corpus", corpus, "--out", out, "--analyses", "norm_dimensions", "--mask-dims", mask, *stages, *options)
    support.contexture("verify", out)
    with contexture.open_run(out) as run:
        return list(run.layers)


def decompositions(model: Path, out: Path, layers: list[int]) -> list[oracle.Decomposition]:
    checkpoint = oracle.Checkpoint(model)
    with contexture.open_run(out) as run:
        return [oracle.decompose(checkpoint, sequence.input_ids, sequence.token_type_ids, vector_layers=layers) for sequence in run]


def check(out: Path, layers: list[int], definitions: list[oracle.Decomposition]) -> None:
    chosen = masked(out / "run.h5")
    with contexture.open_run(out) as run:
        for vectors in ((sequence.vectors for sequence in run), (definition.vectors for definition in definitions)):
            change, share = expected_sums(zip(run, vectors, strict=True), layers, chosen)
            assert_equal_to(table(out / "run.h5", "change"), change, CHANGE_BOUND)
            assert_equal_to(table(out / "run.h5", "share"), share, SHARE_BOUND)


def largest(values: np.ndarray, count: int) -> list[int]:
    return sorted(np.argsort(-values, kind="stable")[:count].tolist())


@pytest.mark.parametrize("name", ["gelu", "relu-gamma", "bf16-odd-shapes"])
def test_random_checkpoint(name: str, random_checkpoints: dict[str, Path], tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    documents: list[dict] = [{"text": "the cat sat on the river bank"}, {"text": "they were all many words, some long: aeiourst!"}]
    documents += [{"input_ids": random.integers(0, support.RANDOM_CHECKPOINTS[name].vocabulary_size, n).tolist()} for n in (37, 1, 20)]
    corpus, out = support.write_jsonl(tmp_path / "corpus.jsonl", documents), tmp_path / "out"
    layers = run_it(random_checkpoints[name], corpus, out, "dims:7,0,21", "--vectors", "all", "--shard-size", 2)
    assert set(map(tuple, masked(out / "run.h5").values())) == {(0, 7, 21)}
    check(out, layers, decompositions(random_checkpoints[name], out, layers))


def test_real_model(minilm: Path, tmp_path: Path) -> None:
    """The dimensions are those of the largest |γ| and of the largest mean |input|, and the latter hold most of what LN2 gets."""
    corpus, layers, count = support.TESTS / "golden" / "sentences.txt", [1, 5], 3
    outs = {mask: tmp_path / mask for mask in ("gamma", "activation")}
    for mask, out in outs.items():
        vectors = ("--vectors", "1,5") if mask == "activation" else ()
        assert run_it(minilm, corpus, out, f"{mask}:{count}", "--limit", 3 if mask == "activation" else 1, "--layers", "1,5", *vectors) == layers

    definitions, checkpoint = decompositions(minilm, outs["activation"], layers), oracle.Checkpoint(minilm)
    chosen = {mask: masked(out / "run.h5") for mask, out in outs.items()}
    for layer in layers:
        for norm, stage, module in (("ln1", "attn_res", "attention.output"), ("ln2", "ff_res", "output")):
            scale, _ = checkpoint.norm(f"encoder.layer.{layer}.{module}")
            inputs = np.concatenate([definition.states[stage][layer] for definition in definitions])
            assert chosen["gamma"][layer, norm] == largest(np.abs(scale), count)
            assert chosen["activation"][layer, norm] == largest(np.abs(inputs).mean(axis=0), count)
    shares = table(outs["activation"] / "run.h5", "share")
    assert all(shares[layer, "ln2", "before", "all"]["mean"] > 0.5 for layer in layers)
    check(outs["activation"], layers, definitions)

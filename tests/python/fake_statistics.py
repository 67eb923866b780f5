"""Statistics in a run folder made by fake_run, as the program would write them: every number says where it stands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import fake_run
import h5py
import numpy as np
from fake_run import LAYERS, STAGES

COMPONENTS = ("res1", "ln1", "ff", "res2", "ln2", "res2_ln2", "ff_block")
STEPS = tuple(zip(STAGES, STAGES[1:])) + (("attn_res_ln", "ff_res_ln"), ("attn", "ff_res_ln"))
VARIANTS = ("all", "no_special", "no_diagonal")
CLASSES = ("all", "special", "mask", "word_start", "word_piece", "no_word", "in_entity", "no_entity", "pos", "entity")
CATEGORIES = ("all", "self", "ordinary", "same_word", "other_word", "same_entity", "both_entities", "entity_other", "no_entity", "adjacent")
ENTITIES = ("same_entity", "both_entities", "entity_other", "no_entity")
LATER = (("ff", "res2"), ("ff", "ln2"), ("ff", "res2_ln2"))
LABELS = ("", "NOUN", "PER")
ANALYSES = ("contextualization_change", "mixing_ratio", "pair_amplification", "categories", "cancellation")
WITH_NORMS = (*ANALYSES, "norm_dimensions")


@dataclass(frozen=True)
class Options:
    analyses: Sequence[str] = ANALYSES
    layers: Sequence[int] = LAYERS
    annotated: bool = True
    bootstrap: bool = True
    raw_maps: bool = False
    nan: bool = False  # as of a corpus of one sequence: means without deviations, and means of nothing
    empty: bool = False  # tables without rows
    sign: float = 1.0  # of the differences between categories


def texts(values: Sequence[str]) -> np.ndarray:
    encoded = [value.encode() for value in values]
    return np.array(encoded, dtype=h5py.string_dtype("utf-8", max(1, *map(len, encoded))))


class Table:
    """Rows in the order of the keys' product; codes get their names. A key in parentheses is not written, others are made of it."""

    def __init__(self, file: h5py.File, name: str, options: Options, keys: dict[str, tuple[Sequence, Sequence[str] | None]]) -> None:
        self._group = file.create_group(f"/stats/{name}")
        rows = [] if options.empty else list(product(*(values for values, _ in keys.values())))
        self.rows = [dict(zip(keys, row)) for row in rows]
        for key, (_, names) in keys.items():
            if not key.startswith("("):
                self.made(key, lambda row, key=key: row[key], "i4", names)

    def column(self, name: str, values: Sequence, dtype: str = "f8") -> None:
        self._group[name] = np.asarray(values, dtype)

    def made(self, name: str, function: Callable[[dict], object], dtype: str = "f8", names: Sequence[str] | None = None) -> None:
        values = [function(row) for row in self.rows]
        self.column(name, [names.index(value) for value in values] if names else values, dtype)
        if names:
            self._group[name].attrs["names"] = texts(names)


def change_mean(layer: int, step: int, variant: str) -> float:
    return 0.1 * (step + 1) + 0.01 * layer + 0.001 * VARIANTS.index(variant)


def category_sum(options: Options, component: str, category: str) -> float:
    """Over pairs, of which there are category_count()."""
    value = {"same_word": 0.02, "same_entity": 0.03}.get(category, 0.0) * options.sign
    return category_count(options, category) * (0.01 * (COMPONENTS.index(component) + 1) + value)


def category_count(options: Options, category: str) -> int:
    return 0 if category in ENTITIES and not options.annotated else 10 * (CATEGORIES.index(category) + 1)


def write_merged(file: h5py.File, options: Options) -> None:
    layers, nan = (list(options.layers), None), options.nan
    stats = file.create_group("/stats")
    stats.attrs["analyses"] = texts(options.analyses)
    stats.attrs["layers"] = np.array(options.layers, "i8")
    stats.attrs.update({"bootstrap": 4 if options.bootstrap else 0, "min_count": 2, "top_pairs": 3, "raw_maps": int(options.raw_maps)})
    file["/stats/labels"] = texts(LABELS if options.annotated else LABELS[:1])
    if "contextualization_change" in options.analyses:
        write_change(file, options)
    if "mixing_ratio" in options.analyses:
        write_mixing(file, options)
    if "pair_amplification" in options.analyses:
        top = Table(
            file,
            "pair_amplification/top",
            options,
            {"layer": layers, "component": (COMPONENTS[:5], COMPONENTS), "sign": (("positive", "negative"),) * 2, "rank": (range(3), None)},
        )
        top.made("target", lambda row: (4, 9, 77)[row["rank"]], "i4")
        top.made("source", lambda row: 3 if row["sign"] == "positive" else 8, "i4")
        top.made("count", lambda row: 5 - row["rank"], "i8")
        top.made("mean", lambda row: (0.1 - 0.01 * row["rank"]) * (1 if row["sign"] == "positive" else -1))
        top.made("std", lambda row: np.nan if nan else 0.02)
    if "categories" in options.analyses:
        write_categories(file, options)
    if "cancellation" in options.analyses:
        write_cancellation(file, options)
    if "norm_dimensions" in options.analyses:
        stats.attrs.update({"mask_dims": np.bytes_(b"gamma"), "masked_count": 2})
        write_norms(file, options)


def write_change(file: h5py.File, options: Options) -> None:
    keys = {"layer": (list(options.layers), None), "(step)": (range(len(STEPS)), None), "variant": (VARIANTS, VARIANTS)}
    table = Table(file, "contextualization_change/sequence", options, keys)
    for place, name in enumerate(("before", "after")):
        table.made(name, lambda row, place=place: STEPS[row["(step)"]][place], "i4", STAGES)
    table.made("count", lambda row: 0 if options.nan and row["variant"] == "no_special" else 1 if options.nan else 4, "i8")
    table.made("mean", lambda row: np.nan if options.nan and row["variant"] == "no_special" else change_mean(row["layer"], row["(step)"], row["variant"]))
    table.made("std", lambda row: np.nan if options.nan else 0.05)


def write_mixing(file: h5py.File, options: Options) -> None:
    layers, stages = (list(options.layers), None), (STAGES, STAGES)
    kinds = [("all", 0), ("special", 0), ("word_start", 0), *((("pos", 1), ("entity", 2)) if options.annotated else ())]
    table = Table(file, "mixing_ratio/class", options, {"layer": layers, "stage": stages, "(kind)": (range(len(kinds)), None)})
    table.made("class", lambda row: kinds[row["(kind)"]][0], "i4", CLASSES)
    table.made("label", lambda row: kinds[row["(kind)"]][1], "i4")
    table.made("count", lambda row: 40 - row["(kind)"], "i8")
    table.made("mean", lambda row: 0.1 * row["layer"] + 0.01 * STAGES.index(row["stage"]) + 0.001 * row["(kind)"])
    table.made("std", lambda row: np.nan if options.nan else 0.1)
    bins = Table(file, "mixing_ratio/frequency", options, {"layer": layers, "stage": stages, "bin": (range(3), None)})
    bins.made("types", lambda row: 5 - row["bin"], "i8")
    bins.made("count", lambda row: 10 + row["bin"], "i8")
    for name in ("mean", "type_mean"):
        bins.made(name, lambda row: 0.1 + 0.1 * row["bin"])
    bins.made("type_std", lambda row: np.nan if options.nan else 0.05)
    correlation = Table(file, "mixing_ratio/correlation", options, {"layer": layers, "stage": stages})
    correlation.made("types", lambda row: 12, "i8")
    correlation.made("spearman", lambda row: np.nan if options.nan else -0.25)


def write_categories(file: h5py.File, options: Options) -> None:
    layers, components = (list(options.layers), None), (COMPONENTS, COMPONENTS)
    table = Table(file, "categories/category", options, {"layer": layers, "component": components, "category": (CATEGORIES, CATEGORIES)})
    table.made("count", lambda row: category_count(options, row["category"]), "i8")
    table.made("sequences", lambda row: 4 if category_count(options, row["category"]) else 0, "i8")
    table.made("sum", lambda row: category_sum(options, row["component"], row["category"]))

    def mean(row: dict) -> float:
        count = category_count(options, row["category"])
        return category_sum(options, row["component"], row["category"]) / count if count else np.nan

    table.made("mean", mean)
    table.made("std", lambda row: np.nan if options.nan else 0.1)
    for name, sign in (("low", -1), ("high", 1), ("bootstrap_low", -1), ("bootstrap_high", 1)):
        table.made(name, lambda row, sign=sign: np.nan if options.nan else mean(row) + sign * 0.001 * (CATEGORIES.index(row["category"]) + 1))
    pos = Table(
        file,
        "categories/pos",
        options,
        {"layer": layers, "component": components, "target_pos": ([1] if options.annotated else [], None), "source_pos": ([1], None)},
    )
    for name in ("count", "sequences"):
        pos.made(name, lambda row: 7, "i8")
    for name in ("mean", "std", "low", "high"):
        pos.made(name, lambda row: 0.5)


def write_cancellation(file: h5py.File, options: Options) -> None:
    layers = (list(options.layers), None)
    table = Table(file, "cancellation/sequence", options, {"layer": layers, "(pair)": (range(3), None), "variant": (VARIANTS, VARIANTS)})
    category = Table(file, "cancellation/category", options, {"layer": layers, "(pair)": (range(3), None), "category": (CATEGORIES, CATEGORIES)})
    for rows in (table, category):
        for place, key in enumerate(("earlier", "later")):
            rows.made(key, lambda row, place=place: LATER[row["(pair)"]][place], "i4", COMPONENTS)
        rows.made("count", lambda row: 1 if options.nan else 4, "i8")
    for place, quantity in enumerate(("share", "pearson", "spearman")):
        table.made(f"{quantity}_mean", lambda row, place=place: -0.8 + 0.3 * row["(pair)"] + 0.01 * place)
        table.made(f"{quantity}_std", lambda row: np.nan if options.nan else 0.1)
    category.made("sequences", lambda row: 4, "i8")
    for name, shift in (("share", 0), ("low", -0.1), ("high", 0.1), ("pearson", 0.3)):
        category.made(name, lambda row, shift=shift: np.nan if options.nan else -0.5 + shift)


def write_norms(file: h5py.File, options: Options) -> None:
    """LN1 loses half of its change, LN2 gains some."""
    layers, norms = (list(options.layers), None), (("ln1", "ln2"),) * 2
    dimensions, sides = ("all", "kept", "difference"), ("before", "after")
    change = Table(file, "norm_dimensions/change", options, {"layer": layers, "norm": norms, "dimensions": (dimensions,) * 2, "variant": (VARIANTS,) * 2})
    share = Table(file, "norm_dimensions/share", options, {"layer": layers, "norm": norms, "side": (sides,) * 2, "variant": (VARIANTS,) * 2})
    change.made("mean", lambda row: {"ln1": (0.2, 0.1, -0.1), "ln2": (0.1, 0.15, 0.05)}[row["norm"]][dimensions.index(row["dimensions"])])
    share.made("mean", lambda row: 0.5 if row["side"] == "before" else 0.25)
    for table in (change, share):
        table.made("count", lambda row: 1 if options.nan else 4, "i8")
        table.made("std", lambda row: np.nan if options.nan else 0.01)
    masked = Table(file, "norm_dimensions/dimension", options, {"layer": layers, "norm": norms, "(place)": (range(2), None)})
    masked.made("dimension", lambda row: 10 * row["layer"] + row["(place)"], "i4")


# Sums of the changes by replicate, and pairs, in every part; the same of all components and layers.
REPLICATES = {
    "same_word": ([1.0, 2.0, 0.0, 3.0], [10, 20, 0, 10]),
    "other_word": ([0.5, 0.5, 0.5, 1.0], [10, 10, 10, 10]),
}


def write_bootstrap(file: h5py.File, options: Options) -> None:
    keys = {"layer": (list(options.layers), None), "component": (COMPONENTS, COMPONENTS), "category": (CATEGORIES, CATEGORIES)}
    table = Table(file, "categories/bootstrap", options, keys)
    table.column("sum", [REPLICATES.get(row["category"], ([0.0] * 4,))[0] for row in table.rows])
    counts = Table(file, "categories/bootstrap_count", options, {"category": (CATEGORIES, CATEGORIES)})
    counts.column(
        "count", [REPLICATES.get(row["category"], (0, [0 if row["category"] in ENTITIES and not options.annotated else 5] * 4))[1] for row in counts.rows], "i8"
    )


def write_run(folder: Path, options: Options = Options(), maps: bool = True) -> Path:
    """A whole run with statistics. Parts are sealed anew, since the manifest has their checksums."""
    fake_run.write_run(folder)
    numbered = list(enumerate(fake_run.DOCUMENTS))
    paths = sorted((folder / "parts").iterdir())
    lines = (folder / "manifest.json").read_bytes().splitlines(keepends=True)
    for shard, path in enumerate(paths):
        with h5py.File(path, "r+") as part:
            if not maps:
                del part["/maps"]
            if options.bootstrap and "categories" in options.analyses:
                part.create_group("/stats").attrs["analyses"] = texts(options.analyses)
                write_bootstrap(part, options)
        lines[1 + shard] = fake_run.part_line(shard, path, numbered[2 * shard : 2 * shard + 2])
    (folder / "manifest.json").write_bytes(b"".join(lines))
    with h5py.File(folder / "run.h5", "r+") as file:
        if options.analyses:
            write_merged(file, options)
    return folder

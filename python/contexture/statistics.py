"""Statistics of a whole run as data frames: what `contexture run --analyses …` added up. README, section "Statistics", has the tables.

Intervals (low, high) are 95 %, over sequences: another corpus of the same kind would give other sequences.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pandas

from contexture import distances
from contexture.errors import RunError, UnknownName
from contexture.hdf5_file import HDF5File

if TYPE_CHECKING:
    from contexture.run import Run

NORMAL_QUANTILE = 1.959963984540054  # two-sided 95 %

COMPONENTS = {
    "res1": ("attn", "attn_res"),
    "ln1": ("attn_res", "attn_res_ln"),
    "ff": ("attn_res_ln", "ff"),
    "res2": ("ff", "ff_res"),
    "ln2": ("ff_res", "ff_res_ln"),
    "res2_ln2": ("ff", "ff_res_ln"),
    "ff_block": ("attn_res_ln", "ff_res_ln"),
    "after_attn": ("attn", "ff_res_ln"),
}
"""Maps before and after each component; the first five are single ones, in their order in a layer."""

SINGLE_COMPONENTS = tuple(COMPONENTS)[:5]

NORMS = {"ln1": COMPONENTS["ln1"], "ln2": COMPONENTS["ln2"]}
"""Stages before and after each layer norm."""

ANALYSES = ("contextualization_change", "mixing_ratio", "pair_amplification", "categories", "cancellation", "norm_dimensions")


class Statistics:
    """The tables in /stats of a run's run.h5; `run.statistics`."""

    def __init__(self, run: Run) -> None:
        self._run = run
        path = run.path if run.path.is_file() else run.path / "run.h5"
        if not path.is_file():
            if run.attributes and "analyses" not in self._first_part_attributes():
                raise self._missing("all")
            raise RunError(f"{run.path} has no run.h5 yet, which holds the statistics; `contexture merge {run.path}` makes it of the finished parts")
        self._path = path
        if "/stats" not in self._file:
            raise self._missing("all")
        if "/parts" not in self._file:
            raise RunError(f"{path} is one part of a run, which holds the sums of its documents alone; open the run's folder, or its run.h5")
        if "/seq/n_tokens" in self._file and run.manifest:
            merged = self._file.length("/seq/n_tokens")
            if merged != len(run):
                raise RunError(f"{path} holds {merged} of the {len(run)} sequences of the run; `contexture merge {run.path}` makes it anew")
        self.options: dict[str, Any] = self._file.dataset_attributes("/stats")
        """Options that the values depend on: analyses, layers, bootstrap, min_count, top_pairs, raw_maps; with norm_dimensions mask_dims, masked_count."""
        self.analyses: list[str] = [_text(name) for name in self.options["analyses"]]

    @property
    def _file(self) -> HDF5File:
        # The cache closes files that others push out.
        return self._run._cache.get(self._path)

    def _first_part_attributes(self) -> dict[str, Any]:
        return self._run._cache.get(self._run._paths[0]).dataset_attributes("/stats")

    def _missing(self, analyses: str) -> RunError:
        return RunError(
            f"{self._run.path} holds no such statistics; run contexture with --analyses {analyses} into another folder (--stages none stores no maps)"
        )

    @property
    def raw_maps(self) -> bool:
        """Changes of the maps are of the norms themselves, not of the shares of the target's row."""
        return bool(self.options.get("raw_maps", 0))

    @cached_property
    def labels(self) -> np.ndarray:
        """Labels of the annotations; label columns of the files are indices into it."""
        return np.char.decode(self._file.rows("/stats/labels"), "utf-8", "replace").astype(object)

    def table(self, name: str, where: Mapping[str, Callable[[np.ndarray], np.ndarray]] | None = None) -> pandas.DataFrame:
        """All columns of /stats/<name>; codes and labels as text. where: tests of columns as they are stored, codes being numbers, that rows must pass."""
        analysis = name.split("/")[0]
        if analysis not in self.analyses:
            options = " --mask-dims gamma:3" if analysis == "norm_dimensions" else ""
            raise self._missing(f"{analysis if analysis in ANALYSES else 'all'}{options}")
        group = f"/stats/{name}"
        columns = self._file.names(group)
        if not columns:
            raise RunError(f"{self._file.path} has no table {group}; was the file written whole? `contexture verify` checks it")
        tests = [test(self._file.rows(f"{group}/{column}")) for column, test in (where or {}).items()]
        rows = np.flatnonzero(np.logical_and.reduce(tests)) if tests else None
        return pandas.DataFrame({column: self._column(self._file, group, column, rows) for column in columns})

    def _code(self, group: str, column: str, name: str) -> int:
        """What stands for a name; −1: nothing does."""
        names = [_text(known) for known in np.atleast_1d(self._file.dataset_attributes(f"{group}/{column}").get("names", ()))]
        return names.index(name) if name in names else -1

    def _column(self, file: HDF5File, group: str, column: str, rows: np.ndarray | None = None) -> np.ndarray:
        """The values of rising row numbers, or of all rows, as a reader wants them."""
        values = file.rows(f"{group}/{column}", _span(rows))
        values = values if rows is None or not rows.size else values[rows - rows[0]]
        names = file.dataset_attributes(f"{group}/{column}").get("names")
        if names is None and column not in ("label", "target_pos", "source_pos"):
            return values
        texts = self.labels if names is None else np.array([_text(name) for name in np.atleast_1d(names)], object)
        if values.size and not 0 <= values.min() <= values.max() < len(texts):
            raise RunError(f"{file.path}: {group}/{column} has a code that stands for nothing; `contexture verify` checks the file")
        return texts[values] if values.size else np.empty(0, object)

    # The tables that users ask for.

    def contextualization_change(self) -> pandas.DataFrame:
        """1 − Spearman's ρ of the map's elements before and after: 0 the same order, 1 an unrelated one.

        Columns layer, before, after, variant ("all", "no_special", "no_diagonal"), mean, std, count, low, high, component.
        """
        table = self.table("contextualization_change/sequence")
        table["low"], table["high"] = _interval(table["mean"], table["std"], table["count"])
        steps = {step: component for component, step in COMPONENTS.items()}
        table["component"] = [steps.get(step, "→".join(step)) for step in zip(table["before"], table["after"], strict=True)]
        return table[["layer", "before", "after", "variant", "mean", "std", "count", "low", "high", "component"]]

    def mixing_ratio(self, by: str | None = None) -> pandas.DataFrame:
        """Mean mixing ratio over tokens of the corpus, by layer and stage; std is over tokens.

        by: None all tokens; "class" special, mask, word_start, word_piece, …, overlapping; "pos" and "entity" with column label;
            "frequency" with columns bin, least and most (how often the token stands in the corpus), types, mean over places and
            type_mean, type_std over token ids; "correlation" Spearman's ρ of frequency and mean mixing ratio over token ids.
        """
        if by in ("frequency", "correlation"):
            table = self.table(f"mixing_ratio/{by}")
            if by == "correlation":
                return table[["layer", "stage", "types", "spearman"]]
            table["least"], table["most"] = 2 ** table["bin"].astype(np.int64), 2 ** (table["bin"].astype(np.int64) + 1) - 1
            return table[["layer", "stage", "bin", "least", "most", "types", "count", "mean", "type_mean", "type_std"]]
        if by not in (None, "class", "pos", "entity"):
            raise UnknownName("way to divide mixing ratios", by, ["class", "pos", "entity", "frequency", "correlation"])
        table = self.table("mixing_ratio/class")
        labelled = table["class"].isin(["pos", "entity"])
        if by is None:
            return table.loc[table["class"] == "all", ["layer", "stage", "mean", "std", "count"]].reset_index(drop=True)
        if by == "class":
            return table.loc[~labelled, ["layer", "stage", "class", "mean", "std", "count"]].reset_index(drop=True)
        return table.loc[table["class"] == by, ["layer", "stage", "label", "mean", "std", "count"]].reset_index(drop=True)

    def top_pairs(self, component: str | None = None, layer: int | None = None, k: int | None = None, sign: str | None = None) -> pandas.DataFrame:
        """The k pairs of token types that a component amplifies ("positive") and weakens ("negative") most, as stored with --top-pairs.

        Columns layer, component, sign, rank (from 0), target_token, source_token, count, mean, std, target, source (token ids).
        mean is the change of the map: the source's share of the target's row, after less before.
        """
        if k is not None and k < 0:
            raise ValueError(f"k is a number of pairs, from 0, or None for all that are stored, not {k}")
        name, where = "pair_amplification/top", {}
        known = {"component": SINGLE_COMPONENTS, "layer": self.layers, "sign": ("positive", "negative")}
        for column, wanted in (("component", component), ("layer", layer), ("sign", sign)):
            if wanted is None:
                continue
            if wanted not in known[column]:
                raise UnknownName(column, wanted, [str(there) for there in known[column]])
            code = wanted if column == "layer" else self._code(f"/stats/{name}", column, str(wanted))
            where[column] = partial(np.equal, code)
        if k is not None:
            where["rank"] = partial(np.greater, k)
        table = self.table(name, where)
        vocabulary = self._run.vocabulary
        for column in ("target", "source"):
            table[f"{column}_token"] = np.array([vocabulary.get(token, f"[{token}]") for token in table[column].tolist()], dtype=object)
        return table[["layer", "component", "sign", "rank", "target_token", "source_token", "count", "mean", "std", "target", "source"]]

    def categories(self, by: str = "category") -> pandas.DataFrame:
        """Mean change of the map over pairs of a category, by layer and component: the source's share of the target's row, after less before.

        by="category": columns layer, component, category, count, sequences, mean, std, low, high, bootstrap_low, bootstrap_high;
        by="pos": target_pos and source_pos in the place of category, and no bootstrap; by="distance": category and distance, "0", "1", "2",
        "3-4" and so on, tokens from one place to the other, and no bootstrap. std is over pairs.
        """
        ways = {"category": ["category"], "pos": ["target_pos", "source_pos"], "distance": ["category", "distance"]}
        if by not in ways:
            raise UnknownName("way to divide pairs", by, list(ways))
        keys = ways[by]
        ends = ["bootstrap_low", "bootstrap_high"] if by == "category" else []
        return self.table(f"categories/{by}")[["layer", "component", *keys, "count", "sequences", "mean", "std", "low", "high", *ends]]

    def category_difference(self, first: str, others: str | tuple[str, ...], by_layer: bool = True) -> pandas.DataFrame:
        """Mean change of the pairs in one category less that of the pairs in others, which must not overlap.

        Columns layer, component, difference, low, high, method. method "bootstrap": quantiles over the replicates, in which both
        categories are of the same drawn sequences; "errors added" where there are none: no narrower, however the two are related.
        by_layer=False: of the mean over layers, without the column layer.
        """
        others = (others,) if isinstance(others, str) else tuple(others)
        if not others:
            raise ValueError("others names no category to compare with")
        table = self.table("categories/category")
        known = list(dict.fromkeys(table["category"]))
        for name in (first, *others):
            if name not in known:
                raise UnknownName("category", name, known)
        keys = ["layer", "component"]
        one = table[table["category"] == first].set_index(keys)
        rest = [table[table["category"] == name].set_index(keys).reindex(one.index) for name in others]
        total = sum(part["count"] for part in rest)
        with np.errstate(invalid="ignore", divide="ignore"):
            difference = one["mean"] - sum(part["sum"] for part in rest) / total
            spread = (one["high"] - one["low"]) / 2 + sum(((part["high"] - part["low"]) / 2).fillna(0) * part["count"] for part in rest) / total
        result = pandas.DataFrame({"difference": difference, "low": difference - spread, "high": difference + spread, "method": "errors added"})
        drawn = self._drawn_differences(first, others)
        if not by_layer:
            result = result.groupby("component", sort=False).agg({"difference": "mean", "low": "mean", "high": "mean", "method": "first"})
            drawn = drawn.groupby(level="component", sort=False).mean() if drawn is not None else None
        if drawn is not None and len(result):
            values = drawn.reindex(result.index).to_numpy()
            usable = np.isfinite(values).any(axis=1)
            if usable.any():  # some replicate draws pairs of both
                ends = np.nanquantile(values[usable], [0.025, 0.975], axis=1)
                result.loc[usable, "low"], result.loc[usable, "high"], result.loc[usable, "method"] = ends[0], ends[1], "bootstrap"
        return result.reset_index()

    def difference_at_distance(self, category: str, by_layer: bool = True) -> pandas.DataFrame:
        """Mean change of a category's pairs less that of other pairs of words as far apart: what of its change is not nearness.

        The others are ordinary pairs of two words that are not in the category. Columns layer, component, distance, count (of the category's
        pairs), difference, low, high, method. distance "all": all distances at which there is an interval, weighted by the category's pairs.
        by_layer=False: of the mean over layers, without the column layer; for same_word and same_entity by the bootstrap's replicates.
        """
        if category not in distances.COMPARED:
            raise UnknownName("category to compare at a distance", category, list(distances.COMPARED))
        result = distances.difference(self.table("categories/distance"), category)
        result = pandas.concat([result, distances.matched(result)])
        if not by_layer:
            result = distances.over_layers(result)
            replicates = self._distance_replicates if category in distances.DRAWN else None
            if replicates is not None and len(result):
                result = distances.add_drawn(result, *replicates, category, len(self.layers))
        return result.reset_index()

    @cached_property
    def _replicates(self) -> tuple[pandas.DataFrame, pandas.DataFrame] | None:
        """Sums of the changes by (layer, component, category) and counts by category, a column a replicate; of all parts."""
        return self._sum_parts("/stats/categories/bootstrap", ["layer", "component", "category"])

    @cached_property
    def _distance_replicates(self) -> tuple[pandas.DataFrame, pandas.DataFrame] | None:
        """Sums over layers by (component, category, distance) and counts by (category, distance), a column a replicate; of all parts."""
        return self._sum_parts("/stats/categories/distance_bootstrap", ["component", "category", "distance"])

    def _sum_parts(self, name: str, keys: list[str]) -> tuple[pandas.DataFrame, pandas.DataFrame] | None:
        count_name = f"{name}_count"
        totals: list[pandas.DataFrame] = []
        for path in self._run._paths:
            file = self._run._cache.get(path)
            if f"{name}/sum" not in file or f"{count_name}/count" not in file:
                return None
            sums = pandas.DataFrame(_two_dimensional(file.rows(f"{name}/sum")), self._index(file, name, keys))
            count_keys = [column for column in keys if column in file.names(count_name)]
            counts = pandas.DataFrame(_two_dimensional(file.rows(f"{count_name}/count")), self._index(file, count_name, count_keys))
            if not sums.shape[1]:
                return None
            totals = [total.add(part, fill_value=0) for total, part in zip(totals, (sums, counts), strict=True)] if totals else [sums, counts]
        return (totals[0], totals[1]) if totals else None

    def _index(self, file: HDF5File, group: str, columns: list[str]) -> pandas.Index:
        values = [self._column(file, group, column) for column in columns]
        return pandas.MultiIndex.from_arrays(values, names=columns) if len(columns) > 1 else pandas.Index(values[0])

    def _drawn_differences(self, first: str, others: tuple[str, ...]) -> pandas.DataFrame | None:
        if self._replicates is None:
            return None
        sums, counts = self._replicates

        def mean(names: tuple[str, ...]) -> pandas.DataFrame:
            pairs = sum(counts.loc[name] for name in names)
            return sum(sums.xs(name, level="category") for name in names) / pairs.where(pairs > 0)

        return mean((first,)) - mean(others)

    def cancellation(self, by: str = "sequence") -> pandas.DataFrame:
        """How the change of the map by a later component goes with that by an earlier one.

        share: Σ later·earlier / Σ earlier²; −1 if the later component undoes all of the earlier one's change, 0 if they have nothing in common.
        by="sequence": columns layer, earlier, later, variant, count, and mean, std, low, high over sequences of share (share_mean, …),
        pearson and spearman; by="category": layer, earlier, later, category, count, sequences, share, low, high, pearson.
        """
        if by == "category":
            return self.table("cancellation/category")[["layer", "earlier", "later", "category", "count", "sequences", "share", "low", "high", "pearson"]]
        if by != "sequence":
            raise UnknownName("way to divide cancellation", by, ["sequence", "category"])
        table = self.table("cancellation/sequence")
        columns = ["layer", "earlier", "later", "variant", "count"]
        for name in ("share", "pearson", "spearman"):
            table[f"{name}_low"], table[f"{name}_high"] = _interval(table[f"{name}_mean"], table[f"{name}_std"], table["count"])
            columns += [f"{name}_{what}" for what in ("mean", "std", "low", "high")]
        return table[columns]

    def norm_dimensions(self, by: str = "change") -> pandas.DataFrame:
        """What each layer norm does to the map, with norms of the parts over all dimensions ("all") and without its masked ones ("kept").

        by="change": columns layer, norm ("ln1", "ln2"), dimensions, variant, mean, std, count, low, high of 1 − Spearman's ρ of the maps before and
        after the layer norm, over sequences; dimensions "difference" is kept less all, of the same sequence. by="share": side ("before", "after") in
        the place of dimensions: the masked dimensions' share of the sum of the squared norms. by="dimension": columns layer, norm, dimension: the masked.
        """
        if by not in ("change", "share", "dimension"):
            raise UnknownName("table of layer norms", by, ["change", "share", "dimension"])
        table = self.table(f"norm_dimensions/{by}")
        if by == "dimension":
            return table[["layer", "norm", "dimension"]]
        table["low"], table["high"] = _interval(table["mean"], table["std"], table["count"])
        return table[["layer", "norm", "dimensions" if by == "change" else "side", "variant", "mean", "std", "count", "low", "high"]]

    @property
    def mask(self) -> str:
        """How the masked dimensions of a layer norm were chosen, in words."""
        count = int(self.options.get("masked_count", 0))
        name = _text(self.options.get("mask_dims", ""))
        how = {"gamma": "with the largest |γ|", "activation": "with the largest mean |input|", "dims": "named"}
        return f"{count} dimension{'s' if count != 1 else ''} {how.get(name, '')}".rstrip()

    @property
    def layers(self) -> list[int]:
        """Numbers of the layers that there are statistics of."""
        layers = self.options.get("layers", ())
        return [] if isinstance(layers, h5py.Empty) else [int(layer) for layer in np.atleast_1d(layers)]

    @property
    def distances(self) -> list[str]:
        """The bins of distances, from near to far."""
        names = self._file.dataset_attributes("/stats/categories/distance/distance").get("names", ())
        return [_text(name) for name in np.atleast_1d(names)]

    @property
    def annotated(self) -> bool:
        """Some token is in an entity mention or has a part of speech."""
        return len(self.labels) > 1


def _span(rows: np.ndarray | None) -> slice:
    """The rows from the first to the last of them, which is what is read."""
    if rows is None:
        return slice(None)
    return slice(int(rows[0]), int(rows[-1]) + 1) if rows.size else slice(0, 0)


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _interval(mean: pandas.Series, std: pandas.Series, count: pandas.Series) -> tuple[pandas.Series, pandas.Series]:
    error = NORMAL_QUANTILE * std / np.sqrt(count.where(count > 0))
    return mean - error, mean + error


def _two_dimensional(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), -1) if len(values) else np.empty((0, 0))

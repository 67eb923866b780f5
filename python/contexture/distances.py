"""Whether the change of a category's pairs is more than nearness: they are compared with other pairs that are as far apart."""

from __future__ import annotations

import numpy as np
import pandas

REST = "other_word"
"""Pairs of ordinary tokens of different words, without those of the category itself, are what it is compared with."""

COMPARED = ("same_word", "same_entity", "both_entities", "entity_other", "same_pos", "different_pos")
"""Categories that are inside of REST, or apart from it."""

DRAWN = ("same_word", "same_entity")
"""Categories of which there are bootstrap replicates by distance, as of REST."""


def difference(table: pandas.DataFrame, category: str) -> pandas.DataFrame:
    """By layer, component and distance, from the table categories/distance: the category's mean less that of the rest, and "errors added"."""
    keys = ["layer", "component", "distance"]
    one, rest = (table[table["category"] == name].set_index(keys) for name in (category, REST))
    rest = rest.reindex(one.index)
    spread = {name: (part["high"] - part["low"]) / 2 * part["count"] for name, part in (("one", one), ("rest", rest))}
    inside = category != "same_word"  # of the rest, so far
    count = rest["count"] - inside * one["count"]
    with np.errstate(invalid="ignore", divide="ignore"):
        found = one["mean"] - (rest["sum"] - inside * one["sum"]) / count
        error = spread["one"] / one["count"] + (spread["rest"] + inside * spread["one"]) / count
    result = pandas.DataFrame({"count": one["count"], "difference": found, "low": found - error, "high": found + error, "method": "errors added"})
    return result[(count > 0).to_numpy()]


def matched(by_distance: pandas.DataFrame) -> pandas.DataFrame:
    """All distances together at which there is an interval, each as often as the category's pairs are at it: their differences and errors."""
    keys = ["layer", "component"]
    known = by_distance.dropna(subset=["low"])
    count = known["count"].groupby(level=keys, sort=False).sum()
    result = known[["difference", "low", "high"]].mul(known["count"], axis=0).groupby(level=keys, sort=False).sum().div(count, axis=0)
    result.insert(0, "count", count)
    result["method"] = "errors added"
    return result.assign(distance="all").set_index("distance", append=True)


def over_layers(by_layer: pandas.DataFrame) -> pandas.DataFrame:
    how = {"count": "first", "difference": "mean", "low": "mean", "high": "mean", "method": "first"}
    return by_layer.groupby(level=["component", "distance"], sort=False).agg(how)


def add_drawn(result: pandas.DataFrame, sums: pandas.DataFrame, counts: pandas.DataFrame, category: str, layers: int) -> pandas.DataFrame:
    """Intervals from the replicates, in each of which the distances weigh as often as it draws the category's pairs at them."""
    result = result.copy()
    for component in dict.fromkeys(result.index.get_level_values("component")):
        weights, products = [], []
        known = result.loc[component].dropna(subset=["low"]).index
        for distance in (name for name in known if name != "all"):
            one, n = sums.loc[component, category, distance].to_numpy() / layers, counts.loc[category, distance].to_numpy()
            rest, m = sums.loc[component, REST, distance].to_numpy() / layers, counts.loc[REST, distance].to_numpy()
            rest, m = (rest, m) if category == "same_word" else (rest - one, m - n)
            there = (n > 0) & (m > 0)
            values = np.where(there, one / np.where(there, n, 1) - rest / np.where(there, m, 1), np.nan)
            _set_interval(result, component, distance, values)
            weights.append(np.where(there, n, 0))
            products.append(np.where(there, n * np.nan_to_num(values), 0))
        total = np.sum(weights, axis=0) if weights else np.zeros(1)
        if (total > 0).any():
            _set_interval(result, component, "all", np.where(total > 0, np.sum(products, axis=0) / np.where(total > 0, total, 1), np.nan))
    return result


def _set_interval(result: pandas.DataFrame, component: str, distance: str, drawn: np.ndarray) -> None:
    if np.isfinite(drawn).any():
        result.loc[(component, distance), ["low", "high"]] = np.nanquantile(drawn, [0.025, 0.975])
        result.loc[(component, distance), "method"] = "bootstrap"

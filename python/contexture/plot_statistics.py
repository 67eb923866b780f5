"""Pictures of a run's statistics, in the forms of Kobayashi et al. (ICLR 2024). Whiskers and bands are 95 % intervals over sequences.

Colours are those of Okabe and Ito, which people with colour vision deficiencies can tell apart; lines have markers besides.
"""

from __future__ import annotations

from collections.abc import Sequence as AbstractSequence
from itertools import product

import numpy as np
import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from contexture.errors import RunError, UnknownName
from contexture.plot import DOTS_PER_INCH, Picture
from contexture.run import Run
from contexture.statistics import NORMAL_QUANTILE, NORMS, SINGLE_COMPONENTS

BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE = "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7"

COMPONENT_LABELS = {
    "res1": "RES1",
    "ln1": "LN1",
    "ff": "FF",
    "res2": "RES2",
    "ln2": "LN2",
    "res2_ln2": "RES2 + LN2",
    "ff_block": "FF block",
    "after_attn": "all after attention",
}
COMPONENT_COLORS = {
    "res1": SKY,
    "ln1": BLUE,
    "ff": VERMILION,
    "res2": ORANGE,
    "ln2": GREEN,
    "res2_ln2": PURPLE,
    "ff_block": BLACK,
    "after_attn": "#777777",
}
CATEGORY_LABELS = {
    "all": "all pairs",
    "self": "a token and itself",
    "ordinary": "ordinary pairs",
    "same_word": "pieces of one word",
    "other_word": "other pairs",
    "same_entity": "words of one entity",
    "both_entities": "two entities",
    "entity_other": "entity and other word",
    "no_entity": "no entity",
    "same_pos": "same part of speech",
    "different_pos": "different part of speech",
    "adjacent": "neighbours",
    "from_special": "from special tokens",
    "to_special": "to special tokens",
    "special": "between special tokens",
}
CLASS_LABELS = {
    "all": "all tokens",
    "special": "special",
    "mask": "masked",
    "word_start": "word start",
    "word_piece": "further word piece",
    "no_word": "in no word",
    "in_entity": "in an entity",
    "no_entity": "in no entity",
}
CATEGORY_PANELS = (("same_word", "other_word", "adjacent"), ("same_entity", "both_entities", "entity_other", "no_entity"))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
CYCLE = (VERMILION, BLUE, GREEN, PURPLE, ORANGE, SKY, BLACK, "#777777")
WIDTH, PANEL_HEIGHT = 5.0, 3.1  # narrow, so that letters are large enough on a phone
MOST_BARS = 72  # more are drawn as lines


def contextualization_change(
    run: Run, variant: str = "all", components: AbstractSequence[str] = SINGLE_COMPONENTS, layers: AbstractSequence[int] | None = None
) -> Figure:
    """1 − Spearman's ρ of the maps before and after each component, by layer: grouped bars, or lines if they are many."""
    table = _of(run.contextualization_change(), "variant", variant)
    table, numbers = _of_layers(table, layers)
    if not components:
        raise ValueError("there is nothing to draw: components is empty")
    chosen = [_of(table, "component", component) for component in components]
    figure, (axis,) = _panels(1)
    if len(components) * len(numbers) <= MOST_BARS:
        width = 0.8 / len(components)
        for place, (component, part) in enumerate(zip(components, chosen, strict=True)):
            values, low, high = _aligned(part, numbers, "mean", "low", "high")
            axis.bar(
                np.arange(len(numbers)) + (place - (len(components) - 1) / 2) * width,
                values,
                width,
                yerr=_errors(values, low, high),
                color=COMPONENT_COLORS[component],
                label=COMPONENT_LABELS[component],
                error_kw={"elinewidth": 0.8, "ecolor": "#222222", "capsize": 1.5, "capthick": 0.8},
            )
        axis.set_xticks(range(len(numbers)), [str(number) for number in numbers])
    else:
        for place, (component, part) in enumerate(zip(components, chosen, strict=True)):
            _line(axis, numbers, *_aligned(part, numbers, "mean", "low", "high"), COMPONENT_LABELS[component], COMPONENT_COLORS[component], place)
        _layer_ticks(axis, numbers)
    axis.set_xlabel("layer")
    axis.set_ylabel("contextualization change, 1 − ρ")
    axis.set_ylim(bottom=0)
    _legend(axis)
    return figure


def mixing_ratio(run: Run, by: str = "class", stage: str = "ff_res_ln", most: int = 8) -> Figure:
    """Mean mixing ratio: by="class", "pos" or "entity" by layer, a line a class, the `most` frequent ones; by="frequency" over how
    often a token stands in the corpus, a line a layer, `most` of them.

    Whiskers: ± 1.96 standard errors over tokens (token ids), as if these were independent.
    """
    if by not in ("class", "pos", "entity", "frequency"):
        raise UnknownName("way to draw mixing ratios", by, ["class", "pos", "entity", "frequency"])
    table = run.mixing_ratio(by)
    if table.empty and by in ("pos", "entity"):
        raise RunError(f"{run.path}: no token has a {'part of speech' if by == 'pos' else 'named entity'}; the corpus was not annotated with any")
    table = _of(table, "stage", stage)
    figure, (axis,) = _panels(1)
    if by == "frequency":
        table, numbers = _of_layers(table, None)
        numbers = numbers if len(numbers) <= most else [numbers[round(place)] for place in np.linspace(0, len(numbers) - 1, most)]
        shades = _shades(len(numbers))
        for place, number in enumerate(numbers):
            part = table[table["layer"] == number]
            error = NORMAL_QUANTILE * part["type_std"] / np.sqrt(part["types"])
            middle = part["type_mean"]
            _line(axis, part["least"], middle, middle - error, middle + error, f"layer {number}", shades[place], place)
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.set_xlabel("times that the token stands in the corpus, at least")
    else:
        name = "class" if by == "class" else "label"
        table = table[table["class"] != "all"] if by == "class" else table
        table, numbers = _of_layers(table, None)
        order = table[table["count"] > 0].groupby(name, sort=False)["count"].max().sort_values(ascending=False, kind="stable").index[:most]
        for place, key in enumerate(order):
            part = table[table[name] == key].set_index("layer").reindex(numbers)
            error = NORMAL_QUANTILE * part["std"] / np.sqrt(part["count"])
            label = f"{CLASS_LABELS.get(key, key) if by == 'class' else key} ({int(part['count'].max()):,})"
            _line(axis, numbers, part["mean"], part["mean"] - error, part["mean"] + error, label, CYCLE[place % len(CYCLE)], place)
        _layer_ticks(axis, numbers)
        axis.set_xlabel("layer")
    axis.set_ylabel(f"mixing ratio of {stage}, mean")
    axis.set_ylim(bottom=0)
    _legend(axis)
    return figure


def top_pairs(run: Run, component: str = "ff", layer: int | None = None, k: int = 10) -> Figure:
    """The k pairs that a component amplifies most, and the k that it weakens most, with the interval of the mean over the pair's places."""
    layer = run.statistics.layers[-1] if layer is None and run.statistics.layers else layer
    table = run.top_pairs(component, layer, k)
    if table.empty:
        raise RunError(f"{run.path} has no pairs of layer {layer}: none stands in the corpus --min-count times")
    table = table.sort_values(["sign", "rank"], ascending=[False, True], kind="stable")
    table = table[~table.duplicated(["target", "source"])]
    table = table.sort_values("mean", ascending=False, kind="stable")
    unit = _unit(run)
    figure = Picture(figsize=(WIDTH, 0.24 * len(table) + 1.1), layout="constrained", dpi=DOTS_PER_INCH)
    axis = figure.subplots()
    error = (NORMAL_QUANTILE * table["std"] / np.sqrt(table["count"])).fillna(0)
    places = np.arange(len(table))
    axis.barh(
        places,
        table["mean"] * unit.factor,
        xerr=error * unit.factor,
        color=np.where(table["mean"] > 0, VERMILION, BLUE),
        error_kw={"elinewidth": 0.8, "ecolor": "#222222"},
    )
    axis.axvline(0, color="#222222", linewidth=0.8)
    pairs = zip(table["target_token"], table["source_token"], table["count"], strict=True)
    axis.set_yticks(places, [f"{target} ← {source}  ({count:,})".replace("$", r"\$") for target, source, count in pairs], fontsize=8)
    axis.invert_yaxis()
    axis.set_xlabel(f"change by {COMPONENT_LABELS[component]} in layer {layer}, {unit.name}")
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def categories(run: Run, component: str = "ff", panels: AbstractSequence[AbstractSequence[str]] = CATEGORY_PANELS) -> Figure:
    """Mean change of the map by layer, a line a category of pairs; panels of which no category has a pair are left out."""
    table, numbers = _of_layers(_of(run.categories(), "component", component), None)
    _check_names("category", [name for names in panels for name in names], table["category"])
    shown = [[name for name in names if (table.loc[table["category"] == name, "count"] > 0).any()] for names in panels]
    shown = [names for names in shown if names] or [["all"]]
    unit = _unit(run)
    figure, axes = _panels(len(shown))
    for axis, names in zip(axes, shown, strict=True):
        axis.axhline(0, color="#222222", linewidth=0.8)
        for place, name in enumerate(names):
            part = table[table["category"] == name]
            values = [column * unit.factor for column in _aligned(part, numbers, "mean", "low", "high")]
            _line(axis, numbers, *values, f"{CATEGORY_LABELS.get(name, name)} ({int(part['count'].max()):,})", CYCLE[place % len(CYCLE)], place)
        _layer_ticks(axis, numbers)
        axis.set_ylabel(f"change by {COMPONENT_LABELS[component]},\n{unit.name}")
        _legend(axis)
    axes[-1].set_xlabel("layer")
    return figure


def categories_by_distance(run: Run, component: str = "ff", names: AbstractSequence[str] = ("same_word", "same_entity", "other_word")) -> Figure:
    """Mean change of the map by distance, mean over layers, a line a category of pairs; those without pairs are left out."""
    table, _ = _of_layers(_of(run.categories("distance"), "component", component), None)
    _check_names("category", names, run.categories()["category"])
    table = table[table["category"].isin(names)]
    order = run.statistics.distances
    unit = _unit(run)
    figure, (axis,) = _panels(1)
    axis.axhline(0, color="#222222", linewidth=0.8)
    for place, name in enumerate(name for name in names if (table["category"] == name).any()):
        part = table[table["category"] == name].groupby("distance")[["mean", "low", "high", "count"]].mean()
        shown = [distance for distance in order if distance in part.index]
        part = part.loc[shown]
        values = [part[column] * unit.factor for column in ("mean", "low", "high")]
        label = f"{CATEGORY_LABELS.get(name, name)} ({int(part['count'].sum()):,})"
        _line(axis, [order.index(distance) for distance in shown], *values, label, CYCLE[place % len(CYCLE)], place)
    axis.set_xticks(range(1, len(order)), order[1:])
    axis.set_xlabel("distance, tokens")
    axis.set_ylabel(f"change by {COMPONENT_LABELS[component]},\n{unit.name}")
    _legend(axis)
    return figure


def cancellation(run: Run, earlier: str = "ff", later: AbstractSequence[str] | None = None, variant: str = "all") -> Figure:
    """By layer: the share of an earlier component's change that later ones add (above 0) or undo (below), and Spearman's ρ of the changes."""
    table, numbers = _of_layers(_of(_of(run.cancellation(), "variant", variant), "earlier", earlier), None)
    names = list(dict.fromkeys(table["later"])) if later is None else list(later)
    figure, axes = _panels(2)
    for axis, quantity in zip(axes, ("share", "spearman"), strict=True):
        axis.axhline(0, color="#222222", linewidth=0.8)
        axis.axhline(-1, color="#222222", linewidth=0.8, linestyle=":")
        for place, name in enumerate(names):
            part = _of(table, "later", name)
            values = _aligned(part, numbers, f"{quantity}_mean", f"{quantity}_low", f"{quantity}_high")
            _line(axis, numbers, *values, COMPONENT_LABELS[name], COMPONENT_COLORS[name], place)
        _layer_ticks(axis, numbers)
    axes[0].set_ylabel(f"share of {COMPONENT_LABELS[earlier]}'s change\n(−1: all of it undone)")
    axes[1].set_ylabel(f"Spearman's ρ with\n{COMPONENT_LABELS[earlier]}'s change")
    axes[1].set_xlabel("layer")
    _legend(axes[0])
    return figure


def norm_dimensions(run: Run, variant: str = "all") -> Figure:
    """By layer: the change of the map by each layer norm with all dimensions and without the masked ones, and the share of the squared norms that these hold."""
    table, numbers = _of_layers(_of(run.norm_dimensions(), "variant", variant), None)
    shares = _of(run.norm_dimensions("share"), "variant", variant)
    figure, (change, share) = _panels(2)
    for axis, part, column, labels, ylabel in (
        (change, table, "dimensions", {"all": "all dimensions", "kept": "without the masked"}, "contextualization change, 1 − ρ"),
        (share, shares, "side", {"before": "before", "after": "after"}, "masked dimensions' share\nof the squared norms"),
    ):
        for place, (norm, name) in enumerate(product(NORMS, labels)):
            values = _aligned(part[(part["norm"] == norm) & (part[column] == name)], numbers, "mean", "low", "high")
            _line(axis, numbers, *values, f"{COMPONENT_LABELS[norm]}, {labels[name]}", (BLUE, SKY, GREEN, ORANGE)[place], place)
        _layer_ticks(axis, numbers)
        axis.set_ylabel(ylabel)
        axis.set_ylim(bottom=0)
        _legend(axis)
    share.set_xlabel("layer")
    return figure


# What they share.


class _Unit:
    """How changes of the map are written: shares of a row in hundredths, norms as they are."""

    def __init__(self, factor: float, name: str) -> None:
        self.factor, self.name = factor, name


def _unit(run: Run) -> _Unit:
    return _Unit(1, "norm") if run.statistics.raw_maps else _Unit(100, "percentage points of the row")


def _check_names(kind: str, names: AbstractSequence[str], column: pandas.Series) -> None:
    known = list(dict.fromkeys(column))
    for name in names:
        if known and name not in known:
            raise UnknownName(kind, name, known)


def _of(table: pandas.DataFrame, column: str, name: str) -> pandas.DataFrame:
    _check_names(f"{column} component" if column in ("earlier", "later") else column, [name], table[column])
    return table[table[column] == name]


def _of_layers(table: pandas.DataFrame, layers: AbstractSequence[int] | None) -> tuple[pandas.DataFrame, list[int]]:
    known = sorted(set(table["layer"].tolist()))
    if not known:
        raise RunError("there is nothing to draw: the table of these statistics has no rows")
    for layer in layers or ():
        if layer not in known:
            raise UnknownName("layer", layer, [str(number) for number in known])
    return table, list(layers) if layers is not None else known


def _aligned(part: pandas.DataFrame, layers: list[int], *columns: str) -> list[np.ndarray]:
    part = part.set_index("layer").reindex(layers)
    return [part[column].to_numpy(float) for column in columns]


def _errors(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """What is unknown, or below zero by rounding, is not drawn."""
    return np.nan_to_num(np.stack([values - low, high - values])).clip(min=0)


def _line(axis: Axes, places: AbstractSequence, values, low, high, label: str, color, number: int) -> None:
    values, low, high = (np.asarray(column, float) for column in (values, low, high))
    axis.errorbar(
        np.asarray(places),
        values,
        yerr=_errors(values, low, high),
        color=color,
        marker=MARKERS[number % len(MARKERS)],
        markersize=4.5,
        linewidth=1.4,
        elinewidth=0.9,
        capsize=2,
        label=label,
    )


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    figure = Picture(figsize=(WIDTH, PANEL_HEIGHT * count), layout="constrained", dpi=DOTS_PER_INCH)
    axes = figure.subplots(count, 1, squeeze=False)[:, 0].tolist()
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", color="#dddddd", linewidth=0.6)
        axis.set_axisbelow(True)
    return figure, axes


def _layer_ticks(axis: Axes, layers: list[int]) -> None:
    if len(layers) <= 16:
        axis.set_xticks(layers)
    else:
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(layers) == 1:
        axis.set_xlim(layers[0] - 1, layers[0] + 1)


def _legend(axis: Axes) -> None:
    handles, labels = axis.get_legend_handles_labels()
    if handles:
        columns = 3 if max(map(len, labels)) < 14 else 2
        axis.legend(
            handles,
            [label.replace("$", r"\$") for label in labels],
            fontsize=8,
            ncols=columns,
            loc="lower right",
            bbox_to_anchor=(1, 1),
            frameon=False,
            handlelength=1.4,
            handletextpad=0.5,
            columnspacing=1.2,
        )


def _shades(count: int) -> list:
    from matplotlib import colormaps

    return [colormaps["viridis"](place) for place in np.linspace(0, 0.85, count)]

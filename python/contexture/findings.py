"""Statements of Kobayashi et al. (ICLR 2024), tested on a run: sentences made from its numbers, whichever way they come out."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pandas

from contexture.errors import RunError
from contexture.plot_statistics import COMPONENT_LABELS
from contexture.run import Run
from contexture.statistics import NORMS, SINGLE_COMPONENTS, Statistics

CONFIRMED, PARTLY, NOT_CONFIRMED, UNTESTED = "confirmed", "partly confirmed", "not confirmed", "cannot be tested"
OTHER_ENTITY_PAIRS = ("both_entities", "entity_other", "no_entity")


@dataclass
class Finding:
    """A statement, what the run says of it, and the sentences that say why."""

    statement: str
    verdict: str
    sentences: list[str] = field(default_factory=list)
    caveat: str = ""


def findings(run: Run) -> list[Finding]:
    """One for each of the paper's three statements, in its order, and one about outlier dimensions if the run was asked for them."""
    return [every_component(run), word_and_entity_pairs(run), cancellation(run), *([outlier_dimensions(run)] if masks_dimensions(run) else [])]


def masks_dimensions(run: Run) -> bool:
    try:
        return "norm_dimensions" in run.statistics.analyses
    except RunError:
        return False


# (a)


def every_component(run: Run) -> Finding:
    statement = "Every component of a layer changes the contextualization, not attention alone"
    try:
        whole = run.contextualization_change()
    except RunError as error:
        return Finding(statement, UNTESTED, [as_sentence(error)])
    table = whole[(whole["variant"] == "all") & whole["component"].isin(SINGLE_COMPONENTS)].dropna(subset=["mean"])
    tested = table.dropna(subset=["low"])
    if tested.empty:
        return Finding(statement, UNTESTED, ["An interval needs two sequences at least whose maps can be compared."])
    names = [name for name in SINGLE_COMPONENTS if name in set(tested["component"])]
    clear = {name: part.loc[part["low"] > 0, "layer"].tolist() for name, part in tested.groupby("component")}
    layers = {name: part["layer"].tolist() for name, part in tested.groupby("component")}
    always = [name for name in names if clear[name] == layers[name]]
    others = [name for name in names if name not in always]
    verdict = CONFIRMED if not others else PARTLY if any(clear.values()) else NOT_CONFIRMED
    sentences = []
    if always:
        sentences.append(
            f"{_list(always)} {_verb(always, 'reorders', 'reorder')} the map in {_all_layers(layers[always[0]])}: the interval of the change lies above 0."
        )
    if others:
        sentences.append("; ".join(f"{COMPONENT_LABELS[name]} does so in {len(clear[name])} of {len(layers[name])} layers" for name in others) + ".")
    means = {name: _over_layers(tested[tested["component"] == name], "mean", "low", "high") for name in names}
    order = sorted(names, key=lambda name: -means[name][0])
    sentences.append("Mean change over layers, 1 − ρ: " + ", ".join(f"{COMPONENT_LABELS[name]} {interval(*means[name])}" for name in order) + ".")
    largest, smallest = tested.loc[tested["mean"].idxmax()], tested.loc[tested["mean"].idxmin()]
    sentences.append(f"The largest is that of {_place(largest)}, the smallest that of {_place(smallest)}.")
    block = whole[(whole["variant"] == "all") & (whole["component"] == "after_attn")].dropna(subset=["low"])
    if len(block):
        sentences.append(
            f"Everything behind attention together, from the map of attention to the layer's output: {interval(*_over_layers(block, 'mean', 'low', 'high'))}."
        )
    caveat = (
        "1 − ρ is never below 0, and 0 only if the order of all elements stays, so the size says more than the sign. RES1 adds to the diagonal alone: "
        "without the diagonal its change is 0 by construction."
    )
    return Finding(statement, verdict, sentences, caveat)


def _place(row: pandas.Series) -> str:
    return f"{COMPONENT_LABELS[row['component']]} in layer {row['layer']}, {interval(row['mean'], row['low'], row['high'])}"


# (b)


def word_and_entity_pairs(run: Run) -> Finding:
    statement = "Pairs inside one word and inside one named entity are changed otherwise than other pairs"
    try:
        statistics = run.statistics
        table = run.categories()
    except RunError as error:
        return Finding(statement, UNTESTED, [as_sentence(error)])
    factor, unit = (1, "") if statistics.raw_maps else (100, " percentage points of the target's row")
    sentences, outcomes = [], []
    for first, others, what, reason in (
        ("same_word", ("other_word",), "two pieces of one word", "no word of the corpus has several pieces"),
        ("same_entity", OTHER_ENTITY_PAIRS, "two words of one entity", "no annotations of entities with several words, or none that could be used"),
    ):
        if not _pairs(table, first) or not sum(_pairs(table, name) for name in others):
            sentences.append(f"For {what} it cannot be tested: {reason}.")
            outcomes.append(UNTESTED)
            continue
        by_layer, whole = (statistics.category_difference(first, others, by_layer=by_layer) for by_layer in (True, False))
        for component in ("ff", "ff_block"):
            part = by_layer[by_layer["component"] == component].dropna(subset=["low", "high"])
            mean = whole[whole["component"] == component]
            if part.empty or mean.empty:
                continue
            more, less = part.loc[part["low"] > 0, "layer"].tolist(), part.loc[part["high"] < 0, "layer"].tolist()
            row = mean.iloc[0]
            signs = ", ".join(f"{sign} in {_layers(layers)}" for sign, layers in (("more", more), ("less", less)) if layers) or "in no layer is it clear of 0"
            sentences.append(
                f"{COMPONENT_LABELS[component]}, {what} against the others: {interval(row['difference'] * factor, row['low'] * factor, row['high'] * factor)}"
                f"{unit} (mean over layers); {signs}."
            )
            if component == "ff":
                outcomes.append(_outcome(len(more) + len(less), len(part)))
        near = statistics.category_difference(first, "adjacent", by_layer=False) if _pairs(table, "adjacent") else by_layer[:0]
        for _, row in near[near["component"] == "ff"].iterrows():
            sentences.append(
                "Such pairs stand close together, so part of this may be nearness: against all neighbouring tokens, FF's difference is "
                f"{interval(row['difference'] * factor, row['low'] * factor, row['high'] * factor)}."
            )
    tested = [outcome for outcome in outcomes if outcome != UNTESTED]
    if not tested:
        return Finding(statement, UNTESTED, sentences)
    verdict = tested[0] if len(set(outcomes)) == 1 else PARTLY if {CONFIRMED, PARTLY} & set(tested) else NOT_CONFIRMED
    rows = "the change is of the norms themselves" if statistics.raw_maps else "the change is that of the source's share of the target's row"
    return Finding(statement, verdict, sentences, f"Judged by FF, layer by layer; {rows}. Intervals: {_method(statistics)}.")


def _pairs(table: pandas.DataFrame, category: str) -> int:
    return int(table.loc[table["category"] == category, "count"].sum())


def _method(statistics: Statistics) -> str:
    if statistics._replicates is None:
        return "the errors of both means added, which is no narrower than the truth, since there are no bootstrap replicates"
    return f"{statistics._replicates[0].shape[1]} bootstrap replicates that draw whole sequences"


def _outcome(clear: int, layers: int) -> str:
    """One layer in twenty is clear of 0 by chance."""
    return CONFIRMED if clear == layers else PARTLY if clear > 1 + 0.05 * layers else NOT_CONFIRMED


# (c)


def cancellation(run: Run) -> Finding:
    statement = "Later components undo part of the change by FF"
    try:
        table = run.cancellation()
    except RunError as error:
        return Finding(statement, UNTESTED, [as_sentence(error)])
    table = table[(table["variant"] == "all") & (table["earlier"] == "ff")].dropna(subset=["share_low"])
    if table.empty:
        return Finding(statement, UNTESTED, ["An interval needs two sequences at least in which the maps change."])
    sentences, verdict = [], NOT_CONFIRMED
    for later in dict.fromkeys(["res2_ln2", *table["later"]]):
        part = table[table["later"] == later]
        if part.empty:
            continue
        mean, low, high = _over_layers(part, "share_mean", "share_low", "share_high")
        undone, added = part.loc[part["share_high"] < 0, "layer"].tolist(), part.loc[part["share_low"] > 0, "layer"].tolist()
        if later == "res2_ln2":
            verdict = _outcome(len(undone), len(part))
        what = "undo" if later == "res2_ln2" else "undoes"
        verb = (
            f"{what} {number(-100 * mean)} %"
            if high < 0
            else f"{'add' if later == 'res2_ln2' else 'adds'} {number(100 * mean)} %"
            if low > 0
            else "leaves as it is, on the whole,"
        )
        name = "RES2 and LN2 together" if later == "res2_ln2" else f"{COMPONENT_LABELS[later]} alone"
        where = "; ".join(f"{what} in {_layers(layers)}" for what, layers in (("undone", undone), ("added to", added)) if layers) or "clear of 0 in no layer"
        rho = _over_layers(part.dropna(subset=["spearman_low"]), "spearman_mean", "spearman_low", "spearman_high")
        sentences.append(
            f"{name} {verb} of FF's change: share {interval(mean, low, high)}, mean over layers; {where}. Rank correlation of the changes: {interval(*rho)}."
        )
    together = table[table["later"] == "res2_ln2"]
    below = together.loc[together["share_high"] < -0.5, "layer"].tolist()
    caveat = (
        "The map behind FF stands in FF's change and in RES2's with opposite signs: three unrelated maps of equal spread would have a share of −0.5 "
        f"for RES2, and for RES2 and LN2 together, and 0 for LN2. Together they are below −0.5 in {_layers(below) if below else 'no layer'}. −1 is undoing all."
    )
    return Finding(statement, verdict, sentences, caveat)


# Layer norms


def outlier_dimensions(run: Run) -> Finding:
    statement = "What a layer norm does to the contextualization is mostly the work of few dimensions"
    table, shares = (part[part["variant"] == "all"].dropna(subset=["low"]) for part in (run.norm_dimensions(), run.norm_dimensions("share")))
    if table.empty:
        return Finding(statement, UNTESTED, ["An interval needs two sequences at least whose maps can be compared."])
    sentences, less, most, tested = [f"Left out: the {run.statistics.mask}, of each layer norm."], 0, 0, 0
    for norm in NORMS:
        whole, kept, difference = (table[(table["norm"] == norm) & (table["dimensions"] == name)] for name in ("all", "kept", "difference"))
        if difference.empty:
            continue
        bounds = difference.set_index("layer")[["low", "high"]].join(whole.set_index("layer")["mean"])
        layers = {
            "less": bounds.index[bounds["high"] < 0].tolist(),
            "by more than half": bounds.index[bounds["high"] < -0.5 * bounds["mean"]].tolist(),
            "more": bounds.index[bounds["low"] > 0].tolist(),
        }
        less, most, tested = less + len(layers["less"]), most + len(layers["by more than half"]), tested + len(bounds)
        where = ", ".join(f"{what} in {_layers(which)}" for what, which in layers.items() if which) or "in no layer is it clear of 0"
        before, after, lost = (_over_layers(part, "mean", "low", "high") for part in (whole, kept, difference))
        percent = f", {number(100 * abs(lost[0]) / before[0])} % {'less' if lost[0] < 0 else 'more'}" if before[0] > 0 else ""
        sentences.append(
            f"{COMPONENT_LABELS[norm]} changes the map by {interval(*after)} instead of {interval(*before)}{percent} (1 − ρ, mean over layers); "
            f"difference {interval(*lost)}: {where}."
        )
        held = [number(100 * _over_layers(shares[(shares["norm"] == norm) & (shares["side"] == side)], "mean")[0]) for side in ("before", "after")]
        sentences.append(f"They hold {held[0]} % of the squared norms before {COMPONENT_LABELS[norm]} and {held[1]} % after it.")
    verdict = CONFIRMED if most == tested else NOT_CONFIRMED if _outcome(less, tested) == NOT_CONFIRMED else PARTLY
    caveat = (
        "Confirmed if more than half of the change goes in every layer, in part if the change is clearly smaller in some. Mean and deviation are always those of "
        "all dimensions; the masked ones are left out of the norms alone, and other dimensions may come out otherwise."
    )
    return Finding(statement, verdict, sentences, caveat)


# Words and numbers.


def number(value: float, digits: int = 3) -> str:
    """`digits` significant digits, never in exponential form for what a reader meets; a true minus sign."""
    if value is None or not math.isfinite(value):
        return "unknown"
    if value == 0 or abs(value) < 1e-12:
        return "0"
    decimals = min(max(digits - 1 - math.floor(math.log10(abs(value))), 0), 8)
    return f"{value:.{decimals}f}".replace("-", "−")


def interval(value: float, low: float, high: float) -> str:
    """0.123 [0.120, 0.126], with as many decimals as the width of the interval needs."""
    if not all(map(math.isfinite, (value, low, high))):
        return f"{number(value)} (no interval)"
    width = high - low
    decimals = 3 if width <= 0 else min(max(1 - math.floor(math.log10(width)), 0), 6)
    # Adding 0 makes 0 of −0.
    texts = [f"{round(end, decimals) + 0.0:.{decimals}f}".replace("-", "−") for end in (value, low, high)]
    return f"{texts[0]} [{texts[1]}, {texts[2]}]"


def _over_layers(table: pandas.DataFrame, *columns: str) -> tuple[float, ...]:
    """The mean over layers. That of the ends is no narrower than the interval of the mean, however layers are related."""
    return tuple(float(np.mean(table[column])) if len(table) else math.nan for column in columns)


def _list(names: Iterable[str]) -> str:
    labels = [COMPONENT_LABELS[name] for name in names]
    return labels[0] if len(labels) == 1 else f"{', '.join(labels[:-1])} and {labels[-1]}"


def _verb(names: list[str], one: str, several: str) -> str:
    return one if len(names) == 1 else several


def _all_layers(layers: list[int]) -> str:
    return f"layer {layers[0]}, the only one" if len(layers) == 1 else f"all {len(layers)} layers"


def _layers(layers: list[int]) -> str:
    """layer 3; layers 0–4, 7."""
    layers = sorted(layers)
    runs: list[list[int]] = []
    for layer in layers:
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    texts = [str(part[0]) if len(part) == 1 else f"{part[0]}{'–' if len(part) > 2 else ', '}{part[-1]}" for part in runs]
    return f"layer{'s' if len(layers) > 1 else ''} {', '.join(texts)}"


def as_sentence(error: Exception) -> str:
    """With a capital letter and a full stop."""
    text = str(error)
    return f"{text[0].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"

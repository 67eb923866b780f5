"""One HTML page about a run's statistics, with everything in it: `python -m contexture.report DIR -o report.html`."""

from __future__ import annotations

import argparse
import base64
import io
import sys
import warnings
from collections.abc import Callable
from collections.abc import Sequence as AbstractSequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
import numpy as np
import pandas
from matplotlib.figure import Figure

import contexture
from contexture import distances, plot_statistics
from contexture.errors import RunError, UnknownName
from contexture.findings import as_sentence, findings, masks_dimensions, number
from contexture.heatmap import Heatmap, example_heatmaps
from contexture.plot_statistics import CATEGORY_LABELS, CLASS_LABELS, COMPONENT_LABELS
from contexture.run import Run, open_run
from contexture.statistics import COMPONENTS, NORMS, SINGLE_COMPONENTS

EXAMPLES = 3
TOP_PAIRS = 10
POS_PAIRS = 12


@dataclass
class Table:
    """Rows of text or numbers under column titles."""

    columns: list[str]
    rows: list[list[Any]]
    caption: str
    open: bool = False


@dataclass
class Picture:
    """A drawing as a data URI."""

    uri: str
    alt: str
    caption: str


@dataclass
class Section:
    """A heading, and what stands under it."""

    name: str
    heading: str
    text: list[str] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)


def render(run: Run, examples: int = EXAMPLES) -> str:
    """The page. Texts of the corpus are escaped, and the page itself forbids scripts and anything from elsewhere."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("contexture"), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = lambda value: number(value) if isinstance(value, float) else f"{value:,}" if isinstance(value, (int, np.integer)) else value
    heatmaps, why_none = examples_of(run, examples)
    return environment.get_template("report.html").render(
        title=run.path.resolve().name,
        findings=findings(run),
        sections=sections(run),
        examples=heatmaps,
        why_no_examples=why_none,
        facts=facts(run),
        settings=settings(run),
        left_out=run.manifest.left_out if run.manifest else [],
        stripped=run.manifest.stripped if run.manifest else [],
        version=contexture.__version__,
    )


def picture(figure: Figure, alt: str, caption: str) -> Picture:
    """As SVG: letters as outlines, so no font is needed; no date, so equal numbers give equal bytes."""
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "contexture", "svg.fonttype": "path"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return Picture("data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode(), alt, caption)


# Sections.


def sections(run: Run) -> list[Section]:
    norms = [_section(run, "norms", "Layer norms and outlier dimensions", fill_norms)] if masks_dimensions(run) else []
    return [
        _section(run, "change", "Contextualization change", fill_change),
        _section(run, "categories", "Which pairs are amplified: categories", fill_categories),
        _section(run, "pairs", "Which pairs are amplified: tokens", fill_top_pairs),
        _section(run, "cancellation", "What cancels", fill_cancellation),
        *norms,
        _section(run, "mixing", "Mixing ratio", fill_mixing),
    ]


def _section(run: Run, name: str, heading: str, fill: Callable[[Run, Section], None]) -> Section:
    """What the run does not hold leaves a sentence in its place."""
    section = Section(name, heading)
    try:
        fill(run, section)
    except RunError as error:
        return Section(name, heading, [as_sentence(error)])
    return section


def fill_change(run: Run, section: Section) -> None:
    table = run.contextualization_change()
    section.text.append(
        "How differently each map orders its elements before and after a component: 1 − Spearman’s rank correlation, mean over "
        "sequences. 0: the same order; 1: an unrelated one."
    )
    alt = f"Change by component and layer. {_largest(table[(table['variant'] == 'all') & table['component'].isin(SINGLE_COMPONENTS)], 'mean')}"
    section.pictures.append(
        picture(
            plot_statistics.contextualization_change(run), alt, "Contextualization change of each component, by layer. Whiskers: 95 % interval over sequences."
        )
    )
    for variant, title in (("all", "All elements"), ("no_special", "Without special tokens"), ("no_diagonal", "Without the diagonal")):
        part = table[table["variant"] == variant].sort_values("component", key=lambda names: names.map(list(COMPONENTS).index), kind="stable")
        section.tables.append(_by_layer(part, "component", ("mean", "low", "high"), COMPONENT_LABELS, f"{title}: mean and interval"))


def fill_categories(run: Run, section: Section) -> None:
    table = run.categories()
    unit = "norms" if run.statistics.raw_maps else "share of the target’s row, in percentage points"
    section.text.append(
        f"What a component adds to the part of a target that comes from a source: the map after it less the map before, "
        f"{unit}; mean over pairs. Categories overlap."
    )
    for component in ("ff", "ff_block"):
        label = COMPONENT_LABELS[component]
        named = table[(table["component"] == component) & (table["count"] > 0) & table["category"].isin(sum(plot_statistics.CATEGORY_PANELS, ()))]
        section.pictures.append(
            picture(
                plot_statistics.categories(run, component),
                f"Change by {label} for categories of pairs, by layer. {_largest(named, 'mean', 'category', CATEGORY_LABELS)}",
                f"Change by {label}. In brackets: pairs. Whiskers: 95 % interval over sequences.",
            )
        )
    near = run.categories("distance")
    near = near[(near["component"] == "ff") & near["category"].isin(("same_word", "same_entity", "other_word"))]
    section.pictures.append(
        picture(
            plot_statistics.categories_by_distance(run),
            f"Change by FF by the distance of the two tokens. {_largest(near, 'mean', 'category', CATEGORY_LABELS)}",
            "Change by FF, mean over layers, by the distance of the two tokens. In brackets: pairs. Whiskers: 95 % interval over sequences.",
        )
    )
    factor = 1 if run.statistics.raw_maps else 100
    _add_differences_at_distance(run, section, factor)
    for component in ("ff", "ff_block", "ln2"):
        part = table[(table["component"] == component) & (table["count"] > 0)].copy()
        part[["mean", "low", "high"]] *= factor
        section.tables.append(_by_layer(part, "category", ("mean", "low", "high"), CATEGORY_LABELS, f"{COMPONENT_LABELS[component]}: mean and interval"))
    _add_parts_of_speech(run, section, factor)


def _add_parts_of_speech(run: Run, section: Section, factor: float) -> None:
    table = run.categories("pos")
    table = table[table["component"] == "ff"].sort_values("count", ascending=False, kind="stable")
    if table.empty:
        return
    table["pair"] = [f"{row.target_pos} ← {row.source_pos} ({row.count:,})" for row in table[["target_pos", "source_pos", "count"]].itertuples(index=False)]
    table = table[table["pair"].isin(list(dict.fromkeys(table["pair"]))[:POS_PAIRS])].copy()
    table[["mean", "low", "high"]] *= factor
    caption = "FF, by part of speech of target ← source, the most frequent ones (pairs in brackets): mean and interval"
    section.tables.append(_by_layer(table, "pair", ("mean", "low", "high"), {}, caption))


def _add_differences_at_distance(run: Run, section: Section, factor: float) -> None:
    known = set(run.categories("distance")["category"])
    parts = [run.statistics.difference_at_distance(name).assign(category=name) for name in distances.COMPARED if name in known]
    if not parts:
        return
    table = pandas.concat(parts)
    table[["difference", "low", "high"]] *= factor
    for component in ("ff", "ff_block"):
        part = table[(table["component"] == component) & (table["distance"] == "all")]
        caption = f"{COMPONENT_LABELS[component]}: difference from other pairs of words at the same distance, and interval"
        section.tables.append(_by_layer(part, "category", ("difference", "low", "high"), CATEGORY_LABELS, caption))


def fill_top_pairs(run: Run, section: Section) -> None:
    table = run.top_pairs(k=TOP_PAIRS)
    least = run.statistics.options.get("min_count", 1)
    if table.empty:
        section.text.append(f"No pair of token types stands in the corpus {least} times or more; --min-count sets another bound.")
        return
    factor, unit = (1, "norm") if run.statistics.raw_maps else (100, "percentage points")
    section.text.append(f"Target ← source, the mean change ({unit}), and how often the pair stands in the corpus: {least} times at least. The largest first.")
    if not run.vocabulary:
        section.text.append("In brackets are numbers of tokens, whose texts the run does not hold; --vocabulary takes them from the model.")
    for component in ("ff", *(name for name in SINGLE_COMPONENTS if name != "ff")):
        for sign, what in (("positive", "amplifies"), ("negative", "weakens")):
            part = table[(table["component"] == component) & (table["sign"] == sign)]
            layers = sorted(set(part["layer"].tolist()))
            # Where a component weakens all pairs, the largest means are those that it weakens least.
            part = part[part["mean"] > 0 if sign == "positive" else part["mean"] < 0]
            cells = {
                (row.layer, row.rank): f"{row.target_token} ← {row.source_token} · {number(row.mean * factor)} ({row.count:,})"
                for row in part.itertuples(index=False)
            }
            rows = [[rank + 1, *(cells.get((layer, rank), "") for layer in layers)] for rank in sorted(set(part["rank"].tolist()))]
            caption = f"Pairs that {COMPONENT_LABELS[component]} {what} most"
            section.tables.append(Table(["rank", *(f"layer {layer}" for layer in layers)], rows, caption, open=component == "ff"))


def fill_cancellation(run: Run, section: Section) -> None:
    table = run.cancellation()
    section.text.append(
        "How the change by a later component goes with that by FF. Share: the later change’s projection onto the earlier one; −1 undoes all of it, "
        "0 leaves it, and −0.5 is what RES2 would show if the maps had nothing in common."
    )
    part = table[(table["variant"] == "all") & (table["earlier"] == "ff")]
    lowest = _largest(part, "share_mean", "later", COMPONENT_LABELS, lowest=True)
    alt = f"Share of the change by FF that later components undo, and rank correlation of the changes, by layer. {lowest}"
    section.pictures.append(picture(plot_statistics.cancellation(run), alt, "What becomes of FF’s change. Whiskers: 95 % interval over sequences."))
    part = table[table["variant"] == "all"].copy()
    part["step"] = [f"{COMPONENT_LABELS[later]} on {COMPONENT_LABELS[earlier]}" for earlier, later in zip(part["earlier"], part["later"], strict=True)]
    section.tables.append(_by_layer(part, "step", ("share_mean", "share_low", "share_high"), {}, "Share of the earlier component’s change: mean and interval"))
    section.tables.append(_by_layer(part, "step", ("spearman_mean", "spearman_low", "spearman_high"), {}, "Spearman’s ρ of the changes: mean and interval"))
    categories = run.cancellation("category")
    categories = categories[(categories["earlier"] == "ff") & (categories["later"] == "res2_ln2") & (categories["count"] > 0)]
    section.tables.append(
        _by_layer(categories, "category", ("share", "low", "high"), CATEGORY_LABELS, "RES2 + LN2 on FF, by category of the pair: share and interval")
    )


def fill_norms(run: Run, section: Section) -> None:
    table, shares, masked = (run.norm_dimensions(by) for by in ("change", "share", "dimension"))
    section.text.append(
        f"The change of the map by each layer norm, once with norms over all dimensions, once without the {run.statistics.mask}: the parts stay what they "
        "are, their norms alone leave these dimensions out. Below: how much of the squared norms they hold."
    )
    part = table[(table["variant"] == "all") & table["dimensions"].isin(["all", "kept"])]
    alt = f"Change by LN1 and LN2 with and without the masked dimensions, by layer. {_largest(part, 'mean', 'norm')}"
    section.pictures.append(picture(plot_statistics.norm_dimensions(run), alt, "Layer norms with and without the masked dimensions. Whiskers: 95 % intervals."))
    dimensions = {"all": "all dimensions", "kept": "without the masked", "difference": "difference"}
    for variant, title in (("all", "All elements"), ("no_special", "Without special tokens"), ("no_diagonal", "Without the diagonal")):
        part = table[table["variant"] == variant].copy()
        part["row"] = [f"{COMPONENT_LABELS[norm]}, {dimensions[name]}" for norm, name in zip(part["norm"], part["dimensions"], strict=True)]
        section.tables.append(_by_layer(part, "row", ("mean", "low", "high"), {}, f"{title}: change, mean and interval"))
    part = shares[shares["variant"] == "all"].copy()
    part["row"] = [f"{side} {COMPONENT_LABELS[norm]}" for norm, side in zip(part["norm"], part["side"], strict=True)]
    section.tables.append(_by_layer(part, "row", ("mean", "low", "high"), {}, "The masked dimensions’ share of the squared norms: mean and interval"))
    chosen = masked.groupby(["norm", "layer"])["dimension"].apply(lambda values: ", ".join(map(str, values)))
    layers = sorted(set(masked["layer"].tolist()))
    rows = [[COMPONENT_LABELS[norm], *(chosen.get((norm, layer), "") for layer in layers)] for norm in NORMS]
    section.tables.append(Table(["", *(f"layer {layer}" for layer in layers)], rows, "Masked dimensions"))


def fill_mixing(run: Run, section: Section) -> None:
    section.text.append(
        "The share of the other tokens in a token’s vector, mean over tokens. Whiskers: ± 1.96 standard errors over tokens, as if these were independent."
    )
    table = run.mixing_ratio("class")
    last = table[(table["stage"] == "ff_res_ln") & (table["count"] > 0)]
    alt = f"Mixing ratio of the layer’s output by class of the token and layer. {_largest(last[last['class'] != 'all'], 'mean', 'class', CLASS_LABELS)}"
    section.pictures.append(picture(plot_statistics.mixing_ratio(run), alt, "Mixing ratio of the layer’s output by class of the token. In brackets: tokens."))
    if (run.mixing_ratio("pos")["count"] > 0).any():
        section.pictures.append(
            picture(
                plot_statistics.mixing_ratio(run, "pos"),
                "Mixing ratio of the layer’s output by part of speech and layer.",
                "The same by part of speech, the most frequent ones.",
            )
        )
    section.pictures.append(
        picture(
            plot_statistics.mixing_ratio(run, "frequency"),
            "Mixing ratio of the layer’s output by frequency of the token in the corpus, a line a layer.",
            "The same by how often the token stands in the corpus, mean over token ids; special and masked tokens are left out.",
        )
    )
    section.tables.append(_by_layer(run.mixing_ratio(), "stage", ("mean",), {}, "All tokens, by stage"))
    section.tables.append(_by_layer(last, "class", ("mean",), CLASS_LABELS, "Layer’s output (ff_res_ln), by class"))
    section.tables.append(
        _by_layer(run.mixing_ratio("correlation"), "stage", ("spearman",), {}, "Spearman’s ρ of a token’s frequency and its mean mixing ratio")
    )


def _by_layer(table: pandas.DataFrame, key: str, columns: tuple[str, ...], labels: dict[str, str], caption: str) -> Table:
    """A row a key, a column a layer."""
    layers = sorted(set(table["layer"].tolist()))
    cells = {(row[0], row[1]): row[2:] for row in table[[key, "layer", *columns]].itertuples(index=False, name=None)}
    rows = []
    for name in dict.fromkeys(table[key]):
        values = [cells.get((name, layer)) for layer in layers]
        rows.append([labels.get(name, name), *("" if value is None else _cell(value) for value in values)])
    return Table(["", *(f"layer {layer}" for layer in layers)], rows, caption)


def _cell(values: tuple[float, ...]) -> str:
    mean, *ends = values
    if not np.isfinite(mean):
        return "–"
    return number(mean) if not ends or not np.isfinite(ends).all() else f"{number(mean)} [{number(ends[0])}, {number(ends[1])}]"


def _largest(table: pandas.DataFrame, column: str, key: str = "component", labels: dict[str, str] = COMPONENT_LABELS, lowest: bool = False) -> str:
    """What a picture shows above all, for those who cannot see it."""
    table = table.dropna(subset=[column])
    if table.empty:
        return "There are no values."
    row = table.loc[table[column].idxmin() if lowest else table[column].idxmax()]
    return f"The {'lowest' if lowest else 'largest'} is {labels.get(row[key], row[key])} in layer {row['layer']}, {number(float(row[column]))}."


# Examples and metadata.


def examples_of(run: Run, count: int) -> tuple[list[Heatmap], str]:
    """Heatmaps of a few sequences, or why there are none."""
    if not [name for name in run.maps if name != "attn_weight"]:
        return (
            [],
            "This run stores no maps, so there are no examples: run contexture with --stages attn_res_ln,ff (or all), perhaps with --limit, to have some.",
        )
    heatmaps = example_heatmaps(run, count)
    return heatmaps, "" if heatmaps else "The run holds no sequence that is short enough to be shown."


def facts(run: Run) -> list[tuple[str, str]]:
    """What the run is."""
    identity = run.manifest.identity if run.manifest else {}
    tokens = int(run.n_tokens.sum())
    rows = [
        ("run", str(run.path.resolve().name)),
        ("state", "complete" if run.complete else "not finished: what is here is of the parts finished so far"),
        ("sequences", f"{len(run):,} with {tokens:,} tokens, {number(tokens / len(run)) if len(run) else 0} each"),
        ("layers", f"{', '.join(map(str, run.layers))} of {run.model_layers}; {run.heads} heads, hidden size {run.hidden_size}"),
        ("maps stored", ", ".join(run.maps) or "none"),
    ]
    if run.manifest:
        rows.append(
            ("documents", f"{sum(part.documents for part in run.manifest.parts):,}, of which {sum(part.skipped for part in run.manifest.parts):,} were skipped")
        )
        if run.manifest.stripped:
            rows.append(("annotations", f"{len(run.manifest.stripped):,} documents kept without them, since they could not be used"))
        errors = [part.completeness_error for part in run.manifest.parts]
        if errors:
            rows.append(("completeness", f"parts and bias part add up to the model’s own states; largest relative error {max(errors):.1e}"))
    rows += [
        (name, str(identity[key]))
        for key, name in (("model", "model’s fingerprint"), ("corpus", "corpus’ fingerprint"), ("backend", "backend"))
        if key in identity
    ]
    rows.append(("program", f"contexture {run.attributes.get('program_version', 'of unknown version')}; report by the reader {contexture.__version__}"))
    return rows


def settings(run: Run) -> list[tuple[str, str]]:
    """The configuration that decides the values, as the manifest has it."""
    identity = dict(run.manifest.identity) if run.manifest else {}
    analyses = identity.pop("analyses", None)
    flat = identity | ({f"analyses: {key}": value for key, value in analyses.items()} if isinstance(analyses, dict) else {})
    hidden = ("model", "corpus", "backend")
    return [
        (key, ", ".join(map(str, value)) if isinstance(value, list) else str(value)) for key, value in flat.items() if key not in hidden and value is not None
    ]


def main(arguments: AbstractSequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m contexture.report",
        description="Writes one HTML page about the statistics of a run: findings, pictures, tables, examples. It needs no network.",
    )
    parser.add_argument("run", type=Path, help="output folder of `contexture run --analyses all`")
    parser.add_argument("-o", "--output", type=Path, default=Path("report.html"), help="page to write (default: %(default)s)")
    parser.add_argument("--examples", type=int, default=EXAMPLES, metavar="N", help="sequences to draw heatmaps of (default: %(default)s)")
    parser.add_argument("--vocabulary", type=Path, help="model folder, tokenizer.json or vocab.txt to take token texts from (default: the run's own)")
    options = parser.parse_args(arguments)
    try:
        with open_run(options.run, vocabulary=options.vocabulary) as run:
            options.output.write_text(render(run, max(options.examples, 0)), encoding="utf-8")
    except (RunError, UnknownName, OSError) as error:
        print(f"contexture.report: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

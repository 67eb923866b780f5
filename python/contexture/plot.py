"""Pictures of a sequence's maps and mixing ratios, and `python -m contexture.plot DIR ID -o maps.png`."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence as AbstractSequence
from pathlib import Path

import numpy as np
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure

from contexture.convert import row_shares
from contexture.errors import RunError, UnknownName
from contexture.run import Run, open_run
from contexture.sequence import Sequence

MOST_LABELS = 48  # tokens or words; more would not be readable
CELL_INCHES = 1.9
DOTS_PER_INCH = 110


class Picture(Figure):
    """A figure that notebooks show, without pyplot, which would keep every figure in memory."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()


def map_grid(
    sequence: Sequence,
    maps: AbstractSequence[str] | None = None,
    layers: AbstractSequence[int] | None = None,
    norms: bool = False,
    color_map: str = "magma_r",
) -> Figure:
    """Heatmaps, one row a map and one column a layer; in each, targets run downwards and sources to the right.

    maps, layers: names, and the model's layer numbers; all that are stored, unless given.
    norms: the norms themselves, every row of the grid on its own colour scale; otherwise each source's share of its target's
        row, all on one scale, on which the square root of the share is drawn, so that small shares show.
    """
    names = _chosen("map", sequence.run.maps, maps)
    numbers = _chosen("layer", sequence.run.layers, layers)
    if not names or not numbers:
        raise RunError(f"{sequence.run.path} holds no maps to draw; run contexture with --stages all, or some of them, into another folder")
    figure = Picture(figsize=(CELL_INCHES * len(numbers) + 1.8, CELL_INCHES * len(names) + 1.0), layout="constrained", dpi=DOTS_PER_INCH)
    axes = figure.subplots(len(names), len(numbers), squeeze=False, sharex=True, sharey=True)
    for row, name in zip(axes, names, strict=True):
        values = [sequence.maps[name, sequence.run.layers.index(layer)] for layer in numbers]
        if not norms:
            values = [row_shares(value) for value in values]
        scale = Normalize(0, max(float(value.max()) for value in values) or 1.0) if norms else PowerNorm(0.5, 0, 1)
        for axis, value, layer in zip(row, values, numbers, strict=True):
            image = axis.imshow(value, norm=scale, cmap=color_map, interpolation="nearest", aspect="equal")
            if name == names[0]:
                axis.set_title(f"layer {layer}", fontsize=9)
        row[0].set_ylabel(name, fontsize=9)
        if norms:
            figure.colorbar(image, ax=row.tolist(), shrink=0.8, label="norm")
    if not norms:
        figure.colorbar(image, ax=axes.ravel().tolist(), shrink=0.5, label="share of the target's row", ticks=[0, 0.05, 0.2, 0.5, 1])
    _label_places(axes, sequence)
    figure.suptitle(_title(sequence), fontsize=10)
    return figure


def mixing_ratio(
    sequences: Sequence | Run | AbstractSequence[Sequence],
    stages: AbstractSequence[str] | None = None,
    special: bool = True,
) -> Figure:
    """Mixing ratio by layer, one line a stage: the mean over all tokens of the sequences; special=False leaves [CLS] and [SEP] out."""
    chosen = [sequences] if isinstance(sequences, Sequence) else list(sequences)
    if not chosen:
        raise RunError("there is no sequence to draw mixing ratios of")
    run = chosen[0].run
    names = _chosen("stage", run.stages, stages)
    if not names:
        raise RunError(f"{run.path} holds no mixing ratios by token; those of the corpus, if it has them, are in plot_statistics.mixing_ratio(run)")
    kept = [np.ones(len(sequence), bool) if special else ~sequence.special for sequence in chosen]
    figure = Picture(figsize=(6.0, 4.0), layout="constrained", dpi=DOTS_PER_INCH)
    axis = figure.subplots()
    for name in names:
        values = np.concatenate([sequence.mixing_ratio[name][:, keep] for sequence, keep in zip(chosen, kept, strict=True)], axis=1)
        axis.plot(run.layers, values.mean(axis=1), marker="o", markersize=4, label=name)
    axis.set_xlabel("layer")
    axis.set_ylabel("mixing ratio, mean over tokens")
    axis.set_xticks(run.layers)
    axis.set_ylim(0, 1)
    axis.legend(fontsize=8, ncols=2)
    axis.set_title(_title(chosen[0]) if len(chosen) == 1 else f"{len(chosen)} sequences", fontsize=10)
    return figure


def _chosen(kind: str, there: list, wanted: AbstractSequence | None) -> list:
    if wanted is None:
        return list(there)
    for name in wanted:
        if name not in there:
            raise UnknownName(kind, name, [str(known) for known in there])
    return list(wanted)


def _title(sequence: Sequence) -> str:
    # A $ would begin mathematics.
    text = sequence.text if len(sequence.text) <= 90 else f"{sequence.text[:89]}…"
    return f"{sequence.id}: {text}".replace("$", r"\$")


def _label_places(axes: np.ndarray, sequence: Sequence) -> None:
    n = sequence.map_size
    if n > MOST_LABELS:
        axes[-1, 0].set_xlabel("source", fontsize=8)
        return
    size = min(7.0, 100.0 / n)
    labels = [label.replace("$", r"\$") for label in sequence.map_labels]
    for axis in axes.ravel():
        axis.tick_params(length=0)
    for axis in axes[:, 0]:
        axis.set_yticks(range(n), labels, fontsize=size)
    for axis in axes[-1]:
        axis.set_xticks(range(n), labels, fontsize=size, rotation=90)


def find_sequence(run: Run, name: str) -> Sequence:
    """The sequence of that id, else the one of that number."""
    if name in run:
        return run[name]
    try:
        index = int(name)
    except ValueError:
        return run[name]
    return run[index]


def main(arguments: AbstractSequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m contexture.plot", description="Draws the maps of one sequence of a run, or its mixing ratios.")
    parser.add_argument("run", type=Path, help="output folder of `contexture run`")
    parser.add_argument("id", help="id of the sequence, or its number in the run")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("maps.png"), help="picture to write; the ending says which kind: .png, .svg, .pdf (default: %(default)s)"
    )
    parser.add_argument("--kind", choices=("maps", "mixing-ratio"), default="maps", help="what to draw (default: %(default)s)")
    parser.add_argument("--maps", metavar="NAME,…", help="maps to draw, or stages of mixing ratios (default: all that are stored)")
    parser.add_argument("--layers", metavar="NUMBER,…", help="layers to draw maps of, from 0 (default: all that are stored)")
    parser.add_argument("--norms", action="store_true", help="draw the norms themselves, not each source's share of its target's row")
    parser.add_argument("--vocabulary", type=Path, help="model folder, tokenizer.json or vocab.txt to take token texts from (default: the run's own)")
    options = parser.parse_args(arguments)
    names = options.maps.split(",") if options.maps else None
    try:
        layers = [int(number) for number in options.layers.split(",")] if options.layers else None
    except ValueError:
        parser.error(f"--layers takes numbers such as 0,3,5, not {options.layers!r}")
    try:
        with open_run(options.run, vocabulary=options.vocabulary) as run:
            sequence = find_sequence(run, options.id)
            figure = map_grid(sequence, names, layers, options.norms) if options.kind == "maps" else mixing_ratio(sequence, names)
            figure.savefig(options.output)
    except (RunError, UnknownName, IndexError, OSError, ValueError) as error:
        print(f"contexture.plot: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

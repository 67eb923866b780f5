"""Heatmaps, token by token or word by word, of example sequences, as shapes for a page's template: the browser sets the tokens, in any script."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import Normalize, PowerNorm

from contexture.convert import row_shares
from contexture.run import Run
from contexture.sequence import Sequence

FEWEST_TOKENS, MOST_TOKENS = 6, 24
LOOKED_AT = 2000  # sequences from which the examples are chosen
CELL, LETTER, GAP = 16.0, 6.8, 6.0
MOST_LETTERS = 20
STEPS = (("attn_res_ln", "ff"), ("attn_res_ln", "ff_res_ln"), ("attn", "ff_res_ln"), ("attn", "attn_res_ln"), ("ff", "ff_res_ln"))


@dataclass
class Cell:
    """One pair of tokens or words."""

    x: float
    y: float
    color: str
    title: str


@dataclass
class Panel:
    """One map, or the change from one to another."""

    heading: str
    alt: str
    cells: list[Cell]


@dataclass
class Heatmap:
    """A sequence and its panels, which share their axes."""

    id: str
    text: str
    layer: int
    tokens: list[str]
    panels: list[Panel]
    margin: float
    size: float
    cell: float = CELL


def example_heatmaps(run: Run, count: int) -> list[Heatmap]:
    """Of the first sequences that are neither short nor long."""
    lengths = run.map_sizes[:LOOKED_AT]
    fitting = np.flatnonzero((lengths >= FEWEST_TOKENS) & (lengths <= MOST_TOKENS))
    if not len(fitting):
        fitting = np.flatnonzero(lengths <= MOST_TOKENS)
    return [heatmap(run[int(index)]) for index in fitting[:count]]


def heatmap(sequence: Sequence) -> Heatmap:
    """The maps before and after the feed-forward block, as far as they are stored, and the change, in the layer where it is largest."""
    run = sequence.run
    stored = [name for name in run.maps if name != "attn_weight"]
    pairs = [step for step in STEPS if set(step) <= set(stored)]
    names = pairs[0] if pairs else tuple(stored[-1:])
    shares = {name: row_shares(np.nan_to_num(sequence.maps[name].astype(np.float64))) for name in names}
    changes = np.abs(shares[names[-1]] - shares[names[0]]).sum(axis=(1, 2)) if len(names) > 1 else np.zeros(len(run.layers))
    place = int(changes.argmax()) if len(names) > 1 else len(run.layers) - 1
    panels = [_panel(f"{name}: share of the target’s row", shares[name][place], sequence, False) for name in names]
    if len(names) > 1:
        panels.append(_panel(f"change from {names[0]} to {names[1]}", shares[names[1]][place] - shares[names[0]][place], sequence, True))
    tokens = [_short(token) for token in sequence.map_labels]
    margin = LETTER * max(map(_width, tokens), default=0) + GAP
    return Heatmap(sequence.id, sequence.text, run.layers[place], tokens, panels, margin, margin + CELL * len(tokens) + GAP)


def _short(token: str) -> str:
    return token if len(token) <= MOST_LETTERS else f"{token[: MOST_LETTERS - 1]}…"


def _width(text: str) -> int:
    """In letters of the fixed width that the page sets them in; those of East Asia take two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _panel(heading: str, values: np.ndarray, sequence: Sequence, signed: bool) -> Panel:
    if signed:
        most = float(np.abs(values).max()) or 1.0
        heading = f"{heading}, from −{most:.2f} to +{most:.2f}"
        colors, scale = colormaps["RdBu_r"], Normalize(-most, most)
    else:
        heading = f"{heading}, from 0 to 1"
        colors, scale = colormaps["magma_r"], PowerNorm(0.5, 0, 1)
    tokens = sequence.map_labels
    painted = (colors(scale(values))[..., :3] * 255).round().astype(int)
    cells = [
        Cell(CELL * j, CELL * i, "#{:02x}{:02x}{:02x}".format(*painted[i, j]), f"{target} ← {source}: {value:{'+' if signed else ''}.3f}".replace("-", "−"))
        for i, target in enumerate(tokens)
        for j, (source, value) in enumerate(zip(tokens, values[i].tolist(), strict=True))
    ]
    i, j = np.unravel_index(int(np.abs(values).argmax()), values.shape)
    alt = f"{heading}; rows are targets, columns sources. Most: {tokens[i]} from {tokens[j]}, {values[i, j]:.3f}."
    return Panel(heading, alt, cells)

#!/usr/bin/env python3
"""How far the maps of one run are from those of another, or from float64: one line of JSON.

    compare_runs.py RUN OTHER                      two output folders of the same corpus, say of two backends
    compare_runs.py RUN --model DIR [--most 5]     against tests/oracle, the definition in float64: the shortest sequences alone, it is slow

Errors are relative, element by element; an element below a thousandth of its map's largest is held against that. Exit code 77: a package is missing.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
for place in ("python", "tests/oracle"):
    sys.path.insert(0, str(ROOT / place))

try:
    import contexture
    import numpy as np
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

FLOOR = 1e-3


def relative_errors(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Of maps [layer, target, source]."""
    if found.shape != expected.shape:
        raise SystemExit(f"maps {found.shape} and {expected.shape}: the runs are not of the same sequences and layers")
    return np.abs(found - expected) / np.maximum(np.abs(expected), FLOOR * np.abs(expected).max(axis=(1, 2), keepdims=True))


def summarise(pairs: Iterator[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]) -> dict:
    """The largest error and the root mean square, by map and of all."""
    largest: dict[str, float] = {}
    squares: dict[str, float] = {}
    counts: dict[str, int] = {}
    sequences = 0
    for found, expected in pairs:
        sequences += 1
        for name in found:
            errors = relative_errors(found[name].astype(np.float64), expected[name].astype(np.float64))
            largest[name] = max(largest.get(name, 0.0), float(errors.max()) if np.isfinite(errors).all() else float("inf"))
            squares[name] = squares.get(name, 0.0) + float((errors**2).sum())
            counts[name] = counts.get(name, 0) + errors.size
    maps = {name: {"largest": largest[name], "rms": (squares[name] / counts[name]) ** 0.5} for name in largest}
    return {"sequences": sequences, "largest": max(largest.values()), "rms": max(entry["rms"] for entry in maps.values()), "maps": maps}


def of_two_runs(first: Path, second: Path) -> Iterator[tuple[dict, dict]]:
    with contexture.open_run(first) as run, contexture.open_run(second) as other:
        if len(run) != len(other):
            raise SystemExit(f"{first} has {len(run)} sequences and {second} {len(other)}")
        for mine, theirs in zip(run, other):
            yield dict(mine.maps), dict(theirs.maps)


def of_run_and_oracle(folder: Path, model: Path, most: int) -> Iterator[tuple[dict, dict]]:
    import oracle

    checkpoint = oracle.Checkpoint(model)
    with contexture.open_run(folder) as run:
        for index in np.argsort(run.n_tokens, kind="stable")[:most]:
            sequence = run[int(index)]
            expected = oracle.decompose(checkpoint, sequence.input_ids, sequence.token_type_ids).maps
            yield dict(sequence.maps), {name: expected[name][run.layers] for name in sequence.maps}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("other", type=Path, nargs="?")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--most", type=int, default=5)
    options = parser.parse_args()
    if (options.other is None) == (options.model is None):
        parser.error("give another run, or --model")
    pairs = of_two_runs(options.run, options.other) if options.other else of_run_and_oracle(options.run, options.model, options.most)
    print(json.dumps(summarise(pairs)))


if __name__ == "__main__":
    main()

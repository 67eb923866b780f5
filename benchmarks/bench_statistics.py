#!/usr/bin/env python3
"""What statistics cost: processor time of a run that takes all of them and stores no map, against one that computes and stores the same maps.

The two run in turns. The run that stores maps does so uncompressed, so that nearly all of its time is the decomposition's; what it needs for writing makes
the statistics look cheaper by about 2 %. The output's size is that of the statistics-only run.

    benchmarks/bench_statistics.py --program build/cpu/contexture --model MODEL --corpus texts.jsonl [--tokens 128] [--sequences 8] [--repeats 3]
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import tempfile
from pathlib import Path


def processor_seconds(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--corpus", required=True, help="documents of so many tokens or more; best annotated")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--sequences", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    command = [options.program, "run", "--model", options.model, "--corpus", options.corpus, "--max-tokens", str(options.tokens)]
    command += ["--limit", str(options.sequences), "--quiet", "--out"]
    without, with_statistics, size = [], [], 0
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as folder:
            without.append(processor_seconds([*command, f"{folder}/maps", "--compression", "0"]))
            with_statistics.append(processor_seconds([*command, f"{folder}/statistics", "--stages", "none", "--analyses", "all"]))
            size = sum(path.stat().st_size for path in Path(folder, "statistics").rglob("*") if path.is_file())
    ratios = [b / a - 1 for a, b in zip(without, with_statistics, strict=True)]
    print(f"{options.sequences} sequences of at most {options.tokens} tokens, {options.repeats} repeats, medians")
    print(f"maps stored: {statistics.median(without):.2f} s of processor time; statistics instead: {statistics.median(with_statistics):.2f} s")
    print(f"statistics cost {100 * statistics.median(ratios):.1f} % ({100 * min(ratios):.1f} to {100 * max(ratios):.1f}); output {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Several processes at one run: how evenly work is handed out, and what a plan and a run of many documents cost.

    benchmarks/bench_cluster.py --program build/cpu/contexture [--ranks 4] [--documents 1000 1000000] [--output FILE.json]

Two measurements: the share of the job's time for which the rank that was done first waited for the last, with shards of uneven work; and, for corpora of
tiny documents, seconds and peak memory of `plan` and of ranks that have nothing but such documents to do.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORDS = "the cat sat on river bank old dog ran find way many people use water long time".split()


def make_model(folder: Path, *shape: object) -> None:
    subprocess.run([sys.executable, str(ROOT / "tests" / "make_checkpoint.py"), str(folder), *map(str, shape)], check=True, stdout=subprocess.DEVNULL)


def launch(ranks: int, command: list[str], folder: Path) -> tuple[str, float, int]:
    """What was said, the seconds, and the largest peak memory of a rank in bytes."""
    environment = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OPENBLAS_NUM_THREADS": "1"}
    prefix = ["mpirun", "-n", str(ranks), "--oversubscribe", "--bind-to", "none", "--mca", "btl", "tcp,self"] if ranks > 1 else []
    timed = [sys.executable, "-c", "import resource, subprocess, sys; code = subprocess.call(sys.argv[1:]); "
             "print('peak', resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024); sys.exit(code)"]
    begin = time.monotonic()
    done = subprocess.run([*prefix, *timed, *command], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}: {done.stderr}")
    return done.stdout, time.monotonic() - begin, max(int(peak) for peak in re.findall(r"peak (\d+)", done.stdout))


def measure_idle(program: Path, folder: Path, ranks: int, shards: int) -> dict:
    """Lengths rise through the corpus, so that in the order of the corpus the largest shards would come last."""
    generator = random.Random(1)
    make_model(folder / "model", "--layers", 6, "--hidden-size", 128, "--intermediate-size", 512, "--vocabulary-size", 400, "--max-positions", 256)
    with open(folder / "uneven.txt", "w", encoding="utf-8") as file:
        for number in range(4 * shards):
            file.write(" ".join(generator.choice(WORDS) for _ in range(8 + number * 150 // (4 * shards))) + "\n")
    command = [str(program), "run", "--model", "model", "--corpus", "uneven.txt", "--out", f"ranks-{ranks}", "--shard-size", "4", "--shard-work", "0", "--threads", "1",
               "--cluster", "mpi", "--verbose"]
    said, seconds, _ = launch(ranks, command, folder)
    idle = re.search(r"waited for the last for ([0-9.]+) %", said)
    return {"ranks": ranks, "shards": shards, "seconds": round(seconds, 2), "idle_percent": float(idle.group(1)) if idle else None}


def measure_documents(program: Path, folder: Path, documents: int, with_run: bool) -> dict:
    make_model(folder / "tiny", "--layers", 1, "--hidden-size", 8, "--heads", 1, "--intermediate-size", 8, "--vocabulary-size", 400)
    with open(folder / "many.txt", "w", encoding="utf-8") as file:
        for number in range(documents):
            file.write(f"{WORDS[number % len(WORDS)]} {WORDS[number // 7 % len(WORDS)]}\n")
    common = ["--model", "tiny", "--corpus", "many.txt", "--quiet"]
    _, plan_seconds, plan_peak = launch(1, [str(program), "plan", *common, "--gflops", "1"], folder)
    result = {"documents": documents, "plan_seconds": round(plan_seconds, 2), "plan_peak_mib": plan_peak >> 20}
    if with_run:
        run = [str(program), "run", *common, "--out", f"many-{documents}", "--cluster", "mpi", "--threads", "1", "--stages", "ff_res_ln", "--compression", "1"]
        _, seconds, peak = launch(2, run, folder)
        plan = (folder / f"many-{documents}" / "plan.json").stat().st_size
        result |= {"run_seconds": round(seconds, 2), "largest_rank_peak_mib": peak >> 20, "plan_bytes": plan}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=Path, required=True)
    parser.add_argument("--ranks", type=int, default=4)
    parser.add_argument("--shards", type=int, default=48)
    parser.add_argument("--documents", type=int, nargs="*", default=[1000, 1_000_000])
    parser.add_argument("--no-run", action="store_true", help="of the tiny documents, the plan alone")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="contexture-cluster-") as name:
        folder, program = Path(name), options.program.resolve()
        results = {"idle": measure_idle(program, folder, options.ranks, options.shards),
                   "documents": [measure_documents(program, folder, count, not options.no_run) for count in options.documents]}
    print(json.dumps(results, indent=1))
    if options.output:
        options.output.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()

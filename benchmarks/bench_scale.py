#!/usr/bin/env python3
"""Peak memory and time of every command on corpora of tiny documents: usage: bench_scale.py PROGRAM [--documents 1000,100000] [--growth MIB].

Documents are three ready ids each, and the model is one small layer, so that what is seen is what the program keeps of documents and parts. With
--growth the exit code is 1 if a command's peak memory grows by more between the smallest and the largest corpus.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MAKE_CHECKPOINT = Path(__file__).resolve().parent.parent / "tests" / "make_checkpoint.py"
VOCABULARY = 400


def write_corpus(path: Path, documents: int) -> None:
    draw = random.Random(documents).randrange
    with open(path, "w", encoding="ascii") as file:
        file.writelines(f'{{"input_ids":[{draw(VOCABULARY)},{draw(VOCABULARY)},{draw(VOCABULARY)}]}}\n' for _ in range(documents))


def measure(command: list[str], folder: Path) -> tuple[float, float]:
    """Peak memory in MiB and seconds of one process."""
    begin = time.monotonic()
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    complaint = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"{' '.join(command)}: {process.returncode}: {complaint.decode()}"
    return usage.ru_maxrss / 1024, time.monotonic() - begin


def measure_all(program: Path, folder: Path, documents: int, options: list[str]) -> dict[str, tuple[float, float]]:
    out = folder / f"out-{documents}"
    corpus = folder / f"{documents}.jsonl"
    write_corpus(corpus, documents)
    settings = ["--model", "model", "--corpus", corpus.name, "--quiet", "--threads", "1", *options]
    run = [str(program), "run", *settings, "--stages", "ff_res_ln", "--out", out.name]
    commands = {
        "plan": [str(program), "plan", *settings],
        "run": run,
        "run again": run,
        "merge": [str(program), "merge", out.name],
        "verify": [str(program), "verify", out.name],
        "run --cluster folder": [*run[:-1], f"shared-{documents}", "--cluster", "folder"],
    }
    found = {name: measure(command, folder) for name, command in commands.items()}
    sizes = {name: (out / name).stat().st_size for name in ("manifest.json", "run.h5")}
    sizes["plan.json"] = (folder / f"shared-{documents}" / "plan.json").stat().st_size
    print(f"{documents} documents: {len(list(out.glob('parts/*')))} parts; bytes of {', '.join(f'{name} {size}' for name, size in sizes.items())}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", type=Path)
    parser.add_argument("--documents", default="1000,10000,100000,1000000")
    parser.add_argument("--growth", type=float)
    arguments, options = parser.parse_known_args()
    memory = Path("/dev/shm")
    counts = [int(count) for count in arguments.documents.split(",")]
    with tempfile.TemporaryDirectory(prefix="contexture-scale-", dir=memory if os.access(memory, os.W_OK) else None) as name:
        folder = Path(name)
        shape = ["--layers", "1", "--hidden-size", "32", "--intermediate-size", "64", "--vocabulary-size", str(VOCABULARY)]
        subprocess.run([sys.executable, str(MAKE_CHECKPOINT), str(folder / "model"), *shape], check=True, stdout=subprocess.DEVNULL)
        found = [measure_all(arguments.program.resolve(), folder, count, options) for count in counts]
    print(f"\n| peak MiB, seconds | {' | '.join(f'{count:,} documents' for count in counts)} |\n|---|{'---|' * len(counts)}")
    for command in found[0]:
        print(f"| `{command}` | {' | '.join(f'{row[command][0]:.1f}, {row[command][1]:.1f} s' for row in found)} |")
    grown = {command: found[-1][command][0] - found[0][command][0] for command in found[0]}
    too_much = {command: round(mib, 1) for command, mib in grown.items() if arguments.growth is not None and mib > arguments.growth}
    if too_much:
        print(f"memory grows by more than {arguments.growth} MiB: {too_much}")
    return 1 if too_much else 0


if __name__ == "__main__":
    sys.exit(main())

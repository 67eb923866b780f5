#!/usr/bin/env python3
"""Interrupts runs at random moments, goes on with them, and compares every file with that of a run that nobody disturbed.

    interrupt.py PROGRAM [--rounds N] [--seed N]

Also: the bytes do not depend on the number of threads, and another batch, window or shard size changes values by rounding only.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

try:
    import h5py
    import numpy as np
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

TESTS = Path(__file__).resolve().parent.parent
DOCUMENTS = 96
SHARD_SIZE = 12
RESUMABLE = 75
ROUNDING = 1e-6  # of a map's maximum


class Bench:
    """A model, a corpus, and the run that the others are compared with."""

    def __init__(self, program: Path, folder: Path, seed: int) -> None:
        self.program, self.folder, self.random = program.resolve(), folder, random.Random(seed)
        self.seconds = 0.0  # that the latest run to the end took: other work on the machine changes it
        shape = ["--layers", "3", "--hidden-size", "64", "--intermediate-size", "256", "--vocabulary-size", "400"]
        subprocess.run([sys.executable, str(TESTS / "make_checkpoint.py"), str(folder / "model"), *shape], check=True, stdout=subprocess.DEVNULL)
        words = "the cat sat on river bank old dog ran find way many people use water long time".split()
        with open(folder / "text.jsonl", "w", encoding="utf-8") as file:
            for number in range(DOCUMENTS):
                text = " ".join(self.random.choice(words) for _ in range(self.random.randint(1, 60)))
                # Every 16th document is bad, and document 0 is among those.
                file.write(json.dumps({"id": f"d{number}", "text": 7 if number % 16 == 0 else text}) + "\n")

    def command(self, out: Path, *options: str) -> list[str]:
        common = ["--model", "model", "--corpus", "text.jsonl", "--out", str(out), "--quiet", "--window-memory", "256K"]
        if "--shard-size" not in options:
            common += ["--shard-size", str(SHARD_SIZE)]
        return [str(self.program), "run", *common, *options]

    def run(self, out: Path, *options: str) -> None:
        begin = time.monotonic()
        done = subprocess.run(self.command(out, *options), cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 3, f"exit code {done.returncode} instead of 3: {done.stderr}"
        self.seconds = time.monotonic() - begin

    def verify(self, out: Path) -> None:
        if not (out / "manifest.json").exists():
            return  # stopped before the run had begun
        done = subprocess.run([str(self.program), "verify", str(out)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"a fault in what was published: {done.stdout}{done.stderr}"


def published(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.glob("**/*.h5"))}


def assert_equal_files(expected: Path, found: Path, what: str) -> None:
    left, right = published(expected), published(found)
    assert left.keys() == right.keys(), f"{what}: {sorted(left)} and {sorted(right)}"
    different = [name for name in left if left[name] != right[name]]
    assert not different, f"{what}: other bytes in {different}"


def interrupt(bench: Bench, out: Path, number: signal.Signals, delay: float) -> int:
    process = subprocess.Popen(bench.command(out), cwd=bench.folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    time.sleep(delay)
    process.send_signal(number)
    _, message = process.communicate(timeout=60)
    if number is signal.SIGKILL:
        assert process.returncode in (3, -signal.SIGKILL), f"exit code {process.returncode}: {message}"
        return process.returncode
    # Before the handler stands, the signal simply ends the process; after the work is done, it comes too late.
    assert process.returncode in (3, RESUMABLE, -number), f"exit code {process.returncode}: {message}"
    if process.returncode == RESUMABLE:
        assert number.name in message and "goes on" in message, message
        left = [path.name for path in out.glob("**/*.tmp*")]
        assert not left, f"left behind after {number.name}: {left}"
    return process.returncode


def test_signals(bench: Bench, whole: Path, rounds: int) -> None:
    """Up to four interruptions at random moments, then a run to the end; more rounds if no signal hit the work."""
    kinds = [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGKILL]
    codes: list[int] = []
    for turn in range(5 * rounds):
        if turn >= rounds and RESUMABLE in codes:
            break
        out = bench.folder / f"interrupted-{turn}"
        bench.run(bench.folder / f"undisturbed-{turn}")
        undisturbed = bench.seconds
        for _ in range(1 + turn % 4):
            codes.append(interrupt(bench, out, kinds[turn % len(kinds)], bench.random.uniform(0.0, 1.1 * undisturbed)))
            bench.verify(out)
        bench.run(out)
        bench.verify(out)
        assert_equal_files(whole, out, f"round {turn}, {kinds[turn % len(kinds)].name}")
        shutil.rmtree(out)
        shutil.rmtree(bench.folder / f"undisturbed-{turn}")
    assert RESUMABLE in codes, f"no interruption hit the work: {codes}"
    print(f"{len(codes)} interruptions, {codes.count(RESUMABLE)} of them told as resumable")


def test_file_size_limit(bench: Bench, whole: Path) -> None:
    """Writing fails in the middle of a part, as on a full disk: an error, nothing wrong published, and the rerun finishes."""
    out = bench.folder / "limited"
    # HDF5 cannot close a file that it cannot write, and keeps its memory.
    environment = {**os.environ, "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"}
    for blocks in (1, 50, 200):  # of 512 bytes
        limited = ["sh", "-c", f"trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"", "sh", *bench.command(out)]
        done = subprocess.run(limited, cwd=bench.folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 1 and done.stderr.startswith("contexture: ") and done.stderr.count("\n") == 1, f"{done.returncode}: {done.stderr}"
        assert not list(out.glob("**/*.tmp*")), sorted(out.glob("**/*"))
        bench.verify(out)
    bench.run(out)
    assert_equal_files(whole, out, "after a file size limit")


def test_threads(bench: Bench, whole: Path) -> None:
    for threads in ("1", "2", "5"):
        out = bench.folder / f"threads-{threads}"
        bench.run(out, "--threads", threads)
        assert_equal_files(whole, out, f"{threads} threads")


def values(out: Path) -> dict[str, np.ndarray]:
    with h5py.File(out / "run.h5") as file:
        found: dict[str, np.ndarray] = {}
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def test_sizes(bench: Bench, whole: Path) -> None:
    """Another batch, window or shard size changes values by rounding only."""
    expected = values(whole)
    for options in (["--batch-tokens", "64"], ["--batch-tokens", "4096"], ["--shard-size", "7"], ["--shard-size", "1000"]):
        out = bench.folder / "-".join(options).strip("-")
        bench.run(out, *options)
        found = values(out)
        assert found.keys() == expected.keys()
        compared = 0
        for name, values_expected in expected.items():
            if not name.startswith(("maps/", "tokstat/")):
                continue
            assert found[name].shape == values_expected.shape, f"{options}: {name}: {found[name].shape}, {values_expected.shape}"
            worst = np.max(np.abs(found[name].astype(np.float64) - values_expected)) / np.max(np.abs(values_expected))
            assert worst <= ROUNDING, f"{options}: {name} differs by {worst:.2e} of its maximum"
            compared += 1
        assert compared >= 19, compared


def test_corpus_changes(bench: Bench) -> None:
    """Another corpus on standard input, where its content cannot be told beforehand: found out at the first shard that differs."""
    out = bench.folder / "piped"
    text = (bench.folder / "text.jsonl").read_bytes()
    command = bench.command(out, "--format", "jsonl")
    command[command.index("text.jsonl")] = "-"
    first = subprocess.run(command, cwd=bench.folder, input=text, capture_output=True, check=False)
    assert first.returncode == 3, first.stderr
    again = subprocess.run(command, cwd=bench.folder, input=text, capture_output=True, check=False)
    assert again.returncode == 3, again.stderr
    other = subprocess.run(command, cwd=bench.folder, input=text.replace(b"d17", b"e17"), capture_output=True, check=False)
    assert other.returncode == 1 and b"shard 1 " in other.stderr, other.stderr


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", type=Path)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="contexture-faults-") as name:
        bench = Bench(arguments.program, Path(name), arguments.seed)
        whole = bench.folder / "whole"
        bench.run(whole)
        print(f"an undisturbed run takes {bench.seconds:.2f} s")
        bench.verify(whole)
        test_threads(bench, whole)
        test_sizes(bench, whole)
        test_file_size_limit(bench, whole)
        test_corpus_changes(bench)
        test_signals(bench, whole, arguments.rounds)
    print("all tests passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())

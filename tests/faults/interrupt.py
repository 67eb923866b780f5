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
from concurrent.futures import ThreadPoolExecutor
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
        self.program, self.folder, self.seed = program.resolve(), folder, seed
        words_random = random.Random(seed)
        shape = ["--layers", "3", "--hidden-size", "64", "--intermediate-size", "256", "--vocabulary-size", "400"]
        subprocess.run([sys.executable, str(TESTS / "make_checkpoint.py"), str(folder / "model"), *shape], check=True, stdout=subprocess.DEVNULL)
        words = "the cat sat on river bank old dog ran find way many people use water long time".split()
        with open(folder / "text.jsonl", "w", encoding="utf-8") as file:
            for number in range(DOCUMENTS):
                text = " ".join(words_random.choice(words) for _ in range(words_random.randint(1, 60)))
                # Every 16th document is bad, and document 0 is among those.
                file.write(json.dumps({"id": f"d{number}", "text": 7 if number % 16 == 0 else text}) + "\n")

    def command(self, out: Path, *options: str) -> list[str]:
        common = ["--model", "model", "--corpus", "text.jsonl", "--out", str(out), "--quiet", "--window-memory", "256K"]
        if "--shard-size" not in options:
            common += ["--shard-size", str(SHARD_SIZE)]
        return [str(self.program), "run", *common, *options]

    def run(self, out: Path, *options: str) -> float:
        """Runs to the end; returns the seconds that it took."""
        begin = time.monotonic()
        done = subprocess.run(self.command(out, *options), cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 3, f"exit code {done.returncode} instead of 3: {done.stderr}"
        return time.monotonic() - begin

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


def assert_manifest_in_order(out: Path) -> None:
    """A shard is entered when it is finished, and they are finished in order, though the next one is written meanwhile."""
    with open(out / "manifest.json", encoding="utf-8") as file:
        shards = [entry["shard"] for entry in map(json.loads, file) if "shard" in entry]
    assert shards == list(range(len(shards))), shards
    assert len(shards) == -(-DOCUMENTS // SHARD_SIZE), shards


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


KINDS = [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGKILL]


def signal_round(bench: Bench, whole: Path, turn: int, undisturbed: float) -> list[int]:
    """Up to four interruptions at random moments, then a run to the end. What was published early is compared at the end."""
    kind, moments = KINDS[turn % len(KINDS)], random.Random(1000 * bench.seed + turn)
    out = bench.folder / f"interrupted-{turn}"
    codes = [interrupt(bench, out, kind, moments.uniform(0.0, 1.1 * undisturbed)) for _ in range(1 + turn % 4)]
    bench.verify(out)
    bench.run(out)
    assert_equal_files(whole, out, f"round {turn}, {kind.name}")
    assert_manifest_in_order(out)
    shutil.rmtree(out)
    return codes


def more_signals(bench: Bench, whole: Path, codes: list[int], rounds: int) -> None:
    """Alone on the machine, if no signal has hit the work."""
    for turn in range(rounds, 5 * rounds):
        if RESUMABLE in codes:
            break
        codes += signal_round(bench, whole, turn, bench.run(bench.folder / f"undisturbed-{turn}"))
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


def test_corpus_changes(bench: Bench, _whole: Path) -> None:
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
        bench.verify(whole)
        assert_manifest_in_order(whole)
        # Two at a time, on machines with two cores and more; the moments are taken from a run under the same conditions.
        with ThreadPoolExecutor(2) as pool:
            tests = [pool.submit(test, bench, whole) for test in (test_threads, test_sizes, test_file_size_limit, test_corpus_changes)]
            undisturbed = bench.run(bench.folder / "undisturbed")
            print(f"an undisturbed run takes {undisturbed:.2f} s")
            rounds = [pool.submit(signal_round, bench, whole, turn, undisturbed) for turn in range(arguments.rounds)]
            for test in tests:
                test.result()
            codes = [code for turn in rounds for code in turn.result()]
        more_signals(bench, whole, codes, arguments.rounds)
    print("all tests passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What the tests of shared runs have in common: a tiny model, a corpus, a run to compare with, and ways to start processes."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
PROGRAM = os.environ.get("CONTEXTURE_PROGRAM", "")
SKIPPED_DOCUMENTS = 3  # the exit code of a run that left documents out, as every run here does
RESUMABLE = 75
WORDS = "the cat sat on river bank old dog ran find way many people use water long time".split()


def has_mpi() -> bool:
    """The program knows MPI, and there is a launcher."""
    asked = subprocess.run([PROGRAM, "info"], capture_output=True, text=True, check=True)
    return "MPI" in asked.stdout and shutil.which("mpirun") is not None


def temporary_folder(name: str) -> tempfile.TemporaryDirectory[str]:
    """In memory, where syncing costs nothing, if there is a folder there."""
    memory = Path("/dev/shm")
    return tempfile.TemporaryDirectory(prefix=f"contexture-{name}-", dir=memory if os.access(memory, os.W_OK) else None)


def wait_for(condition, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


class Bench:
    def __init__(self, folder: Path, documents: int = 72, shard_size: int = 3, longest: int = 40, layers: int = 2) -> None:
        self.folder, self.random = folder, random.Random(5)
        self.shards = -(-documents // shard_size)
        shape = ["--layers", str(layers), "--hidden-size", "32", "--intermediate-size", "64", "--vocabulary-size", "400"]
        subprocess.run([sys.executable, str(TESTS / "make_checkpoint.py"), str(folder / "model"), *shape], check=True, stdout=subprocess.DEVNULL)
        with open(folder / "text.jsonl", "w", encoding="utf-8") as file:
            for number in range(documents):
                text = " ".join(self.random.choice(WORDS) for _ in range(self.random.randint(1, longest)))
                document = {"id": f"d{number}", "text": 7 if number == 5 else text}
                if number == 3:  # is kept without them
                    document["words"] = [{"start": 0, "end": len(text) + 1}]
                file.write(json.dumps(document) + "\n")
        self.options = ["--model", "model", "--shard-size", str(shard_size), "--threads", "1", "--quiet"]
        self.environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        for name in list(self.environment):
            if name.startswith("SLURM_"):
                del self.environment[name]
        self.whole = folder / "whole"
        done = subprocess.run(self.command(self.whole), cwd=folder, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == SKIPPED_DOCUMENTS, f"{done.returncode}: {done.stderr}"

    def command(self, out: Path, *options: str) -> list[str]:
        corpus = [] if "--corpus" in options else ["--corpus", "text.jsonl"]
        return [PROGRAM, "run", *self.options, *corpus, "--out", str(out), *options]

    def start(self, out: Path, *options: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(self.command(out, *options), cwd=self.folder, env={**self.environment, **environment}, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)

    def start_mpi(self, *words: str, **more: str) -> subprocess.Popen[str]:
        """Over TCP: shared memory would hide what happens between machines."""
        launcher = ["mpirun", "--oversubscribe", "--bind-to", "none", "--mca", "btl", "tcp,self"]
        # MPI itself leaves memory behind.
        environment = {**self.environment, "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0", **more}
        return subprocess.Popen([*launcher, *words], cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def start_ranks(self, out: Path, ranks: int, *options: str, **more: str) -> subprocess.Popen[str]:
        return self.start_mpi("-n", str(ranks), *self.command(out, "--cluster", "mpi", *options), **more)

    def finish(self, process: subprocess.Popen[str], expected: int = SKIPPED_DOCUMENTS, seconds: float = 60) -> tuple[str, str]:
        try:
            said, complained = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            said, complained = process.communicate()
            raise AssertionError(f"not done after {seconds} s: {said}{complained}") from None
        assert process.returncode == expected, f"exit code {process.returncode} instead of {expected}: {said}{complained}"
        return said, complained

    def check(self, out: Path, what: str = "") -> None:
        """The same datasets, the same manifest but for times, nothing left over."""
        expected, found = contents(self.whole), contents(out)
        found.pop("plan.json", None)
        assert expected.keys() == found.keys(), f"{what}: left over {sorted(found.keys() - expected.keys())}, missing {sorted(expected.keys() - found.keys())}"
        different = [name for name in expected if expected[name] != found[name]]
        assert not different, f"{what}: other bytes in {different}"
        assert counts(out) == counts(self.whole), what


def counts(out: Path) -> dict[str, int]:
    found = json.loads((out / "summary.json").read_text())["counts"]
    assert found["skipped"] == found["stripped"] == 1, found
    return found


def contents(out: Path) -> dict[str, bytes]:
    files = {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file() and path.name != "summary.json"}
    if "manifest.json" in files:
        files["manifest.json"] = re.sub(rb'"seconds":[^,]*,|,"crc32":"[0-9a-f]*"', b"", files["manifest.json"])
    return files


def ranks_of(launcher: subprocess.Popen[str]) -> list[int]:
    """The processes that mpirun has started, rank 0 first."""
    found = {}
    for children in Path(f"/proc/{launcher.pid}/task").glob("*/children"):
        for child in children.read_text().split():
            try:
                environment = Path(f"/proc/{child}/environ").read_bytes()
            except OSError:
                continue
            rank = re.search(rb"OMPI_COMM_WORLD_RANK=(\d+)", environment)
            if rank:
                found[int(rank.group(1))] = int(child)
    return [found[rank] for rank in sorted(found)]

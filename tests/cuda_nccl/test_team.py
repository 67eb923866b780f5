"""Ranks with a GPU each: rank 0's weights reach the others by NCCL, the bytes are those of a single process, and nobody waits for ever.

On the emulated CUDA, with a stand-in of NCCL (emulated_nccl.cpp), which the program opens as it would open the real one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "cluster"))

from bench import PROGRAM, RESUMABLE, Bench, has_mpi  # noqa: E402

NCCL = {"LD_LIBRARY_PATH": os.environ.get("EMULATED_NCCL", "")}
PATIENCE = 2

pytestmark = pytest.mark.skipif(not PROGRAM or not has_mpi(), reason="MPI is not installed, or the program was built without it")


@pytest.fixture(scope="module")
def bench():
    os.environ.update(EMULATION_DEVICES="4", EMULATION_MULTIPROCESSORS="2", OMP_NUM_THREADS="1")
    with tempfile.TemporaryDirectory(prefix="contexture-nccl-") as name:
        made = Bench(Path(name), documents=12, shard_size=2, longest=8, layers=1)
        made.options.remove("--quiet")  # what it says is looked at
        yield made


@pytest.fixture
def out(bench):
    path = bench.folder / "out"
    yield path
    shutil.rmtree(path, ignore_errors=True)


def communicators(log: Path) -> list[str]:
    return sorted(log.read_text().splitlines())


def broadcasts(line: str) -> int:
    return int(re.search(r"after (\d+) broadcasts", line)[1])


def end_early(bench, out: Path, fault: str, rank: int, expected: int = RESUMABLE) -> tuple[str, float]:
    """What a job of two ranks that cannot end well complains of, and how long it took."""
    begin = time.monotonic()
    job = bench.start_ranks(out, 2, "--patience", str(PATIENCE), **NCCL, EMULATED_NCCL_FAULT=fault, EMULATED_NCCL_RANK=str(rank))
    return bench.finish(job, expected)[1], time.monotonic() - begin


@pytest.mark.parametrize("ranks", [2, 4])
def test_weights_of_rank_0(bench, out, ranks):
    log = bench.folder / f"log-{ranks}"
    _, complained = bench.finish(bench.start_ranks(out, ranks, "--patience", str(PATIENCE), **NCCL, EMULATED_NCCL_LOG=str(log)))
    bench.check(out)
    lines = communicators(log)
    assert [line.split(" after ")[0] for line in lines] == [f"rank {rank} of {ranks} ended" for rank in range(ranks)], lines
    # Three tables, two vectors; of a layer six matrices, ten vectors, the pair matrix with its two numbers, and what is derived of one matrix.
    assert {broadcasts(line) for line in lines} == {3 + 2 + 6 + 10 + 5 + 1}, lines
    assert len({line.split(", ")[1] for line in lines}) == 1, f"sums in which not all took part: {lines}"
    assert "every rank reads the weights itself" not in complained, complained


def test_half_precision_has_numbers_besides(bench, out):
    precisions = ("--forward-precision", "f16", "--pair-precision", "f16")
    alone, log = bench.folder / "half", bench.folder / "log-half"
    bench.finish(bench.start(alone, *precisions))
    bench.finish(bench.start_ranks(out, 2, *precisions, **NCCL, EMULATED_NCCL_LOG=str(log)))
    parts = {path.name: path.read_bytes() for path in (alone / "parts").iterdir()}
    assert parts == {path.name: path.read_bytes() for path in (out / "parts").iterdir()}
    # f16 brings a second copy and an exponent for each of the six matrices
    assert {broadcasts(line) for line in communicators(log)} == {3 + 2 + 3 * 6 + 10 + 5 + 1}


def test_other_ranks_read_no_weight(bench, out):
    """Rank 1 has a copy of the model whose numbers are all NaN; with the weights of rank 0 the bytes are right all the same."""
    copy = bench.folder / "nan"
    shutil.copytree(bench.folder / "model", copy / "model", dirs_exist_ok=True)
    file = copy / "model" / "model.safetensors"
    data = bytearray(file.read_bytes())
    header = 8 + int.from_bytes(data[:8], "little")
    data[header:] = b"\xff" * (len(data) - header)
    file.write_bytes(data)
    first = bench.command(out, "--cluster", "mpi", "--patience", "10")
    second = [str(copy / "model") if word == "model" else word for word in first]
    both = ["-n", "1", *first, ":", "-n", "1", *second]
    bench.finish(bench.start_mpi(*both, **NCCL))
    bench.check(out)
    shutil.rmtree(out)
    _, complained = bench.finish(bench.start_mpi(*both), 1)
    assert "rank 1" in complained and "give all nodes the same files" in complained, complained
    shutil.rmtree(out)
    config = copy / "model" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"layer_norm_eps": 1e-5}))
    _, complained = bench.finish(bench.start_mpi(*both, **NCCL), 1)
    assert "another model" in complained and "than rank 0" in complained, complained


@pytest.mark.parametrize("way", ["missing", "refused"])
def test_without_nccl(bench, out, way):
    options, environment = ([], {}) if way == "missing" else (["--no-nccl"], NCCL)
    _, complained = bench.finish(bench.start_ranks(out, 2, *options, **environment))
    bench.check(out)
    assert complained.count("every rank reads the weights itself, because rank 0 cannot get them from rank 0: NCCL cannot be opened") == (way == "missing"), complained
    info = subprocess.run([PROGRAM, "info"], env=bench.environment | environment, capture_output=True, text=True, check=True).stdout
    assert re.search(r"nccl +2\.\d+\.\d+" if way == "refused" else r"nccl +none, because NCCL cannot be opened", info), info


def test_two_ranks_on_one_device(bench, out):
    for environment in ({}, NCCL):
        _, complained = bench.finish(bench.start_ranks(out, 2, **environment, EMULATION_DEVICES="1"), 1)
        assert "ranks 0 and 1 would share one GPU (GPU-01000000-0000-0000-0000-000000000000), and two on one are refused" in complained, complained
        shutil.rmtree(out, ignore_errors=True)


@pytest.mark.parametrize(("where", "rank"), [("ncclCommInitRankConfig:1", 0), ("ncclBroadcast:9", 1), ("ncclAllReduce:1", 0)])
def test_an_exchange_that_never_comes_about(bench, out, where, rank):
    complained, seconds = end_early(bench, out, f"{where}:hang", rank)
    # The one that gives up first drops the communicator, and the other may see that before it is told.
    assert f"within {PATIENCE} s" in complained or "remote process exited" in complained, complained
    assert "the same command goes on from there" in complained and seconds < 4 * PATIENCE + 5, f"{seconds:.1f} s: {complained}"


def test_an_error_of_nccl(bench, out):
    complained, _ = end_early(bench, out, "ncclBroadcast:9:3", 1, expected=1)
    assert "rank 1: NCCL cannot pass the weights on" in complained and "--no-nccl does without it" in complained, complained


@pytest.mark.parametrize("where", ["ncclBroadcast:9", "ncclAllReduce:1"])
def test_a_stopped_rank(bench, out, where):
    """It does not answer, and its sockets stay open."""
    complained, seconds = end_early(bench, out, f"{where}:stop", 1)
    assert ("no sign of life" in complained or f"within {PATIENCE} s" in complained) and seconds < 4 * PATIENCE + 5, f"{seconds:.1f} s: {complained}"
    bench.finish(bench.start_ranks(out, 2, **NCCL))
    bench.check(out)


def test_a_killed_rank(bench, out):
    job = bench.start_ranks(out, 3, "--patience", str(PATIENCE), **NCCL, EMULATED_NCCL_FAULT="ncclBroadcast:9:kill", EMULATED_NCCL_RANK="2")
    _, complained = job.communicate(timeout=4 * PATIENCE + 5)
    assert job.returncode != 0, complained
    bench.finish(bench.start_ranks(out, 3, **NCCL))
    bench.check(out)

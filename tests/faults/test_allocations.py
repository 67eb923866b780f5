"""Requests for memory that fail: whichever it is, nothing wrong is published, and the program says so and goes, or gets over it.

The program's own requests, and those of the JSON library, are counted and failed by malloc_shim.c. CONTEXTURE_EVERY=n: every n-th of them.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "cluster"))

from bench import PROGRAM, SKIPPED_DOCUMENTS, Bench, contents, temporary_folder

SHIM = os.environ.get("MALLOC_SHIM", "")
EVERY = int(os.environ.get("CONTEXTURE_EVERY", "431"))
# Sentences of their own: HDF5's, one that gives both causes, and the system's.
OTHER_WORDS = ("HDF5 says", "or there is not enough memory", "Cannot allocate memory (errno 12)")
TIMES = ("seconds", "throughput", "peak_memory_bytes", "this_process")

pytestmark = [
    pytest.mark.skipif(not PROGRAM, reason="the program is not built"),
    pytest.mark.skipif(not SHIM, reason="the shim is not built with sanitizers"),
]


@pytest.fixture(scope="module")
def bench():
    with temporary_folder("memory") as name:
        yield Bench(Path(name), documents=7, shard_size=3, longest=6, layers=1)


def summary(out: Path) -> dict:
    return {key: value for key, value in json.loads((out / "summary.json").read_text()).items() if key not in TIMES}


@pytest.mark.parametrize("kind", ["once", "sticky"])
def test_any_request_may_fail(bench, kind):
    base = bench.folder / kind
    base.mkdir()
    options = ["--cluster", "folder", "--analyses", "all"]
    bench.finish(bench.start(base / "whole", *options, LD_PRELOAD=SHIM, FAULT_COUNT_FILE=str(base / "count")))
    whole, told = contents(base / "whole"), summary(base / "whole")
    requests = int((base / "count").read_text())
    assert requests > 1000

    def fail_one(at: int) -> bool:
        out = base / str(at)
        process = bench.start(out, *options, LD_PRELOAD=SHIM, FAULT_AT=str(at), FAULT_KIND=kind)
        complained = process.communicate(timeout=120)[1]
        what = f"{kind}, request {at} of {requests}: exit code {process.returncode}: {complained}"
        found = contents(out) if out.exists() else {}
        if process.returncode == SKIPPED_DOCUMENTS:
            different = [name for name in whole if name not in ("plan.json", "lock") and whole[name] != found.get(name)]
            assert not different and summary(out) == {**told, "paths": summary(out)["paths"]}, f"{what}: other contents of {different}"
        else:
            assert complained.count("\n") == 1, what
            # Without memory for a byte of a text jansson goes on without the byte (json.c sees it), or stumbles over that itself.
            stumbled = process.returncode == -signal.SIGABRT and "lex_scan_string: Assertion" in complained
            assert process.returncode == 1 or stumbled, what
            assert stumbled or "not enough memory for" in complained or any(words in complained for words in OTHER_WORDS), what
            wrong = [name for name, data in found.items() if name.endswith(".h5") and whole[name] != data]
            assert not wrong, f"{what}: something wrong was published: {wrong}"
            if at % (5 * EVERY) < EVERY:
                bench.finish(bench.start(out, *options))
                again = contents(out)
                assert all(again[name] == data for name, data in whole.items() if name.endswith(".h5")), f"{what}: the next run gave other files"
        shutil.rmtree(out, ignore_errors=True)
        return process.returncode != SKIPPED_DOCUMENTS

    with ThreadPoolExecutor(2) as pool:
        failed = list(pool.map(fail_one, range(1 + bench.random.randrange(EVERY), requests + 1, EVERY)))
    print(f"{kind}: {failed.count(True)} of {len(failed)} runs failed, of {requests} requests each")
    assert failed.count(True) > 0.9 * len(failed)

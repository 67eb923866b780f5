"""The store when the system fails it: at every single call, in several ways.

A small run (one shard or two, joined) is made with the shim fault_shim.c preloaded. Whatever call goes wrong, however it goes wrong:
what has a final name is whole and right, the message says which file and why, and the same command afterwards ends with the
very bytes of an undisturbed run.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

DRIVER = os.environ["STORE_DRIVER"]
SHIM = os.environ.get("FAULT_SHIM", "")
ARGUMENTS = ["--sequences", "2", "--plain", "--threads", "1"]
WHYS = {"EIO": "Input/output error", "sticky:ENOSPC": "No space left on device"}

pytestmark = pytest.mark.skipif(not SHIM, reason="the shim is not built with sanitizers")


def part_names(shards: int) -> list[str]:
    return [f"parts/shard-{shard:06d}.h5" for shard in range(shards)]


def run(folder: Path, shards: int, **environment: str) -> subprocess.CompletedProcess[str]:
    preload = {"LD_PRELOAD": SHIM, "FAULT_FOLDER": str(folder.parent)} if environment else {}
    command = [DRIVER, "write", str(folder), "--shards", str(shards), *ARGUMENTS]
    return subprocess.run(command, env={**os.environ, "OPENBLAS_NUM_THREADS": "1", **preload, **environment}, capture_output=True, text=True, timeout=60, check=False)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def place():
    """A folder in memory, where syncing costs nothing, if there is one."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="store-faults-", dir=memory if os.access(memory, os.W_OK) else None) as path:
        yield Path(path)


def undisturbed(place: Path, shards: int) -> tuple[dict[str, bytes], int]:
    """The files of a run in which nothing goes wrong, and the number of calls that could."""
    folder = place / f"undisturbed-{shards}" / "out"
    count = place / "count"
    result = run(folder, shards, FAULT_COUNT_FILE=str(count))
    assert result.returncode == 0, result.stderr
    files = contents(folder)
    assert sorted(files) == ["manifest.json", *part_names(shards), "run.h5"]
    calls = int(count.read_text())
    assert calls > 100
    shutil.rmtree(folder.parent)
    return files, calls


def check_published(found: dict[str, bytes], files: dict[str, bytes], torn: bool) -> None:
    """What has a final name is right; the manifest says no more than there is."""
    parts = [name for name in files if name.startswith("parts/")]
    for name in [*parts, "run.h5"]:
        if name in found:
            assert found[name] == files[name], f"{name} is wrong"
    manifest = found.get("manifest.json", b"")
    assert files["manifest.json"].startswith(manifest), "the manifest is no beginning of the right one"
    assert torn or manifest.endswith(b"\n") or not manifest, "the manifest has a torn line"
    for shard, name in enumerate(parts):
        assert f'{{"shard":{shard},'.encode() not in manifest or name in found, f"the manifest names {name}, which is not there"
    assert b'"complete"' not in manifest or "run.h5" in found


def try_fault(place: Path, files: dict[str, bytes], shards: int, kind: str, at: int) -> str:
    """One run with one fault; returns what the program said."""
    base = place / f"{kind.replace(':', '-')}-{at}"
    folder = base / "out"
    base.mkdir()
    try:
        result = run(folder, shards, FAULT_AT=str(at), FAULT_KIND=kind)
        found = contents(folder) if folder.exists() else {}
        killed = result.returncode == -signal.SIGKILL
        assert killed == (kind in ("kill", "torn") and result.returncode != 0), f"ended with {result.returncode}: {result.stderr}"
        # A full disk can tear the manifest's last line; so can a kill in the middle of it.
        check_published(found, files, torn=kind != "kill")
        if result.returncode == 0:
            assert found == files, "the program said that all is well"
        elif not killed:
            assert result.returncode == 1
            assert result.stderr.startswith("CX_ERROR_") and result.stderr.count("\n") == 1, result.stderr
            assert str(base) in result.stderr, f"no path in: {result.stderr}"
            assert not [name for name in found if name.startswith("parts/") and name.endswith(".tmp")], "a .tmp file was left"
        again = run(folder, shards)
        assert again.returncode == 0, again.stderr
        assert contents(folder) == files, "the rerun gave other files"
        return result.stderr
    except AssertionError as failure:
        raise AssertionError(f"{kind} at call {at}: {failure}") from failure
    finally:
        shutil.rmtree(base, ignore_errors=True)


@pytest.mark.parametrize(("kind", "shards", "step"), [("EIO", 1, 1), ("kill", 1, 1), ("torn", 1, 3), ("sticky:ENOSPC", 1, 3), ("lost", 1, 3), ("kill", 2, 11)])
def test_every_call_may_fail(place, kind, shards, step):
    files, calls = undisturbed(place, shards)
    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(lambda at: try_fault(place, files, shards, kind, at), range(1, calls + 1, step)))
    if kind in WHYS:
        complaints = [sentence for sentence in said if sentence]
        with_reason = [sentence for sentence in complaints if WHYS[kind] in sentence]
        # HDF5 swallows a few errors when it closes a file; those show when the file is read back, without a reason.
        assert len(complaints) > 0.8 * len(said)
        assert len(with_reason) > 0.95 * len(complaints), [sentence for sentence in complaints if WHYS[kind] not in sentence][:5]

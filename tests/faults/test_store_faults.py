"""The store when the system fails it: at every sixth or third call, in several ways; or, with CONTEXTURE_EVERY=1, at every call that fails or is the last.

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
EVERY = int(os.environ.get("CONTEXTURE_EVERY", "6"))  # of the calls that fail or are the last, every so many
FAULTS = [("EIO", 1, EVERY), ("kill", 1, EVERY)]
if EVERY > 1:
    FAULTS += [("torn", 1, 3), ("sticky:ENOSPC", 1, 3), ("lost", 1, 3), ("kill", 2, 11)]
WHYS = {"EIO": "Input/output error", "sticky:ENOSPC": "No space left on device"}

pytestmark = pytest.mark.skipif(not SHIM, reason="the shim is not built with sanitizers")
sampled = pytest.mark.skipif(EVERY == 1, reason="not one of those that CONTEXTURE_EVERY changes")


def part_names(shards: int) -> list[str]:
    return [f"parts/shard-{shard:06d}.h5" for shard in range(shards)]


class Driver:
    """Makes one run after the other, each in a process forked for it, so that hundreds of them do not spend their time on loading libraries."""

    def __init__(self) -> None:
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "LD_PRELOAD": SHIM}
        self.process = subprocess.Popen([DRIVER, "serve", "-", *ARGUMENTS], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, folder: Path, shards: int, **environment: str) -> tuple[int, str]:
        """The exit code, negative for a signal, and what was said."""
        said = folder.parent / "said"
        words = [str(folder), str(said), str(shards), *(f"{name}={value}" for name, value in environment.items())]
        assert not any(" " in word for word in words), words
        self.process.stdin.write(" ".join(words) + "\n")
        self.process.stdin.flush()
        code = os.waitstatus_to_exitcode(int(self.process.stdout.readline()))
        return code, said.read_text()

    def close(self) -> None:
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def place():
    """A folder in memory, where syncing costs nothing, if there is one."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="store-faults-", dir=memory if os.access(memory, os.W_OK) else None) as path:
        yield Path(path)


@pytest.fixture(scope="module")
def drivers():
    both = [Driver(), Driver()]
    yield both
    for driver in both:
        driver.close()


def undisturbed(driver: Driver, place: Path, shards: int, **environment: str) -> tuple[dict[str, bytes], int]:
    """The files of a run in which nothing goes wrong, and the number of calls that could."""
    folder = place / f"undisturbed-{shards}" / "out"
    folder.parent.mkdir()
    count = place / "count"
    watched = {"FAULT_FOLDER": str(folder.parent), **{name: value.format(out=folder) for name, value in environment.items()}}
    code, said = driver.run(folder, shards, FAULT_COUNT_FILE=str(count), **watched)
    assert code == 0, said
    files = contents(folder)
    assert sorted(files) == ["manifest.json", *part_names(shards), "run.h5"]
    calls = int(count.read_text())
    assert calls > 50
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


def state_of(folder: Path) -> frozenset[tuple[str, bytes]]:
    """What a rerun finds. Of .tmp files the name alone counts: they are removed unread."""
    return frozenset((str(path.relative_to(folder)), b"" if path.is_dir() or path.suffix == ".tmp" else path.read_bytes()) for path in folder.rglob("*"))


def try_fault(driver: Driver, place: Path, files: dict[str, bytes], shards: int, kind: str, at: int, mended: set, **environment: str) -> str:
    """One run with one fault; returns what the program said. `mended`: states of the folder from which a rerun has gone well; it need not be shown again."""
    base = place / f"{kind.replace(':', '-')}-{at}"
    folder = base / "out"
    base.mkdir()
    try:
        watched = {"FAULT_FOLDER": str(base), **{name: value.format(out=folder) for name, value in environment.items()}}
        code, said = driver.run(folder, shards, FAULT_AT=str(at), FAULT_KIND=kind, **watched)
        found = contents(folder) if folder.exists() else {}
        killed = code == -signal.SIGKILL
        assert killed == (kind in ("kill", "torn") and code != 0), f"ended with {code}: {said}"
        # A full disk can tear the manifest's last line; so can a kill in the middle of it.
        check_published(found, files, torn=kind != "kill")
        if code == 0:
            assert found == files, "the program said that all is well"
        elif not killed:
            assert code == 1
            assert said.startswith("CX_ERROR_") and said.count("\n") == 1, said
            assert str(base) in said, f"no path in: {said}"
            assert not [name for name in found if name.startswith("parts/") and name.endswith(".tmp")], "a .tmp file was left"
        state = state_of(folder)
        if state not in mended:
            code, again = driver.run(folder, shards)
            assert code == 0, again
            assert contents(folder) == files, "the rerun gave other files"
            mended.add(state)
        return said
    except AssertionError as failure:
        raise AssertionError(f"{kind} at call {at}: {failure}") from failure
    finally:
        shutil.rmtree(base, ignore_errors=True)


def try_faults(drivers: list[Driver], place: Path, kind: str, shards: int, step: int, **environment: str) -> list[str]:
    """A fault at every `step`-th call, on both drivers at the same time."""
    files, calls = undisturbed(drivers[0], place, shards, **environment)
    mended: set = set()
    calls_of = [range(1, calls + 1, 2 * step), range(1 + step, calls + 1, 2 * step)]
    with ThreadPoolExecutor(len(drivers)) as pool:
        both = pool.map(lambda driver, some: [try_fault(driver, place, files, shards, kind, at, mended, **environment) for at in some], drivers, calls_of)
        return [sentence for said in both for sentence in said]


@pytest.mark.parametrize(("kind", "shards", "step"), FAULTS)
def test_every_call_may_fail(drivers, place, kind, shards, step):
    said = try_faults(drivers, place, kind, shards, step)
    if kind in WHYS:
        complaints = [sentence for sentence in said if sentence]
        with_reason = [sentence for sentence in complaints if WHYS[kind] in sentence]
        # HDF5 swallows a few errors when it closes a file; those show when the file is read back, without a reason.
        assert len(complaints) > 0.8 * len(said)
        assert len(with_reason) > 0.95 * len(complaints), [sentence for sentence in complaints if WHYS[kind] not in sentence][:5]


@sampled
def test_reading_calls_may_fail(drivers, place):
    """What cannot be read back must show."""
    said = try_faults(drivers, place, "EIO", 1, 3, FAULT_READS="1")
    assert len([sentence for sentence in said if sentence]) > 0.9 * len(said)


@sampled
def test_every_flipped_bit_is_found(drivers, place):
    """One bit of any write to a part is another one on the disk: the part is not published, unless a later write mended it."""
    said = try_faults(drivers, place, "flip", 1, 1, FAULT_FOLDER="{out}/parts")
    found = [sentence for sentence in said if sentence]
    assert len(found) > 40
    assert any("reads back with other contents" in sentence for sentence in found)

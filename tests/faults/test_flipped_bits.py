"""Single bits of a finished run that are other ones: `verify` finds each, and what it says to do mends it, with no part computed but the damaged one.

CONTEXTURE_FLIPS: how many. Every eighth is mended.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "cluster"))

from bench import PROGRAM, Bench, contents, temporary_folder

FLIPS = int(os.environ.get("CONTEXTURE_FLIPS", "120"))

pytestmark = pytest.mark.skipif(not PROGRAM, reason="the program is not built")


@pytest.fixture(scope="module")
def bench():
    with temporary_folder("flips") as name:
        yield Bench(Path(name), documents=12, shard_size=3, longest=6, layers=1)


def verify(out: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PROGRAM, "verify", str(out)], capture_output=True, text=True, timeout=60, check=False)


def files_of(out: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in out.glob("parts/*")}


def mend_manifest(path: Path, place: int, whole: bytes) -> None:
    """The damaged line goes; the header, which nothing else knows, comes from the copy; a last line without an end is the program's to cut off."""
    damaged = path.read_bytes()
    begin, end = damaged.rfind(b"\n", 0, place) + 1, damaged.find(b"\n", place) + 1
    if begin == 0:
        path.write_bytes(whole)
    elif end > 0:
        path.write_bytes(damaged[:begin] + damaged[end:])


@pytest.mark.parametrize("lost", ["part", "line"])
def test_the_last_part_again(bench, lost):
    """Computed again it stands where it stood, before the line that the run is complete, of which there is one."""
    out = bench.folder / f"without-{lost}"
    shutil.copytree(bench.whole, out)
    if lost == "part":
        max(out.glob("parts/*.h5")).unlink()
    else:
        path = out / "manifest.json"
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[:-2] + lines[-1:]))
    bench.finish(bench.start(out))
    bench.check(out, f"the last {lost} again")


def test_flipped_bits(bench):
    out = bench.folder / "out"
    shutil.copytree(bench.whole, out)
    parts = sorted(path.name for path in out.glob("parts/*"))
    assert verify(out).returncode == 0
    recomputed = 0
    for turn in range(FLIPS):
        name = bench.random.choice([f"parts/{bench.random.choice(parts)}", "run.h5", "manifest.json"])
        path = out / name
        whole = path.read_bytes()
        place, bit = bench.random.randrange(len(whole)), bench.random.randrange(8)
        with open(path, "r+b") as file:
            file.seek(place)
            file.write(bytes([whole[place] ^ (1 << bit)]))
        said = verify(out)
        what = f"bit {bit} of byte {place} of {name}"
        assert said.returncode == 1 and str(path) in said.stdout, f"{what}: {said.stdout}{said.stderr}"
        if turn % 8 != 0:
            with open(path, "r+b") as file:
                file.seek(place)
                file.write(whole[place : place + 1])
            continue
        before = files_of(out)
        if name == "manifest.json":
            mend_manifest(path, place, whole)
        else:
            path.unlink()
        bench.finish(bench.start(out))
        bench.check(out, what)
        changed = [part for part, facts in files_of(out).items() if before.get(part) != facts]
        lines = 2 if whole[place : place + 1] == b"\n" else 1  # without a line feed two lines are one
        allowed = {"run.h5": 0, "manifest.json": lines}.get(name, 1)
        assert len(changed) <= allowed and (allowed != 1 or name == "manifest.json" or changed == [path.name]), f"{what}: computed again: {changed}"
        recomputed += len(changed)
        assert verify(out).returncode == 0, what
    print(f"{FLIPS} bits flipped, all found; {recomputed} parts computed again in {-(-FLIPS // 8)} runs")
    assert recomputed > 0
    assert contents(out).keys() == contents(bench.whole).keys()

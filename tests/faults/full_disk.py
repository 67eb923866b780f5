#!/usr/bin/env python3
"""The store on a disk that becomes full, at many sizes: usage: full_disk.py STORE_DRIVER.

Mounts small file systems in memory, in a name space of its own. Where that is not allowed the test is skipped (exit code 77).
On each, a run is made that may not fit; what is there under its final name must be right, the message must tell of the full disk, and after
the disk has grown the same command must end with the bytes of an undisturbed run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

INSIDE = "FULL_DISK_INSIDE"
SHARDS = ["--shards", "2", "--sequences", "2", "--plain", "--threads", "2"]


def run(driver: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([driver, "write", str(folder), *SHARDS], capture_output=True, text=True, timeout=60, check=False)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def mount(place: Path, size: int, remount: bool = False) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"{'remount,' if remount else ''}size={size}", "none", str(place)], check=True)


def check(driver: str, place: Path, size: int, files: dict[str, bytes]) -> bool:
    """One size; returns whether the run fitted."""
    folder = place / "out"
    mount(place, size)
    try:
        first = run(driver, folder)
        found = contents(folder) if folder.exists() else {}
        for name, content in found.items():
            right = files.get(name, b"")
            assert content == right or (name == "manifest.json" and right.startswith(content)), f"{name} is wrong or should not be there"
        if first.returncode == 0:
            assert found == files, "the program said that all is well"
        else:
            assert first.returncode == 1, f"ended with {first.returncode}"
            assert "No space left on device" in first.stderr or "is the disk full" in first.stderr, first.stderr
            assert str(place) in first.stderr, first.stderr
        mount(place, 64 << 20, remount=True)
        second = run(driver, folder)
        assert second.returncode == 0, second.stderr
        assert contents(folder) == files, "the rerun gave other files"
        return first.returncode == 0
    except AssertionError as failure:
        raise AssertionError(f"{size} bytes: {failure}") from failure
    finally:
        subprocess.run(["umount", str(place)], check=True)


def inside(driver: str) -> int:
    with tempfile.TemporaryDirectory() as path:
        place = Path(path)
        mount(place, 64 << 20)
        assert run(driver, place / "out").returncode == 0
        files = contents(place / "out")
        subprocess.run(["umount", str(place)], check=True)
        whole = sum(len(content) for content in files.values())
        step = 12 << 10
        fitted = [check(driver, place, size, files) for size in range(4 << 10, whole + 12 * step, step)]
        print(f"{len(fitted)} sizes, {fitted.count(False)} too small, {fitted.count(True)} large enough")
        assert fitted.count(False) > 10
        assert fitted[-1]
    return 0


def main() -> int:
    if os.environ.get(INSIDE):
        return inside(sys.argv[1])
    for options in (["-m"], ["-Urm"]):
        probe = "place=$(mktemp -d) && mount -t tmpfs -o size=64k none $place; code=$?; umount $place; rmdir $place; exit $code"
        allowed = subprocess.run(["unshare", *options, "sh", "-c", probe], capture_output=True, check=False)
        if allowed.returncode == 0:
            return subprocess.run(["unshare", *options, sys.executable, *sys.argv], env={**os.environ, INSIDE: "1"}, check=False).returncode
    print("skipped: mounting a file system in a name space of its own is not allowed here")
    return 77


if __name__ == "__main__":
    sys.exit(main())

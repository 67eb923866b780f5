#!/usr/bin/env python3
"""Runs command lines and compares what they print, byte for byte, with what the case file says.

A case file is a session: lines with "$ " are commands for sh ("> " goes on with one), and behind each stand the expected
standard output ("1 " lines), standard error ("2 " lines) and exit code ("= N"; 0 is left out). All commands of a file run
in one empty folder, with the program as `contexture` on the path, a small random model in `model`, the project's `configs`,
and no CONTEXTURE_ variable set. With --update the file is rewritten with what the commands print now: read the difference before committing it.
"""

from __future__ import annotations

import argparse
import difflib
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
NO_NEWLINE = "\\ no newline at the end"


def split_cases(text: str) -> list[tuple[list[str], list[str], list[str]]]:
    """(lines before, command lines, expected lines) of every command."""
    cases, before = [], []
    for line in text.splitlines():
        if line.startswith("$ "):
            cases.append((before, [line[2:]], []))
            before = []
        elif line.startswith("> ") and cases and not cases[-1][2]:
            cases[-1][1].append(line[2:])
        elif line[:2] in ("1 ", "2 ", "= ", "\\ ") or line in ("1", "2"):
            cases[-1][2].append(line)
        else:
            before.append(line)
    cases.append((before, [], []))
    return cases


def prefixed(prefix: str, output: bytes) -> list[str]:
    text = output.decode("utf-8", "backslashreplace")
    lines = [f"{prefix} {line}".rstrip(" ") if line == "" else f"{prefix} {line}" for line in text.removesuffix("\n").split("\n")] if text else []
    return lines + ([NO_NEWLINE] if text and not text.endswith("\n") else [])


def run(command: str, folder: Path, environment: dict[str, str]) -> list[str]:
    done = subprocess.run(["sh", "-c", command], cwd=folder, env=environment, capture_output=True, stdin=subprocess.DEVNULL, timeout=120)
    # A build with CUDA says so where there is no GPU.
    errors = b"".join(line for line in done.stderr.splitlines(keepends=True) if not line.startswith(b"contexture: note: auto takes the CPU backend"))
    lines = prefixed("1", done.stdout) + prefixed("2", errors)
    return lines + ([f"= {done.returncode}"] if done.returncode else [])


def make_environment(program: Path, folder: Path) -> dict[str, str]:
    """The program alone on the path, and nothing from outside that could change an output."""
    tools = folder / ".bin"
    tools.mkdir()
    (tools / "contexture").symlink_to(program.resolve())
    kept = {name: value for name, value in os.environ.items() if name.endswith("SAN_OPTIONS") or name in ("TMPDIR", "LD_LIBRARY_PATH")}
    return kept | {"PATH": f"{tools}:/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": str(folder), "TERM": "dumb", "OMP_NUM_THREADS": "2"}


def check_file(program: Path, path: Path, update: bool) -> bool:
    with tempfile.TemporaryDirectory(prefix="contexture-cli-") as name:
        folder = Path(name)
        environment = make_environment(program, folder)
        model = [sys.executable, str(TESTS / "make_checkpoint.py"), str(folder / "model"), "--seed", "1"]
        subprocess.run(model, check=True, stdout=subprocess.DEVNULL)
        (folder / "configs").symlink_to(TESTS.parent / "configs")
        text = path.read_text(encoding="utf-8")
        found: list[str] = []
        for before, command, _ in split_cases(text):
            found += before
            if command:
                found += ["$ " + command[0]] + ["> " + line for line in command[1:]] + run("\n".join(command), folder, environment)
    if found == text.splitlines():
        return True
    if update:
        path.write_text("\n".join(found) + "\n", encoding="utf-8")
        print(f"{path.name}: rewritten")
        return True
    print("\n".join(difflib.unified_diff(text.splitlines(), found, f"{path.name}, expected", f"{path.name}, found", lineterm="")))
    return False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", type=Path)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE.cases")
    parser.add_argument("--update", action="store_true", help="rewrite the files with what is printed now")
    arguments = parser.parse_args()
    if importlib.util.find_spec("numpy") is None:
        print(f"skipped: {sys.executable} has no numpy, which writes the model")
        return 77
    results = [check_file(arguments.program, path, arguments.update) for path in arguments.files]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())

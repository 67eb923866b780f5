#!/usr/bin/env python3
"""Runs one file of Python tests for ctest: exit code 0 passed, 1 failed, 77 skipped, with the reason.

Skipped means that a package is missing, or that every test of the file was skipped.
"""

from __future__ import annotations

import importlib.util
import sys

SKIPPED = 77
NEEDED = ("pytest", "numpy", "scipy", "h5py")


def main() -> int:
    missing = [package for package in NEEDED if importlib.util.find_spec(package) is None]
    if missing:
        print(f"skipped: {sys.executable} lacks {', '.join(missing)}; script/bootstrap installs what the tests need")
        return SKIPPED

    import pytest

    class Outcomes:
        """Counts what the tests came to."""

        passed = failed = 0

        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            self.passed += report.passed and report.when == "call"
            self.failed += report.failed

    outcomes = Outcomes()
    code = pytest.main(["-q", "-rs", "-p", "no:cacheprovider", *sys.argv[1:]], plugins=[outcomes])
    if code == pytest.ExitCode.OK and not outcomes.passed and not outcomes.failed:
        return SKIPPED
    return 0 if code == pytest.ExitCode.OK else 1


if __name__ == "__main__":
    sys.exit(main())

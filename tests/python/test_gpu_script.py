"""script/test-gpu and benchmarks/compare_runs.py, as far as they can be tested without a GPU."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from types import ModuleType

import numpy as np
import pytest
import support


def load(path: str) -> ModuleType:
    name = path.rpartition("/")[2].replace("-", "_").removesuffix(".py")
    loader = importlib.machinery.SourceFileLoader(name, str(support.ROOT / path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    sys.modules[name] = module
    loader.exec_module(module)
    return module


NCU = """==PROF== Connected to process 1
"ID","Kernel Name","gpu__time_duration.sum","sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_active","launch__registers_per_thread"
"","","us","%","register/thread"
"0","fused_wgmma_kernel<256, 1>","3,560.2","48.1","168"
"""


def test_counters_are_read_by_name() -> None:
    counters = load("script/test-gpu").parse_counters(NCU)
    assert counters == [
        {"kernel": "fused_wgmma_kernel<256, 1>", "gpu__time_duration.sum [us]": "3,560.2", "sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_active [%]": "48.1"}
    ]
    assert load("script/test-gpu").parse_counters("==ERROR== ERR_NVGPUCTRPERM\n") == []


def test_steps_tell_failed_from_skipped() -> None:
    script = load("script/test-gpu")
    report = script.Report({"name": "none"}, {})
    assert report.step("good", [sys.executable, "-c", "print(7)"]) == "7\n"
    assert report.step("bad", [sys.executable, "-c", "raise SystemExit(3)"]) is None
    assert report.step("absent", [sys.executable, "-c", "raise SystemExit(77)"]) is None
    assert report.step("unfit", [sys.executable, "-c", "raise SystemExit('it cannot be used, because')"], optional="cannot be used, because") is None
    script.target(report, "fast", 0.4, 0.5)
    script.target(report, "unknown", None, 0.5)
    assert [step["status"] for step in report.result["steps"]] == ["passed", "failed", "skipped", "skipped"]
    assert report.failed() == ["bad"]
    assert [entry["met"] for entry in report.result["targets"]] == [False, None]


def test_errors_are_relative_with_a_floor() -> None:
    compare = load("benchmarks/compare_runs.py")
    expected = np.array([[[1.0, 100.0], [1e-9, 2.0]]])
    summary = compare.summarise([({"ff": expected + [[[0.01, 0.0], [1e-6, 0.0]]]}, {"ff": expected})])
    assert summary["largest"] == pytest.approx(0.01)
    assert summary["rms"] == pytest.approx(np.sqrt((0.01**2 + 1e-5**2) / 4))
    assert compare.summarise([({"ff": expected * np.nan}, {"ff": expected})])["largest"] == float("inf")

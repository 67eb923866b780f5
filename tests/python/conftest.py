"""Fixtures of the Python tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import support  # sets the import path; must come before the next two

import make_checkpoint
import oracle


@pytest.fixture(scope="session")
def random_checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder for every entry of support.RANDOM_CHECKPOINTS."""
    root = tmp_path_factory.mktemp("checkpoints")
    return {name: make_checkpoint.write_checkpoint(root / name, options) for name, options in support.RANDOM_CHECKPOINTS.items()}


@pytest.fixture(scope="session")
def minilm() -> Path:
    return support.minilm_folder()


@pytest.fixture(scope="session")
def minilm_oracle(minilm: Path) -> oracle.Checkpoint:
    return oracle.Checkpoint(minilm)

"""The PyTorch script that the benchmark compares with computes the same maps."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import support

import oracle

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")
sys.path.insert(0, str(support.ROOT / "benchmarks"))


@pytest.mark.parametrize("name", ["gelu", "silu-sharded"])
def test_maps_are_those_of_the_oracle(name: str, random_checkpoints: dict[str, Path]) -> None:
    import pytorch_maps

    ids = list(range(40, 61))
    expected = oracle.decompose(oracle.Checkpoint(random_checkpoints[name]), ids)
    layers = pytorch_maps.sequence_maps(pytorch_maps.load(random_checkpoints[name]), ids)
    for layer, maps in enumerate(layers):
        for stage, values in maps.items():
            assert support.worst_relative(values.numpy(), expected.maps[stage][layer]) < 1e-4, f"{stage}, layer {layer}"

"""The float64 oracle against `transformers` in float64, and against the definitions it rests on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import support

import oracle

torch = pytest.importorskip("torch", reason="torch is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")


def reference(folder: Path, ids: list[int], types: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Hidden states [L + 1, n, d] and attention weights [L, H, n, n] of `transformers`, float64."""
    model = transformers.BertModel.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager").eval()
    with torch.no_grad():
        output = model(input_ids=torch.tensor([ids]), token_type_ids=torch.tensor([types]), output_hidden_states=True, output_attentions=True)
    return torch.cat(output.hidden_states).numpy(), torch.cat(output.attentions).numpy()


def assert_agrees(folder: Path, ids: list[int], types: list[int]) -> None:
    states, attention = reference(folder, ids, types)
    result = oracle.decompose(oracle.Checkpoint(folder), ids, types)
    np.testing.assert_allclose(result.hidden_states, states, rtol=0, atol=1e-11 * np.abs(states).max())
    np.testing.assert_allclose(result.head_attention_weight, attention, rtol=0, atol=1e-12)
    assert result.completeness_error.max() < 1e-13


@pytest.mark.parametrize("name", support.RANDOM_CHECKPOINTS)
def test_random_checkpoint_agrees_with_transformers(name: str, random_checkpoints: dict[str, Path]) -> None:
    random = np.random.default_rng(17)
    ids = random.integers(0, support.RANDOM_CHECKPOINTS[name].vocabulary_size, 23).tolist()
    assert_agrees(random_checkpoints[name], ids, [0] * 12 + [1] * 11)


def test_minilm_agrees_with_transformers(minilm: Path) -> None:
    assert_agrees(minilm, [101, 1996, 2314, 2924, 2001, 3139, 1999, 3748, 4870, 1012, 102], [0] * 11)


def test_part_is_the_gradient_integrated_along_the_path_from_zero() -> None:
    """ρ, by which a source's share of u is multiplied, is ∫₀¹ g'(t u) dt: checked by quadrature of autograd's g'."""
    functions = {
        "gelu": torch.nn.functional.gelu,
        "gelu_new": lambda u: torch.nn.functional.gelu(u, approximate="tanh"),
        "silu": torch.nn.functional.silu,
    }
    u = np.array([-7.0, -1.3, -1e-3, 0.0, 1e-9, 0.4, 2.0, 6.0])
    nodes, weights = np.polynomial.legendre.leggauss(200)
    for name, function in functions.items():
        points = torch.tensor(np.outer(u, (nodes + 1) / 2), requires_grad=True)
        (slopes,) = torch.autograd.grad(function(points).sum(), points)
        np.testing.assert_allclose(oracle.activation_ratio(name, u), slopes.numpy() @ (weights / 2), rtol=1e-12, atol=1e-14)


def test_chunks_do_not_matter_and_vectors_have_the_maps_norms(random_checkpoints: dict[str, Path]) -> None:
    checkpoint = oracle.Checkpoint(random_checkpoints["gelu"])
    ids = list(range(5, 22))
    whole = oracle.decompose(checkpoint, ids, chunk=len(ids), vector_layers=[1])
    pieces = oracle.decompose(checkpoint, ids, chunk=3)
    for stage in oracle.STAGES:
        np.testing.assert_allclose(pieces.maps[stage], whole.maps[stage], rtol=1e-12)
        np.testing.assert_allclose(pieces.mixing_ratio[stage], whole.mixing_ratio[stage], rtol=1e-12)
        np.testing.assert_allclose(np.linalg.norm(whole.vectors[stage][0], axis=-1), whole.maps[stage][1], rtol=1e-12)

#!/usr/bin/env python3
"""The decomposition of DESIGN.md, section 1, in float64 and straight from the equations.

Every part of every output vector is formed as a vector, [targets, n, d], and measured; none of the identities that make
the program fast is used, and no code is shared with it. Targets are taken in chunks, so that n = 128 on MiniLM needs little memory.

Letters: n tokens, d hidden size, H heads, e head size, f intermediate size; i target, j source, h head. Row vectors, `x W`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.special import erf, expit

STAGES = ("attn", "attn_res", "attn_res_ln", "ff", "ff_res", "ff_res_ln")

Array = np.ndarray


# Reading a checkpoint.


def read_safetensors(path: Path) -> dict[str, Array]:
    """All tensors of one file as float64."""
    data = path.read_bytes()
    header_size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + header_size])
    body = memoryview(data)[8 + header_size :]
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        raw = body[begin:end]
        if entry["dtype"] == "F32":
            values = np.frombuffer(raw, "<f4")
        elif entry["dtype"] == "F16":
            values = np.frombuffer(raw, "<f2")
        elif entry["dtype"] == "BF16":
            values = (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4")
        else:
            continue  # integer buffers such as position_ids
        tensors[name] = values.astype(np.float64).reshape(entry["shape"])
    return tensors


class Checkpoint:
    """A BERT checkpoint: config.json as a dictionary, and its tensors, float64, under their names without "bert."."""

    def __init__(self, folder: Path | str) -> None:
        folder = Path(folder)
        self.config: dict = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        index = folder / "model.safetensors.index.json"
        if index.exists():
            files = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        else:
            files = ["model.safetensors"]
        self.tensors: dict[str, Array] = {}
        for name in files:
            for tensor, values in read_safetensors(folder / name).items():
                tensor = tensor.removeprefix("bert.")
                if "LayerNorm" in tensor:
                    tensor = tensor.replace("gamma", "weight").replace("beta", "bias")
                self.tensors[tensor] = values

    def dense(self, name: str) -> tuple[Array, Array]:
        """W [in, out] and b [out] of a dense layer."""
        return self.tensors[f"{name}.weight"].T, self.tensors[f"{name}.bias"]

    def norm(self, name: str) -> tuple[Array, Array]:
        """γ and β of a layer norm."""
        return self.tensors[f"{name}.LayerNorm.weight"], self.tensors[f"{name}.LayerNorm.bias"]


# Functions of the equations.


def gelu(u: Array) -> Array:
    return u * 0.5 * (1 + erf(u / np.sqrt(2)))


def gelu_tanh(u: Array) -> Array:
    return 0.5 * u * (1 + np.tanh(np.sqrt(2 / np.pi) * (u + 0.044715 * u**3)))


def relu(u: Array) -> Array:
    return np.maximum(u, 0)


def silu(u: Array) -> Array:
    return u * expit(u)


# Name in config.json: the function g, and g'(0).
ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], float]] = {
    "gelu": (gelu, 0.5),
    "gelu_new": (gelu_tanh, 0.5),
    "gelu_pytorch_tanh": (gelu_tanh, 0.5),
    "relu": (relu, 0.0),
    "silu": (silu, 0.5),
}


def activation_ratio(name: str, u: Array) -> Array:
    """ρ = g(u)/u, and its limit where u is 0."""
    g, slope = ACTIVATIONS[name]
    return np.where(u == 0, slope, g(u) / np.where(u == 0, 1.0, u))


def centred(x: Array) -> Array:
    return x - x.mean(axis=-1, keepdims=True)


def deviation(x: Array, epsilon: float) -> Array:
    """σ = sqrt(Var x + ε) of the last axis, which stays with length 1."""
    return np.sqrt(np.mean(centred(x) ** 2, axis=-1, keepdims=True) + epsilon)


def softmax(scores: Array) -> Array:
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def length(x: Array) -> Array:
    return np.sqrt(np.sum(x**2, axis=-1))


# Results.


@dataclass
class Decomposition:
    """What the program stores of one sequence, for all L layers of the model."""

    hidden_states: Array  # [L + 1, n, d]; the first is the input of the first layer
    head_attention_weight: Array  # α [L, H, n, n]
    head_attention_norm: Array  # α‖f‖ [L, H, n, n]
    maps: dict[str, Array]  # stage, or "attn_weight": [L, n, n], layer, target, source
    mixing_ratio: dict[str, Array]  # stage: [L, n]
    bias_norm: dict[str, Array]  # stage: [L, n]
    completeness_error: Array  # [L]
    states: dict[str, Array]  # stage: [L, n, d], the true ones
    vectors: dict[str, Array] = field(default_factory=dict)  # stage: [V, n, n, d] of the layers asked for


class _Layer:
    """Collects the stages of one layer, a chunk of targets at a time."""

    def __init__(self, n: int, d: int, keep_vectors: bool) -> None:
        self.maps = {stage: np.empty((n, n)) for stage in STAGES}
        self.mixing_ratio = {stage: np.empty(n) for stage in STAGES}
        self.bias_norm = {stage: np.empty(n) for stage in STAGES}
        self.completeness_error = 0.0
        self.states = {stage: np.empty((n, d)) for stage in STAGES}
        self.vectors = {stage: np.empty((n, n, d)) for stage in STAGES} if keep_vectors else {}

    def add(self, stage: str, targets: Array, parts: Array, bias: Array, state: Array) -> None:
        """parts [targets, n, d], bias [targets, d], and the true state [targets, d] that they must add up to."""
        own = parts[np.arange(len(targets)), targets]
        others = parts.sum(axis=1) - own
        self.maps[stage][targets] = length(parts)
        self.mixing_ratio[stage][targets] = length(others) / (length(others) + length(own))
        self.bias_norm[stage][targets] = length(bias)
        error = length(parts.sum(axis=1) + bias - state) / length(state)
        self.completeness_error = max(self.completeness_error, float(error.max()))
        self.states[stage][targets] = state
        if self.vectors:
            self.vectors[stage][targets] = parts


# The model.


def embed(checkpoint: Checkpoint, input_ids: Array, token_type_ids: Array, position_ids: Array) -> Array:
    """The input of the first layer [n, d]."""
    tensors = checkpoint.tensors
    x = (
        tensors["embeddings.word_embeddings.weight"][input_ids]
        + tensors["embeddings.position_embeddings.weight"][position_ids]
        + tensors["embeddings.token_type_embeddings.weight"][token_type_ids]
    )
    scale, shift = checkpoint.norm("embeddings")
    return scale * centred(x) / deviation(x, checkpoint.config["layer_norm_eps"]) + shift


def decompose_layer(checkpoint: Checkpoint, layer: int, x: Array, keep_vectors: bool, chunk: int) -> tuple[_Layer, Array, Array, Array]:
    """One layer on its input x [n, d]: the collected stages, α [H, n, n], α‖f‖ [H, n, n], and the layer's output [n, d]."""
    config = checkpoint.config
    n, d = x.shape
    heads = config["num_attention_heads"]
    e = d // heads
    epsilon = config["layer_norm_eps"]
    at = f"encoder.layer.{layer}"
    w_q, b_q = checkpoint.dense(f"{at}.attention.self.query")
    w_k, b_k = checkpoint.dense(f"{at}.attention.self.key")
    w_v, b_v = checkpoint.dense(f"{at}.attention.self.value")
    w_o, b_o = checkpoint.dense(f"{at}.attention.output.dense")
    scale1, shift1 = checkpoint.norm(f"{at}.attention.output")
    w_1, b_1 = checkpoint.dense(f"{at}.intermediate.dense")
    w_2, b_2 = checkpoint.dense(f"{at}.output.dense")
    scale2, shift2 = checkpoint.norm(f"{at}.output")

    # α^h = softmax(q k^T / sqrt(e)), in a causal model over j <= i, and f^h(x_j) = (x_j W_V^h + b_V^h) W_O^h.
    alpha = np.empty((heads, n, n))
    f = np.empty((heads, n, d))
    for h in range(heads):
        own = slice(h * e, (h + 1) * e)
        query, key = x @ w_q[:, own] + b_q[own], x @ w_k[:, own] + b_k[own]
        scores = query @ key.T / np.sqrt(e)
        alpha[h] = softmax(np.where(np.tri(n, dtype=bool), scores, -np.inf) if config.get("is_decoder") else scores)
        f[h] = (x @ w_v[:, own] + b_v[own]) @ w_o[own]
    head_norm = alpha * length(f)[:, None, :]

    # The true vectors, by the forward pass.
    attention = np.concatenate([alpha[h] @ (x @ w_v[:, h * e : (h + 1) * e] + b_v[h * e : (h + 1) * e]) for h in range(heads)], axis=1)
    attention = attention @ w_o + b_o
    y = x + attention
    sigma1 = deviation(y, epsilon)
    h_state = scale1 * centred(y) / sigma1 + shift1
    u = h_state @ w_1 + b_1
    feed_forward = ACTIVATIONS[config["hidden_act"]][0](u) @ w_2 + b_2
    y_prime = h_state + feed_forward
    sigma2 = deviation(y_prime, epsilon)
    output = scale2 * centred(y_prime) / sigma2 + shift2
    rho = activation_ratio(config["hidden_act"], u)

    result = _Layer(n, d, keep_vectors)
    for begin in range(0, n, chunk):
        i = np.arange(begin, min(begin + chunk, n))
        parts = np.zeros((len(i), n, d))
        for h in range(heads):
            parts += alpha[h][i][:, :, None] * f[h][None, :, :]
        bias = np.broadcast_to(b_o, (len(i), d))
        result.add("attn", i, parts, bias, attention[i])

        parts[np.arange(len(i)), i] += x[i]
        result.add("attn_res", i, parts, bias, y[i])

        parts = scale1 * centred(parts) / sigma1[i][:, None, :]
        bias = scale1 * centred(bias) / sigma1[i] + shift1
        result.add("attn_res_ln", i, parts, bias, h_state[i])

        ff_parts = (rho[i][:, None, :] * (parts @ w_1)) @ w_2
        ff_bias = (rho[i] * (bias @ w_1 + b_1)) @ w_2 + b_2
        result.add("ff", i, ff_parts, ff_bias, feed_forward[i])

        parts = parts + ff_parts
        bias = bias + ff_bias
        result.add("ff_res", i, parts, bias, y_prime[i])

        parts = scale2 * centred(parts) / sigma2[i][:, None, :]
        bias = scale2 * centred(bias) / sigma2[i] + shift2
        result.add("ff_res_ln", i, parts, bias, output[i])
    return result, alpha, head_norm, output


def decompose(
    checkpoint: Checkpoint,
    input_ids: Sequence[int],
    token_type_ids: Sequence[int] | None = None,
    position_ids: Sequence[int] | None = None,
    vector_layers: Sequence[int] = (),
    chunk: int = 8,
) -> Decomposition:
    """The decomposition of one sequence through all layers. Token types are 0, and positions 0, 1, …, unless given."""
    ids = np.asarray(input_ids)
    types = np.zeros_like(ids) if token_type_ids is None else np.asarray(token_type_ids)
    positions = np.arange(len(ids)) if position_ids is None else np.asarray(position_ids)
    states = [embed(checkpoint, ids, types, positions)]
    collected, alphas, head_norms = [], [], []
    for layer in range(checkpoint.config["num_hidden_layers"]):
        result, alpha, head_norm, output = decompose_layer(checkpoint, layer, states[-1], layer in vector_layers, chunk)
        collected.append(result)
        alphas.append(alpha)
        head_norms.append(head_norm)
        states.append(output)
    alpha = np.stack(alphas)
    maps = {stage: np.stack([layer.maps[stage] for layer in collected]) for stage in STAGES}
    maps["attn_weight"] = alpha.mean(axis=1)
    return Decomposition(
        hidden_states=np.stack(states),
        head_attention_weight=alpha,
        head_attention_norm=np.stack(head_norms),
        maps=maps,
        mixing_ratio={stage: np.stack([layer.mixing_ratio[stage] for layer in collected]) for stage in STAGES},
        bias_norm={stage: np.stack([layer.bias_norm[stage] for layer in collected]) for stage in STAGES},
        completeness_error=np.array([layer.completeness_error for layer in collected]),
        states={stage: np.stack([layer.states[stage] for layer in collected]) for stage in STAGES},
        vectors={stage: np.stack([collected[layer].vectors[stage] for layer in vector_layers]) for stage in STAGES} if len(vector_layers) else {},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Decomposes one sequence in float64 and writes the arrays into an .npz file.")
    parser.add_argument("model", type=Path, help="Hugging Face model directory")
    parser.add_argument("output", type=Path, help=".npz file to write")
    parser.add_argument("--input-ids", required=True, help="comma-separated")
    parser.add_argument("--token-type-ids", help="comma-separated; default all 0")
    arguments = parser.parse_args()
    types = [int(value) for value in arguments.token_type_ids.split(",")] if arguments.token_type_ids else None
    result = decompose(Checkpoint(arguments.model), [int(value) for value in arguments.input_ids.split(",")], types)
    arrays = {name: getattr(result, name) for name in ("hidden_states", "head_attention_weight", "head_attention_norm", "completeness_error")}
    for group in ("maps", "mixing_ratio", "bias_norm"):
        arrays.update({f"{group}/{stage}": values for stage, values in getattr(result, group).items()})
    np.savez(arguments.output, **arrays)


if __name__ == "__main__":
    main()

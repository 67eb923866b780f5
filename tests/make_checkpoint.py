#!/usr/bin/env python3
"""Writes a small random BERT checkpoint as a Hugging Face model directory, with a WordPiece tokenizer that fits it.

Needs numpy alone and writes safetensors itself, so that a reader is tested against a second implementation of the format.
The same options and the same --seed give the same bytes.

Layer norm scales, layer norm shifts and all biases are far from 1 and 0, and attention is far from uniform: an
implementation that forgets one of them cannot pass.
"""

from __future__ import annotations

import argparse
import json
import string
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ACTIVATIONS = ("gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu")
DTYPES = ("F32", "F16", "BF16")
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
COMMON_WORDS = (
    "the of and to in is it was for on are as with his they at be this from have or by one had not but what all were when we "
    "there can an your which their said if do will each about how up out them then she many some so these would other into "
    "has more her two like him see time could no make than first been its who now people my made over did down only way find "
    "use may water long little very after words called just where most know cat dog river bank house sat ran tree old new"
).split()


@dataclass(frozen=True)
class Options:
    """The shape and the flavour of a checkpoint; see main() for what each means."""

    hidden_size: int = 32
    layers: int = 2
    heads: int = 4
    intermediate_size: int = 64
    vocabulary_size: int = 400
    max_positions: int = 64
    token_types: int = 2
    activation: str = "gelu"
    dtype: str = "F32"
    prefix: bool = False
    gamma_beta: bool = False
    shards: int = 1
    epsilon: float = 1e-12
    sharpness: float = 1.0
    causal: bool = False
    tokenizer_json: bool = True
    extra_tensors: bool = True
    seed: int = 1


# Tensors: name, shape, and how its numbers are drawn.


def tensor_table(options: Options) -> list[tuple[str, tuple[int, ...], str]]:
    d, f = options.hidden_size, options.intermediate_size
    table: list[tuple[str, tuple[int, ...], str]] = [
        ("embeddings.word_embeddings.weight", (options.vocabulary_size, d), "embedding"),
        ("embeddings.position_embeddings.weight", (options.max_positions, d), "embedding"),
        ("embeddings.token_type_embeddings.weight", (options.token_types, d), "embedding"),
    ]

    def norm(name: str) -> None:
        weight, bias = ("gamma", "beta") if options.gamma_beta else ("weight", "bias")
        table.append((f"{name}.{weight}", (d,), "norm_scale"))
        table.append((f"{name}.{bias}", (d,), "norm_shift"))

    def dense(name: str, rows: int, columns: int, kind: str = "dense") -> None:
        table.append((f"{name}.weight", (rows, columns), kind))
        table.append((f"{name}.bias", (rows,), "bias"))

    norm("embeddings.LayerNorm")
    for layer in range(options.layers):
        at = f"encoder.layer.{layer}"
        dense(f"{at}.attention.self.query", d, d, "sharp")
        dense(f"{at}.attention.self.key", d, d, "sharp")
        dense(f"{at}.attention.self.value", d, d)
        dense(f"{at}.attention.output.dense", d, d)
        norm(f"{at}.attention.output.LayerNorm")
        dense(f"{at}.intermediate.dense", f, d)
        dense(f"{at}.output.dense", d, f)
        norm(f"{at}.output.LayerNorm")
    if options.extra_tensors:
        dense("pooler.dense", d, d)
    if options.prefix:
        table = [(f"bert.{name}", shape, kind) for name, shape, kind in table]
        if options.extra_tensors:
            table.append(("cls.predictions.bias", (options.vocabulary_size,), "bias"))
    return table


def draw(random: np.random.Generator, shape: tuple[int, ...], kind: str, sharpness: float) -> np.ndarray:
    values = random.standard_normal(shape, dtype=np.float32)
    if kind == "norm_scale":
        return 1 + np.float32(0.4) * values
    if kind in ("norm_shift", "bias"):
        return np.float32(0.3) * values
    if kind == "embedding":
        return np.float32(0.5) * values
    gain = np.sqrt(sharpness) if kind == "sharp" else 1.0
    return np.float32(gain / np.sqrt(shape[-1])) * values


def encode(values: np.ndarray, dtype: str) -> bytes:
    """The little-endian bytes of `values`, rounded to nearest even."""
    if dtype == "F32":
        return values.astype("<f4").tobytes()
    if dtype == "F16":
        return values.astype("<f2").tobytes()
    bits = values.astype("<f4").view("<u4")
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()


def write_safetensors(path: Path, tensors: list[tuple[str, tuple[int, ...], str]], random: np.random.Generator, options: Options) -> int:
    """Header, then the tensors in the order of the table. Returns the bytes of the tensors."""
    width = {"F32": 4, "F16": 2, "BF16": 2}[options.dtype]
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, shape, _ in tensors:
        size = int(np.prod(shape)) * width
        header[name] = {"dtype": options.dtype, "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for _, shape, kind in tensors:
            file.write(encode(draw(random, shape, kind, options.sharpness), options.dtype))
    return offset


def write_weights(folder: Path, options: Options) -> None:
    random = np.random.default_rng(options.seed)
    table = tensor_table(options)
    if options.shards == 1:
        write_safetensors(folder / "model.safetensors", table, random, options)
        return
    weight_map: dict[str, str] = {}
    total = 0
    for shard, rows in enumerate(np.array_split(np.arange(len(table)), options.shards)):
        name = f"model-{shard + 1:05d}-of-{options.shards:05d}.safetensors"
        part = [table[row] for row in rows]
        total += write_safetensors(folder / name, part, random, options)
        weight_map.update({tensor: name for tensor, _, _ in part})
    write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": weight_map})


# Tokenizer.


def vocabulary(size: int) -> list[str]:
    """Special tokens, every ASCII character alone and as a continuation, common words, two-letter pieces, then [unusedN]."""
    characters = string.ascii_lowercase + string.digits
    tokens = [*SPECIAL_TOKENS, *characters, *(f"##{c}" for c in characters), *string.punctuation]
    if size < len(tokens):
        raise SystemExit(f"a vocabulary needs {len(tokens)} tokens at least, --vocabulary-size is {size}")
    tokens += [word for word in COMMON_WORDS if word not in tokens]
    tokens += [f"##{a}{b}" for a in "aeiourstln" for b in string.ascii_lowercase]
    tokens = tokens[:size]
    return tokens + [f"[unused{number}]" for number in range(size - len(tokens))]


def tokenizer_json(tokens: list[str]) -> dict[str, object]:
    def special(name: str, type_id: int) -> dict[str, object]:
        return {"SpecialToken": {"id": name, "type_id": type_id}}

    def text(name: str, type_id: int) -> dict[str, object]:
        return {"Sequence": {"id": name, "type_id": type_id}}

    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": tokens.index(token), "content": token, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
            for token in SPECIAL_TOKENS
        ],
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [special("[CLS]", 0), text("A", 0), special("[SEP]", 0)],
            "pair": [special("[CLS]", 0), text("A", 0), special("[SEP]", 0), text("B", 1), special("[SEP]", 1)],
            "special_tokens": {token: {"id": token, "ids": [tokens.index(token)], "tokens": [token]} for token in ("[CLS]", "[SEP]")},
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {token: number for number, token in enumerate(tokens)},
        },
    }


def write_tokenizer(folder: Path, options: Options) -> None:
    tokens = vocabulary(options.vocabulary_size)
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8")
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    write_json(
        folder / "tokenizer_config.json",
        {"do_lower_case": True, "tokenize_chinese_chars": True, "strip_accents": None, **names, "tokenizer_class": "BertTokenizer"},
    )
    if options.tokenizer_json:
        write_json(folder / "tokenizer.json", tokenizer_json(tokens))


# The directory.


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def config_json(options: Options) -> dict[str, object]:
    config: dict[str, object] = {
        "architectures": ["BertForMaskedLM" if options.prefix else "BertModel"],
        "attention_probs_dropout_prob": 0.1,
        "classifier_dropout": None,
        "hidden_act": options.activation,
        "hidden_dropout_prob": 0.1,
        "hidden_size": options.hidden_size,
        "initializer_range": 0.02,
        "intermediate_size": options.intermediate_size,
        "layer_norm_eps": options.epsilon,
        "max_position_embeddings": options.max_positions,
        "model_type": "bert",
        "num_attention_heads": options.heads,
        "num_hidden_layers": options.layers,
        "pad_token_id": 0,
        "position_embedding_type": "absolute",
        "torch_dtype": {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}[options.dtype],
        "type_vocab_size": options.token_types,
        "use_cache": True,
        "vocab_size": options.vocabulary_size,
    }
    if options.causal:
        config["is_decoder"] = True
    return config


def write_checkpoint(folder: Path | str, options: Options) -> Path:
    """Writes the directory and returns it. Raises SystemExit with a sentence where the options do not fit together."""
    if options.hidden_size % options.heads != 0:
        raise SystemExit(f"--hidden-size {options.hidden_size} is no multiple of --heads {options.heads}")
    if not 1 <= options.shards <= len(tensor_table(options)):
        raise SystemExit(f"--shards {options.shards} is not between 1 and the number of tensors, {len(tensor_table(options))}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", config_json(options))
    write_tokenizer(folder, options)
    write_weights(folder, options)
    return folder


def main() -> None:
    default = Options()
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("folder", type=Path, help="the model directory to write")
    parser.add_argument("--hidden-size", type=int, default=default.hidden_size)
    parser.add_argument("--layers", type=int, default=default.layers)
    parser.add_argument("--heads", type=int, default=default.heads)
    parser.add_argument("--intermediate-size", type=int, default=default.intermediate_size)
    parser.add_argument("--vocabulary-size", type=int, default=default.vocabulary_size)
    parser.add_argument("--max-positions", type=int, default=default.max_positions)
    parser.add_argument("--token-types", type=int, default=default.token_types)
    parser.add_argument("--activation", choices=ACTIVATIONS, default=default.activation)
    parser.add_argument("--dtype", choices=DTYPES, default=default.dtype, help="number type of every tensor")
    parser.add_argument("--prefix", action="store_true", help="name the tensors bert.…, as BertForMaskedLM does, and add an output bias")
    parser.add_argument("--gamma-beta", action="store_true", help="call layer norm tensors gamma and beta, as old checkpoints do")
    parser.add_argument("--shards", type=int, default=default.shards, help="more than 1: that many files and model.safetensors.index.json")
    parser.add_argument("--epsilon", type=float, default=default.epsilon, help="layer_norm_eps")
    parser.add_argument(
        "--sharpness", type=float, default=default.sharpness, help="standard deviation of attention scores, about; 30 and more makes weights underflow"
    )
    parser.add_argument("--causal", action="store_true", help="a token attends to none after it (is_decoder)")
    parser.add_argument("--no-tokenizer-json", dest="tokenizer_json", action="store_false", help="vocab.txt and tokenizer_config.json alone")
    parser.add_argument("--no-extra-tensors", dest="extra_tensors", action="store_false", help="leave out the tensors that the encoder does not use")
    parser.add_argument("--seed", type=int, default=default.seed)
    arguments = vars(parser.parse_args())
    write_checkpoint(arguments.pop("folder"), Options(**arguments))


if __name__ == "__main__":
    main()

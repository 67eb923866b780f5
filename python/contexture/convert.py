"""A sequence as xarray, pandas and bertviz take it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Sequence as AbstractSequence
from typing import Any

import numpy as np
import pandas
import xarray

from contexture.sequence import Sequence


def to_xarray(sequence: Sequence) -> xarray.Dataset:
    """Variables `map` [map, layer, target, source], `mixing_ratio` and `bias_norm` [stage, layer, token], as far as they are stored.

    `layer` has the model's layer numbers; target, source and token are positions, with the tokens' texts beside them as the
    coordinates target_token, source_token and token_text (texts may occur twice, so they cannot be the index); where maps are by
    words, target and source are words, with target_word and source_word.
    """
    run = sequence.run
    positions, texts = np.arange(sequence.n_tokens), np.array(sequence.tokens, dtype=object)

    def stack(blocks: Any) -> np.ndarray:
        return np.stack([blocks[name] for name in blocks])

    variables: dict[str, Any] = {"completeness_error": (("layer",), sequence.completeness_error)}
    coordinates: dict[str, Any] = {
        "layer": run.layers,
        "token": positions,
        "token_text": ("token", texts),
        "special": ("token", sequence.special),
    }
    if run.stages:
        variables["mixing_ratio"] = (("stage", "layer", "token"), stack(sequence.mixing_ratio))
        variables["bias_norm"] = (("stage", "layer", "token"), stack(sequence.bias_norm))
        coordinates["stage"] = run.stages
    if run.maps:
        variables["map"] = (("map_name", "layer", "target", "source"), stack(sequence.maps))
        places, labels = np.arange(sequence.map_size), np.array(sequence.map_labels, dtype=object)
        coordinates |= {
            "map_name": run.maps,
            "target": places,
            "source": places,
            f"target_{run.granularity}": ("target", labels),
            f"source_{run.granularity}": ("source", labels),
        }
    return xarray.Dataset(variables, coordinates, attrs={"id": sequence.id, "text": sequence.text})


def to_pandas(sequence: Sequence, what: str = "tokens") -> pandas.DataFrame:
    """what="tokens": see tokens_table; what="maps": see maps_table."""
    if what == "tokens":
        return tokens_table([sequence])
    if what == "maps":
        return maps_table(sequence)
    raise ValueError(f'what is "tokens" or "maps", not {what!r}')


def tokens_table(sequences: Iterable[Sequence]) -> pandas.DataFrame:
    """Columns sequence, stage, layer, position, token, special, mixing_ratio, bias_norm."""
    tables = []
    for sequence in sequences:
        run, n = sequence.run, sequence.n_tokens
        stages, layers = len(run.stages), len(run.layers)
        tables.append(
            pandas.DataFrame(
                {
                    "sequence": sequence.id,
                    "stage": np.repeat(run.stages, layers * n),
                    "layer": np.tile(np.repeat(run.layers, n), stages),
                    "position": np.tile(np.arange(n), stages * layers),
                    "token": np.tile(np.array(sequence.tokens, dtype=object), stages * layers),
                    "special": np.tile(sequence.special, stages * layers),
                    "mixing_ratio": _joined(sequence.mixing_ratio),
                    "bias_norm": _joined(sequence.bias_norm),
                }
            )
        )
    columns = ["sequence", "stage", "layer", "position", "token", "special", "mixing_ratio", "bias_norm"]
    return pandas.concat(tables, ignore_index=True) if tables else pandas.DataFrame(columns=columns)


def maps_table(sequence: Sequence) -> pandas.DataFrame:
    """Columns map, layer, target, target_token, source, source_token, value; where maps are by words target_word, source_word."""
    run, n = sequence.run, sequence.map_size
    maps, layers = len(run.maps), len(run.layers)
    labels = np.array(sequence.map_labels, dtype=object)
    blocks = maps * layers
    return pandas.DataFrame(
        {
            "map": np.repeat(run.maps, layers * n * n),
            "layer": np.tile(np.repeat(run.layers, n * n), maps),
            "target": np.tile(np.repeat(np.arange(n), n), blocks),
            f"target_{run.granularity}": np.tile(np.repeat(labels, n), blocks),
            "source": np.tile(np.arange(n), blocks * n),
            f"source_{run.granularity}": np.tile(labels, blocks * n),
            "value": _joined(sequence.maps),
        }
    )


def _joined(blocks: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([np.empty(0, np.float32), *(values.ravel() for values in blocks.values())])


def row_shares(maps: np.ndarray) -> np.ndarray:
    """Every target's row divided by its sum, so that it says which share each source has; rows of zeros stay."""
    sums = maps.sum(axis=-1, keepdims=True)
    return np.divide(maps, sums, out=np.zeros_like(maps), where=sums > 0)


def to_bertviz(sequence: Sequence, stages: str | AbstractSequence[str] = "ff_res_ln", normalize: bool = True) -> tuple[list[Any], list[str]]:
    """(attention, tokens) for bertviz.head_view(attention, tokens) and model_view; words, where maps are by words.

    attention: for every stored layer an array [1, heads, n, n]. The heads are the maps named in `stages`, in that order; the one
    name "heads" stands for α of every head (stored with --per-head). With `normalize`, every row is divided by its sum, since
    bertviz draws shares. The arrays are torch tensors, which bertviz needs, if torch is installed, else numpy arrays.
    """
    if stages == "heads":
        maps = sequence.head_maps["attn_weight"]
    else:
        names = [stages] if isinstance(stages, str) else list(stages)
        maps = np.stack([sequence.maps[name] for name in names], axis=1)
    if normalize:
        maps = row_shares(maps)
    layers = [np.ascontiguousarray(layer[None]) for layer in maps]
    try:
        import torch
    except ImportError:
        return layers, sequence.map_labels
    return [torch.from_numpy(layer) for layer in layers], sequence.map_labels

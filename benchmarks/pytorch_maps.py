#!/usr/bin/env python3
"""The six maps in plain PyTorch, float32, as one would write them in a notebook: every part [n, n, d] is formed, then measured.

This is what bench_run.py compares the program with. It computes less than the program does (no mixing ratios, no bias norms,
no completeness check, nothing is written), and its time leaves out importing, loading and one sequence to warm up.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch
from transformers import BertModel
from transformers.utils import logging

Maps = dict[str, torch.Tensor]


def norm_part(parts: torch.Tensor, norm: torch.nn.LayerNorm, state: torch.Tensor) -> torch.Tensor:
    """The linear part of a layer norm on parts [n, n, d], with the deviation of the true vectors `state` [n, d]."""
    deviation = torch.sqrt(state.var(-1, unbiased=False) + norm.eps)
    return norm.weight * (parts - parts.mean(-1, keepdim=True)) / deviation[:, None, None]


@torch.no_grad()
def layer_maps(layer: torch.nn.Module, heads: int, x: torch.Tensor, attention_only: bool) -> tuple[Maps, torch.Tensor]:
    """The maps [n, n] of one BertLayer on its input x [n, d], and its output [n, d]."""
    n, d = x.shape
    own, dense, norm1 = layer.attention.self, layer.attention.output.dense, layer.attention.output.LayerNorm
    query, key, value = (projection(x).view(n, heads, -1).transpose(0, 1) for projection in (own.query, own.key, own.value))
    alpha = torch.softmax(query @ key.transpose(1, 2) / query.shape[-1] ** 0.5, dim=-1)
    sources = torch.einsum("hje,dhe->hjd", value, dense.weight.view(d, heads, -1))
    maps = {"attn_weight": alpha.mean(0)}

    parts = torch.einsum("hij,hjd->ijd", alpha, sources)
    maps["attn"] = parts.norm(dim=-1)
    y = x + dense((alpha @ value).transpose(0, 1).reshape(n, d))
    parts = parts + torch.eye(n, dtype=x.dtype, device=x.device)[:, :, None] * x[None, :, :]
    maps["attn_res"] = parts.norm(dim=-1)
    parts = norm_part(parts, norm1, y)
    maps["attn_res_ln"] = parts.norm(dim=-1)
    h = norm1(y)

    u = layer.intermediate.dense(h)
    activated = layer.intermediate.intermediate_act_fn(u)
    feed_forward = layer.output.dense(activated)
    y = h + feed_forward
    output = layer.output.LayerNorm(y)
    if attention_only:
        return maps, output
    ratio = torch.where(u == 0, 0.5, activated / u)
    ff_parts = (ratio[:, None, :] * (parts @ layer.intermediate.dense.weight.T)) @ layer.output.dense.weight.T
    maps["ff"] = ff_parts.norm(dim=-1)
    parts = parts + ff_parts
    maps["ff_res"] = parts.norm(dim=-1)
    maps["ff_res_ln"] = norm_part(parts, layer.output.LayerNorm, y).norm(dim=-1)
    return maps, output


@torch.no_grad()
def sequence_maps(model: BertModel, ids: list[int], attention_only: bool = False) -> list[Maps]:
    """The maps of every layer for one sequence."""
    x = model.embeddings(torch.tensor([ids], device=model.device))[0]
    result = []
    for layer in model.encoder.layer:
        maps, x = layer_maps(layer, model.config.num_attention_heads, x, attention_only)
        result.append(maps)
    return result


@torch.no_grad()
def forward(model: BertModel, ids: list[int]) -> torch.Tensor:
    return model(input_ids=torch.tensor([ids], device=model.device)).last_hidden_state


def load(folder: Path | str, device: str = "cpu", dtype: torch.dtype = torch.float32) -> BertModel:
    logging.disable_progress_bar()
    return BertModel.from_pretrained(folder, dtype=dtype).eval().to(device)


def resident_mib() -> float:
    """Memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description="Times the plain PyTorch maps, or transformers' forward pass, on sequences of token ids.")
    parser.add_argument("model", type=Path)
    parser.add_argument("corpus", type=Path, help='JSONL, {"input_ids": [...]} a line')
    parser.add_argument("--task", choices=("maps", "attention", "forward"), default="maps")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", choices=("float32", "float16"), default="float32", help="of weights and parts; float32 products are float32 on a GPU, too (no TF32)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    sequences = [json.loads(line)["input_ids"] for line in arguments.corpus.read_text().splitlines()]
    model = load(arguments.model, arguments.device, getattr(torch, arguments.dtype))
    loaded_mib = resident_mib()

    def work(ids: list[int]) -> None:
        if arguments.task == "forward":
            forward(model, ids)
        else:
            sequence_maps(model, ids, attention_only=arguments.task == "attention")

    work(min(sequences, key=len) if arguments.device == "cpu" else max(sequences, key=len))
    begin = time.perf_counter()
    for ids in sequences:
        work(ids)
    if arguments.device == "cuda":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - begin
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "loaded_mib": loaded_mib, "peak_mib": peak_mib, "torch": torch.__version__}))


if __name__ == "__main__":
    main()

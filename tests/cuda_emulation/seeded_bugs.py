#!/usr/bin/env python3
"""Puts one mistake at a time into a copy of cuda/ and checks that test_cuda_kernels notices it in this kind of build.

    seeded_bugs.py --build FOLDER --source ROOT --kind plain|address|race --ninja NINJA [--all] [NAME ...]

A mistake is a text that occurs once in a file, and what takes its place; a text that no longer occurs fails the test, so the
list follows the kernels. `kinds` names the builds that must notice it, with the seeds that are tried. --all tries every mistake in
this build and only reports.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass


@dataclass
class Bug:
    name: str
    file: str  # changed
    unit: str  # compiled; a header's mistake shows through one of the files that include it
    old: str
    new: str
    kinds: dict  # kind of build: seeds


EARLY, LATE, SOME = (0,), (1,), (0, 1, 5)
BUGS = [
    # wrong places
    Bug("target and source exchanged", "cuda_pair_coefficients.cu", "cuda_pair_coefficients.cu",
        "(head * n + tile.target + target) * n + token]", "(head * n + token) * n + tile.target + target]", {"plain": EARLY}),
    Bug("half of the precision forgotten", "cuda_pair_kernels.cuh", "cuda_pair_finish.cu",
        "        multiply_m16n8k16(sums[k], high, small_two);\n", "", {"plain": EARLY}),
    Bug("groups of another sequence's targets", "cuda_batch.cu", "cuda_batch.cu",
        "cx_batch_sources(batch, sequence));\n        dealer->run = 0;\n", "cx_batch_sources(batch, sequence));\n", {"plain": EARLY}),
    Bug("warps write to one slot", "cuda_pair_build.cu", "cuda_pair_build.cu",
        "(problem, tile, work, partials[warp])", "(problem, tile, work, partials[0])", {"plain": EARLY, "race": EARLY}),
    Bug("row of the wrong chunk", "cuda_pair_finish.cu", "cuda_pair_finish.cu",
        "const unsigned row = tile.row + k,", "const unsigned row = k,", {"plain": EARLY}),
    Bug("earlier chunk's sum forgotten", "cuda_pair_finish.cu", "cuda_pair_finish.cu",
        "group.continues ? sum[column] : 0.0f", "0.0f", {"plain": EARLY}),
    Bug("diagonal counted twice", "cuda_maps.cu", "cuda_maps.cu", "for (unsigned k = h + 1; k < heads; k++)", "for (unsigned k = h; k < heads; k++)",
        {"plain": EARLY}),
    Bug("half a warp summed", "cuda_reduce.cuh", "cuda_norm.cu",
        "for (int distance = 16; distance > 0; distance /= 2)\n        value += ", "for (int distance = 8; distance > 0; distance /= 2)\n        value += ",
        {"plain": EARLY}),
    Bug("power of two not taken back", "cuda_pair_coefficients.cu", "cuda_pair_coefficients.cu",
        "ldexpf(1.0f, -inner - problem.weight_exponent)", "ldexpf(1.0f, inner - problem.weight_exponent)", {"plain": EARLY}),
    # barriers
    Bug("no barrier before factors are read", "cuda_pair_coefficients.cu", "cuda_pair_coefficients.cu",
        "load_factors(problem, tile, group, shared.factors);\n        __syncthreads();\n", "load_factors(problem, tile, group, shared.factors);\n", {"race": EARLY}),
    Bug("no barrier before factors are replaced", "cuda_pair_coefficients.cu", "cuda_pair_coefficients.cu",
        "        if (by_words)\n            __syncthreads(); /* for who", "        /* for who", {"race": EARLY}),
    Bug("no barrier before coefficients are replaced", "cuda_pair_coefficients.cu", "cuda_pair_coefficients.cu",
        "write_units<by_words>(problem, tile, group, step, shared);\n        __syncthreads();\n", "write_units<by_words>(problem, tile, group, step, shared);\n",
        {"race": EARLY}),
    Bug("no barrier before the partial sums", "cuda_pair_build.cu", "cuda_pair_build.cu",
        "    }\n    __syncthreads();\n    for (unsigned row = threadIdx.x;", "    }\n    for (unsigned row = threadIdx.x;", {"plain": SOME, "race": EARLY}),
    Bug("no barrier before operands are read", "cuda_tile.cuh", "cuda_attention.cu",
        "load, group.slices[0]);\n    wait_for_group(group);\n", "load, group.slices[0]);\n",
        {"plain": SOME, "race": EARLY}),
    Bug("no barrier before operands are replaced", "cuda_tile.cuh", "cuda_attention.cu",
        "    wait_for_group(group); /* for who", "    /* for who", {"race": EARLY}),
    Bug("no barrier between slices", "cuda_tile.cuh", "cuda_attention.cu",
        "group.slices[current ^ 1]);\n        wait_for_group(group);\n", "group.slices[current ^ 1]);\n", {"race": EARLY}),
    Bug("no barrier between scores and softmax", "cuda_attention.cu", "cuda_attention.cu",
        "key + source, weights);\n    __syncthreads();\n", "key + source, weights);\n", {"race": EARLY}),
    Bug("threads leave before the barrier", "cuda_maps.cu", "cuda_maps.cu",
        "    __syncthreads();\n    if (place >= present)\n        return;\n", "    if (place >= present)\n        return;\n    __syncthreads();\n", {"plain": EARLY}),
    # races
    Bug("all blocks write the row's mean", "cuda_pair_finish.cu", "cuda_pair_finish.cu",
        "        if (blockIdx.y == 0)\n            problem.product_mean", "        if (blockIdx.y < 2)\n            problem.product_mean", {"race": EARLY}),
    Bug("all lanes write the sum", "cuda_sources.cu", "cuda_sources.cu", "if (lane == 0 && ", "if (lane < 2 && ", {"race": EARLY}),
    # out of range
    Bug("softmax reads and writes one number too many", "cuda_attention.cu", "cuda_attention.cu",
        "    for (unsigned k = lane; k < n; k += CUDA_WARP)\n        row[k] = k < attended", "    for (unsigned k = lane; k <= n; k += CUDA_WARP)\n        row[k] = k < attended",
        {"plain": EARLY, "address": EARLY}),
    Bug("rows beyond the last", "cuda_norm.cu", "cuda_norm.cu",
        "    if (row >= rows)\n        return;\n    const float *from = x + row * width;\n    const double mean = row_mean(from, width, lane);\n    double squares",
        "    const float *from = x + row * width;\n    const double mean = row_mean(from, width, lane);\n    double squares", {"address": EARLY}),
    Bug("one element too many", "cuda_norm.cu", "cuda_norm.cu", "    if (k < count)\n        z[k]", "    if (k <= count)\n        z[k]",
        {"plain": EARLY, "address": EARLY}),
    Bug("eight columns of an odd row at once", "cuda_pair_kernels.cuh", "cuda_pair_build.cu", "if (width % 8 == 0)", "if (width > 0)", {"address": EARLY}),
    Bug("too little shared memory", "cuda_pair_coefficients.cu", "cuda_pair_coefficients.cu",
        "kinds * group_tokens * (heads + 1)) * sizeof(float)", "kinds * (heads + 1)) * sizeof(float)",
        {"plain": EARLY, "address": EARLY}),
    # the fused kernel for Hopper
    Bug("ratios read as if they were not swizzled", "fused_wgmma_multiply.cuh", "fused_wgmma.cu", "const unsigned piece = (c ^ row % 8) * 16;",
        "const unsigned piece = c * 16;", {"plain": EARLY}),
    Bug("ring without phases", "fused_wgmma_ring.cuh", "fused_wgmma.cu", "        ring.parity ^= 1;\n", "", {"plain": EARLY}),
    Bug("product not waited for before it is scaled", "fused_wgmma_multiply.cuh", "fused_wgmma.cu", "products_wait<1>();", "products_wait<2>();", {"plain": LATE}),
    Bug("stage given back before its product is done", "fused_wgmma_multiply.cuh", "fused_wgmma.cu",
        "                products_wait<0>();\n                release<cluster>(storage.empty(before));\n",
        "                release<cluster>(storage.empty(before));\n                products_wait<0>();\n", {"plain": SOME}),
    Bug("following stage not waited for", "fused_wgmma_multiply.cuh", "fused_wgmma.cu",
        "                const unsigned char *following = storage.stage(ring.stage);\n                barrier_wait(storage.full(ring.stage), ring.parity);\n",
        "                const unsigned char *following = storage.stage(ring.stage);\n", {"plain": SOME}),
    Bug("stage filled before it is free", "fused_wgmma_load.cuh", "fused_wgmma.cu",
        "                wait_until_empty<cluster>(storage.empty(ring.stage), ring.parity);\n                load_products",
        "                load_products", {"plain": SOME}),
    Bug("bytes of one source too few expected", "fused_wgmma_load.cuh", "fused_wgmma.cu", "consumers * loads.mine * box_bytes);\n    load_for_all",
        "loads.mine * box_bytes);\n    load_for_all", {"plain": EARLY}),
    Bug("sources of a packed tile mixed", "fused_wgmma_multiply.cuh", "fused_wgmma.cu",
        "load_fragment(problem.coefficients, problem.rows, rows, step % parts, step / parts == rows.part,",
        "load_fragment(problem.coefficients, problem.rows, rows, step % parts, true,",
        {"plain": EARLY}),
    Bug("rows beyond the last target", "fused_tile.cuh", "fused_wgmma.cu", "rows.valid[k] = target < group.targets && source < end &&",
        "rows.valid[k] = source < end &&", {"plain": EARLY}),
    Bug("sum of the sources before forgotten", "fused_tile.cuh", "fused_wgmma.cu", "if (!first) {", "if (false) {", {"plain": EARLY}),
    Bug("residual left out of every tile", "fused_tile.cuh", "fused_wgmma.cu", "group.packed > 1 || diagonal || ", "group.packed > 1 || ", {"plain": EARLY}),
    Bug("two warpgroups write one slot", "fused_wgmma_multiply.cuh", "fused_wgmma.cu", "(segment.slot + consumer)", "(segment.slot)", {"plain": EARLY, "race": EARLY}),
    Bug("t joins at the wrong scale", "fused_wgmma_multiply.cuh", "fused_wgmma.cu", "acc[k] *= 1.0f / joined[k / 2 % 2];", "acc[k] *= joined[k / 2 % 2];",
        {"plain": EARLY}),
    Bug("packed tiles counted as one source", "fused_work.cu", "fused_work.cu",
        "const unsigned stride = stride_of(dealer->fused, group);", "const unsigned stride = dealer->fused->plan.sources;", {"plain": EARLY}),
    # clusters of its blocks
    Bug("cluster's blocks leave one by one", "fused_wgmma.cu", "fused_wgmma.cu", "    if (cluster > 1)\n        meet<cluster>();", "", {"plain": SOME}),
    Bug("barriers of the cluster's others not waited for", "fused_wgmma.cu", "fused_wgmma.cu", "    meet<cluster>(); /* before", "    meet<1>(); /* before",
        {"plain": SOME}),
    Bug("stages wait for the warps of one block", "fused_wgmma.cu", "fused_wgmma.cu", "cluster * consumers * group_threads / 32", "consumers * group_threads / 32",
        {"plain": EARLY}),
    Bug("weights for the own block alone", "fused_wgmma_load.cuh", "fused_wgmma.cu", "(1u << cluster) - 1);", "1u << cluster_rank());", {"plain": EARLY}),
    Bug("both blocks load the same half", "fused_wgmma_load.cuh", "fused_wgmma.cu", "rank = cluster > 1 ? cluster_rank() : 0;", "rank = 0;", {"plain": EARLY}),
    Bug("bytes of half a tile expected", "fused_wgmma_load.cuh", "fused_wgmma.cu", "(with_ratios ? shape::sources : shape::ratios)",
        "(with_ratios ? shape::sources : shape::ratios) - (cluster - 1) * shape::ratios / 2", {"plain": EARLY}),
    Bug("ratios expected by none who only helps", "fused_wgmma_load.cuh", "fused_wgmma.cu", "loads.mine > 0 || loads.shares_ratios;", "loads.mine > 0;",
        {"plain": EARLY}),
    Bug("stage given back to its own block alone", "fused_wgmma_multiply.cuh", "fused_wgmma.cu", "if (cluster > 1 && lane < cluster)",
        "if (cluster > 1 && lane == cluster_rank())", {"plain": EARLY}),
    Bug("another stage given back to the other block", "fused_wgmma_multiply.cuh", "fused_wgmma.cu", "barrier_arrive_at(empty, lane);",
        "barrier_arrive_at(lane == cluster_rank() ? empty : empty - 1, lane);", {"plain": EARLY}),
    Bug("stages kept by a block that has done", "fused_wgmma_multiply.cuh", "fused_wgmma.cu",
        "            let_others_end<columns, steps, cluster>(problem, storage, index, ring);", "            ;", {"plain": EARLY}),
    Bug("ratios of other targets", "fused_clusters.cu", "fused_clusters.cu", "(k >= count || shares[k].group == shares->group)", "true", {"plain": EARLY}),
    Bug("turns as short as the shortest", "fused_clusters.cu", "fused_clusters.cu", "{{}, shares->steps, true}", "{{}, shares[count - 1].steps, true}",
        {"plain": EARLY}),
    Bug("rounds of tiles with unlike numbers of stages", "fused_clusters.cu", "fused_clusters.cu", "slice != 0 ? slice : compare(a->packed, b->packed)", "slice",
        {"plain": EARLY}),
    # the fused kernel for every device
    Bug("pieces stored as if they were not swizzled", "fused_mma_ring.cuh", "fused_mma.cu", "(piece ^ line % pieces) * piece_bytes", "piece * piece_bytes",
        {"plain": EARLY}),
    Bug("weights' rows in another order", "fused_mma.cu", "fused_mma.cu", "place.right = (lane % 8 + lane / 16 * 8)",
        "place.right = (lane % 8 * 2 + lane / 16)", {"plain": EARLY}),
    Bug("stage not waited for", "fused_mma_ring.cuh", "fused_mma.cu", "        copy_async_wait<1>();", "        ;", {"plain": LATE}),
    Bug("one stage too few waited for", "fused_mma_ring.cuh", "fused_mma.cu", "copy_async_wait<1>();", "copy_async_wait<2>();", {"plain": LATE}),
    Bug("two stages waited for as if they were three", "fused_mma_ring.cuh", "fused_mma.cu", "if (tiling.stages == 2)", "if (tiling.stages == 1)", {"plain": LATE}),
    Bug("stage filled while others read it", "fused_mma_ring.cuh", "fused_mma.cu", "    __syncthreads();\n    load_stage", "    load_stage", {"plain": SOME}),
    Bug("the wrong stage filled", "fused_mma_ring.cuh", "fused_mma.cu", "ring, before);", "ring, ring.stage);",
        {"plain": EARLY}),
    Bug("ring too short by one", "fused_mma_ring.cuh", "fused_mma.cu", "ring.stage + 1 == tiling.stages ? 0", "ring.stage + 2 == tiling.stages ? 0", {"plain": EARLY}),
    Bug("columns beyond the last", "fused_mma_ring.cuh", "fused_mma.cu", "depth, column < problem.pairs.width);", "depth, true);", {"plain": EARLY, "address": EARLY}),
    Bug("tile's last targets", "fused_tile.cuh", "fused_mma.cu", "rows.valid[k] = target < group.targets && source < end &&", "rows.valid[k] = source < end &&",
        {"plain": EARLY}),
    Bug("segment's last sources", "fused_tile.cuh", "fused_mma.cu", "rows.valid[k] = target < group.targets && source < end &&",
        "rows.valid[k] = target < group.targets &&", {"plain": EARLY}),
    Bug("two tiles write one slot", "fused_mma.cu", "fused_mma.cu", "(view.segment.slot + place.tile)", "(view.segment.slot)",
        {"plain": EARLY, "race": EARLY}),
    Bug("both halves of the columns leave one sum", "fused_mma.cu", "fused_mma.cu", "place.half = warp / row_warps;", "place.half = 0;",
        {"plain": EARLY}),
    Bug("t joins the fused product at the wrong scale", "fused_mma.cu", "fused_mma.cu", "unjoined[2] = {1.0f / factors[0].y, 1.0f / factors[1].y}",
        "unjoined[2] = {factors[0].y, factors[1].y}", {"plain": EARLY}),
    Bug("one part of a packed tile for all", "fused_mma.cu", "fused_mma.cu", "if (tile == 0 || parts > 1 || boxes.first[0] != boxes.first[1])",
        "if (tile == 0 || parts > 1)", {"plain": EARLY}),
    Bug("sources one step behind", "fused_mma_ring.cuh", "fused_mma.cu", "loader.source += tiles * loader.group.packed;", "loader.source += loader.group.packed;",
        {"plain": EARLY}),
    Bug("z of the 16 before", "fused_mma.cu", "fused_mma.cu", "multiply<columns>(stage, place, k, z[0], acc);",
        "multiply<columns>(stage, place, k, z[1], acc);", {"plain": EARLY}),
    Bug("sums of half of the columns left out", "fused_finish.cu", "fused_finish.cu", "part < problem.slices * problem.parts; part++) {",
        "part < problem.slices; part++) {",
        {"plain": EARLY}),
    # causal models
    Bug("pairs above the diagonal multiplied", "fused_tile.cuh", "fused_mma.cu", " && source <= group.reach + target;", ";", {"plain": EARLY}),
    Bug("pairs above the diagonal multiplied by warpgroups", "fused_tile.cuh", "fused_wgmma.cu", " && source <= group.reach + target;", ";",
        {"plain": EARLY}),
    Bug("the diagonal's own pairs left out", "fused_tile.cuh", "fused_mma.cu", "source <= group.reach + target",
        "source < group.reach + target", {"plain": EARLY}),
    Bug("last source of a causal tile forgotten", "fused_work.cu", "fused_work.cu", "fused->causal ? group.target + group.targets : group.length",
        "fused->causal ? group.target + group.targets - 1 : group.length", {"plain": EARLY}),
    Bug("no coefficients on the diagonal", "fused_prepare.cu", "fused_prepare.cu", "(problem.causal ? target + 1 : tile.length)",
        "(problem.causal ? target : tile.length)", {"plain": EARLY}),
    Bug("maps above the diagonal from what memory held", "fused_finish.cu", "fused_finish.cu", "if (problem.causal && source > target)\n", "if (false)\n",
        {"plain": EARLY}),
    Bug("means above the diagonal added", "fused_finish.cu", "fused_finish.cu", "min(group.reach + first + target + 1, group.length)",
        "group.length", {"plain": EARLY}),
    # words as sources
    Bug("a word's last token missed in z", "cuda_pair_kernels.cuh", "cuda_pair_build.cu",
        "source + 1] - first[source]};", "source + 1] - first[source] - (first[source + 1] - first[source] > 1)};", {"plain": EARLY}),
    Bug("a word's last token missed in t", "cuda_pair_kernels.cuh", "cuda_pair_finish.cu",
        "source + 1] - first[source]};", "source + 1] - first[source] - (first[source + 1] - first[source] > 1)};", {"plain": EARLY}),
    Bug("a word's last token missed in its norm", "cuda_words.cu", "cuda_words.cu", "attended = end < tile.sources ? end : tile.sources",
        "attended = end < tile.sources ? end - 1 : tile.sources", {"plain": EARLY}),
    Bug("residual of a word's first token alone", "cuda_words.cu", "cuda_words.cu", "target >= begin && target < end", "target == begin", {"plain": EARLY}),
    Bug("residual of the token before", "cuda_pair_coefficients.cu", "cuda_pair_coefficients.cu", "return token == tile.target + target ?",
        "return token + (by_words ? 1 : 0) == tile.target + target ?", {"plain": EARLY}),
    Bug("power of two of a word's last token", "cuda_pair_coefficients.cu", "cuda_pair_coefficients.cu", "bounds.bound += fabsf(number)",
        "bounds.bound = (head > 0 ? bounds.bound : 0.0f) + fabsf(number)", {"plain": EARLY}),
    Bug("power of two of the tile's first word", "cuda_pair_coefficients.cu", "cuda_pair_coefficients.cu", "by_words ? shared.sources[token] : token;",
        "by_words ? 0 : token;", {"plain": EARLY}),
    Bug("a token's column for its word's", "cuda_maps.cu", "cuda_maps.cu", "static_cast<size_t>(tile.target) * tile.columns + column;",
        "static_cast<size_t>(tile.target) * tile.columns + source;", {"plain": EARLY}),
    Bug("maps where they are by token", "cuda_batch.cu", "cuda_batch.cu", "        blank.map = cx_batch_map_offset(batch, sequence);",
        "        blank.map = batch->pair_offset[sequence];", {"plain": EARLY}),
    Bug("a word's part for a token's own", "cuda_pair_coefficients.cu", "cuda_pair_coefficients.cu", "if (by_words && tile.is_own && token != tile.target + target)",
        "if (false)", {"plain": EARLY}),
    Bug("own parts written into a map", "cuda_pair_finish.cu", "cuda_pair_finish.cu", "if (problem.ff && !tile.is_own)", "if (problem.ff)", {"plain": EARLY}),
    Bug("words of more tokens than are loaded", "cuda_pair_coefficients.cu", "cuda_pair_coefficients.cu",
        "token < end && token < group_end;", "first == 0 && token < end && token < group_end;", {"plain": EARLY}),
    # statistics of maps
    Bug("ties get the rank of their first", "cuda_ranks.cu", "cuda_ranks.cu", "last = place_of(keys, at, begin + size, key + 1) - 1;", "last = at;", {"plain": EARLY}),
    Bug("no barrier before a row's sums are added", "cuda_ranks.cu", "cuda_ranks.cu", "    __syncthreads();\n    if (threadIdx.x > 0)\n        return;\n",
        "    if (threadIdx.x > 0)\n        return;\n", {"race": EARLY}),
    # the host's side
    Bug("indices replaced while they are copied", "cuda_batch.cu", "cuda_batch.cu", "cudaEventSynchronize(block->copied)", "cudaSuccess",
        {"race": EARLY}),
    Bug("numbers read before they have arrived", "cuda_memory.cu", "cuda_memory.cu",
        '"waiting for the device", cudaEventSynchronize(cuda->stage_free[k])', '"waiting for the device", cudaSuccess', {"plain": LATE, "race": EARLY}),
    Bug("buffer filled while it is copied", "cuda_memory.cu", "cuda_memory.cu",
        '"waiting for a copy", cudaEventSynchronize(cuda->stage_free[k])', '"waiting for a copy", cudaSuccess', {"plain": LATE, "race": EARLY}),
]

MESSAGE = re.compile(r"cuda emulation: .*|ERROR: AddressSanitizer: \S+|runtime error: .*|WARNING: ThreadSanitizer: data race|.*(?:times what is allowed|from the CPU backend, allowed .*)")

SECONDS = 300  # after which a program hangs


def commands_of(options):
    """The compile commands by file name, and the command that links the test."""
    compile_list = json.loads((options.build / "compile_commands.json").read_text())
    compiles = {pathlib.Path(entry["file"]).name: shlex.split(entry["command"]) for entry in compile_list if "/cuda/" in entry["file"]}
    lines = subprocess.run([options.ninja, "-C", options.build, "-t", "commands", "test_cuda_kernels"], check=True, capture_output=True, text=True).stdout
    link = [word for word in shlex.split(lines.strip().splitlines()[-1]) if word not in (":", "&&")]
    return compiles, link


def changed_copy(bug, options, folder):
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(options.source / "cuda", folder)
    path = folder / bug.file
    text = path.read_text()
    if text.count(bug.old) != 1:
        raise ValueError(f"'{bug.old}' occurs {text.count(bug.old)} times in cuda/{bug.file}: bring the list of seeded bugs up to date")
    path.write_text(text.replace(bug.old, bug.new))


def build(bug, options, compiles, link, folder):
    changed_copy(bug, options, folder)
    original = str(options.source / "cuda")
    compile_command = []
    for word in compiles[bug.unit]:
        word = word.replace(f"{original}/{bug.unit}", str(folder / bug.unit)).replace(f"-I{original}", f"-I{folder}")
        if word != "-g":
            compile_command.append("-O1" if word in ("-O2", "-O3") else "-w" if word == "-Werror" else word)
    compile_command[compile_command.index("-o") + 1] = str(folder / "unit.o")
    for option in ("-MT", "-MF"):
        if option in compile_command:
            compile_command[compile_command.index(option) + 1] = str(folder / "unit.d")
    subprocess.run(compile_command, check=True, cwd=options.build)
    program = folder / "test"
    link_command = list(link)
    at = link_command.index("-o")
    link_command[at + 1] = str(program)
    link_command.insert(at, str(folder / "unit.o"))  # before the library with the right one
    subprocess.run(link_command, check=True, cwd=options.build)
    return program


def kernels_of(bug):
    """Whose cases of the test are enough: those of the kernels that have the changed code; none: all cases."""
    if not bug.unit.startswith("fused_"):
        return ()
    return {"fused_mma.cu": ("mma",), "fused_wgmma.cu": ("wgmma", "wgmma-cluster")}.get(bug.unit, ("wgmma", "wgmma-cluster", "mma"))


def noticed_by(program, kernels, seed):
    """Why the test failed, or None. It is ended by the first line that says so."""
    environment = dict(os.environ, EMULATION_DEVICES="1", EMULATION_MULTIPROCESSORS="3", EMULATION_SEED=str(seed), OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1",
                       TSAN_OPTIONS="halt_on_error=1 exitcode=66", ASAN_OPTIONS="detect_leaks=0")
    with subprocess.Popen([program, *kernels], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace") as process:
        timer = threading.Timer(SECONDS, process.kill)
        timer.start()
        found = next(filter(None, map(MESSAGE.search, process.stdout)), None)
        if found:
            process.kill()
        process.wait()
        timer.cancel()
    if found:
        return found.group(0)
    return f"exit status {process.returncode}" if process.returncode != 0 else None


def try_bug(bug, options, compiles, link):
    """A line for the report, and whether all is as it should be."""
    wanted = options.kind in bug.kinds
    folder = options.build / "seeded_bugs" / re.sub(r"\W+", "_", bug.name)
    try:
        program = build(bug, options, compiles, link, folder)
        seeds = bug.kinds.get(options.kind, SOME)
        for seed in seeds:
            reason = noticed_by(program, kernels_of(bug), seed)
            if reason:
                return f"noticed  {bug.name} (seed {seed}): {reason[:110]}", True
        return f"{'MISSED ' if wanted else 'unseen '}  {bug.name} (seeds {', '.join(map(str, seeds))})", not wanted
    except (ValueError, subprocess.CalledProcessError) as error:
        return f"BROKEN   {bug.name}: {error}", False
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--source", type=pathlib.Path, required=True)
    parser.add_argument("--kind", choices=("plain", "address", "race"), required=True)
    parser.add_argument("--ninja", required=True)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    compiles, link = commands_of(options)
    chosen = [bug for bug in BUGS if (options.all or options.kind in bug.kinds) and (not options.names or bug.name in options.names)]
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for line, good in pool.map(lambda bug: try_bug(bug, options, compiles, link), chosen):
            print(line, flush=True)
            failed += not good
    print(f"{len(chosen)} seeded bugs in the {options.kind} build, {failed} not as they should be")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())

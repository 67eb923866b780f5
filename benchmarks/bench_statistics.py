#!/usr/bin/env python3
"""What statistics cost: processor time of a run that takes all of them and stores no map, against one that computes and stores the same maps.

The two run in turns. The run that stores maps does so uncompressed, so that nearly all of its time is the decomposition's; what it needs for writing makes
the statistics look cheaper by about 2 %. The output's size is that of the statistics-only run.

The corpus is tests/golden's annotated sentences, joined, so that every document has more than 128 tokens, unless another is named.

    benchmarks/bench_statistics.py --program build/cpu/contexture --model MODEL [--corpus texts.jsonl] [--tokens 128] [--sequences 8] [--repeats 3]
"""

from __future__ import annotations

import argparse
import gzip
import json
import resource
import statistics
import subprocess
import tempfile
from pathlib import Path

ANNOTATED = Path(__file__).resolve().parent.parent / "tests" / "golden" / "annotated.jsonl.gz"
SENTENCES_A_DOCUMENT = 12


def write_joined(target: Path) -> None:
    """Writes documents of several annotated sentences each; a word's offsets move with its sentence."""
    with gzip.open(ANNOTATED, "rt", encoding="utf-8") as lines:
        sentences = [json.loads(line) for line in lines]
    with target.open("w", encoding="utf-8") as out:
        for first in range(0, len(sentences) - SENTENCES_A_DOCUMENT + 1, SENTENCES_A_DOCUMENT):
            text, words = "", []
            for sentence in sentences[first : first + SENTENCES_A_DOCUMENT]:
                text += " " if text else ""
                words += [word | {"start": word["start"] + len(text), "end": word["end"] + len(text)} for word in sentence["words"]]
                text += sentence["text"]
            out.write(json.dumps({"id": f"document-{first}", "text": text, "words": words}) + "\n")


def processor_seconds(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(options: argparse.Namespace, corpus: Path) -> None:
    command = [options.program, "run", "--model", options.model, "--corpus", str(corpus), "--max-tokens", str(options.tokens)]
    command += ["--limit", str(options.sequences), "--quiet", "--out"]
    without, with_statistics, size = [], [], 0
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as folder:
            without.append(processor_seconds([*command, f"{folder}/maps", "--compression", "0"]))
            with_statistics.append(processor_seconds([*command, f"{folder}/statistics", "--stages", "none", "--analyses", "all"]))
            size = sum(path.stat().st_size for path in Path(folder, "statistics").rglob("*") if path.is_file())
    ratios = [b / a - 1 for a, b in zip(without, with_statistics, strict=True)]
    print(f"{options.sequences} sequences of at most {options.tokens} tokens, {options.repeats} repeats, medians")
    print(f"maps stored: {statistics.median(without):.2f} s of processor time; statistics instead: {statistics.median(with_statistics):.2f} s")
    print(f"statistics cost {100 * statistics.median(ratios):.1f} % ({100 * min(ratios):.1f} to {100 * max(ratios):.1f}); output {size / 1e6:.2f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--corpus", type=Path, help="documents of so many tokens or more, best annotated (default: tests/golden's sentences, joined)")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--sequences", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        corpus = options.corpus or Path(folder, "joined.jsonl")
        if not options.corpus:
            write_joined(corpus)
        measure(options, corpus)


if __name__ == "__main__":
    main()

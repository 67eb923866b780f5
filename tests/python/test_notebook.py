"""The notebooks run from the first cell to the last on runs that the program has just made."""

from __future__ import annotations

from pathlib import Path

import pytest
import support

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
pytest.importorskip("ipykernel", reason="ipykernel is not installed")


def execute(name: str, out: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    """How many pictures the notebook shows of the run, and what it prints."""
    monkeypatch.setenv("CONTEXTURE_RUN", str(out))
    monkeypatch.setenv("PYTHONPATH", str(support.ROOT / "python"))
    notebook = nbformat.read(support.ROOT / "notebooks" / name, as_version=4)
    nbformat.validate(notebook)
    # The notebook says which kernel it was made with; the one to test with is this interpreter's.
    client = nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(out)}})
    client.execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return sum("image/png" in output.get("data", {}) for output in outputs), "".join(output.get("text", "") for output in outputs)


def test_tour_runs(minilm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = support.TESTS / "golden" / "sentences.txt"
    support.contexture("run", "--model", minilm, "--corpus", corpus, "--limit", 20, "--out", tmp_path / "out")
    pictures, printed = execute("tour.ipynb", tmp_path / "out", monkeypatch)
    assert pictures == 3
    assert corpus.read_text(encoding="utf-8").splitlines()[0] in printed


def test_paper_runs(minilm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = support.TESTS / "golden" / "annotated.jsonl.gz"
    options = ("--analyses", "all", "--mask-dims", "activation:3", "--min-count", 2, "--stages", "attn_res_ln,ff,ff_res_ln")
    support.contexture("run", "--model", minilm, "--corpus", corpus, "--skip", 120, "--limit", 20, "--out", tmp_path / "out", *options)
    pictures, printed = execute("paper.ipynb", tmp_path / "out", monkeypatch)
    assert pictures == 9
    assert printed.count("confirmed") >= 3 and "cannot be tested" not in printed

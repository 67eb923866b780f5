"""The notebook runs from the first cell to the last on a run that the program has just made."""

from __future__ import annotations

from pathlib import Path

import pytest
import support

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
pytest.importorskip("ipykernel", reason="ipykernel is not installed")


def test_tour_runs(minilm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = support.TESTS / "golden" / "sentences.txt"
    support.contexture("run", "--model", minilm, "--corpus", corpus, "--limit", 20, "--out", tmp_path / "out")
    monkeypatch.setenv("CONTEXTURE_RUN", str(tmp_path / "out"))
    monkeypatch.setenv("PYTHONPATH", str(support.ROOT / "python"))
    notebook = nbformat.read(support.ROOT / "notebooks" / "tour.ipynb", as_version=4)
    nbformat.validate(notebook)
    # The notebook says which kernel it was made with; the one to test with is this interpreter's.
    client = nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    pictures = [output for cell in cells for output in cell.outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 3
    printed = "".join(output.get("text", "") for cell in cells for output in cell.outputs)
    assert corpus.read_text(encoding="utf-8").splitlines()[0] in printed

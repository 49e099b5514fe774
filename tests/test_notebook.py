"""The notebook in examples runs from its first cell to its last, and its outputs stay small."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "examples" / "measured_curves.ipynb"


@pytest.fixture
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


def test_notebook_runs(notebook, tmp_path, monkeypatch):
    # As in a notebook, whatever backend the environment names for programs.
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": tmp_path}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert outputs[-1]["data"]["text/plain"] == "True"
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 5
    assert not [output["text"] for output in outputs if output.get("name") == "stderr"]


def test_notebook_is_stored_with_small_outputs(notebook):
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert NOTEBOOK.stat().st_size < 600_000

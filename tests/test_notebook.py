"""The notebooks in examples run from their first cell to their last, and their outputs stay small."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FIGURES = {"measured_curves": 5, "measured_spectra": 3}


@pytest.fixture(params=FIGURES)
def path(request):
    return Path(__file__).parents[1] / "examples" / f"{request.param}.ipynb"


@pytest.fixture
def notebook(path):
    return nbformat.read(path, as_version=4)


def test_notebook_runs(notebook, path, tmp_path, monkeypatch):
    # As in a notebook, whatever backend the environment names for programs.
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": tmp_path}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert outputs[-1]["data"]["text/plain"] == "True"
    assert sum("image/png" in output.get("data", {}) for output in outputs) == FIGURES[path.stem]
    assert not [output["text"] for output in outputs if output.get("name") == "stderr"]


def test_notebook_is_stored_with_small_outputs(notebook, path):
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert path.stat().st_size < 600_000

"""The notebooks run from top to bottom, and stand in the repository as their scripts say, without outputs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

DOCS = Path(__file__).resolve().parents[1] / "docs"
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))
SCRIPTED = """
def drafts(prompt, seed, index):
    return "so " * (12 + 3 * index) + rf"\\boxed{{{42 if index % 3 else 41}}}"

lm = rf.scripted(drafts, latency=lambda request, index: 0.3 + 0.1 * index)
"""
"""In place of the cell tagged "parameters", which says which model answers."""


def read(notebook: Path) -> Any:
    return nbformat.read(notebook, as_version=4)


def run(notebook: Path, parameters: str | None = None) -> Any:
    """The notebook with its outputs; raises what a cell raises. parameters: source of the cell tagged so."""
    book = read(notebook)
    if parameters is not None:
        [cell] = [cell for cell in book.cells if "parameters" in cell.metadata.get("tags", ())]
        cell.source = parameters
    NotebookClient(book, timeout=240, kernel_name="python3").execute()
    return book


def texts(cell: Any) -> str:
    """All that a cell shows, in every form it has."""
    shown = [output.get("text", "") for output in cell.outputs]
    return "\n".join([*shown, *(text for output in cell.outputs for text in output.get("data", {}).values())])


def cell_with(book: Any, source: str) -> Any:
    [cell] = [cell for cell in book.cells if cell.cell_type == "code" and source in cell.source]
    return cell


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_the_cells_of_its_script_and_no_outputs(notebook: Path) -> None:
    book, script = read(notebook), jupytext.read(notebook.with_suffix(".py"))
    assert [cell_of(cell) for cell in book.cells] == [cell_of(cell) for cell in script.cells]
    assert 10 <= len(book.cells) <= 14
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)


def cell_of(cell: Any) -> tuple[str, str, list[str]]:
    return cell.cell_type, cell.source, cell.metadata.get("tags", [])


def test_first_steps_show_a_plan_a_live_run_and_its_record() -> None:
    book = run(DOCS / "notebooks" / "first_steps.ipynb", SCRIPTED)
    assert "solve × 8" in texts(cell_with(book, "majority.explain()"))
    record = texts(cell_with(book, "out.run  #"))
    assert "42\n" in record
    assert "<details" in record
    assert "critical path, by tokens: solve[" in record
    live = texts(cell_with(book, "rf.show"))
    assert "finished: 8 ended" in live
    assert "latest answer: <b>42</b>" in live
    cut = texts(cell_with(book, "rf.Budget"))
    assert "42 by a vote of 3 - squeezed: True" in cut
    assert "solve[0]" in cut


@pytest.mark.engine
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run_on_the_built_in_model(notebook: Path) -> None:
    book = run(notebook)
    assert "<details" in texts(cell_with(book, "out.run  #"))


def test_the_example_writes_the_pictures_of_a_run(tmp_path: Path) -> None:
    page = tmp_path / "run.html"
    command = [sys.executable, str(DOCS / "examples" / "notebook_pictures.py"), str(page)]
    shown = subprocess.run(
        command, capture_output=True, check=True, encoding="utf-8", env={**os.environ, "PYTHONIOENCODING": "utf-8"}
    ).stdout
    assert "critical path, by tokens: draft[" in shown
    assert "failed" in page.read_text(encoding="utf-8")
    assert "cancelled" in page.read_text(encoding="utf-8")

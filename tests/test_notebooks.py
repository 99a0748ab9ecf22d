"""The notebooks run from top to bottom; what is kept of their output is small and says nothing of the machine."""

from pathlib import Path
from typing import Any

import pytest

nbclient = pytest.importorskip("nbclient", reason="the development environment is not installed")
nbformat = pytest.importorskip("nbformat", reason="the development environment is not installed")

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LARGEST = 150_000
"""Bytes of a notebook with its outputs."""

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def test_they_are_those_that_the_guide_names() -> None:
    guide = (ROOT / "docs" / "guides" / "notebooks.md").read_text(encoding="utf-8")
    assert [f"`{path.name}`" in guide for path in NOTEBOOKS] == [True] * 4


@pytest.mark.slow
@every_notebook
def test_runs_from_top_to_bottom(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)

    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(path.parent)}}).execute()

    kept = nbformat.read(path, as_version=4)
    assert [len(printed(cell)) > 0 for cell in notebook.cells] == [len(printed(cell)) > 0 for cell in kept.cells]


@every_notebook
def test_keeps_the_outputs_of_one_whole_run(path: Path) -> None:
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {(output.output_type, output.get("name")) for cell in cells for output in cell.outputs}
    assert not kinds & {("error", None), ("stream", "stderr")}


@every_notebook
def test_is_small_and_names_no_place_of_the_machine(path: Path) -> None:
    assert path.stat().st_size < LARGEST
    assert not [
        place for place in ("/tmp/", "/root/", "/home/", str(ROOT)) if place in path.read_text(encoding="utf-8")
    ]


def printed(cell: Any) -> str:
    """What a cell wrote to standard output."""
    streams = [output for output in cell.get("outputs", []) if output.output_type == "stream"]
    return "".join(output.text for output in streams if output.name == "stdout")

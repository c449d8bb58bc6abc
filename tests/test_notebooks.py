"""Execute every notebook from its own folder; their outputs are kept in the file."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
@pytest.mark.filterwarnings("default")  # Jupyter's own machinery warns about its own future
def test_notebook_runs(path):
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(path.parent)}}).execute()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_keeps_its_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    cells = [
        c for c in notebook.cells if c.cell_type == "code" and not c.source.rstrip().startswith(("from", "import"))
    ]
    empty = [c.source for c in cells if not c.outputs]
    assert not empty
    errors = [o for c in cells for o in c.outputs if o.output_type == "error"]
    assert not errors

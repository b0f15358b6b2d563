import time

import nbformat
from nbclient import NotebookClient

from study.files import ROOT


def test_the_notebook_runs_from_top_to_bottom_in_under_two_minutes():
    notebook = nbformat.read(ROOT / "experiments.ipynb", as_version=4)
    start = time.monotonic()
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(ROOT)}}).execute()
    assert time.monotonic() - start < 120
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    images = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(images) == 4

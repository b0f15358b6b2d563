import nbformat
from nbclient import NotebookClient

from study.files import ROOT


def test_the_notebook_runs_from_top_to_bottom_and_ends_with_the_answer():
    notebook = nbformat.read(ROOT / "experiments.ipynb", as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(ROOT)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 4
    said = "".join(output.get("text", "") for output in outputs)
    assert "Does the activation function change" in said and "PD depends on the activation" in said

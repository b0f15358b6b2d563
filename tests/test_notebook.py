import nbformat
from nbclient import NotebookClient

from study.files import ROOT

FULL, SHORT = (
    "iterations=40, eval_interval=20",
    "iterations=1, eval_interval=1, eval_windows=8, texts=2, text_length=4",
)
OF_THE_STUDY = ("answer.headline", "answer.verdicts", "findings.against_first")  # what such a cell's code has in it
SHORT_TEXT = "import sys; sys.path.append('tests'); import conftest"  # which shortens the text for its process


def answers(notebook) -> list[str]:
    """What the cells on the committed study print, line by line, but for one on the text, which is shortened here."""
    cells = [cell for cell in notebook.cells if any(name in cell.source for name in OF_THE_STUDY)]
    said = [output.get("text") or output["data"]["text/markdown"] for cell in cells for output in cell.outputs]
    return [line for text in said for line in "".join(text).splitlines() if "character pairs" not in line]


def test_the_notebook_runs_from_top_to_bottom_and_ends_with_the_answer():
    """With one step of training on a part of the text; the answer is that of the committed results."""
    notebook = nbformat.read(ROOT / "experiments.ipynb", as_version=4)
    committed = answers(notebook)
    (training,) = (cell for cell in notebook.cells if FULL in cell.source)
    training.source = training.source.replace(FULL, SHORT)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(SHORT_TEXT))
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(ROOT)}}).execute()
    assert len(committed) > 10 and answers(notebook) == committed
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 4
    said = "".join(output.get("text", "") for output in outputs)
    assert "Does the activation function change" in said and "the margin of 10 %" in said

"""The runner and the files that are there: agreement, taking over, verifying, mending and reproducing."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from runner_calls import CELL, assert_refused, call, snapshot
from runs import ACTIVATIONS, CONFIG, GRID, differing

from study import files
from study.corpus import read_corpus

pytestmark = pytest.mark.usefixtures("runner_here")


# ---------------------------------------------------------------- what counts as done


def test_a_complete_cell_counts_as_done_where_only_its_file_is(clone, capsys):
    before = snapshot(clone)
    assert call(clone, *GRID, "--dry-run") == 0
    out = capsys.readouterr().out
    assert "12 trials of 30 iterations: 12 done, 0 pending" in out
    assert re.search(r"\ncharlm_gelu_tiny +done: 1 2 3  pending: -\n", out)
    assert call(clone, *GRID, "--shard", "2/5", "--dry-run") == 0
    assert "3 trials of this shard of 30 iterations: 3 done, 0 pending" in capsys.readouterr().out
    assert call(clone, *GRID, "--verify") == 0
    assert call(clone, *GRID) == 0
    assert "12 of 12 trials done" in capsys.readouterr().out
    assert snapshot(clone) == before
    assert call(clone, *GRID, "--trials", "4", "--dry-run") == 0
    assert "16 trials of 30 iterations: 0 done, 16 pending" in capsys.readouterr().out
    (clone / "results" / "charlm_gelu_tiny.json").unlink()
    assert call(clone, *GRID, "--dry-run") == 0
    assert "12 trials of 30 iterations: 9 done, 3 pending" in capsys.readouterr().out


def test_the_file_of_a_complete_cell_is_verified(clone, capsys):
    path = clone / "results" / "charlm_gelu_tiny.json"
    path.write_text(path.read_text().replace('"status": "completed"', '"status": "complete!"', 1))
    assert call(clone, *GRID, "--verify") == 1
    assert f"damaged  {path} does not match its checksum\n" in capsys.readouterr().out


def test_a_cell_file_without_a_checksum_is_said_where_nothing_else_is_here_to_check_it(clone, capsys):
    assert call(clone, *GRID, "--verify") == 0
    assert "checksum" not in capsys.readouterr().out
    path = clone / "results" / "charlm_gelu_tiny.json"
    files.write_json(path, files.read_checked(path))
    assert call(clone, *GRID, "--verify") == 0
    said = f"{path} has no checksum, so that an altered number in its bounds is not noticed\n"
    out = capsys.readouterr().out
    assert said in out and out.count("no checksum") == 1


def test_records_decide_where_there_are_any(finished, capsys):
    folder = finished / "results" / "trials" / "charlm_gelu_tiny"
    for number in (1, 2, 3):  # as --verify says to do where a file is damaged
        (folder / f"trial_{number}.json").unlink()
    assert call(finished, *GRID, "--dry-run") == 0
    assert "12 trials of 30 iterations: 9 done, 3 pending" in capsys.readouterr().out


# ---------------------------------------------------------------- agreement with other studies


HERE = (*CELL, "--study", "tiny_here", "--trials", "2")


def without_means(cell: dict) -> dict:
    """The content of a cell file whose trials or pairs were changed; means that do not fit them are refused."""
    return {name: value for name, value in cell.items() if not name.startswith(("mean_", "std_"))}


def test_trials_are_compared_with_those_of_a_published_study(finished, capsys):
    (finished / "results" / "published.txt").write_text("tiny\n")
    assert call(finished, *HERE) == 0
    assert "\n2 of 2 trials have the same bits as the published study tiny\n" in capsys.readouterr().out
    path = finished / "results" / "charlm_gelu_tiny.json"
    cell = files.read_checked(path)
    trial = cell["trials"][1]
    trial |= {"predictions_sha256": "0" * 64, "val_loss": trial["val_loss"] + 0.0013}
    trial["environment"]["code_sha256"] = "1" * 64
    cell["pairs"][0]["relative_pd"] -= 0.02
    files.write_checked(path, without_means(cell))
    assert call(finished, *HERE) == 0
    assert (
        "\n1 of 2 trials have the same bits as the published study tiny; what bits depend on and differs: "
        "code_sha256. Largest difference of validation loss 0.0013 nats, of a cell's mean PD 0.02\n"
    ) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("lacking", "why"),
    [
        (("processor",), "they may come from another machine or other code, of which not all was recorded there"),
        ((), "nothing differs of what bits depend on and is recorded"),
    ],
)
def test_what_is_not_recorded_is_no_cause(finished, capsys, lacking, why):
    path = finished / "results" / "charlm_gelu_tiny.json"
    cell = files.read_checked(path)
    for trial in cell["trials"]:
        trial["predictions_sha256"] = "0" * 64
        trial["environment"] = {name: it for name, it in trial["environment"].items() if name not in lacking}
    files.write_checked(path, without_means(cell))
    assert call(finished, *HERE) == 0
    assert f"\n0 of 2 trials have the same bits as study tiny; {why}. Largest" in capsys.readouterr().out


def test_only_trials_of_the_same_settings_are_compared(finished, capsys):
    assert call(finished, *HERE[:-1], "1", "--seed-base", "7") == 0
    assert "the same bits" not in capsys.readouterr().out
    record = json.loads((finished / "results" / "trials" / "charlm_gelu_tiny_here" / "trial_1.json").read_text())
    assert record["seed"] == record["config"]["seed_base"] == 7


def test_a_copied_cell_is_no_second_opinion(finished, capsys):
    assert call(finished, *HERE, "--reuse", "tiny") == 0
    out = capsys.readouterr().out
    assert "copied from study 'tiny': charlm_gelu_tiny_here\n" in out and "the same bits" not in out
    assert call(finished, *HERE[:-3], "tiny_copy", *HERE[-2:], "--reuse", "tiny_here") == 0
    out = capsys.readouterr().out
    assert "copied from study 'tiny_here': charlm_gelu_tiny_copy\n" in out and "the same bits" not in out


def test_where_another_study_has_the_trial_to_reproduce_it_is_named(clone, capsys):
    asked = (
        "--iterations",
        "30",
        "--eval-interval",
        "10",
        "--reproduce",
        "charlm",
        "gelu",
        "2",
        "--study",
        "tiny_here",
    )
    assert_refused(clone, capsys, asked, "no trial 2 of charlm_gelu_tiny_here .*; with --study tiny there is one")


# ---------------------------------------------------------------- taking over


def read_cell(folder: Path, name: str) -> dict:
    return json.loads((folder / "results" / f"{name}.json").read_text())


def test_cells_of_another_study_with_the_same_settings_are_taken_over(finished, capsys):
    asked = ("--models", "charlm", "--activations", *ACTIVATIONS, "--study", "mine", "--reuse", "tiny")
    said = f"copied from study 'tiny': {', '.join(f'charlm_{name}_mine' for name in ACTIVATIONS)}\n"
    before = snapshot(finished)
    assert call(finished, *CELL[4:], *asked, "--dry-run") == 0
    assert snapshot(finished) == before
    assert call(finished, *CELL[4:], *asked) == 0
    out = capsys.readouterr().out
    assert out.count(said) == 2
    assert "0 trials of 30 iterations: 0 done, 0 pending" in out
    own = {"study": "mine", "taken_from": "tiny", "checksum": None}
    for activation in ACTIVATIONS:
        there, here = (read_cell(finished, f"charlm_{activation}_{study}") for study in ("tiny", "mine"))
        assert here | {"checksum": None} == there | own
    assert call(finished, *CELL[4:], *asked) == 0  # and once more
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "pending"),
    [
        (("--iterations", "20", "--eval-interval", "10"), "3 trials of 20 iterations: 0 done, 3 pending"),
        (
            ("--iterations", "30", "--eval-interval", "10", "--trials", "4"),
            "4 trials of 30 iterations: 0 done, 4 pending",
        ),
        (
            ("--iterations", "30", "--eval-interval", "10", "--vary", "init"),
            "3 trials of 30 iterations: 0 done, 3 pending",
        ),
    ],
)
def test_nothing_is_taken_over_from_other_settings_or_fewer_trials(finished, capsys, options, pending):
    asked = ("--models", "charlm", "--activations", "gelu", "--study", "mine", "--reuse", "tiny")
    assert call(finished, *asked, *options, "--dry-run") == 0
    out = capsys.readouterr().out
    assert "copied from study 'tiny': no cell\n" in out and pending in out


def test_what_is_trained_stays_when_a_study_is_given_to_reuse(finished, capsys):
    asked = ("--models", "charlm", "--activations", "gelu", "--study", "mine", *CELL[4:], "--trials", "2")
    assert call(finished, *asked) == 0
    before = read_cell(finished, "charlm_gelu_mine")
    assert call(finished, *asked, "--reuse", "tiny") == 0
    assert "no cell" in capsys.readouterr().out
    assert read_cell(finished, "charlm_gelu_mine") == before


# ---------------------------------------------------------------- what is not there or cannot be used


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_cuda_without_a_device_is_refused(finished, capsys):
    assert_refused(finished, capsys, ("--device", "cuda"), "no CUDA device is available here")
    assert_refused(finished, capsys, ("--cuda-graphs",), "--cuda-graphs is for CUDA devices, not for cpu")


@pytest.mark.parametrize("content", [None, b"Something else."])
def test_a_corpus_that_is_missing_or_altered_is_refused(finished, tmp_path, monkeypatch, capsys, content):
    corpus = tmp_path / "corpus.txt"
    if content is not None:
        corpus.write_bytes(content)
    monkeypatch.setattr(read_corpus, "__defaults__", (corpus,))
    reason = f"{corpus} {'is missing' if content is None else 'was altered'}.*run ./setup.sh"
    assert_refused(finished, capsys, (*GRID, "--trials", "4"), reason)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is damaged"),
        (b'{"model": "charlm", "act', "is damaged"),
        (b"[]", "is damaged"),
        (b"\xff\xfe", "is damaged"),
        (b'{"model": "charlm", "pairs": []}', "is damaged .Object missing required field `activation`"),
        (b'{"checksum": ""}', "does not match its checksum"),
    ],
)
def test_a_damaged_cell_file_is_refused_and_kept(finished, capsys, content, reason):
    path = finished / "results" / "charlm_swiglu_tiny.json"
    path.write_bytes(content)
    assert_refused(finished, capsys, (*GRID, "--trials", "4"), f"{path} {reason}.*; restore it or remove it")


@pytest.mark.parametrize("option", ["--results-dir", "--checkpoints-dir"])
def test_a_folder_that_cannot_be_written_to_is_refused(finished, capsys, option):
    place = finished / "a file" / "folder"
    place.parent.write_text("in the way")
    assert_refused(
        finished, capsys, ("--study", "new", option, str(place)), f"cannot write to {place}: Not a directory"
    )


# ---------------------------------------------------------------- what a run leaves behind is mended


def test_a_cell_file_that_lacks_trials_is_brought_up_to_date(undisturbed, finished):
    """As after a runner that was killed when a record was there and the cell file was not."""
    (finished / "results" / "charlm_gelu_tiny.json").unlink()
    path = finished / "results" / "tinylstm_swiglu_tiny.json"
    cell = json.loads(path.read_text())
    cell |= {"trials": cell["trials"][:2], "pairs": cell["pairs"][:1], "status": "partial"}
    del cell["checksum"]
    files.write_checked(path, without_means(cell))
    assert call(finished, *GRID, "--verify") == 1
    assert call(finished, *GRID) == 0
    assert not differing(undisturbed, finished)


def test_verify_names_what_is_missing_damaged_or_foreign(finished, capsys):
    assert call(finished, *GRID, "--verify") == 0
    assert "12 trials: 0 missing, 0 damaged, 0 foreign" in capsys.readouterr().out
    trials, checkpoints = finished / "results" / "trials", finished / "checkpoints"
    record, predictions = trials / "charlm_gelu_tiny" / "trial_1.json", trials / "charlm_gelu_tiny" / "trial_2.npz"
    weights = checkpoints / "charlm_swiglu_tiny" / "trial_3.pt"
    record.write_text(record.read_text().replace('"status": "completed"', '"status": "diverged"'))
    for path in (predictions, weights):
        path.write_bytes(path.read_bytes()[:-1])
    (trials / "tinylstm_gelu_tiny" / "trial_2.json").unlink()
    assert call(finished, *GRID, "--verify") == 1
    lines = capsys.readouterr().out.splitlines()
    for kind, what in [
        ("damaged", f"{record} does not match its checksum"),
        ("damaged", f"{predictions} does not match the hash in its record"),
        ("damaged", f"{weights} does not match the hash in its record"),
        ("missing", "tinylstm_gelu_tiny trial 2"),
    ]:
        assert lines.count(f"{kind:8} {what}") == 1
    assert lines[-1].startswith("remove the record")
    assert not any("does not agree" in line for line in lines)
    assert call(finished, *GRID, "--iterations", "31", "--verify") == 1
    assert re.search(
        "foreign  .* was made with other settings .iterations 30 there, 31 here", capsys.readouterr().out
    )


@pytest.mark.parametrize(("change", "code"), [(1 + 1e-14, 0), (1 + 1e-6, 1)])
def test_verify_distinguishes_a_wrong_number_in_a_cell_from_rounding(finished, capsys, change, code):
    path = finished / "results" / "charlm_gelu_tiny.json"
    cell = files.read_checked(path)
    cell["pairs"][1]["breakdown"]["confidence"]["relative_pd"] = [
        value and value * change for value in cell["pairs"][1]["breakdown"]["confidence"]["relative_pd"]
    ]
    files.write_checked(path, cell)
    assert call(finished, *GRID, "--verify") == code
    assert (f"{path} does not agree with its trials (pairs)" in capsys.readouterr().out) == bool(code)


def test_a_trial_can_be_reproduced(finished, capsys):
    options = (
        "--trials",
        "3",
        "--iterations",
        str(CONFIG.iterations),
        "--eval-interval",
        str(CONFIG.eval_interval),
        "--reproduce",
        "charlm",
        "gelu",
        "2",
    )
    before = snapshot(finished)
    assert call(finished, *options) == 0
    assert capsys.readouterr().out.endswith("\nthe same bits\n")
    assert snapshot(finished) == before


def test_verify_looks_at_states_and_knows_whose_files_are_whose(finished, capsys):
    trials, checkpoints = finished / "results" / "trials", finished / "checkpoints"
    folder = trials / "charlm_gelu_tiny"
    shutil.copy(folder / "trial_1.json", folder / "trial_2.json")
    shutil.copy(folder / "trial_1.npz", folder / "trial_2.npz")
    state = checkpoints / "tinylstm_gelu_tiny" / "trial_4.pt"
    state.write_bytes(b"cut off")
    weights = checkpoints / "tinylstm_swiglu_tiny" / "trial_1.pt"
    weights.unlink()
    weights.mkdir()
    assert call(finished, *GRID, "--trials", "4", "--verify") == 1
    out = capsys.readouterr().out
    other = "is of another trial (model charlm activation gelu study tiny trial 1)"
    for line in (
        f"foreign  {folder / 'trial_2.json'} {other}",
        f"damaged  {state} does not match its hash",
        f"damaged  {weights} is not a regular file",
    ):
        assert line in out.splitlines()


def test_a_study_of_another_device_can_be_looked_at_here(finished, monkeypatch, capsys):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for option in ("--dry-run", "--verify"):
        assert call(finished, *GRID, "--study", "none", "--device", "cuda", option) == (option == "--verify")
    assert "12 trials: 12 missing, 0 damaged, 0 foreign" in capsys.readouterr().out
    assert_refused(finished, capsys, (*GRID, "--study", "none", "--device", "cuda"), "no CUDA device is available")


def test_a_record_of_another_trial_is_moved_and_its_trial_trained(undisturbed, finished, capsys):
    folder = finished / "results" / "trials" / "charlm_gelu_tiny"
    shutil.copy(folder / "trial_1.json", folder / "trial_2.json")
    (finished / "results" / "charlm_gelu_tiny.json").unlink()
    assert call(finished, *GRID) == 0
    out = capsys.readouterr().out
    assert "is of another trial" in out and "moved to *.damaged, retraining" in out
    assert (folder / "trial_2.json.damaged").exists()
    assert not differing(undisturbed, finished)

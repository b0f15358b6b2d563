"""A study on the disk in use: what is never overwritten, what is lost under a run, how what is missing comes back."""

import errno
import io
import math
import os
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from made_study import CONFIG, OPTIONS, places, write_trial
from runs import command, run_to_its_end

import run_all_experiments
from runner import cluster, study_run
from runner.verify import verify
from study import files, options, plan, schema, store
from study.cell import check_cell, finished_record, ignore, keep_pairs, update_cell
from study.files import (
    Damaged,
    OtherSettings,
    Unreadable,
    UserError,
    digest,
    write_bytes,
    write_checked,
    write_sealed,
)
from study.pair_files import read_pairs
from study.state import read_state
from study.store import fingerprint
from train import TrialRun


@pytest.fixture(autouse=True)
def tiny_configuration(monkeypatch):
    monkeypatch.setitem(options.CONFIGS, "cpu", CONFIG)


def call(folder, *arguments: str) -> int:
    try:
        return run_all_experiments.main([*OPTIONS, *places(folder), *arguments])
    except SystemExit as stopped:
        return stopped.code


# ---------------------------------------------------------------- what is never overwritten


def test_a_record_of_other_settings_is_kept_though_all_else_is_gone(made, monkeypatch):
    study, cell = made
    study.store.cell_path(cell).unlink()
    study.store.predictions_path(cell, 1).unlink()
    study.store.predictions_path(cell, 2).unlink()
    with monkeypatch.context() as later:
        later.setattr(store, "RECIPE", -1)
        with pytest.raises(OtherSettings, match="trial_1.json was made with other settings"):
            check_cell(study, cell)
        with pytest.raises(OtherSettings, match="trial_2.json was made with other settings"):
            finished_record(study, cell, 2, ignore)
    assert study.store.recorded_trials(cell) == {1, 2}
    assert finished_record(study, cell, 1, ignore) is None  # of these settings: it is trained again


def test_what_cannot_be_read_now_is_not_trained_again(made, monkeypatch):
    study, cell = made

    def no_descriptor(*_):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "open", no_descriptor)
    with pytest.raises(Unreadable, match="Too many open files"):
        finished_record(study, cell, 1, ignore)
    assert study.store.done_trials(cell) == {1, 2}


def changed(value: float) -> np.ndarray:
    """Predictions of which one, at the second evaluation, is ``value``, and the next one makes up for it."""
    p = np.full((3, 40, 65), 1 / 65, np.float32)
    p[1, 5, 7:9] = value, 2 / 65 - value if math.isfinite(value) else 0
    return p


@pytest.mark.parametrize(
    "payload, reason",
    [
        (b"no archive", "has no predictions"),
        (np.zeros((3, 40, 65), np.float64), "float64, 3 axes"),
        (np.zeros((2, 40, 65), np.float32), r"has \(2, 40, 65\) predictions instead of \(3, 40, 65\)"),
        (changed(math.nan), r"that are no probabilities \(row 5, class 7 is nan, not a probability\)$"),
        (changed(math.inf), r"that are no probabilities \(row 5, class 7 is inf, not a probability\)$"),
        (changed(-0.001), r"that are no probabilities \(row 5, class 7 is negative"),
        (np.ones((3, 40, 65), np.float32), r"that are no probabilities \(row 0 sums to 65, not to 1\)$"),
    ],
)
def test_predictions_that_are_none_are_damaged_though_their_hash_is_right(made, payload, reason):
    study, cell = made
    if isinstance(payload, np.ndarray):
        buffer = io.BytesIO()
        np.savez(buffer, probabilities=payload)
        payload = buffer.getvalue()
    record = study.store.read_record(cell, 1) | {"predictions_sha256": digest(payload)}
    write_bytes(study.store.predictions_path(cell, 1), payload)
    with pytest.raises(Damaged, match=reason):
        study.store.predictions_of(cell, 1, record)
    study.store.write_record(cell, 1, record)
    assert any(kind == "damaged" and re.search(reason, what) for kind, what in verify(study, [(cell, 1)]))
    update_cell(study, cell)
    assert study.store.done_trials(cell) == {2}
    assert study.store.predictions_path(cell, 1).with_name("trial_1.npz.damaged").exists()


def test_a_diverged_trial_may_have_predictions_that_are_no_probabilities(made):
    study, cell = made
    sha256 = study.store.write_predictions(cell, 1, [0, 3, 6], changed(math.nan))
    record = study.store.read_record(cell, 1) | {"status": "diverged", "predictions_sha256": sha256}
    assert np.isnan(study.store.predictions_of(cell, 1, record)[1][5, 7])


@pytest.mark.parametrize("barriers", [[], {"2": "high"}, {"2": -1.0}, {"two": 1.0}])
def test_barriers_that_are_none_are_damaged(made, barriers):
    study, cell = made
    study.store.write_record(cell, 1, study.store.read_record(cell, 1) | {"barriers": barriers})
    with pytest.raises(Damaged, match="barriers"):
        study.store.read_record(cell, 1)


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"probe_contexts": 20}, "foreign  {record} was made with other settings (probe_contexts 20 there, 40 here)"),
        (None, "damaged  {record} is damaged (config: Object missing required field `probe_contexts`)"),
    ],
)
def test_a_record_of_other_settings_with_predictions_of_its_own_is_named(made, tmp_path, capsys, changes, said):
    """They cannot be compared with those of the other trials."""
    study, cell = made
    p = study.store.predictions_of(cell, 1, study.store.read_record(cell, 1))
    record = study.store.read_record(cell, 1)
    record["predictions_sha256"] = study.store.write_predictions(cell, 1, [0, 3, 6], [each[:20] for each in p])
    facts = record["config"] | (changes or {})
    if changes is None:
        del facts["probe_contexts"]
    study.store.write_record(cell, 1, record | {"config": facts, "fingerprint": fingerprint(facts)})
    assert call(tmp_path, "--verify") == 1
    assert said.format(record=study.store.record_path(cell, 1)) in capsys.readouterr().out


# ---------------------------------------------------------------- states


def test_a_state_that_is_none_is_damaged_and_nothing_of_it_is_used(made):
    study, cell = made
    run = TrialRun(study, cell, 3)
    run.evaluate()
    run.save()
    path = run.checkpoint_path
    state = torch.load(io.BytesIO(files.read_sealed(path)), weights_only=True)
    last = state["model"]
    first, *_ = last
    nameless = {name: value for name, value in state["config"].items() if name != "vocabulary_size"}

    def seal(changed: object) -> None:
        buffer = io.BytesIO()
        torch.save(changed, buffer)
        write_sealed(path, buffer.getvalue())

    wrong = {
        "Expected `object`, got `array`": [1, 2],
        "Object missing required field `step`": {name: value for name, value in state.items() if name != "step"},
        "config: Object missing required field `vocabulary_size`": state
        | {"config": nameless, "fingerprint": fingerprint(nameless)},
        "fingerprint: not that of its config": state | {"config": state["config"] | {"batch_size": 7}},
        "step: 5 after an evaluation at 0": state | {"step": 5},
        "history.train_loss: not a loss for each step": state | {"history": state["history"] | {"train_loss": []}},
        "predictions: not of type and shape": state | {"predictions": state["predictions"][:, 1:]},
        "finite: not of type and shape": state | {"finite": True},
        "model, optimizer: not those": state | {"model": state["model"] | {first: torch.zeros(1)}},
        "(model, optimizer: not": state | {"optimizer": {"state": {}, "param_groups": []}},
        "model, optimizer: not": state | {"model": {name: value + 1 for name, value in last.items()}, "step": 1},
    }
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    for reason, changed in wrong.items():
        seal(changed)
        with pytest.raises(Damaged, match=re.escape(reason)):
            run.take_over(path, run.read(path))
    write_sealed(path, b"not a state at all")
    with pytest.raises(Damaged, match="is no saved state"):
        run.take_over(path, run.read(path))
    assert all(torch.equal(value, before[name]) for name, value in run.model.state_dict().items())
    seal(state)
    run.take_over(path, run.read(path))


# ---------------------------------------------------------------- what is said


def test_a_dry_run_checks_folders_and_scheduler_and_writes_nothing(made, tmp_path, capsys, monkeypatch):
    def listed() -> set:
        return {path for path in tmp_path.rglob("*")}

    before = listed()
    assert call(tmp_path, "--dry-run") == 0
    assert call(tmp_path, "--dry-run", "--checkpoints-dir", str(tmp_path / "new" / "folder")) == 0
    in_a_file = study_run.__file__ + "/results"
    assert call(tmp_path, "--dry-run", "--checkpoints-dir", in_a_file) == 2
    assert capsys.readouterr().err.count(f"cannot write to {in_a_file}: Not a directory\n") == 1
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert call(tmp_path, "--dry-run") == 2
    assert f"{tmp_path / 'results'} may not be written to\n" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.setitem(options.CONFIGS, "cpu", CONFIG)

    def nobody(address, tls):
        raise UserError(f"no scheduler answers at {address}")

    monkeypatch.setattr(cluster, "connect", nobody)
    assert call(tmp_path, "--dry-run", "--scheduler", "tcp://127.0.0.1:1") == 2
    assert "no scheduler answers at tcp://127.0.0.1:1\n" in capsys.readouterr().err
    assert listed() == before


def test_verify_says_how_missing_weights_come_back(made, tmp_path, capsys):
    study, cell = made
    assert call(tmp_path, "--verify") == 1
    weights, record = study.store.checkpoint_path(cell, 1), study.store.record_path(cell, 1)
    assert f"missing  {weights} (weights; remove {record} and run again to make them anew" in capsys.readouterr().out


def test_a_landscape_asked_for_too_late_is_said(made, tmp_path, capsys):
    study, cell = made
    for number, said in ((1, "2 finished trials have no landscape, "), (2, "1 finished trial has no landscape, ")):
        for asked in (True, False):
            assert call(tmp_path, "--dry-run", "--trials", "2", *(["--landscape"] if asked else [])) == 0
            assert (said in capsys.readouterr().out) == asked
        content = study.store.read_cell(cell)
        content["trials"][number - 1]["curvature"] = 2.0
        study.store.write_cell(cell, content)
    assert call(tmp_path, "--dry-run", "--trials", "2", "--landscape") == 0
    assert "landscape" not in capsys.readouterr().out


def test_verify_looks_at_the_summary(made, tmp_path, capsys):
    path = tmp_path / "results" / files.SUMMARY_NAME
    path.write_text('{"studies": {"tiny": []}}')
    assert call(tmp_path, "--verify") == 1
    said = capsys.readouterr().out
    assert (
        f"damaged  {path} is damaged (studies[...]: Expected `object`, got `array`); python analyze_results.py"
        in said
    )


@pytest.mark.parametrize("option", ["--results-dir", "--checkpoints-dir", "--started-file"])
def test_an_empty_path_is_refused(tmp_path, capsys, option):
    assert call(tmp_path, option, "") == 2
    assert f"{option}: the value is empty" in capsys.readouterr().err


def test_too_many_open_files_are_one_line(made, tmp_path, capsys, monkeypatch):
    def no_descriptor(*_):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(run_all_experiments, "run_study", no_descriptor)
    assert call(tmp_path) == 2
    assert capsys.readouterr().err == "run_all_experiments.py: error: [Errno 24] Too many open files\n"


def test_a_low_limit_of_open_files_is_one_line(tmp_path):
    """In a process that has too few of them to talk to workers."""
    limited = ["bash", "-c", 'ulimit -n 8; exec "$@"', "bash"]
    done = run_to_its_end([*limited, *command(tmp_path, "--models", "charlm", "--activations", "gelu")])
    said = "run_all_experiments.py: error: [Errno 24] Too many open files\n"
    assert (done.returncode, done.stderr) == (2, said)


def test_a_stray_file_does_not_keep_a_study_from_being_reused(made, tmp_path, capsys):
    (tmp_path / "results" / "notes.json").write_text("{")
    assert call(tmp_path, "--study", "mine", "--reuse", "tiny", "--dry-run") == 0
    captured = capsys.readouterr()
    assert "to be copied from study 'tiny': charlm_gelu_mine" in captured.out and "left out: " in captured.err


def test_a_cell_without_a_checksum_is_read_and_an_altered_one_is_not(made):
    study, cell = made
    path = study.store.cell_path(cell)
    content = study.store.read_cell(cell)
    files.write_json(path, content)
    assert study.store.read_cell(cell) == content
    write_checked(path, content | {"pairs": content["pairs"] * 2})
    with pytest.raises(Damaged, match=re.escape("pairs[1].trials: the pair [1, 2] twice")):
        study.store.read_cell(cell)
    assert plan.finished_trials(study, cell) == {1, 2}


# ---------------------------------------------------------------- what is declared


LATER = {"optimizer": "muon", "betas": (0.9, 0.95), "weight_decay": 0.1, "schedule": "cosine", "warm_up": 0.1}
LATER |= {"floor": 0.1, "clip_norm": 1.0, "muon_rate": 0.01, "contexts_between": 20}


def test_everything_that_is_written_is_declared(made):
    """What is not is let through, whatever it holds."""
    study, cell = made
    write_trial(study, cell, 3)
    keep_pairs(study, cell, 3)
    run = TrialRun(study, cell, 4)
    run.evaluate()
    run.save()
    content, record = study.store.read_cell(cell), study.store.read_record(cell, 3)
    facts = replace(study, config=replace(study.config, **LATER)).identity(cell)
    assert facts.keys() >= {*LATER, "recipe", "torch"}
    written = [
        (schema.CellForm, content),
        (schema.TrialForm, content["trials"][0]),
        (schema.RecordForm, record),
        (schema.PairsForm, read_pairs(study.store, cell, 3)),
        (schema.PairForm, content["pairs"][0]),
        (schema.OtherContexts, content["pairs"][0]["different_contexts"]),
        (schema.Groups, content["pairs"][0]["breakdown"]["confidence"]),
        (schema.StateForm, read_state(run.checkpoint_path, run.facts, 4, "cpu")),
        *((schema.Config, config) for config in (facts, record["config"])),
    ]
    for form, found in written:
        assert found.keys() <= set(form.__struct_fields__)

"""A study on the disk in use: what is never overwritten, what is lost under a run, how what is missing comes back."""

import errno
import io
import math
import os
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from made_study import CONFIG, OPTIONS, make_study, places, write_trial
from runs import command, run_to_its_end

import analyze_results
import run_all_experiments
from runner import cluster, study_run
from runner.progress import Progress
from runner.verify import verify
from runner.workers import Event
from study import compact, files, options, plan, schema, store
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
from study.plan import Plan, planned_jobs
from study.state import read_state
from study.store import fingerprint
from train import TrialRun


@pytest.fixture(autouse=True)
def tiny_configuration(monkeypatch):
    monkeypatch.setitem(options.CONFIGS, "cpu", CONFIG)


@pytest.fixture
def made(tmp_path):
    return make_study(tmp_path)


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


# ---------------------------------------------------------------- how a run begins and ends


def run_with(study, backend, pending, started_file=None) -> int:
    return study_run.run_study(
        study, Plan(planned_jobs(study, ["charlm"], ["gelu"]), pending, {}), backend, started_file
    )


def test_results_removed_under_a_run_are_not_counted_as_done(made, capsys):
    study, cell = made
    write = write_trial

    def backend(jobs, on_event, should_stop):
        for job in jobs:
            write(study, *job)
            on_event(Event(job, "done", "completed"))
            study.store.record_path(*job).unlink()

    study.store.record_path(cell, 2).unlink()
    assert run_with(study, backend, [(cell, 2)]) == 1
    said = capsys.readouterr().out
    assert "1 of 2 trials done" in said
    assert f"lost: {cell.name} trial 2, whose results were removed while the run went on; run again\n" in said


def test_a_cell_file_removed_under_a_run_is_said(made, capsys):
    study, cell = made
    assert run_with(study, lambda *_: study.store.cell_path(cell).unlink(), []) == 1
    assert f"lost: {study.store.cell_path(cell)}, which was removed" in capsys.readouterr().out
    assert run_with(study, lambda *_: None, []) == 0  # which writes it again


def test_a_run_says_by_a_file_that_it_has_begun(made, tmp_path, monkeypatch):
    study, _ = made
    started = tmp_path / "started"
    seen = []
    run_with(study, lambda *_: seen.append(started.read_text()), [], started)
    assert seen == [f"{os.getpid()}\n"]
    started.unlink()

    def refuse(folder):
        raise UserError(f"cannot write to {folder}")

    monkeypatch.setattr(study_run, "check_writable", refuse)
    with pytest.raises(UserError):
        run_with(study, lambda *_: None, [], started)
    assert not started.exists()


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


def test_steps_made_by_an_earlier_run_are_told_from_those_of_this_one(made, capsys):
    study, cell = made
    for report, known in (({"resumed": True}, False), ({}, True)):
        going = Progress(study, Plan([(cell, 1)], [(cell, 1)], {}))
        going.on_event(Event((cell, 1), "progress", progress={"step": 3, "note": "what happened", **report}))
        assert ("time left unknown yet" not in capsys.readouterr().out) == known


def test_the_time_left_is_not_told_from_less_than_a_twentieth_of_a_trial(made, capsys):
    study, cell = made
    long = replace(study, config=replace(study.config, iterations=100))
    going = Progress(long, Plan([(cell, 1)], [(cell, 1)], {}))
    for step, known in ((4, False), (5, True)):
        going.on_event(Event((cell, 1), "progress", progress={"step": step, "note": "what happened"}))
        assert ("time left unknown yet" not in capsys.readouterr().out) == known


def test_stale_drafts_of_killed_writers_are_removed_at_the_start(made):
    study, cell = made
    drafts = [study.store.record_path(cell, 1), study.store.checkpoint_path(cell, 1), study.store.cell_path(cell)]
    for path in drafts:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(path.name + ".part")
        draft.write_text("")
        os.utime(draft, (1, 1))
    assert run_with(study, lambda *_: None, []) == 0
    assert not [path for path in study.store.results.parent.rglob("*.part")]


# ---------------------------------------------------------------- what is said


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
    assert "copied from study 'tiny': charlm_gelu_mine" in captured.out and "left out: " in captured.err


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


# ---------------------------------------------------------------- pairs of an earlier version


def of_an_earlier_version(pair: dict) -> dict:
    """As it was when fewer metrics were followed and no grouping had stretches of text."""
    history = {name: pair["history"][name] for name in ("step", "relative_pd", "top1_mismatches")}
    breakdown = {name: groups for name, groups in pair["breakdown"].items() if name != "text_block"}
    rest = {name: value for name, value in pair.items() if name != "hellinger"}
    return rest | {"history": history, "breakdown": breakdown}


def made_earlier(study, cell) -> dict:
    """Rewrite the cell file so; returns what it was."""
    content = study.store.read_cell(cell)
    study.store.write_cell(cell, content | {"pairs": [of_an_earlier_version(pair) for pair in content["pairs"]]})
    return content


def test_pairs_of_an_earlier_version_are_computed_again_beside_new_ones(made):
    study, cell = made
    earlier = made_earlier(study, cell)
    write_trial(study, cell, 3)
    update_cell(study, cell)
    found = study.store.read_cell(cell)
    assert len(found["pairs"]) == 3 and found["pairs"][0] == earlier["pairs"][0]
    assert list(verify(study, [(cell, 3)]))[-1][1].endswith("results do not need them)")  # weights, and nothing else


def test_pairs_of_an_earlier_version_are_kept_where_their_predictions_are_gone(made, tmp_path, capsys):
    study, cell = made
    made_earlier(study, cell)
    shutil.rmtree(study.store.trials_dir(cell))  # as in a clone
    before = study.store.read_cell(cell)
    for number in (3, 4):
        write_trial(study, cell, number)
    update_cell(study, cell)
    first, second = study.store.read_cell(cell)["pairs"]
    assert first == before["pairs"][0] and second["trials"] == [3, 4]
    assert "text_block" in second["breakdown"] and "jensen_shannon" in second["history"]
    options = ["--results-dir", str(tmp_path / "results"), "--plots-dir", str(tmp_path / "plots"), "--tables", "all"]
    assert analyze_results.main([*options, "--all-figures"]) == 0
    assert capsys.readouterr().err == ""


def test_what_is_pooled_is_counted_once_though_its_pairs_are_computed_again(made, monkeypatch):
    monkeypatch.setattr(compact, "MOST_WHOLE_PAIRS", 2)
    study, cell = made
    write_trial(study, cell, 3)
    update_cell(study, cell)
    content = study.store.read_cell(cell)
    for pair in content["pairs"]:
        del pair["history"]["jensen_shannon"], pair["hellinger"]
    study.store.write_cell(cell, content)
    write_trial(study, cell, 4)
    update_cell(study, cell)
    found = study.store.read_cell(cell)
    study.store.cell_path(cell).unlink()
    update_cell(study, cell)
    at_once = study.store.read_cell(cell)
    assert found["pairs"] == at_once["pairs"] and "jensen_shannon" in found["pairs"][0]["history"]
    for grouping, groups in at_once["pooled"].items():
        assert found["pooled"][grouping]["n_predictions"] == groups["n_predictions"]
        assert sum(groups["n_predictions"]) == 6 * 40


def test_a_cell_that_has_grown_is_verified_and_has_the_mean_of_one_made_at_once(made, monkeypatch):
    monkeypatch.setattr(compact, "MOST_WHOLE_PAIRS", 2)
    study, cell = made
    path = study.store.cell_path(cell)
    for number in (3, 4):
        write_trial(study, cell, number)
        update_cell(study, cell)
    grown, content = path.read_bytes(), study.store.read_cell(cell)
    update_cell(study, cell)
    assert path.read_bytes() == grown
    assert not [what for kind, what in verify(study, [(cell, number) for number in range(1, 5)]) if kind == "damaged"]
    path.unlink()
    update_cell(study, cell)
    assert study.store.read_cell(cell)["mean_relative_pd"] == content["mean_relative_pd"]


def test_pairs_with_unlike_groupings_are_not_pooled(made, monkeypatch):
    monkeypatch.setattr(compact, "MOST_WHOLE_PAIRS", 0)
    study, cell = made
    content = study.store.read_cell(cell)
    (pair,) = content["pairs"]
    unlike = content | {"pairs": [of_an_earlier_version(pair), pair]}
    assert compact.compact(unlike) is unlike
    assert "pooled" in compact.compact(content)


def test_what_could_not_be_read_again_is_not_written(made):
    study, cell = made
    path, content = study.store.cell_path(cell), study.store.read_cell(cell)
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"is left as it is.*pairs\[1\].trials: the pair \[1, 2\] twice"):
        study.store.write_cell(cell, content | {"pairs": content["pairs"] * 2})
    assert path.read_bytes() == before


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

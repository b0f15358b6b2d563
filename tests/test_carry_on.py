"""A finished study that is asked for more iterations: the same bits as if it had been asked for them at first."""

from dataclasses import replace
from pathlib import Path

import pytest
from tiny_trials import assert_same_trial, elsewhere, with_config

import train
from runner import verify
from study import carry_on
from study.files import OtherSettings, UserError
from study.locks import exclusive
from study.options import CONFIGS
from study.plan import Study, finished_trials
from study.store import check_identity, continues, fingerprint
from training.dataset import whole_split

NAMES = ("nanotransformer", "relu")


@pytest.fixture(autouse=True)
def short_ends(monkeypatch):
    """At the end of a trial little is measured, which would take most of the time."""
    monkeypatch.setattr(train, "text_noise", lambda config: [])
    monkeypatch.setattr(train, "whole_split", lambda tokens, config: [next(iter(whole_split(tokens, config)))])


@pytest.fixture
def short(tiny_study) -> Study:
    """A study of two trials that ends between two evaluations."""
    study = with_config(tiny_study, iterations=4, eval_interval=3)
    for number in (1, 2):
        train.run_trial(study, study.cell(*NAMES), number)
    return study


def longer(study: Study) -> Study:
    return with_config(study, iterations=7)


def snapshot(study: Study) -> dict[Path, bytes]:
    folder = study.store.results.parent
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"}


def test_it_comes_out_as_an_uninterrupted_one_and_what_there_was_is_kept(short, monkeypatch, capsys):
    more, undisturbed, cell = longer(short), elsewhere(longer(short), "undisturbed"), short.cell(*NAMES)
    before = short.store.read_cell(cell)
    assert finished_trials(short, cell) == {1, 2} and finished_trials(more, cell) == set()
    steps, advance = [], train.TrialRun.advance
    monkeypatch.setattr(train.TrialRun, "advance", lambda run: steps.append(run.step) or advance(run))
    monkeypatch.setitem(CONFIGS, "cpu", more.config)
    places = ("--results-dir", str(more.store.results), "--checkpoints-dir", str(more.store.checkpoints))
    assert train.main(["--model", NAMES[0], "--activation", NAMES[1], "--config", "cpu", *places]) == 0
    out = capsys.readouterr().out
    assert "nanotransformer_relu_tiny is carried on from step 4: trials 1 2\n" in out
    assert "its results after 4 steps are kept as study 'tiny_after_4'\n" in out
    assert steps == [4, 5, 6] * 2
    train.run_trial(undisturbed, cell, 1)
    assert_same_trial(more, undisturbed, NAMES)
    kept = replace(cell, study="tiny_after_4")
    assert short.store.read_cell(kept) == before | {"study": "tiny_after_4"}
    old = replace(short, config=replace(short.config, study="tiny_after_4"))
    assert not list(verify.verify(old, [(kept, 1), (kept, 2)])) and not list(verify.verify(more, [(cell, 1)]))


def test_it_can_be_interrupted_and_asked_for_again(short, monkeypatch):
    cell, kept = short.cell(*NAMES), replace(short.cell(*NAMES), study="tiny_after_4")
    whole = short.store.read_cell(cell)
    for harmed in ("write_cell", "write_record"):

        def fail(*_) -> None:
            raise OSError("no space")

        with monkeypatch.context() as full, pytest.raises(OSError, match="no space"):
            full.setattr(type(short.store), harmed, fail)
            carry_on.carry_on(longer(short), cell)
    carry_on.carry_on(longer(short), cell)
    carry_on.carry_on(longer(short), cell)  # as another run at the same time does
    assert short.store.read_cell(cell) is None and not short.store.done_trials(cell)
    assert short.store.read_cell(kept) == whole | {"study": kept.study} and short.store.done_trials(kept) == {1, 2}
    run = train.TrialRun(longer(short), cell, 2)
    assert run.resume() == "continued at step 4" and run.history["step"] == [0, 3] and len(run.predictions) == 2


def test_carrying_on_again_with_fewer_trials_keeps_what_was_kept(short):
    cell, more = short.cell(*NAMES), longer(short)
    kept = replace(cell, study="tiny_after_4")
    carry_on.carry_on(more, cell)
    whole, fewer = short.store.read_cell(kept), with_config(short, n_trials=1)
    train.run_trial(fewer, cell, 1)
    carry_on.carry_on(longer(fewer), cell)
    assert short.store.read_cell(kept) == whole and short.store.done_trials(kept) == {1, 2}
    train.run_trial(fewer, cell, 1)
    whole["trials"][0]["predictions_sha256"] = "0" * 64
    short.store.write_cell(kept, whole)
    with pytest.raises(UserError, match="has other trials and is in the way"):
        carry_on.carry_on(longer(fewer), cell)
    assert short.store.done_trials(cell) == {1} and short.store.read_cell(kept) == whole


def test_a_trial_that_another_run_has_in_work_is_waited_for_though_it_has_no_record(short):
    cell, before = short.cell(*NAMES), snapshot(short)
    with exclusive(short.store.lock_path(cell, "trial_3")):
        with pytest.raises(UserError, match="another run has trial 3 of .* in work; wait for its end"):
            carry_on.carry_on(longer(short), cell)
        assert snapshot(short) == before


def test_more_steps_of_more_or_fewer_trials_leave_what_is_kept_complete(short):
    cell, more = short.cell(*NAMES), longer(short)
    fewer = with_config(more, n_trials=1)
    said = carry_on.continuation_of(more, cell).describe(fewer)
    assert said[0].endswith("is carried on from step 4: trial 1")
    carry_on.carry_on(with_config(more, n_trials=4), cell)
    kept = short.store.read_cell(replace(cell, study="tiny_after_4"))
    assert (kept["status"], kept["planned_trials"], len(kept["trials"])) == ("completed", 2, 2)


def test_a_damaged_first_record_does_not_keep_a_study_from_being_carried_on(short):
    cell, more, notes = short.cell(*NAMES), longer(short), []
    path = short.store.record_path(cell, 1)
    path.write_bytes(path.read_bytes()[:-40])
    assert carry_on.continuation_of(more, cell).going_on == [1, 2]
    carry_on.carry_on(more, cell, lambda progress: notes.append(progress["note"]))
    assert len(notes) == 1 and "trial_1.json is damaged" in notes[0]
    assert short.store.done_trials(replace(cell, study="tiny_after_4")) == {2}


def test_what_it_costs_is_said_where_states_are_gone(short):
    cell, more = short.cell(*NAMES), longer(short)
    short.store.last_state_path(cell, 2).unlink()
    lines = carry_on.continuation_of(more, cell).describe(more)
    assert lines[0].endswith("is carried on from step 4: trial 1")
    assert lines[1].startswith(f"{cell.name} trial 2 from the start, having no last state: 1 x 7 steps, about ")
    short.store.last_state_path(cell, 1).unlink()
    before = snapshot(short)
    with pytest.raises(OtherSettings, match=r"has 4 steps of each trial, and no last state .* costs 2 x 7 steps"):
        carry_on.continuation_of(more, cell)
    assert snapshot(short) == before


def test_a_diverged_cell_does_not_keep_a_study_from_being_carried_on(tiny_study, monkeypatch):
    monkeypatch.setattr(train.TrialRun, "diverged", True)
    cell, more = tiny_study.cell(*NAMES), longer(tiny_study)
    train.run_trial(tiny_study, cell, 1)
    lines = carry_on.continuation_of(more, cell).describe(more)
    assert lines[0].startswith("nanotransformer_relu_tiny trial 1 from the start, having no last state: 1 x 7 steps")
    carry_on.carry_on(more, cell)
    kept = replace(cell, study="tiny_after_6")
    assert tiny_study.store.done_trials(kept) == {1} and not tiny_study.store.done_trials(cell)
    assert train.run_trial(more, cell, 1)["status"] == "diverged"


def test_published_results_and_those_in_the_way_stay(short):
    cell, more = short.cell(*NAMES), longer(short)
    kept = replace(cell, study="tiny_after_4")
    other = with_config(short, dropout=0.5).identity(cell)
    in_the_way = {"study": kept.study, "config": other, "fingerprint": fingerprint(other)}
    short.store.write_cell(kept, short.store.read_cell(cell) | in_the_way)
    before = snapshot(short)
    with pytest.raises(UserError, match="is of other settings and in the way"):
        carry_on.carry_on(more, cell)
    assert snapshot(short) == before
    (short.store.results / "published.txt").write_text("tiny\n")
    assert carry_on.continuation_of(more, cell) is None
    with pytest.raises(OtherSettings, match="iterations 4 there, 7 here"):
        train.check_cell(more, cell)


def test_fewer_steps_and_other_settings_are_refused_and_a_schedule_is_named(tiny_study):
    facts = tiny_study.identity(tiny_study.cell(*NAMES))

    def refusal(there: dict, here: dict) -> str:
        with pytest.raises(OtherSettings) as refused:
            check_identity(Path("cell.json"), {"config": there, "fingerprint": fingerprint(there)}, here)
        return str(refused.value)

    more = facts | {"iterations": 100}
    cosine = {"schedule": "cosine"}
    assert "follows from how many steps" in refusal(facts | cosine, more | cosine)
    for there, here in [(more, facts), (facts, more | {"dropout": 0.5}), (facts | cosine, more), (facts, more)]:
        assert "follows from how many steps" not in refusal(there, here)
    assert continues(facts, more)
    for there, here in [(facts | cosine, more | cosine), (more, facts), (facts | {"dropout": 0.5}, more)]:
        assert not continues(there, here)

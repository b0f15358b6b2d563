"""How a run begins and ends: what is said of the time left, of what was removed under it, and of drafts."""

import os
from dataclasses import replace

import pytest
from made_study import write_trial

from runner import study_run
from runner.progress import Progress
from runner.workers import Event
from study.files import UserError
from study.plan import Plan, planned_jobs


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


def test_what_another_run_has_finished_meanwhile_is_done(made, capsys):
    study, cell = made

    def backend(jobs, on_event, should_stop):
        for number in (2, 3):
            on_event(Event((cell, number), "busy"))
        write_trial(study, cell, 2)

    study.store.record_path(cell, 2).unlink()
    more = replace(study, config=replace(study.config, n_trials=3))
    assert run_with(more, backend, [(cell, 2), (cell, 3)]) == 0
    said = capsys.readouterr().out
    assert "2 of 3 trials done, 0 failed" in said and "\n1 trial done by another run meanwhile\n" in said
    assert "\n1 trial left to another run, which is training it\n" in said


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


def test_the_time_left_is_without_trials_that_another_run_has(made, monkeypatch, capsys):
    study, cell = made
    jobs, now = [(cell, 1), (cell, 2)], [0.0]
    monkeypatch.setattr("runner.progress.time.monotonic", lambda: now[0])
    going = Progress(study, Plan(jobs, jobs, {}))

    def left_after(*events: Event) -> str:
        for event in events:
            going.on_event(event)
        going.on_event(Event((cell, 1), "progress", progress={"step": 3, "note": "half"}))
        return capsys.readouterr().out.splitlines()[-1].rpartition("about ")[2]

    now[0] = 10.0
    busy = Event((cell, 2), "busy")
    assert left_after() == "0:00:30 left"
    assert left_after(busy, busy) == "0:00:10 left"
    here_after_all = Event((cell, 2), "progress", progress={"step": 0, "note": "begins"})
    assert left_after(here_after_all) == "0:00:30 left"


def test_stale_drafts_of_killed_writers_are_removed_at_the_start(made):
    study, cell = made
    drafts = [study.store.record_path(cell, 1), study.store.checkpoint_path(cell, 1), study.store.cell_path(cell)]
    for path in drafts:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(path.name + ".12-0123abcd.part")
        draft.write_text("")
        os.utime(draft, (1, 1))
    assert run_with(study, lambda *_: None, []) == 0
    assert not [path for path in study.store.results.parent.rglob("*.part")]

"""A trial that was stopped, killed or damaged: exact resume, and what is never trusted."""

import json
from dataclasses import replace

import pytest
from tiny_trials import CELL, assert_same_trial, elsewhere, notes_of_run, run, run_until, with_config

import train
from study import plan
from study.files import Busy, Damaged, OtherSettings, read_checked, write_checked
from study.locks import exclusive
from study.store import Store
from training.dataset import whole_split


@pytest.mark.parametrize("architecture", ["charlm", "tinylstm"])
@pytest.mark.parametrize("stops", [[1], [3], [2, 1, 2]])
def test_interrupted_and_resumed_equals_uninterrupted(tiny_study, architecture, stops):
    names = (architecture, "smelu_1")
    undisturbed = elsewhere(tiny_study, "undisturbed")
    run(undisturbed, names=names)
    for steps in stops:
        run_until(tiny_study, steps, names=names)
        assert not tiny_study.store.done_trials(tiny_study.cell(*names))
    assert f"continued at step {sum(stops)}" in notes_of_run(tiny_study, names=names)
    assert_same_trial(tiny_study, undisturbed, names)


def test_a_killed_trial_goes_on_from_what_was_saved_by_time(tiny_study, monkeypatch):
    """The state is older than the last evaluation, which is made again."""
    undisturbed = elsewhere(tiny_study, "undisturbed")
    run(undisturbed)
    clock, advance, saves, save = [0.0], train.TrialRun.advance, [], train.TrialRun.save

    def killed_at_five(trial):
        if trial.step == 5:
            raise KeyboardInterrupt
        advance(trial)
        clock[0] += plan.SAVE_EVERY / 2

    with monkeypatch.context() as patch:
        patch.setattr(train.time, "monotonic", lambda: clock[0])
        patch.setattr(train.TrialRun, "advance", killed_at_five)
        patch.setattr(train.TrialRun, "save", lambda trial: saves.append(trial.step) or save(trial))
        with pytest.raises(KeyboardInterrupt):
            run(tiny_study)
    assert saves == [2, 4]
    tiny_study.store.checkpoint_path(tiny_study.cell(*CELL), 1).unlink()
    evaluated, evaluate = [], train.TrialRun.evaluate
    monkeypatch.setattr(train.TrialRun, "evaluate", lambda trial: evaluated.append(trial.step) or evaluate(trial))
    assert "continued at step 2" in notes_of_run(tiny_study) and evaluated == [3, 6]
    assert_same_trial(tiny_study, undisturbed)


@pytest.mark.parametrize("harm", ["truncated", "flipped", "empty"])
def test_a_damaged_checkpoint_is_reported_and_never_trusted(tiny_study, monkeypatch, harm):
    undisturbed = elsewhere(tiny_study, "undisturbed")
    run(undisturbed)
    monkeypatch.setattr(plan, "SAVE_EVERY", 0)
    run_until(tiny_study, 2)
    path = tiny_study.store.checkpoint_path(tiny_study.cell(*CELL), 1)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes({"truncated": content[:1000], "flipped": content, "empty": b""}[harm])
    (note,) = notes_of_run(tiny_study)
    assert note.endswith("does not match its hash; moved to trial_1.pt.damaged; continued at step 1")
    assert path.with_name(path.name + ".damaged").exists()
    assert_same_trial(tiny_study, undisturbed)


def test_where_every_state_is_damaged_a_trial_starts_again(tiny_study, monkeypatch):
    undisturbed = elsewhere(tiny_study, "undisturbed")
    run(undisturbed)
    monkeypatch.setattr(plan, "SAVE_EVERY", 0)
    run_until(tiny_study, 2)
    place = tiny_study.cell(*CELL), 1
    for path in (tiny_study.store.checkpoint_path(*place), tiny_study.store.previous_state_path(*place)):
        path.write_bytes(path.read_bytes()[:-1])
    assert notes_of_run(tiny_study)[-1].endswith("moved to trial_1.pt.previous.damaged; training from the start")
    assert_same_trial(tiny_study, undisturbed)


def test_the_state_of_another_trial_is_never_trusted(tiny_study):
    undisturbed = elsewhere(tiny_study, "undisturbed")
    run(undisturbed, 2)
    run_until(tiny_study, 2)
    cell, store = tiny_study.cell(*CELL), tiny_study.store
    store.checkpoint_path(cell, 1).rename(store.checkpoint_path(cell, 2))
    (note,) = notes_of_run(tiny_study, 2)
    assert "is of another trial; moved to trial_2.pt.damaged; training from the start" in note
    theirs = run(undisturbed, 2)  # which is there, so that it is read
    assert store.read_record(cell, 2)["predictions_sha256"] == theirs["predictions_sha256"]


@pytest.mark.parametrize("kind", ["json", "npz"])
def test_a_finished_trial_that_was_damaged_is_trained_again(tiny_study, kind):
    undisturbed = elsewhere(tiny_study, "undisturbed")
    run(undisturbed)
    run(tiny_study)
    folder = tiny_study.store.trials_dir(tiny_study.cell(*CELL))
    path = folder / f"trial_1.{kind}"
    path.write_bytes(path.read_bytes()[:-40])
    run(tiny_study)
    assert (folder / f"trial_1.{kind}.damaged").exists()
    assert_same_trial(tiny_study, undisturbed)


def test_predictions_of_another_trial_are_never_taken(tiny_study):
    for number in (1, 2):
        run(tiny_study, number)
    cell, store = tiny_study.cell(*CELL), tiny_study.store
    record = store.read_record(cell, 1)
    assert len(store.predictions_of(cell, 1, record)) == len(record["history"]["step"])
    store.predictions_path(cell, 1).write_bytes(store.predictions_path(cell, 2).read_bytes())
    with pytest.raises(Damaged, match="does not match the hash in its record"):
        store.predictions_of(cell, 1, record)


def test_a_trial_whose_results_were_removed_is_trained_anew(tiny_study, monkeypatch):
    """As by who has mended an activation: what the last state holds is of the code before."""
    monkeypatch.setattr(train, "whole_split", lambda tokens, config: [next(iter(whole_split(tokens, config)))])
    run(tiny_study)
    cell, steps, advance = tiny_study.cell(*CELL), [], train.TrialRun.advance
    tiny_study.store.record_path(cell, 1).unlink()
    tiny_study.store.cell_path(cell).unlink()
    monkeypatch.setattr(train.TrialRun, "advance", lambda run: steps.append(run.step) or advance(run))
    weights_path = tiny_study.store.checkpoint_path(cell, 1)
    before, notes = weights_path.read_bytes(), notes_of_run(tiny_study)
    assert steps == list(range(tiny_study.config.iterations))
    assert "has the weights of a finished trial whose record is gone; moved to trial_1.pt.stale; " in notes[0]
    assert weights_path.with_name("trial_1.pt.stale").read_bytes() == before


def test_a_state_that_cannot_go_on_is_not_kept(tiny_study, monkeypatch):
    monkeypatch.setattr(train, "whole_split", lambda tokens, config: [next(iter(whole_split(tokens, config)))])
    for schedule, kept in (("constant", True), ("cosine", False)):
        study = elsewhere(with_config(tiny_study, schedule=schedule, iterations=2), schedule)
        run(study)
        assert study.store.last_state_path(study.cell(*CELL), 1).exists() == kept


def test_an_altered_number_in_a_record_is_noticed(tiny_study):
    record = run(tiny_study)
    path = tiny_study.store.record_path(tiny_study.cell(*CELL), 1)
    path.write_text(path.read_text().replace(str(record["val_loss"]), "1.5"))
    with pytest.raises(Damaged, match="does not match its checksum"):
        tiny_study.store.read_record(tiny_study.cell(*CELL), 1)


def test_a_finished_trial_is_not_trained_again(tiny_study, monkeypatch):
    first = run(tiny_study)
    monkeypatch.setattr(train, "TrialRun", None)
    assert run(tiny_study) == first


def test_a_trial_is_done_only_with_its_record(tiny_study, monkeypatch):
    cell = tiny_study.cell(*CELL)

    def fail(*_):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "write_record", fail)
        with pytest.raises(OSError, match="disk full"):
            run(tiny_study)
    assert tiny_study.store.predictions_path(cell, 1).exists() and not tiny_study.store.done_trials(cell)
    undisturbed = elsewhere(tiny_study, "undisturbed")
    run(undisturbed)
    run(tiny_study)
    assert_same_trial(tiny_study, undisturbed)


def test_a_kill_between_weights_and_record_loses_nothing(tiny_study, monkeypatch):
    undisturbed = elsewhere(tiny_study, "undisturbed")
    run(undisturbed)
    monkeypatch.setattr(plan, "SAVE_EVERY", 0)

    def killed(*_):
        raise KeyboardInterrupt

    for where in ("write_record", "settle_weights"):
        with monkeypatch.context() as patch:
            patch.setattr(Store, where, killed)
            with pytest.raises(KeyboardInterrupt):
                run(tiny_study)
        notes = notes_of_run(tiny_study)
        assert where == "settle_weights" or "continued at step 5" in notes
        assert_same_trial(tiny_study, undisturbed)
        for path in (
            *tiny_study.store.checkpoints.rglob("*.final"),
            *tiny_study.store.checkpoints.rglob("*.damaged"),
        ):
            raise AssertionError(f"{path} was left behind")
        tiny_study.store.record_path(tiny_study.cell(*CELL), 1).unlink()
        tiny_study.store.checkpoint_path(tiny_study.cell(*CELL), 1).unlink()


def test_a_record_without_predictions_does_not_count_while_its_trial_is_trained_anew(tiny_study, monkeypatch):
    monkeypatch.setattr(train, "whole_split", lambda tokens, config: [next(iter(whole_split(tokens, config)))])
    run(tiny_study)
    cell, store = tiny_study.cell(*CELL), tiny_study.store
    store.predictions_path(cell, 1).unlink()
    assert store.recorded_trials(cell) == {1} and not store.done_trials(cell)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Store, "write_record", killed)  # the new predictions are written, the weights are not settled
        run(tiny_study)
    assert not store.done_trials(cell)
    record = run(tiny_study)
    assert store.read_weights(cell, 1, record["weights_sha256"])


def test_a_saved_state_of_other_settings_is_refused(tiny_study):
    run_until(tiny_study, 1)
    with pytest.raises(OtherSettings, match="iterations 6 there, 5 here"):
        run(with_config(tiny_study, iterations=5))


def test_a_cell_with_other_bits_is_kept_and_a_new_one_written(tiny_study):
    for number in (1, 2, 3):
        run(with_config(tiny_study, n_trials=3), number)
    path = tiny_study.store.cell_path(tiny_study.cell(*CELL))
    clone = elsewhere(tiny_study, "clone")
    clone.store.results.mkdir(parents=True)
    committed = read_checked(path)
    for trial in committed["trials"]:
        trial["predictions_sha256"] = "0" * 64
        trial["environment"]["processor"] = "another"
    copy = clone.store.cell_path(clone.cell(*CELL))
    write_checked(copy, committed)
    before = clone.store.earlier_cell_path(clone.cell(*CELL))
    before.parent.mkdir(parents=True)
    before.write_text("of a third machine")
    notes, kept = notes_of_run(clone, 2), before.with_name("cell_made_elsewhere2.json")
    assert any("what bits depend on and differs: processor)" in note and str(kept) in note for note in notes)
    assert read_checked(kept) == committed and before.read_text() == "of a third machine"
    cell = json.loads(copy.read_text())
    assert [trial["trial"] for trial in cell["trials"]] == [2] and cell["pairs"] == []


def test_a_damaged_record_without_others_leaves_no_cell(tiny_study):
    run(tiny_study)
    cell = tiny_study.cell(*CELL)
    tiny_study.store.cell_path(cell).unlink()
    tiny_study.store.record_path(cell, 1).write_text("{")
    train.update_cell(tiny_study, cell)
    assert not tiny_study.store.cell_path(cell).exists() and not tiny_study.store.done_trials(cell)


def test_a_trial_is_never_trained_twice_at_once(tiny_study):
    lock = tiny_study.store.lock_path(tiny_study.cell(*CELL), "trial_1")
    other_checkpoints = replace(tiny_study, store=replace(tiny_study.store, checkpoints=lock.parent / "elsewhere"))
    for study in (tiny_study, other_checkpoints):
        with exclusive(lock), pytest.raises(Busy):
            run(study)
    run(tiny_study)

"""Fewer contexts of the probe set at evaluations before the end: what that changes, and what it does not."""

import io

import numpy as np
import pytest
from tiny_trials import CELL, assert_same_trial, elsewhere, notes_of_run, run, run_until, with_config

import metrics
import train
from runner import verify
from study import carry_on, cli
from study.evaluations import contexts_at, stacked, stacked_shapes, unstacked
from study.files import Damaged, UserError, digest, write_bytes
from study.options import add_study_options, study_from
from study.plan import Study
from study.store import fingerprint
from training.dataset import whole_split

FEW = 24  # of the 40 contexts; no multiple of the batch size


@pytest.fixture(autouse=True)
def short_ends(monkeypatch):
    monkeypatch.setattr(train, "whole_split", lambda tokens, config: [next(iter(whole_split(tokens, config)))])


@pytest.fixture
def fewer(tiny_study) -> Study:
    return with_config(tiny_study, contexts_between=FEW)


def test_a_setting_that_is_left_at_its_default_is_in_no_fingerprint(tiny_study, fewer):
    facts, of_fewer = (study.identity(study.cell(*CELL)) for study in (tiny_study, fewer))
    assert "contexts_between" not in facts and of_fewer["contexts_between"] == FEW
    assert fingerprint(facts) != fingerprint(of_fewer)


def test_the_end_is_the_same_and_what_is_between_is_of_the_first_contexts(tiny_study, fewer):
    whole, part = elsewhere(tiny_study, "whole"), elsewhere(fewer, "part")
    cell = whole.cell(*CELL)
    at_whole, at_part = ([run(study, number) for number in (1, 2)] for study in (whole, part))
    settings, files = {"config", "fingerprint"}, {"predictions_sha256", "weights_sha256"}
    times = {"finished", "training_time", "evaluation_time"}
    for number, (ours, theirs) in enumerate(zip(at_part, at_whole, strict=True), 1):
        assert {name for name in ours if ours[name] != theirs[name]} <= settings | files | times
        all_of_them = whole.store.predictions_of(cell, number, theirs)
        found = part.store.predictions_of(cell, number, ours)
        assert [p.shape for p in found] == [(FEW, 65), (FEW, 65), (40, 65)]
        assert np.array_equal(found[-1], all_of_them[-1])
        assert np.array_equal(part.store.read_predictions(cell, number, ours["predictions_sha256"]), found[-1:])
        for few, whole_set in zip(found[:-1], all_of_them[:-1], strict=True):
            np.testing.assert_allclose(few, whole_set[:FEW], rtol=1e-5)
    (pair,), (whole_pair,) = (study.store.read_cell(cell)["pairs"] for study in (part, whole))
    first, second = (part.store.predictions_of(cell, n, record) for n, record in enumerate(at_part, 1))
    assert pair["history"]["relative_pd"][0] == metrics.relative_pd(first[0], second[0])
    assert pair["history"]["top1_mismatches"][0] == metrics.top1_mismatches(first[0], second[0]) * 40 / FEW
    assert {name: values[-1] for name, values in pair["history"].items()} == {
        name: values[-1] for name, values in whole_pair["history"].items()
    }
    assert all(pair[name] == whole_pair[name] for name in pair if name != "history")
    assert not list(verify.verify(part, [(cell, 1), (cell, 2)]))


@pytest.mark.parametrize("steps", [2, 3, 4])
def test_interrupted_and_resumed_equals_uninterrupted(fewer, steps):
    undisturbed = elsewhere(fewer, "undisturbed")
    run(undisturbed)
    run_until(fewer, steps)
    run(fewer)
    assert_same_trial(fewer, undisturbed)


@pytest.mark.parametrize("steps", [2, 3])
def test_what_was_predicted_on_all_at_the_end_of_fewer_steps_is_made_again_on_fewer(fewer, steps):
    """Whether the longer trial has an evaluation there, as after 3 steps, or not."""
    short, undisturbed = with_config(fewer, iterations=steps), elsewhere(fewer, "undisturbed")
    run(short)
    carry_on.carry_on(fewer, fewer.cell(*CELL))
    assert f"continued at step {steps}" in notes_of_run(fewer)
    run(undisturbed)
    assert_same_trial(fewer, undisturbed)


def test_predictions_of_other_settings_are_damaged(fewer):
    record, cell = run(fewer), fewer.cell(*CELL)
    buffer = io.BytesIO()
    np.savez(buffer, probabilities=np.zeros((3, 40, 65), np.float32))
    write_bytes(fewer.store.predictions_path(cell, 1), buffer.getvalue())
    with pytest.raises(Damaged, match=r"has \(3, 40, 65\) predictions instead of \(1, 40, 65\)"):
        fewer.store.predictions_of(cell, 1, record | {"predictions_sha256": digest(buffer.getvalue())})


def test_predictions_are_stacked_by_their_contexts():
    facts = {"probe_contexts": 5, "contexts_between": 2, "iterations": 6, "vocabulary_size": 3}
    assert [contexts_at(facts, step) for step in (0, 3, 6)] == [2, 2, 5]
    rng = np.random.default_rng(0)
    for steps in ([0], [0, 3], [0, 3, 6], [6]):
        predictions = [rng.random((contexts_at(facts, step), 3)) for step in steps]
        found = stacked(predictions)
        assert {name: array.shape for name, array in found.items()} == stacked_shapes(facts, steps)
        assert all(map(np.array_equal, unstacked(found), predictions))


def test_the_option_is_checked(tmp_path):
    def asked(number: str) -> Study:
        parser = cli.Parser()
        add_study_options(parser)
        places = ["--results-dir", str(tmp_path), "--checkpoints-dir", str(tmp_path), "--config", "cpu"]
        args = parser.parse_args(["--contexts-between", number, *places])
        args.model, args.activation = CELL
        return study_from(args)

    assert asked("100").config.contexts_between == 100
    assert asked("1000").config.contexts_between is None  # as without it, and the same results
    with pytest.raises(UserError, match="--contexts-between 1001: the probe set has 1000 contexts"):
        asked("1001")

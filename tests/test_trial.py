"""What a trial keeps over a resume, what it draws anew at every step, and in which order it writes."""

import itertools
import os

import numpy as np
import pytest
import torch
from tiny_trials import CELL, run

import train
from study.own_code import OwnCode
from study.plan import Study
from train import TrialRun
from training import evaluation
from training.seeding import MaskStream, deterministic, seed_everything


def begun(study: Study) -> TrialRun:
    """A trial after its first evaluation and a step."""
    trial = TrialRun(study, study.cell(*CELL), 1)
    trial.evaluate()
    trial.advance()
    return trial


def resumed(study: Study) -> TrialRun:
    trial = TrialRun(study, study.cell(*CELL), 1)
    assert trial.resume() == "continued at step 1"
    return trial


def test_a_loss_that_was_not_finite_is_remembered_over_a_resume(tiny_study):
    with deterministic("cpu"):
        trial = begun(tiny_study)
        trial.train_on.finite.fill_(False)
        trial.save()
        again = resumed(tiny_study)
        again.evaluate()
    assert again.diverged


def test_a_resumed_trial_has_what_the_saved_one_had(tiny_study):
    with deterministic("cpu"):
        trial = begun(tiny_study)
        trial.save()
        again = resumed(tiny_study)
    for name in ("step", "history", "train_accuracy", "training_time", "evaluation_time", "begun_elsewhere"):
        assert getattr(again, name) == getattr(trial, name), name
    assert not again.diverged and np.array_equal(again.predictions, trial.predictions)


@pytest.mark.parametrize("writer", ["write_bytes", "write_sealed"])
def test_there_is_no_record_without_what_is_written_before_it(tiny_study, monkeypatch, writer):
    def full(*_):
        raise OSError("disk full")

    monkeypatch.setattr(train, writer, full)
    with pytest.raises(OSError, match="disk full"):
        run(tiny_study)
    assert not tiny_study.store.recorded_trials(tiny_study.cell(*CELL))


def test_every_step_has_dropout_masks_of_its_own(tiny_study, monkeypatch):
    masks, draw = {}, MaskStream.draw
    with deterministic("cpu"):
        trial = TrialRun(tiny_study, tiny_study.cell(*CELL), 1)

        def recorded(stream, shape, p):
            mask = draw(stream, shape, p)
            masks.setdefault(trial.step, mask)
            return mask

        monkeypatch.setattr(MaskStream, "draw", recorded)
        while not trial.finished:
            trial.advance()
    assert len(masks) == tiny_study.config.iterations
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(masks.values(), 2))


def test_inside_kernels_are_deterministic_and_have_one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with deterministic("cpu"):
            assert (torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()) == (True, 1)
        assert (torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()) == (False, 2)
    finally:
        torch.set_num_threads(threads)


def test_what_a_gpu_needs_to_be_deterministic_is_set_whatever_was(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # with which cuDNN's LSTM may differ from run to run
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    with deterministic("cpu"):
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8" and not torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.allow_tf32


def test_what_is_to_be_float32_is_not_multiplied_as_less(tiny_study, monkeypatch):
    """Though a user's file asks for less when it is loaded."""
    before, seen, build = torch.get_float32_matmul_precision(), set(), OwnCode.build

    def built(*arguments):
        torch.set_float32_matmul_precision("medium")
        return build(*arguments)

    monkeypatch.setattr(OwnCode, "build", built)
    try:
        run(tiny_study, report=lambda progress: seen.add(torch.get_float32_matmul_precision()))
        assert seen == {"highest"} and torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


def test_seeding_is_that_of_pytorch_on_every_device_that_is_here(monkeypatch):
    seeded = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    seed_everything(2**62 + 5)
    drawn = torch.rand(4)
    torch.manual_seed(2**62 + 5)
    assert torch.equal(drawn, torch.rand(4)) and seeded[0] == 2**62 + 5


def test_a_text_goes_on_from_what_was_written():
    class Next(torch.nn.Module):
        def predict_next(self, contexts):
            return torch.nn.functional.one_hot((contexts[:, -1] + 1) % 10, 10).float()

    contexts = torch.tensor([[0, 3], [0, 8]])
    texts = evaluation.write_texts(Next(), contexts, np.zeros((4, 2, 10), dtype=np.float32))
    assert texts.tolist() == [[4, 5, 6, 7], [9, 0, 1, 2]]

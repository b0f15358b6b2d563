"""What only a GPU can show; skipped without one."""

from dataclasses import replace

import pytest
import torch
from conftest import TINY
from tiny_trials import assert_same_trial, elsewhere, run, run_until, with_config

import train
from config import MODELS
from study.plan import Study
from study.store import Store
from train import TrialRun
from training.dataset import whole_split
from training.seeding import deterministic
from training.step import CHECKED, WARM_UP, RecordedStep

DEVICE = "cuda"

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is here")


@pytest.fixture
def on_gpu(tmp_path) -> Study:
    config = replace(TINY, iterations=WARM_UP + CHECKED + 4, eval_interval=4)
    return Study(config, "cuda", DEVICE, Store(tmp_path / "results", tmp_path / "checkpoints"))


@pytest.mark.parametrize("architecture", [*MODELS, "tinygru", "tinyrnn", "lstm_attention"])
def test_the_same_bits_twice_and_after_an_interruption(on_gpu, architecture):
    again, resumed = elsewhere(on_gpu, "again"), elsewhere(on_gpu, "resumed")
    names = (architecture, "gelu")
    run(on_gpu, 1, names)
    run(again, 1, names)
    assert_same_trial(on_gpu, again, names)
    run_until(resumed, 5, 1, names)
    run(resumed, 1, names)
    assert_same_trial(on_gpu, resumed, names)


CONSTANT = {"optimizer": "adam", "schedule": "constant"}
VARYING = {"schedule": "cosine", "warm_up": 0.34, "clip_norm": 1.0}


@pytest.mark.parametrize("recipe", [CONSTANT, {"optimizer": "adamw"} | VARYING, {"optimizer": "muon"} | VARYING])
@pytest.mark.parametrize("architecture", MODELS)
def test_a_recorded_step_gives_the_bits_of_the_plain_one(on_gpu, architecture, recipe):
    names, on_gpu = (architecture, "gelu"), with_config(on_gpu, **recipe)
    recorded = replace(elsewhere(on_gpu, "recorded"), cuda_graphs=True)
    with deterministic(DEVICE):
        trial = TrialRun(recorded, recorded.cell(*names), 1)
        for _ in range(WARM_UP + CHECKED + 1):
            trial.advance()
    assert isinstance(trial.train_on, RecordedStep) and not trial.train_on.given_up
    run(on_gpu, 1, names)
    run(recorded, 1, names)
    assert_same_trial(on_gpu, recorded, names)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_every_optimizer_trains(on_gpu, optimizer):
    assert run(with_config(on_gpu, optimizer=optimizer))["status"] == "completed"


@pytest.mark.parametrize("architecture", ["minigpt", "tinylstm"])
def test_a_landscape_is_measured(on_gpu, architecture, monkeypatch):
    monkeypatch.setattr(train, "whole_split", lambda tokens, config: whole_split(tokens[:1000], config))
    study = with_config(on_gpu, landscape=True)
    records = [run(study, number, (architecture, "gelu")) for number in (1, 2)]
    assert all(record["curvature"] is not None for record in records)
    assert records[1]["barriers"]["1"] is not None

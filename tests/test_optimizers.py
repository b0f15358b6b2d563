"""The schedule against a case worked by hand, Muon's orthogonalisation against an SVD, and what decays."""

from dataclasses import replace

import golden
import pytest
import torch
from conftest import TINY
from tiny_trials import assert_same_trial, elsewhere, run, run_until, with_config

import train
from config import OPTIMIZERS as NAMES
from model import build_model
from training.optimizers import OPTIMIZERS, Muon, make_optimizer, orthogonalise, rate_factor
from training.seeding import deterministic

MODERN = golden.MODERN | {"learning_rate": 3e-3}


def test_the_schedule_is_the_one_worked_by_hand():
    config = replace(TINY, iterations=6, schedule="cosine", warm_up=1 / 3, floor=0.1)
    # Two steps of warm-up; then 1/4, 2/4, 3/4 and 4/4 of half a cosine from 1 to 0.1.
    expected = [0.5, 1.0, 0.1 + 0.9 * (2 + 2**0.5) / 4, 0.55, 0.1 + 0.9 * (2 - 2**0.5) / 4, 0.1]
    assert [rate_factor(config, step) for step in range(6)] == pytest.approx(expected)
    assert [rate_factor(replace(config, warm_up=0.0), step) for step in (2, 5)] == pytest.approx([0.55, 0.1])
    assert {rate_factor(TINY, step) for step in range(6)} == {1.0}


def test_every_optimizer_can_be_asked_for():
    assert tuple(OPTIMIZERS) == NAMES


@pytest.mark.parametrize("shape", [(24, 24), (16, 48), (48, 16)])
def test_orthogonalising_keeps_singular_vectors_and_brings_the_values_near_1(shape):
    torch.manual_seed(0)
    left, _ = torch.linalg.qr(torch.randn(shape[0], 16))
    right, _ = torch.linalg.qr(torch.randn(shape[1], 16))
    matrix = left @ torch.diag(torch.logspace(0, -1.5, 16)) @ right.T
    seen = left.T @ orthogonalise(matrix) @ right
    values = seen.diagonal()
    torch.testing.assert_close(seen, torch.diag(values), atol=1e-5, rtol=0)
    torch.testing.assert_close(orthogonalise(matrix), left @ seen @ right.T, atol=1e-5, rtol=0)
    assert values.min() > 0.65 and values.max() < 1.25


def test_muon_steps_along_the_nesterov_momentum_and_decays():
    """Two steps worked out from the momentum's definition; the singular vectors are those of an SVD."""
    torch.manual_seed(0)
    start, gradients = torch.randn(8, 4), torch.randn(2, 8, 4)
    matrix = torch.nn.Parameter(start.clone())
    optimizer = Muon([matrix], lr=0.02, weight_decay=0.1)
    mean, expected = torch.zeros(8, 4), start
    for gradient in gradients:
        matrix.grad = gradient.clone()
        optimizer.step()
        mean = 0.95 * mean + 0.05 * gradient
        update = orthogonalise(0.05 * gradient + 0.95 * mean) * 2**0.5
        expected = expected * (1 - 0.02 * 0.1) - 0.02 * update
    torch.testing.assert_close(matrix.detach(), expected)


@pytest.mark.parametrize(
    ("architecture", "optimizer"), [("charlm", "adamw"), ("tinylstm", "adamw"), ("charlm", "muon")]
)
def test_interrupted_and_resumed_equals_uninterrupted(tiny_study, architecture, optimizer):
    study = with_config(tiny_study, optimizer=optimizer, **MODERN)
    names, undisturbed = (architecture, "gelu"), elsewhere(study, "undisturbed")
    run(undisturbed, names=names)
    for steps in (1, 4):  # within the warm-up; after an evaluation
        run_until(study, steps, names=names)
    run(study, names=names)
    assert_same_trial(study, undisturbed, names)


def test_rates_that_the_optimizer_used_follow_the_schedule(tiny_study):
    study = with_config(tiny_study, optimizer="muon", **MODERN)
    used = []
    with deterministic("cpu"):
        trial = train.TrialRun(study, study.cell("charlm", "gelu"), 1)
        while not trial.finished:
            trial.advance()
            used.append([group["lr"] for group in trial.optimizer.param_groups])
    factors = [rate_factor(study.config, step) for step in range(study.config.iterations)]
    assert used == [pytest.approx([0.02 * f, 3e-3 * f, 3e-3 * f]) for f in factors]


def test_matrices_decay_and_nothing_else_does():
    """Without gradients AdamW only decays: by the rate times the decay, of matrices alone."""
    config = replace(TINY, optimizer="adamw", learning_rate=0.1, weight_decay=0.5)
    model = build_model("convlm", "prelu", config)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = make_optimizer(model, config, "cpu")
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in model.named_parameters():
        expected = before[name] * (0.95 if parameter.dim() > 1 else 1)
        torch.testing.assert_close(parameter.detach(), expected)


@pytest.mark.parametrize("architecture", ["minigpt", "hybridlm"])
def test_muon_has_the_hidden_matrices_and_adamw_the_rest(architecture):
    config = replace(TINY, optimizer="muon")
    model = build_model(architecture, "gelu", config)
    of_muon, *others = make_optimizer(model, config, "cpu").param_groups
    owned = [id(parameter) for group in (of_muon, *others) for parameter in group["params"]]
    assert sorted(owned) == sorted(map(id, model.parameters()))  # each once, the tied head too
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    seen = {names[id(parameter)] for parameter in of_muon["params"]}
    assert all(name.startswith(("blocks.", "convolutions.")) and name.endswith("weight") for name in seen)
    assert {n for n, p in model.named_parameters() if p.dim() == 2} - seen == (
        {"embedding.weight", "positions.weight"} | ({"head.weight"} if architecture == "hybridlm" else set())
    )


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "muon"])
def test_on_a_gpu_a_rate_that_varies_is_read_from_memory(monkeypatch, optimizer, schedule):
    made = torch.tensor
    monkeypatch.setattr(torch, "tensor", lambda value, device: made(value))  # there is no GPU here
    config = replace(TINY, optimizer=optimizer, schedule=schedule)
    for group in make_optimizer(build_model("minigpt", "gelu", config), config, "cuda").param_groups:
        assert isinstance(group["lr"], torch.Tensor) == (schedule == "cosine")


@pytest.mark.parametrize(("setting", "known"), [({"optimizer": "sgd"}, "adamw"), ({"schedule": "step"}, "cosine")])
def test_an_unknown_name_lists_the_known_ones(tiny_study, setting, known):
    with pytest.raises(ValueError, match=known):
        run(with_config(tiny_study, **setting))


def test_no_setting_of_a_recipe_is_ignored(tiny_study):
    study = with_config(tiny_study, optimizer="adamw", **MODERN)
    changes: list[dict] = [{}, {"weight_decay": 0.0}, {"floor": 0.9}, {"betas": (0.9, 0.9)}, {"optimizer": "muon"}]
    changes += [{"clip_norm": 0.1}]
    found = []
    for change in changes:
        with deterministic("cpu"):
            trial = train.TrialRun(with_config(study, **change), study.cell("charlm", "gelu"), 1)
            while not trial.finished:
                trial.advance()
        found.append(trial.model.state_dict()["blocks.0.feed_forward.expand.weight"].numpy().tobytes())
    assert len(set(found)) == len(changes)

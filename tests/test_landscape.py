"""Curvature, gradient noise and barriers: against exact Hessians and cases worked by hand, and in whole trials."""

import contextlib
import errno
import io
import itertools
import math
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import TINY, with_small_parts
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

import config
import train
from config import Shape
from model import build_model, count_parameters
from runner.verify import verify
from study import landscape as of_study
from study.files import OtherSettings, Unreadable, digest
from study.plan import Study
from study.store import Store, fingerprint
from training import landscape
from training.dataset import whole_split
from training.kernels import twice_differentiable
from training.seeding import deterministic

# What differs from run to run of the same trial.
TIMES = ("training_time", "evaluation_time", "finished", "environment")
TOKENS = torch.randint(0, 5, (3, 7), generator=torch.Generator().manual_seed(1))
BATCH = (TOKENS[:, :-1], TOKENS[:, 1:])
ALIKE = tuple(
    torch.cat([part[:1], part[:1], part[1:2]]) for part in BATCH
)  # windows whose gradients are not all noise


@pytest.fixture(autouse=True)
def one_thread():
    with deterministic("cpu"):
        yield


def random_vector(size: int, seed: int = 2) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------- worked by hand


class Point(nn.Module):
    """A model that is nothing but its weights (P,)."""

    def __init__(self, values: list[float]):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(values, dtype=torch.float64))


SCALES = torch.tensor([5.0, 2.0, 0.5, -7.0], dtype=torch.float64)


def quadratic(model: Point, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """1/2 sum a_i (w_i - x_i)^2, the mean over windows x: its Hessian is diag(a)."""
    return 0.5 * (SCALES * (model.weight - inputs) ** 2).sum(-1).mean()


@pytest.fixture
def with_quadratic(monkeypatch):
    monkeypatch.setattr(landscape, "loss_of", quadratic)


def test_the_curvature_of_a_quadratic_is_its_largest_coefficient(with_quadratic):
    windows = torch.zeros(2, 4, dtype=torch.float64)
    value = landscape.top_eigenvalue(Point([1, 2, 3, 4]), (windows, windows), random_vector(4))
    assert value == pytest.approx(5, rel=1e-9)  # the largest, not that of the largest magnitude


def test_the_noise_of_a_quadratic_is_that_of_its_windows(with_quadratic):
    """Gradients a (w - x) of x = +1 and -1 at w = 1 in the first place: 0 and 10, of mean 5 and variance 50."""
    windows = torch.tensor([[1.0, 0, 0, 0], [-1.0, 0, 0, 0]], dtype=torch.float64)
    noise = landscape.gradient_noise(Point([1, 0, 0, 10]), (windows, windows), 1)
    squared_mean = 5**2 + 70**2 - 50 / 2  # without the bias that half the variance adds
    assert noise == pytest.approx(50 / squared_mean, rel=1e-9)
    twice = windows.repeat_interleave(2, dim=0)  # minibatches of two windows with as much noise as one before
    assert landscape.gradient_noise(Point([1, 0, 0, 10]), (twice, twice), 2) == pytest.approx(2 * noise, rel=1e-9)


def test_a_gpus_recurrences_have_a_gradient_where_the_noise_is_measured(with_quadratic, monkeypatch):
    """Those of cuDNN have none outside training, so it is off."""
    seen = []

    def loss_of(model, inputs, targets):
        seen.append(torch.backends.cudnn.enabled)
        return sum((parameter**2).sum() for parameter in model.parameters())

    monkeypatch.setattr(landscape, "loss_of", loss_of)
    landscape.gradient_noise(Point([1.0, 2.0]), ALIKE, 1)
    assert seen == [False] * 3 and torch.backends.cudnn.enabled


def test_noise_without_a_gradient_is_unknown(with_quadratic):
    windows = torch.tensor([[1.0, 0, 0, 0], [-1.0, 0, 0, 0]], dtype=torch.float64)
    assert math.isnan(landscape.gradient_noise(Point([0, 0, 0, 0]), (windows, windows), 1))


def test_the_barrier_of_a_quadratic_is_its_sagging(with_quadratic):
    """Along the last axis the loss is -7/2 w^2: from -1 to 3 it lies highest above the straight line between its ends
    in the middle, by 7/8 of the distance's square."""
    windows = torch.zeros(1, 4, dtype=torch.float64)
    first, second = (Point([0, 0, 0, value]).state_dict() for value in (-1, 3))
    model = Point([0, 0, 0, 0])
    assert landscape.barrier(model, first, second, (windows, windows)) == pytest.approx(7 / 8 * 4**2, rel=1e-12)
    assert model.weight.eq(0).all()
    upwards = [Point([value, 0, 0, 0]).state_dict() for value in (-1, 3)]
    assert landscape.barrier(model, *upwards, (windows, windows)) == 0


def test_a_barrier_near_one_end_is_the_same_to_the_bit_from_the_other(monkeypatch):
    """A loss with a peak at weights of 1/3: from 1.1 to 0.1, and some more, about eight tenths of the way."""
    monkeypatch.setattr(landscape, "loss_of", lambda model, *batch: (1 - (3 * model.weight - 1).abs()).sum())
    generator = torch.Generator().manual_seed(1)
    ends = [(end + 0.1 * torch.rand(50, generator=generator).double()).tolist() for end in (1.1, 0.1)]
    first, second = (Point(end).state_dict() for end in ends)
    height = landscape.barrier(Point(ends[0]), first, second, BATCH)
    assert height > 0 and landscape.barrier(Point(ends[0]), second, first, BATCH) == height


class Placed(nn.Module):
    """Looks its positions up in a buffer of integers."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(random_vector(64 * 5).view(64, 5))
        self.register_buffer("places", torch.arange(20, 20 + TOKENS.shape[1] - 1))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.table[self.places].expand(len(tokens), -1, -1)


def test_integers_are_not_interpolated():
    """0.9 * 21 + 0.1 * 21 is below 21 in float32, and 20 as an integer."""
    model = Placed()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    assert landscape.barrier(model, state, state, BATCH) == pytest.approx(0, abs=1e-6)
    other = state | {"places": state["places"].flip(0)}
    assert math.isnan(landscape.barrier(model, state, other, BATCH))


def test_lanczos_is_exact_where_it_spans_the_whole_space():
    drawn = torch.randn(12, 12, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    matrix = drawn + drawn.T
    value = landscape.largest_eigenvalue(lambda vector: matrix @ vector, random_vector(12).double())
    assert value == pytest.approx(float(torch.linalg.eigvalsh(matrix)[-1]), rel=landscape.ACCURATE)


# ---------------------------------------------------------------- models

SMALL = replace(
    TINY,
    vocabulary_size=5,
    context=6,
    shapes=with_small_parts(
        {
            **dict.fromkeys(("charlm", "minigpt", "nanotransformer"), Shape(layers=1, width=4, hidden=5, heads=2)),
            "tinylstm": Shape(layers=1, width=4, hidden=5),
            "convlm": Shape(layers=1, width=4, hidden=0, taps=2, dilations=(1,), conv_hidden=5),
            "hybridlm": Shape(layers=1, width=4, hidden=5, heads=2, taps=2, dilations=(1,), conv_hidden=6),
        }
    ),
)


def small_model(architecture: str, activation: str, seed: int = 1) -> nn.Module:
    """Weights that are ten times those at the start of training, so that every layer bends."""
    model = build_model(architecture, activation, SMALL, seed).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(10 if parameter.dim() > 1 else 1)
    return model


def exact_eigenvalue(model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> float:
    """Of the Hessian written out, column by column."""
    names, parameters = zip(*model.named_parameters(), strict=True)
    sizes, shapes = [p.numel() for p in parameters], [p.shape for p in parameters]

    def loss(vector: torch.Tensor) -> torch.Tensor:
        parts = [part.view(shape) for part, shape in zip(vector.split(sizes), shapes, strict=True)]
        logits = functional_call(model, dict(zip(names, parts, strict=True)), (batch[0],))
        return F.cross_entropy(logits.flatten(0, 1), batch[1].flatten())

    with twice_differentiable():
        matrix = torch.autograd.functional.hessian(loss, landscape.flat(parameters).detach())
    return float(torch.linalg.eigvalsh(matrix)[-1])


@pytest.mark.parametrize(
    ("architecture", "activation"),
    [
        ("charlm", "gelu"),
        ("tinylstm", "swiglu"),
        ("charlm_rms_norm", "gelu"),
        ("charlm_no_gain", "gelu"),
        ("tinygru", "gelu"),
        ("tinyrnn", "gelu"),
        ("lstm_attention", "gelu"),
    ],
)
def test_the_curvature_is_that_of_the_exact_hessian(architecture, activation):
    model = small_model(architecture, activation).eval()
    found = landscape.top_eigenvalue(model, BATCH, random_vector(count_parameters(model)))
    exact = exact_eigenvalue(model, BATCH)
    assert found == pytest.approx(exact, rel=landscape.ACCURATE)
    # In single precision training has its fast kernels, through which one cannot differentiate twice.
    single = landscape.top_eigenvalue(model.float().train(), BATCH, random_vector(count_parameters(model)))
    assert single == pytest.approx(exact, rel=5 * landscape.ACCURATE)


@pytest.mark.parametrize("architecture", (*config.MODELS, *config.PARENTS))
def test_every_architecture_has_a_landscape_and_the_same_bits_twice(architecture):
    def measured() -> list[float]:
        first, second = (build_model(architecture, "smelu_1", SMALL, seed).train() for seed in (1, 2))
        start = random_vector(count_parameters(first))
        values = [landscape.top_eigenvalue(first, BATCH, start), landscape.gradient_noise(first, ALIKE, 1)]
        values.append(landscape.barrier(first, first.state_dict(), second.state_dict(), BATCH))
        assert first.training and all(parameter.grad is None for parameter in first.parameters())
        return values

    values = measured()
    assert all(map(math.isfinite, values)) and values[0] > 0
    assert measured() == values


@pytest.mark.parametrize("architecture", (*config.MODELS, *config.PARENTS))
def test_plain_kernels_give_the_loss_and_gradient_of_the_fast_ones(architecture):
    model = build_model(architecture, "gelu", replace(SMALL, dropout=0.0), 1)

    def loss_and_gradient() -> torch.Tensor:
        loss = landscape.loss_of(model, *BATCH)
        return landscape.flat([loss, *torch.autograd.grad(loss, list(model.parameters()))])

    fast = loss_and_gradient()
    with twice_differentiable():
        model.eval()
        torch.testing.assert_close(loss_and_gradient(), fast, rtol=1e-4, atol=1e-6)
    assert torch.equal(model.train() and loss_and_gradient(), fast)  # the fast kernels are back


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_a_barrier_is_symmetric_to_the_bit_and_that_of_the_weights_between(precision):
    first, second = (small_model("tinylstm", "gelu", seed).to(precision) for seed in (2, 3))
    states = first.state_dict(), second.state_dict()
    height = landscape.barrier(first, *states, BATCH)
    assert height > 0
    assert landscape.barrier(second, *states[::-1], BATCH) == height
    between, losses = small_model("tinylstm", "gelu").to(precision).eval(), []
    for share in torch.linspace(0, 1, landscape.POINTS):
        between.load_state_dict({name: torch.lerp(states[0][name], states[1][name], share) for name in states[0]})
        losses.append(float(landscape.loss_of(between, *BATCH).detach()))
    above = [loss - (losses[0] + k / 10 * (losses[-1] - losses[0])) for k, loss in enumerate(losses)]
    assert height == pytest.approx(max(above), abs=1e-5)


# ---------------------------------------------------------------- trials

CELL = ("charlm", "smelu_1")
ADDED = ("curvature", "gradient_noise", "barriers")  # to a record


@pytest.fixture(scope="module", autouse=True)
def few_windows():
    """Enough for these tests, and of the validation split a beginning."""
    with pytest.MonkeyPatch.context() as context:
        for name, value in {"CURVATURE": 2, "NOISE": 4, "BARRIER": 2}.items():
            context.setattr(of_study, f"{name}_WINDOWS", value)
        context.setattr(of_study, "NOISE_BATCH", 1)
        context.setattr(train, "whole_split", lambda tokens, config: whole_split(tokens[:1000], config))
        yield


@pytest.fixture(scope="module")
def two_trials(few_windows, tmp_path_factory) -> Study:
    """A cell of two trials with the landscape."""
    return trained(tmp_path_factory.mktemp("landscape"), 1, 2)


def trained(folder: Path, *numbers: int, landscape: bool = True) -> Study:
    configuration = replace(TINY, iterations=2, eval_interval=2, landscape=landscape)
    study = Study(configuration, "cpu", "cpu", Store(folder / "results", folder / "checkpoints"))
    for number in numbers:
        train.run_trial(study, study.cell(*CELL), number)
    return study


def with_the_first_trial_only(two_trials: Study, folder: Path) -> Path:
    """A copy of ``two_trials`` in which trial 2 is still to be trained."""
    shutil.copytree(two_trials.store.results.parent, folder, dirs_exist_ok=True)
    copied = trained(folder)
    copied.store.record_path(copied.cell(*CELL), 2).unlink()
    copied.store.cell_path(copied.cell(*CELL)).unlink()
    return folder


def record_of(study: Study, number: int) -> dict:
    """The record without what differs from run to run."""
    record = study.store.read_record(study.cell(*CELL), number)
    return {name: value for name, value in record.items() if name not in TIMES}


def barriers(study: Study) -> dict[tuple[int, int], float | None]:
    pairs = study.store.read_cell(study.cell(*CELL))["pairs"]
    return {tuple(pair["trials"]): pair["barrier"] for pair in pairs}


def test_a_cell_holds_the_landscape_of_every_trial_and_pair(two_trials):
    content = two_trials.store.read_cell(two_trials.cell(*CELL))
    assert all(trial["curvature"] > 0 and "barriers" not in trial for trial in content["trials"])
    ((pair, height),) = barriers(two_trials).items()
    assert pair == (1, 2) and height > 0
    assert list(verify(two_trials, [(two_trials.cell(*CELL), number) for number in (1, 2)])) == []


def test_the_landscape_changes_no_other_number_and_no_fingerprint(two_trials, tmp_path):
    """Weights and predictions are compared by their hashes, which the record holds."""
    with_it, without_it = record_of(two_trials, 1), record_of(trained(tmp_path, 1, landscape=False), 1)
    assert not without_it.keys() & set(ADDED)
    assert {name: value for name, value in with_it.items() if name not in ADDED} == without_it


def test_where_lanczos_starts_is_fixed_by_the_study_and_by_nothing_else(two_trials):
    model = build_model(*CELL, two_trials.config, 1)
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        found.append(of_study.landscape_of(two_trials, model))
    assert found[0] == found[1]


def test_there_is_no_barrier_to_a_trial_that_diverged(two_trials, tmp_path):
    study = trained(with_the_first_trial_only(two_trials, tmp_path))
    cell = study.cell(*CELL)
    study.store.write_record(cell, 1, study.store.read_record(cell, 1) | {"status": "diverged"})
    trained(tmp_path, 2)
    assert study.store.read_record(cell, 1)["status"] == "diverged"
    assert record_of(study, 2)["barriers"] == {}


def test_trials_that_end_at_once_miss_no_pair_and_their_order_changes_nothing(two_trials, tmp_path, monkeypatch):
    """Trial 1 ends just after trial 2 has looked for those before it and found none."""
    look, looks = train.barriers_to_finished, itertools.count()

    def slow_look(*arguments) -> dict:
        found = look(*arguments)
        if next(looks) == 0:
            trained(tmp_path, 1)
        return found

    monkeypatch.setattr(train, "barriers_to_finished", slow_look)
    both = trained(tmp_path, 2)
    assert record_of(both, 1)["barriers"] == {}
    assert barriers(both) == barriers(two_trials)
    assert [record_of(both, 2)[name] for name in ADDED[:2]] == [record_of(two_trials, 2)[name] for name in ADDED[:2]]


def test_a_trial_killed_while_its_landscape_is_measured_does_it_again(two_trials, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def killed(*arguments):
        raise Killed

    folder = with_the_first_trial_only(two_trials, tmp_path)
    with monkeypatch.context() as context, pytest.raises(Killed):
        context.setattr(of_study, "barrier", killed)
        trained(folder, 2)
    again = trained(folder, 2)
    assert record_of(again, 2) == record_of(two_trials, 2)
    assert barriers(again) == barriers(two_trials)


def test_a_pair_whose_weights_are_gone_has_no_barrier_and_says_so(two_trials, tmp_path):
    study = trained(with_the_first_trial_only(two_trials, tmp_path))
    study.store.checkpoint_path(study.cell(*CELL), 1).unlink()
    notes = []
    train.run_trial(study, study.cell(*CELL), 2, lambda progress: notes.append(progress.get("note") or ""))
    assert barriers(study) == {(1, 2): None}
    assert any("no barrier to trial 1" in note for note in notes)
    # Trained anew, as --verify advises, trial 1 measures the barrier that was missing.
    study.store.record_path(study.cell(*CELL), 1).unlink()
    trained(tmp_path, 1)
    assert barriers(study) == barriers(two_trials)
    assert list(verify(study, [(study.cell(*CELL), number) for number in (1, 2)])) == []


@pytest.mark.parametrize("file", ["record", "weights"])
def test_a_neighbour_that_cannot_be_read_costs_a_trial_only_its_barrier(two_trials, tmp_path, monkeypatch, file):
    study = trained(with_the_first_trial_only(two_trials, tmp_path))
    cell, open_file, measure = study.cell(*CELL), os.open, train.landscape_of
    path = {"record": study.store.record_path, "weights": study.store.checkpoint_path}[file](cell, 1)
    closed = []

    def measure_and_close(*arguments) -> dict:
        closed.append(str(path))
        return measure(*arguments)

    def with_too_many_open(path, *how, **more) -> int:
        if str(path) in closed:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return open_file(path, *how, **more)

    notes = []
    with monkeypatch.context() as context, contextlib.suppress(Unreadable):  # of the pairs, once the record is there
        context.setattr(train, "landscape_of", measure_and_close)
        context.setattr(os, "open", with_too_many_open)
        train.run_trial(study, cell, 2, lambda progress: notes.append(progress.get("note") or ""))
    assert record_of(study, 2) == record_of(two_trials, 2) | {"barriers": {"1": None}}
    assert any(note.startswith("no barrier to trial 1: ") and "Too many open files" in note for note in notes)
    trained(tmp_path, 2)
    assert barriers(study) == {(1, 2): None}


def test_there_is_no_barrier_to_a_neighbour_of_other_settings(two_trials, tmp_path):
    """Its weights may have other shapes; here they have none."""
    study = trained(with_the_first_trial_only(two_trials, tmp_path))
    cell, store, weights = study.cell(*CELL), study.store, io.BytesIO()
    torch.save({}, weights)
    config = study.identity(cell) | {"dropout": 0.5}
    foreign = {"trial": 2, "seed": 43, "config": config, "fingerprint": fingerprint(config)}
    foreign |= {"weights_sha256": digest(weights.getvalue())}
    store.write_record(cell, 2, store.read_record(cell, 1) | foreign)
    store.checkpoint_path(cell, 2).write_bytes(weights.getvalue())
    shutil.copy(store.predictions_path(cell, 1), store.predictions_path(cell, 2))
    with pytest.raises(OtherSettings):  # of the cell, once the record is there
        train.run_trial(study, cell, 3)
    found = record_of(study, 3)["barriers"]
    assert found["2"] is None and found["1"] > 0

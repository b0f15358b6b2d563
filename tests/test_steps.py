"""A recorded step is used only where it does what the plain one does; the GPU's recording is simulated."""

from contextlib import contextmanager

import pytest
import torch
from conftest import TINY
from torch import nn

from study.plan import load_corpus
from training.dataset import training_batch
from training.step import CHECKED, WARM_UP, RecordedStep, RecordingError, Step


class StandIn(RecordedStep):
    """Keeps a batch and trains on it when asked to replay: what a CUDA graph does, without a GPU."""

    replays = 0

    def _on_side_stream(self, work, *arguments):
        work(*arguments)

    def _record(self, inputs, targets):
        self.batch = inputs.clone(), targets.clone()
        self.graph = self

    def replay(self):
        self.replays += 1
        Step.__call__(self, *self.batch)


class Stale(StandIn):
    def _replay(self, inputs, targets):
        self.graph.replay()  # always on the first batch


class SameMasks(StandIn):
    def replay(self):
        torch.manual_seed(WARM_UP)
        super().replay()


@pytest.fixture(autouse=True)
def random_state_of_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_rng_state", torch.get_rng_state)
    monkeypatch.setattr(torch.cuda, "set_rng_state", torch.set_rng_state)


def trained(kind: type[Step], n_steps: int = WARM_UP + CHECKED + 3) -> tuple[Step, list[torch.Tensor]]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(65, 16), nn.Dropout(0.2), nn.Linear(16, 65))
    step = kind(model, torch.optim.Adam(model.parameters(), lr=1e-3, fused=True), "cpu", "float32")
    for number in range(n_steps):
        torch.manual_seed(number)
        step(*training_batch(load_corpus("cpu"), TINY, 1, number))
    return step, [parameter.detach() for parameter in model.parameters()]


def test_a_faithful_recording_is_used_and_gives_the_same_bits():
    (_, expected), (step, weights) = trained(Step), trained(StandIn)
    assert step.replays == CHECKED + 3 and not step.given_up and bool(step.finite)
    assert all(map(torch.equal, weights, expected))


@pytest.mark.parametrize("kind", [Stale, SameMasks])
def test_an_unfaithful_recording_is_given_up_and_leaves_no_trace(kind):
    _, expected = trained(Step)
    with pytest.warns(UserWarning, match="the same numbers"):
        step, weights = trained(kind)
    assert step.given_up and step.replays <= CHECKED
    assert all(map(torch.equal, weights, expected))


def test_a_step_that_cannot_be_recorded_is_reported(monkeypatch):
    @contextmanager
    def recording(graph):
        yield
        raise RuntimeError("capture was invalidated")

    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "graph", recording)
    monkeypatch.setattr(StandIn, "_record", RecordedStep._record)
    with pytest.raises(RecordingError, match=r"leave out --cuda-graphs \(capture was invalidated\)"):
        trained(StandIn)


def test_a_loss_that_is_not_finite_is_remembered():
    step, _ = trained(Step, n_steps=1)
    with torch.no_grad():
        step.model[2].bias.fill_(torch.nan)
    step(*training_batch(load_corpus("cpu"), TINY, 1, 1))
    with torch.no_grad():
        for parameter in step.model.parameters():
            parameter.zero_()
    step(*training_batch(load_corpus("cpu"), TINY, 1, 2))
    assert not step.finite


@pytest.mark.parametrize("norm", [0.1, 1e6])
def test_a_gradient_longer_than_the_norm_is_scaled_to_it_and_a_shorter_one_left(norm):
    """One plain SGD step at rate 1 moves the weights by the gradient."""

    def moved(clip_norm: float) -> torch.Tensor:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Embedding(65, 16), nn.Linear(16, 65))
        before = nn.utils.parameters_to_vector(model.parameters())
        step = Step(model, torch.optim.SGD(model.parameters(), lr=1.0), "cpu", "float32", clip_norm)
        step(*training_batch(load_corpus("cpu"), TINY, 1, 0))
        return nn.utils.parameters_to_vector(model.parameters()) - before

    gradient = moved(0.0)
    length = gradient.norm().item()
    assert length > 0.2
    torch.testing.assert_close(moved(norm), gradient * min(1, norm / length), atol=1e-5, rtol=1e-4)

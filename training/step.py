"""One training step: forward, loss, backward, optimizer.

On a GPU the step can be recorded once as a CUDA graph and then replayed, so that small models do not wait for Python
to launch their kernels one by one. A graph replays kernels on the memory that they had when recorded; what Python
computed beside them, such as a seed or a step count that was passed as a number, stays what it was. So a recording
is used only after it has been seen to give what the plain step gives, to the bit.
"""

import warnings
from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch.nn import functional as F

from training.kernels import bfloat16_products
from training.optimizers import Optimizer

WARM_UP = 3  # plain steps before recording, in which libraries choose and prepare their kernels
# Replayed steps that are compared with plain ones. The first can agree though the graph has frozen what should change
# from step to step (the random state, Adam's step count); the second cannot.
CHECKED = 2


class RecordingError(RuntimeError):
    """A training step that cannot be recorded; the CUDA state of the process is not to be used any further."""


class Step:
    """A step of ``optimizer`` on ``model``, its products in bfloat16 if ``precision`` says so.

    The residual stream, to which their results are added, norms, softmax, loss, weights and moments are float32.

    A gradient longer than ``clip_norm`` is scaled to it (Pascanu et al. 2012, arXiv:1211.5063), unless that is 0.
    ``finite`` says whether every loss so far was: a tensor on the model's device, so that Python need not wait for
    a GPU at every step.
    """

    def __init__(
        self, model: torch.nn.Module, optimizer: Optimizer, device: str, precision: str, clip_norm: float = 0.0
    ):
        self.model, self.optimizer = model, optimizer
        self.device, self.precision, self.clip_norm = device, precision, clip_norm
        self.finite = torch.ones((), dtype=torch.bool, device=device)

    def __call__(self, inputs: torch.Tensor, targets: torch.Tensor) -> None:
        """Train on one batch: ``inputs`` and ``targets``, (B, T) each."""
        with bfloat16_products(self.device) if self.precision == "bfloat16" else nullcontext():
            logits = self.model(inputs)  # (B, T, V)
        loss = F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())
        self.optimizer.zero_grad()
        loss.backward()
        if self.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_norm)
        self.optimizer.step()
        self.finite &= loss.detach().isfinite()


class RecordedStep(Step):
    """The same as a CUDA graph, once that has been seen to give the same; otherwise, with a warning, the plain step.

    The first ``WARM_UP`` calls are plain, the next ``CHECKED`` ones are both replayed and plain, and compared; then
    the graph is replayed. RecordingError if the step cannot be recorded.
    """

    graph: torch.cuda.CUDAGraph | None = None
    batch: tuple[torch.Tensor, torch.Tensor]  # the memory from which the graph reads inputs and targets, (B, T) each
    calls = 0
    given_up = False

    def __call__(self, inputs: torch.Tensor, targets: torch.Tensor) -> None:
        self.calls += 1
        if self.given_up:
            super().__call__(inputs, targets)
        elif self.calls <= WARM_UP:
            self._on_side_stream(super().__call__, inputs, targets)
        elif self.calls <= WARM_UP + CHECKED:
            self._check(inputs, targets)
        else:
            self._replay(inputs, targets)

    def _on_side_stream(self, work: Callable[..., None], *arguments: torch.Tensor) -> None:
        """Run ``work`` where a graph is recorded too, on a stream other than the default one, as CUDA demands."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            work(*arguments)
        torch.cuda.current_stream().wait_stream(side)

    def _record(self, inputs: torch.Tensor, targets: torch.Tensor) -> None:
        self.batch = inputs.clone(), targets.clone()
        self.optimizer.zero_grad()  # so that gradients are allocated inside, in the graph's own memory
        self.graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(self.graph):
                super().__call__(*self.batch)
        except RuntimeError as error:
            cause = error.__context__ or error
            raise RecordingError(
                f"this training step cannot be a CUDA graph; leave out --cuda-graphs ({cause})"
            ) from error

    def _replay(self, inputs: torch.Tensor, targets: torch.Tensor) -> None:
        assert self.graph is not None
        for place, value in zip(self.batch, (inputs, targets), strict=True):
            place.copy_(value)
        self.graph.replay()

    def _check(self, inputs: torch.Tensor, targets: torch.Tensor) -> None:
        """One step, replayed and plain from the same state; the plain one counts, so a bad graph leaves no trace."""
        random_state = torch.cuda.get_rng_state()
        before = self._copy_of_state()
        if self.graph is None:
            self._record(inputs, targets)
        self._replay(inputs, targets)
        replayed = self._copy_of_state()
        self._restore(before)
        torch.cuda.set_rng_state(random_state)
        self._on_side_stream(super().__call__, inputs, targets)
        if not all(map(_same, replayed, self._tensors())):
            self.given_up, self.graph = True, None
            warnings.warn("training without a CUDA graph: it does not give the same numbers", stacklevel=2)

    def _tensors(self) -> list[torch.Tensor]:
        """All that a step changes."""
        states = [value for state in self.optimizer.state.values() for value in state.values()]
        return [*self.model.parameters(), *self.model.buffers(), *states, self.finite]

    def _copy_of_state(self) -> list[torch.Tensor]:
        return [tensor.detach().clone() for tensor in self._tensors()]

    @torch.no_grad()
    def _restore(self, saved: list[torch.Tensor]) -> None:
        for tensor, value in zip(self._tensors(), saved, strict=True):
            tensor.copy_(value)


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether all values are equal; NaN counts as equal to NaN."""
    return torch.allclose(a, b, rtol=0, atol=0, equal_nan=True)

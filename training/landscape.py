"""The loss around a trained model: how curved it is, how noisy its gradient, and what lies between two models.

Pure functions of a model and of windows of text (inputs and targets, (S, T) each); the model is left as it was.
Dropout is off, and everything is in the precision of the weights. Losses are mean cross-entropy in nats per
character.
"""

import copy
import math
from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional as F

from training.dataset import Windows
from training.kernels import switched_off, twice_differentiable

MOST_PRODUCTS = 20
ACCURATE = 1e-3  # of the eigenvalue: at which error bound Lanczos stops; at 1e-2 it took the second one for the first
POINTS = 11  # on the line between two models, both included

Product = Callable[[torch.Tensor], torch.Tensor]  # from a vector (P,) to a matrix times that vector


def loss_of(model: nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy over every target: () from (S, T) inputs and targets."""
    return F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())


def flat(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """All values of ``tensors`` in one vector (P,)."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


# ---------------------------------------------------------------- curvature


def top_eigenvalue(model: nn.Module, batch: Windows, start: torch.Tensor) -> float:
    """The largest eigenvalue of the Hessian of the loss on ``batch`` by all P trained values.

    By Lanczos (see ``largest_eigenvalue``), with Hessian-vector products by differentiating twice (Pearlmutter 1994,
    Neural Computation 6:147). ``start`` (P,) is any vector that is not 0. NaN where the loss is not finite.
    Where an activation's first derivative jumps, as ReLU's does, the Hessian is that of the smooth pieces.
    """
    training = model.training
    model.eval()
    parameters = list(model.parameters())
    with twice_differentiable():
        gradient = flat(torch.autograd.grad(loss_of(model, *batch), parameters, create_graph=True))

        def product(vector: torch.Tensor) -> torch.Tensor:
            # materialize_grads: zeros for weights on which no gradient depends
            parts = torch.autograd.grad(gradient @ vector, parameters, retain_graph=True, materialize_grads=True)
            return flat(parts)

        value = largest_eigenvalue(product, start.to(gradient))
    model.train(training)
    return value


def largest_eigenvalue(product: Product, start: torch.Tensor) -> float:
    """The largest eigenvalue of the symmetric matrix of ``product``, by Lanczos from ``start`` (P,).

    After k products the matrix is known on the k-dimensional Krylov space of ``start``, as a tridiagonal one whose
    largest eigenvalue bounds the wanted one from below. Every new direction is made orthogonal to all before it,
    twice, because rounding would let found directions come back. What the last product left outside the space, times
    the last entry of the eigenvector, bounds the distance to an eigenvalue. Ends when that is at most ``ACCURATE`` of
    the value, or after ``MOST_PRODUCTS``. Golub & Van Loan, Matrix Computations (2013), section 10.1.
    """
    basis = [start / start.norm()]
    diagonal: list[float] = []
    beside: list[float] = []
    while True:
        image = product(basis[-1])
        diagonal.append(float(image @ basis[-1]))
        if not math.isfinite(diagonal[-1]):
            return math.nan
        for _ in range(2):
            for direction in basis:
                image = image - (image @ direction) * direction
        rest = float(image.norm())
        tridiagonal = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
        tridiagonal += sum(torch.diag(torch.tensor(beside, dtype=torch.float64), side) for side in (-1, 1))
        values, vectors = torch.linalg.eigh(tridiagonal)
        value, error = float(values[-1]), rest * abs(float(vectors[-1, -1]))
        if error <= ACCURATE * abs(value) or len(diagonal) == min(MOST_PRODUCTS, len(start)):
            return value
        beside.append(rest)
        basis.append(image / rest)


# ---------------------------------------------------------------- gradient noise


def gradient_noise(model: nn.Module, batch: Windows, size: int) -> float:
    """The simple noise scale tr(C) / |G|^2, in windows: the minibatch whose noise is as large as the gradient itself.

    C is the covariance of the gradients of single windows and G their mean: McCandlish et al. 2018, arXiv:1812.06162.
    Trace and square are each estimated without bias, as in its appendix A.1, from the gradients of n minibatches of
    ``size`` windows, into which ``batch`` is cut; n at least 2.
    NaN where the estimate of |G|^2 is not positive: then the windows are too few to tell the gradient from noise.
    """
    training = model.training
    model.eval()
    parameters = list(model.parameters())
    n = len(batch[0]) // size
    mean, squares = torch.zeros(()), 0.0  # of the n gradients (P,), and of their squared lengths
    with switched_off(torch.backends.cudnn):  # whose recurrences have no gradient outside training
        for part in zip(*(tensor.split(size) for tensor in batch), strict=True):
            gradient = flat(torch.autograd.grad(loss_of(model, *part), parameters)).cpu().double()
            mean = mean + gradient / n
            squares += float(gradient @ gradient) / n
    model.train(training)
    squared_mean = float(mean @ mean)
    noise = (squares - squared_mean) * n / (n - 1)  # of a minibatch; that of a window is ``size`` times as large
    signal = squared_mean - noise / n
    return size * noise / signal if signal > 0 else math.nan


# ---------------------------------------------------------------- barrier


@torch.no_grad()
def barrier(model: nn.Module, first: dict, second: dict, batch: Windows) -> float:
    """How far the loss on the straight line between two models' weights rises above that of its ends, >= 0.

    The maximum over ``POINTS`` points of L((1-a) first + a second) - ((1-a) L(first) + a L(second)), as in Entezari
    et al. 2022, arXiv:2110.06296, after Frankle et al. 2020, arXiv:1912.05671. ``first`` and ``second`` are states of
    ``model``. The same to the bit with the two exchanged. NaN where a loss on the line is not finite, and where
    buffers of integers differ, between which there is no line.
    """
    fixed = [name for name, tensor in first.items() if not tensor.is_floating_point()]
    if not all(torch.equal(first[name], second[name]) for name in fixed):
        return math.nan
    between = copy.deepcopy(model).eval()
    for part in between.modules():
        if isinstance(part, nn.RNNBase):
            part.flatten_parameters()  # as cuDNN wants a recurrence's weights to lie, which copies do not
    steps = POINTS - 1
    losses = []
    for step in range(POINTS):
        a, b = (steps - step) / steps, step / steps
        weights = {name: a * first[name] + b * second[name] for name in first.keys() - set(fixed)}
        between.load_state_dict(first | weights)
        losses.append(float(loss_of(between, *batch)))
    ends = losses[0], losses[-1]
    heights = [loss - ((steps - step) / steps * ends[0] + step / steps * ends[1]) for step, loss in enumerate(losses)]
    return max(heights) if all(map(math.isfinite, heights)) else math.nan

"""The CPU kernels against the plain form: the same values and gradients, to rounding."""

import math

import pytest
import torch
from torch.nn import functional as F

from training.kernels import QUERIES, Linear, causal_attention
from training.seeding import MaskStream


def stream() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def values_and_gradients(function, *inputs: torch.Tensor) -> list[torch.Tensor]:
    """The output, and the gradients of a weighted sum of it."""
    inputs = [x.detach().requires_grad_() for x in inputs]
    output = function(*inputs)
    weights = torch.randn(output.shape, generator=stream()).to(output.dtype)
    return [output.detach(), *torch.autograd.grad((output * weights).sum(), inputs)]


def assert_equal_to_rounding(ours: list[torch.Tensor], exact: list[torch.Tensor]) -> None:
    for x, y in zip(ours, exact, strict=True):
        assert x.dtype == torch.float32 and x.shape == y.shape
        torch.testing.assert_close(x.double(), y, rtol=1e-4, atol=1e-5 * y.abs().max().item())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(5, 7, 24), (3, 24), (24,)])
def test_linear_is_the_plain_one(shape, bias):
    layer = Linear(24, 10, bias=bias)
    x = torch.randn(shape, generator=stream())
    names, parameters = zip(*layer.named_parameters(), strict=True)

    def ours(x, *parameters):
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), x)

    exact = values_and_gradients(F.linear, *(tensor.double() for tensor in (x, *parameters)))
    assert_equal_to_rounding(values_and_gradients(ours, x, *parameters), exact)


def test_linear_respects_the_strides_of_what_it_is_given():
    layer = Linear(6, 4)
    x = torch.randn(6, 3, 5, generator=stream()).transpose(0, 2)
    plain = F.linear(x, layer.weight, layer.bias)
    torch.testing.assert_close(layer(x), plain)
    ours, theirs = (torch.autograd.grad(y.sum(), layer.weight)[0] for y in (layer(x), plain))  # of stride 0
    torch.testing.assert_close(ours, theirs)


def test_linear_takes_other_types_the_plain_way():
    layer = Linear(6, 4).double()
    assert torch.autograd.gradcheck(layer, torch.randn(3, 6, dtype=torch.float64, requires_grad=True))


def plain_attention(query, key, value, mask):
    T, D = query.shape[-2:]
    scores = query @ key.transpose(-2, -1) / math.sqrt(D)
    future = torch.ones(T, T, dtype=torch.bool).triu(1)
    return (scores.masked_fill(future, -math.inf).softmax(-1) * mask) @ value


@pytest.mark.parametrize("T", [1, QUERIES - 1, QUERIES, QUERIES + 1, 2 * QUERIES, 3 * QUERIES - 5])
@pytest.mark.parametrize("p", [0.0, 0.3])
def test_attention_is_the_plain_one(T, p):
    B, H, D = 2, 3, 8
    inputs = [torch.randn(B, H, T, D, generator=stream()) * scale for scale in (1, 2, 3)]
    whole = torch.zeros(B * H, T, T)  # the masks of the chunks, each in its place
    masks, done = MaskStream(), 0

    def mask(shape):
        nonlocal done
        drawn = masks.draw(torch.Size(shape), p) if p else None
        whole[:, done : done + shape[1], : shape[2]] = drawn if p else 1
        done += shape[1]
        return drawn

    ours = values_and_gradients(lambda *qkv: causal_attention(*qkv, mask), *inputs)
    assert done == T
    exact = values_and_gradients(
        lambda *qkv: plain_attention(*qkv, whole.view(B, H, T, T).double()), *(x.double() for x in inputs)
    )
    assert_equal_to_rounding(ours, exact)


def test_attention_is_that_of_pytorch_where_nothing_is_dropped():
    inputs = [torch.randn(2, 4, 100, 16, generator=stream()) for _ in range(3)]
    ours = values_and_gradients(lambda *qkv: causal_attention(*qkv, lambda shape: None), *inputs)
    theirs = values_and_gradients(lambda *qkv: F.scaled_dot_product_attention(*qkv, is_causal=True), *inputs)
    for x, y in zip(ours, theirs, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-5)

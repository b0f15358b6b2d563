import pytest
import torch
from torch.nn import functional as F

from activations import ACTIVATIONS, SmeLU, SwiGLU, is_gated, make_activation

X = torch.linspace(-6, 6, 2401, dtype=torch.float64)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_gradients_agree_with_finite_differences(name):
    # Away from 0 and the joins of SmeLU, where a second derivative jumps.
    x = torch.tensor([[-3.1, -0.8, -0.31, 0.17, 0.73, 2.9]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(make_activation(name), x, eps=1e-6, atol=1e-7)


@pytest.mark.parametrize("beta", [0.25, 0.5, 1.0, 3.0])
def test_smelu_is_its_closed_form(beta):
    expected = torch.where(-beta >= X, 0.0, torch.where(beta <= X, X, (X + beta) ** 2 / (4 * beta)))
    torch.testing.assert_close(SmeLU(beta)(X), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("beta", [0.5, 1.0])
def test_smelu_joins_smoothly(beta):
    for join, value, slope in ((-beta, 0.0, 0.0), (beta, beta, 1.0)):
        x = torch.tensor([join - 1e-9, join, join + 1e-9], dtype=torch.float64, requires_grad=True)
        y = SmeLU(beta)(x)
        y.sum().backward()
        torch.testing.assert_close(y, torch.full_like(y, value), rtol=0, atol=2e-9)
        torch.testing.assert_close(x.grad, torch.full_like(y, slope), rtol=0, atol=2e-9)
    assert SmeLU(beta)(torch.zeros(1)).item() == beta / 4


def test_smelu_tends_to_relu():
    distances = [(SmeLU(beta)(X) - F.relu(X)).abs().max().item() for beta in (1.0, 0.1, 0.01, 0.001)]
    assert distances == pytest.approx([0.25, 0.025, 0.0025, 0.00025])


def test_smelu_is_relu_convolved_with_a_box():
    beta = 0.7
    shifts = torch.linspace(-beta, beta, 20001, dtype=torch.float64)
    for x in (-1.0, -0.5, 0.0, 0.3, 0.69, 2.0):
        smoothed = torch.trapezoid(F.relu(x - shifts), shifts) / (2 * beta)
        assert SmeLU(beta)(torch.tensor(x, dtype=torch.float64)).item() == pytest.approx(smoothed.item(), abs=1e-8)


def test_smelu_needs_a_positive_beta():
    with pytest.raises(ValueError, match="beta > 0"):
        SmeLU(0.0)


def test_swiglu_gates_the_second_half():
    x = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(0))
    gate, value = x[..., :4], x[..., 4:]
    torch.testing.assert_close(SwiGLU()(x), gate * torch.sigmoid(gate) * value)
    assert is_gated(SwiGLU()) and not is_gated(SmeLU(1.0))


def test_gelu_and_swish_are_the_exact_forms():
    normal = torch.distributions.Normal(torch.zeros((), dtype=X.dtype), torch.ones((), dtype=X.dtype))
    torch.testing.assert_close(make_activation("gelu")(X), X * normal.cdf(X), rtol=0, atol=1e-12)
    torch.testing.assert_close(make_activation("swish")(X), X * torch.sigmoid(X), rtol=0, atol=1e-12)


def test_unknown_name_lists_the_known():
    with pytest.raises(ValueError, match="unknown activation 'tanh'; choose from relu, gelu, swish"):
        make_activation("tanh")

import pytest
import torch
from torch.nn import functional as F

import config
from activations import ACTIVATIONS, AdaptivePiecewiseLinear, SmeLU, is_gated, make_activation

X = torch.linspace(-6, 6, 2401, dtype=torch.float64)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_gradients_agree_with_finite_differences(name):
    # Away from 0 and the joins of SmeLU, where a second derivative jumps.
    x = torch.tensor([[-3.1, 0.73, -0.31, 0.17, -0.8, 2.9]], dtype=torch.float64, requires_grad=True)
    activation = make_activation(name).double()
    inputs = (x, *activation.parameters())
    assert torch.autograd.gradcheck(lambda x, *_: activation(x), inputs, eps=1e-6, atol=1e-7)
    assert torch.autograd.gradgradcheck(lambda x, *_: activation(x), inputs, eps=1e-6, atol=1e-7)


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


def test_smelu_has_the_beta_of_the_configuration():
    betas = {name: make_activation(name).beta for name in config.SMELU_BETAS if name != "relu"}
    assert {"relu": 0.0, **betas} == config.SMELU_BETAS
    assert [*config.SMELU_BETAS.values()] == [0, 0.1, 0.25, 0.5, 1, 2]
    assert max(betas.values()) < 10, "names are of one half-width each below 10 only: 1.5 and 15 would share one"


def normal_cdf(x: torch.Tensor) -> torch.Tensor:
    return (1 + torch.erf(x / 2**0.5)) / 2


CLOSED_FORMS = {
    "relu": lambda x: (x + x.abs()) / 2,
    "gelu": lambda x: x * normal_cdf(x),
    "swish": lambda x: x / (1 + torch.exp(-x)),
    "mish": lambda x: x * torch.tanh(torch.log(1 + torch.exp(x))),
    "elu": lambda x: torch.where(x > 0, x, torch.exp(x) - 1),
    "selu": lambda x: 1.0507009873554805 * torch.where(x > 0, x, 1.6732632423543772 * (torch.exp(x) - 1)),
    "prelu": lambda x: torch.where(x > 0, x, 0.25 * x),
    "squared_relu": lambda x: torch.where(x > 0, x * x, 0.0),
    "apl": lambda x: torch.where(x > 0, x, 0.0),  # at its start; later, see below
}
GATES = {"swiglu": "swish", "geglu": "gelu", "reglu": "relu"}


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_values_are_those_of_the_closed_form(name):
    with torch.no_grad():
        torch.testing.assert_close(make_activation(name).double()(X), CLOSED_FORMS[name](X), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("name", "gate"), GATES.items())
def test_gated_units_multiply_the_halves(name, gate):
    x = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(make_activation(name)(x), CLOSED_FORMS[gate](x[..., :4]) * x[..., 4:])


def test_every_activation_has_a_closed_form_here_and_only_the_gated_are_gated():
    assert ACTIVATIONS.keys() == CLOSED_FORMS.keys() | GATES.keys() | config.SMELU_BETAS.keys()
    assert {name for name in ACTIVATIONS if is_gated(make_activation(name))} == GATES.keys()


def test_the_slope_of_prelu_is_learned_and_starts_as_in_its_paper():
    (slope,) = make_activation("prelu").parameters()
    assert slope.shape == (1,) and slope.item() == 0.25


def test_apl_is_the_sum_of_a_relu_and_hinges():
    apl = AdaptivePiecewiseLinear((-1.0, 0.25, 2.0)).double()
    with torch.no_grad():
        apl.slopes.copy_(torch.tensor([0.3, -0.2, 0.7], dtype=torch.float64))
        expected = X.clamp(min=0)
        for slope, hinge in ((0.3, -1.0), (-0.2, 0.25), (0.7, 2.0)):
            expected = expected + torch.where(hinge > X, slope * (hinge - X), 0.0)
        torch.testing.assert_close(apl(X), expected, rtol=0, atol=1e-12)


def test_gradients_of_apl_s_own_numbers_agree_with_finite_differences_away_from_its_start():
    apl = AdaptivePiecewiseLinear().double()
    with torch.no_grad():
        apl.slopes.copy_(torch.tensor([0.4, -0.3]))
    x = torch.tensor([-3.1, 0.73, -0.31, 0.17, -0.8, 2.9], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, *_: apl(x), (x, *apl.parameters()), eps=1e-6, atol=1e-7)


def test_apl_starts_as_relu_with_hinges_apart_and_shares_them_within_a_layer():
    apl = make_activation("apl")
    assert [parameter.shape for parameter in apl.parameters()] == [(2,), (2,)]
    assert apl.slopes.tolist() == [0, 0] and apl.hinges.tolist() == [-0.5, 0.5]


def test_selu_keeps_mean_0_and_variance_1():
    """The fixed point that its two constants were solved for: the mean over x ~ N(0, 1) is 0, that of squares 1."""
    x = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    density = torch.exp(-x * x / 2) / (2 * torch.pi) ** 0.5
    y = make_activation("selu")(x)
    assert torch.trapezoid(y * density, x).item() == pytest.approx(0, abs=1e-6)
    assert torch.trapezoid(y * y * density, x).item() == pytest.approx(1, abs=1e-6)


def test_groups_name_known_activations():
    assert {name for group in config.ACTIVATION_GROUPS.values() for name in group} <= ACTIVATIONS.keys()
    assert not config.ACTIVATION_GROUPS.keys() & ACTIVATIONS.keys()
    assert {*config.ACTIVATIONS, *config.ACTIVATION_GROUPS["modern"]} == ACTIVATIONS.keys()


def test_unknown_name_lists_the_known():
    with pytest.raises(ValueError, match="unknown activation 'tanh'; choose from relu, gelu, swish"):
        make_activation("tanh")

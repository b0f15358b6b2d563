"""Properties that every architecture has with every activation."""

from dataclasses import replace

import pytest
import torch
from conftest import TINY
from torch import nn
from torch.nn import functional as F

import config
import config_cpu
import config_trained
from activations import ACTIVATIONS, is_gated, make_activation
from model import ARCHITECTURES, build_model, count_parameters
from study.plan import load_corpus
from training.dataset import training_batch
from training.layers import CausalAttention, CausalConvolution, Dropout, NormWithoutGain, hidden_width
from training.optimizers import decayed_and_not
from training.seeding import MaskStream, deterministic

EVERY = (*config.MODELS, *config.PARENTS)
# The study's, with three architectures those that other studies ask for, and of variants those of study parts.
COMBINATIONS = [
    *(
        (architecture, activation)
        for architecture in config.MODELS
        for activation in (ACTIVATIONS if architecture in ("charlm", "minigpt", "tinylstm") else config.ACTIVATIONS)
    ),
    *((variant, activation) for variant in config.PARENTS for activation in ("relu", "gelu", "swiglu", "smelu_1")),
]


def tokens(batch: int = 2, length: int = 128) -> torch.Tensor:
    return torch.randint(65, (batch, length), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("architecture", "activation"), COMBINATIONS)
def test_is_causal_and_sees_its_whole_past(architecture, activation):
    model = build_model(architecture, activation, config_cpu.CONFIG).eval()
    x = tokens()
    with torch.no_grad():
        before = model(x)
        assert before.shape == (2, 128, 65)
        for place in (1, 60, 127):
            changed = x.clone()
            changed[:, place] = (changed[:, place] + 1) % 65
            after = model(changed)
            assert torch.equal(after[:, :place], before[:, :place])
            assert not torch.equal(after[:, place], before[:, place])
        first_changed = x.clone()
        first_changed[:, 0] = (first_changed[:, 0] + 1) % 65
        assert not torch.equal(model(first_changed)[:, -1], before[:, -1])


@pytest.mark.parametrize(("architecture", "activation"), COMBINATIONS)
def test_predict_next_is_the_last_position(architecture, activation):
    model = build_model(architecture, activation, config_cpu.CONFIG).eval()
    with torch.no_grad():
        torch.testing.assert_close(model.predict_next(tokens()), model(tokens())[:, -1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("configuration", "size"),
    [(config_cpu.CONFIG, 430_000), (config_trained.CONFIG, 430_000), (config.CONFIG, 10_800_000)],
)
@pytest.mark.parametrize("architecture", EVERY)
def test_parameter_count_is_the_same_for_every_activation(architecture, configuration, size):
    if architecture in configuration.shapes:
        assert counts(architecture, configuration) == pytest.approx([size] * len(ACTIVATIONS), rel=0.02)
    assert configuration.shapes.keys() >= {*config.MODELS} and config_trained.CONFIG.shapes.keys() == {*EVERY}


def counts(architecture: str, configuration: config.Config) -> list[int]:
    """Parameters with each activation."""
    shape, make = configuration.shape_of(architecture), ARCHITECTURES[config.base_name(architecture)]
    with torch.device("meta"):
        return [count_parameters(make(configuration, shape, name)) for name in ACTIVATIONS]


@pytest.mark.parametrize(("architecture", "activation"), COMBINATIONS)
def test_the_activation_asked_for_is_inside_and_used(architecture, activation):
    model = build_model(architecture, activation, config_cpu.CONFIG).eval()
    wanted = make_activation(activation)
    kinds = {type(make_activation(name)) for name in ACTIVATIONS}
    found = [module for module in model.modules() if type(module) in kinds]
    shape = config_cpu.CONFIG.shapes[architecture]
    recurrent = "tinylstm" in (architecture, config.PARENTS.get(architecture))
    blocks = 1 if recurrent else shape.layers + (len(shape.dilations) if architecture == "hybridlm" else 0)
    assert len(found) == blocks
    assert all(repr(module) == repr(wanted) for module in found)
    calls = []
    for module in found:
        module.register_forward_hook(lambda module, *_: calls.append(module))
    model(tokens())
    assert set(calls) == set(found)


@pytest.mark.parametrize("architecture", EVERY)
def test_initial_weights_are_equal_across_activations_where_shapes_agree(architecture):
    models = {name: build_model(architecture, name, config_cpu.CONFIG, seed=42) for name in ACTIVATIONS}
    reference = dict(models["relu"].named_parameters())
    for name, model in models.items():
        parameters = dict(model.named_parameters())
        assert parameters.keys() - reference.keys() == own_parameters(model)
        assert reference.keys() <= parameters.keys()
        same_shape = [key for key in reference if parameters[key].shape == reference[key].shape]
        assert len(same_shape) >= len(reference) / 2
        assert is_gated(make_activation(name)) or len(same_shape) == len(reference)
        for key in same_shape:
            assert torch.equal(parameters[key], reference[key]), key
    other_seed = build_model(architecture, "relu", config_cpu.CONFIG, seed=43)
    assert not torch.equal(
        other_seed.head.weight, reference["embedding.weight" if architecture == "minigpt" else "head.weight"]
    )


def own_parameters(model: nn.Module) -> set[str]:
    """Those inside activations."""
    return {name for name, _ in model.named_parameters() if "activation." in name}


@pytest.mark.parametrize("architecture", config.MODELS)
def test_the_slopes_of_prelu_start_as_constructed_and_are_trained(architecture):
    model = build_model(architecture, "prelu", TINY)
    slopes = [parameter for name, parameter in model.named_parameters() if name in own_parameters(model)]
    assert len(slopes) == sum(isinstance(module, nn.PReLU) for module in model.modules()) > 0
    assert all(slope.item() == 0.25 for slope in slopes)
    train_few_steps(model)
    assert all(slope.item() != 0.25 for slope in slopes)


@pytest.mark.parametrize("architecture", ["charlm", "convlm"])
def test_apl_adds_four_numbers_a_layer_which_are_trained_and_do_not_decay(architecture):
    model, relu = (build_model(architecture, name, TINY) for name in ("apl", "relu"))
    own = {name: model.get_parameter(name) for name in own_parameters(model)}
    assert count_parameters(model) - count_parameters(relu) == sum(p.numel() for p in own.values()) == 4 * 2
    matrices, others = decayed_and_not(model.parameters(), replace(TINY, weight_decay=0.1))
    assert others["weight_decay"] == 0 and not {*own.values()} & {*matrices["params"]}
    before = {name: value.tolist() for name, value in own.items()}
    train_few_steps(model, steps=3)  # the slopes first: at 0 they hold back the gradients of the hinges
    assert all(value.tolist() != before[name] for name, value in own.items())


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_training_is_deterministic_with_every_activation(activation):
    losses = [train_few_steps(build_model("charlm", activation, TINY, seed=1)) for _ in range(2)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("architecture", EVERY)
def test_initial_values_come_from_the_seed(architecture):
    """Whatever is not a constant differs between seeds, also where the global generator is the same."""
    first, second = (build_model(architecture, "relu", config_cpu.CONFIG, seed) for seed in (42, 43))
    for (name, ours), theirs in zip(first.named_parameters(), second.parameters(), strict=True):
        constant = (ours == ours.flatten()[0]).all()
        assert constant or not torch.equal(ours, theirs), name


def test_building_a_model_leaves_the_masks_of_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    MaskStream()
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("architecture", config.MODELS)
def test_different_activations_give_different_losses_after_a_few_steps(architecture):
    losses = {name: train_few_steps(build_model(architecture, name, TINY, seed=1)) for name in ACTIVATIONS}
    assert len(set(losses.values())) == len(losses), losses


def train_few_steps(model: nn.Module, steps: int = 2) -> float:
    """The loss in the last of ``steps`` training steps."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    with deterministic("cpu"):
        for step in range(steps):
            model.masks.restart(1, step)
            inputs, targets = training_batch(load_corpus("cpu"), TINY, 1, step)
            loss = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return loss.item()


@pytest.mark.parametrize("architecture", EVERY)
def test_every_parameter_is_trained(architecture):
    model = build_model(architecture, "swiglu", TINY)
    inputs, targets = training_batch(load_corpus("cpu"), TINY, 1, 0)
    F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_convolution_is_the_one_of_pytorch():
    ours = CausalConvolution(5, 7, taps=3, dilation=4)
    x = torch.randn(2, 20, 5)
    weight = ours.linear.weight.view(7, 3, 5).transpose(1, 2)
    padded = F.pad(x.transpose(1, 2), (8, 0))
    theirs = F.conv1d(padded, weight, ours.linear.bias, dilation=4).transpose(1, 2)
    torch.testing.assert_close(ours(x), theirs, rtol=1e-5, atol=1e-6)


def test_attention_with_dropout_is_the_plain_form():
    """The written-out training path equals PyTorch's fused attention where the masks drop nothing."""
    model = build_model("charlm", "gelu", config_cpu.CONFIG)
    attention = model.blocks[0].attention
    x = torch.randn(2, 128, 128)
    attention.dropout.p = 1e-9
    written_out = attention.train()(x)
    fused = attention.eval()(x)
    torch.testing.assert_close(written_out, fused, rtol=1e-4, atol=1e-6)


def test_dropout_drops_the_right_share_and_keeps_the_mean():
    masks = MaskStream()
    dropout = Dropout(0.2, masks)
    ones = torch.ones(1000, 1000)
    dropped = dropout.train()(ones)
    share = (dropped == 0).double().mean().item()
    assert share == pytest.approx(0.2, abs=5 * (0.16 / 1e6) ** 0.5)
    assert dropped.max().item() == pytest.approx(1.25, rel=1e-4)
    assert dropped.double().mean().item() == pytest.approx(1, abs=0.003)
    assert torch.equal(dropout.eval()(ones), ones)


def test_dropout_masks_are_a_function_of_seed_and_step():
    masks = MaskStream()

    def draw(seed, step):
        masks.restart(seed, step)
        return [masks.draw(torch.Size((50, 3)), 0.5) for _ in range(2)]

    first = draw(1, 7)
    assert not torch.equal(first[0], first[1])
    assert all(map(torch.equal, first, draw(1, 7)))
    assert not torch.equal(first[0], draw(1, 8)[0])
    assert not torch.equal(first[0], draw(2, 7)[0])


def test_only_the_recipes_with_dropout_use_it():
    for architecture in EVERY:
        model = build_model(architecture, "gelu", config_cpu.CONFIG).train()
        draws = []
        original = model.masks.draw
        model.masks.draw = lambda *args, original=original, draws=draws: draws.append(1) or original(*args)
        model(tokens())
        expected = {"charlm": 8, "minigpt": 9, "nanotransformer": 0, "tinylstm": 3, "convlm": 4, "hybridlm": 9}
        expected |= {"charlm_one_head": 8, "charlm_one_block": 4, "charlm_no_attention_dropout": 4}
        expected |= {"charlm_no_gain": 8, "charlm_rms_norm": 8, "tinygru": 3, "tinyrnn": 3, "lstm_attention": 5}
        assert len(draws) == expected[architecture], architecture


def test_recipes():
    minigpt = build_model("minigpt", "gelu", config_cpu.CONFIG)
    assert minigpt.head.weight is minigpt.embedding.weight
    assert minigpt.blocks[0].feed_forward.project.weight.std().item() == pytest.approx(0.02 / 2, rel=0.03)
    assert minigpt.blocks[0].feed_forward.expand.weight.std().item() == pytest.approx(0.02, rel=0.03)
    nano = build_model("nanotransformer", "gelu", config_cpu.CONFIG)
    assert not [name for name, _ in nano.named_parameters() if name.endswith("bias")]
    lstm = build_model("tinylstm", "gelu", config_cpu.CONFIG).layers[1]
    bound = 128**-0.5  # of a uniform distribution: 1 over the root of the width
    assert isinstance(lstm, nn.LSTM)
    for parameter in lstm.parameters():
        assert 0.97 * bound < parameter.abs().max().item() <= bound


@pytest.mark.parametrize("architecture", config.PARENTS)
def test_what_a_variant_shares_with_its_parent_starts_as_there(architecture):
    ours, theirs = (
        dict(build_model(name, "relu", config_cpu.CONFIG, seed=3).named_parameters())
        for name in (architecture, config.PARENTS[architecture])
    )
    shared = [name for name in ours.keys() & theirs.keys() if ours[name].shape == theirs[name].shape]
    assert "head.bias" in shared
    assert all(torch.equal(ours[name], theirs[name]) for name in shared)


def test_variants_lack_what_their_names_say():
    def kinds(architecture: str) -> list[type]:
        return [type(module) for module in build_model(architecture, "gelu", config_cpu.CONFIG).modules()]

    assert build_model("charlm_one_head", "gelu", config_cpu.CONFIG).blocks[0].attention.heads == 1
    assert len(build_model("charlm_one_block", "gelu", config_cpu.CONFIG).blocks) == 1
    norms = ("charlm", nn.LayerNorm), ("charlm_no_gain", NormWithoutGain), ("charlm_rms_norm", nn.RMSNorm)
    for architecture, norm in norms:
        found = kinds(architecture)
        assert [found.count(kind) for _, kind in norms] == [5 * (kind is norm) for _, kind in norms]
    recurrences = (
        ("tinylstm", nn.LSTM, 2),
        ("tinygru", nn.GRU, 2),
        ("tinyrnn", nn.RNN, 2),
        ("lstm_attention", nn.LSTM, 1),
    )
    for architecture, recurrence, layers in recurrences:
        found = kinds(architecture)
        assert sum(found.count(kind) for _, kind, _ in recurrences[:3]) == found.count(recurrence) == layers
    assert kinds("lstm_attention").count(CausalAttention) == 1


def test_a_norm_without_gain_and_a_root_mean_square_norm_are_their_formulas():
    x = torch.randn(3, 8, generator=torch.Generator().manual_seed(1)) + 2
    plain, root = NormWithoutGain(8), build_model("charlm_rms_norm", "gelu", config_cpu.CONFIG).make_norm(8)
    centred = x - x.mean(-1, keepdim=True)
    torch.testing.assert_close(plain(x), centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt())
    torch.testing.assert_close(root(x), x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt())
    assert [name for name, _ in plain.named_parameters()] == ["bias"]
    assert [name for name, _ in root.named_parameters()] == ["weight"]


@pytest.mark.parametrize("architecture", ["charlm_one_head", "charlm_one_block", "lstm_attention"])
def test_attention_of_a_variant_is_the_plain_form(architecture):
    """As that of its parent, whose heads are narrower or fewer."""
    model = build_model(architecture, "gelu", config_cpu.CONFIG)
    attention = model.attention if architecture == "lstm_attention" else model.blocks[0].attention
    width = config_cpu.CONFIG.shapes[architecture].width
    x = torch.randn(2, 128, width, generator=torch.Generator().manual_seed(1), requires_grad=True)
    attention.dropout.p = 0.0
    written_out, fused = attention.train()(x), attention.eval()(x)
    torch.testing.assert_close(written_out, fused, rtol=1e-4, atol=1e-6)
    weights = torch.randn(fused.shape, generator=torch.Generator().manual_seed(2))
    ours, theirs = (torch.autograd.grad((y * weights).sum(), x)[0] for y in (written_out, fused))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_only_attention_goes_without_dropout():
    model = build_model("charlm_no_attention_dropout", "gelu", config_cpu.CONFIG)
    assert {block.attention.dropout.p for block in model.blocks} == {0.0}
    assert {block.dropout.p for block in model.blocks} == {0.2}
    off = replace(config_cpu.CONFIG, dropout=0.0)
    ours, theirs = (build_model(name, "gelu", off)(tokens()) for name in ("charlm_no_attention_dropout", "charlm"))
    assert torch.equal(ours, theirs)


def test_gated_layers_are_two_thirds_as_wide():
    assert hidden_width(768, gated=True) == 512
    assert hidden_width(768, gated=False) == 768


def test_mistakes_are_reported():
    with pytest.raises(ValueError, match="unknown model 'rnn'; choose from charlm, minigpt"):
        build_model("rnn", "gelu", config_cpu.CONFIG)
    with pytest.raises(ValueError, match="unknown activation"):
        build_model("charlm", "tanh", config_cpu.CONFIG)
    with pytest.raises(ValueError, match="do not fit a context of 128"):
        build_model("charlm", "gelu", config_cpu.CONFIG)(tokens(1, 129))

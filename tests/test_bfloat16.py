"""Training in bfloat16 on a CPU: the kernels beside the plain form, what stays float32, and that bits are kept.

Where oneDNN has no products of bfloat16 numbers, PyTorch's own take their place; the same holds for them.
"""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY
from test_kernels import plain_attention, stream, values_and_gradients
from tiny_trials import CELL, assert_same_trial, elsewhere, run, run_until, weights

from activations import ACTIVATIONS, make_activation
from config import MODELS
from model import Block, build_model, recurred
from study import cli, environment, options
from study.files import UserError
from study.own_checks import check_precision
from study.plan import Study, load_corpus
from study.store import fingerprint
from train import TrialRun
from training import kernels
from training.dataset import probe_set, training_batch
from training.evaluation import predict
from training.kernels import QUERIES, Linear, bfloat16_products, causal_attention
from training.layers import ConvolutionBlock
from training.own_model import OwnModel
from training.seeding import MaskStream, deterministic

HALF = 2.0**-9  # the largest relative error of rounding to bfloat16's 8 bits


@pytest.fixture
def study(tiny_study) -> Study:
    return replace(tiny_study, asked_precision="bfloat16")


def close(ours: torch.Tensor, exact: torch.Tensor, roundings: int) -> None:
    """Within so many roundings, each of the size that rounding the largest value has."""
    assert ours.shape == exact.shape
    assert (ours.double() - exact).abs().max() <= roundings * HALF * exact.abs().max()


# ---------------------------------------------------------------- recurrences on a GPU


@pytest.fixture
def recurrences_as_on_a_gpu(monkeypatch) -> None:
    monkeypatch.setattr("model.RECURRENCES_IN_FLOAT32", {"cpu"})


@pytest.mark.usefixtures("recurrences_as_on_a_gpu")
@pytest.mark.parametrize("kind", [torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN])
def test_a_recurrence_is_computed_in_float32_and_its_result_rounded_once(kind):
    layer, seen = kind(8, 8, batch_first=True), []
    layer.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0].dtype))
    x = torch.randn(3, 7, 8, generator=stream())
    with bfloat16_products("cpu"):
        found = recurred(layer, x.bfloat16())
    assert seen == [torch.float32] and found.dtype == torch.bfloat16
    assert torch.equal(found, layer(x.bfloat16().float())[0].bfloat16())
    assert torch.equal(recurred(layer, x), layer(x)[0])


class Recurrent(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.recurrence = torch.nn.Embedding(65, 65), torch.nn.GRU(65, 65, batch_first=True)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.recurrence(self.table(tokens))[0]


@pytest.mark.parametrize(("device", "precision"), [("cuda", "float32"), ("cpu", "bfloat16")])
def test_a_users_recurrence_is_taken_where_it_is_computed_as_asked(tiny_study, device, precision):
    check_precision(replace(tiny_study, device=device, asked_precision=precision), OwnModel(Recurrent(), 4))


def test_a_users_recurrence_is_refused_where_it_would_be_in_float16(tiny_study):
    on_gpu = replace(tiny_study, device="cuda")
    check_precision(on_gpu, build_model("tinylstm", "gelu", TINY))
    check_precision(on_gpu, OwnModel(torch.nn.Embedding(65, 65), 4))
    with pytest.raises(UserError, match="choose --precision float32"):
        check_precision(on_gpu, OwnModel(Recurrent(), 4))


@pytest.mark.usefixtures("recurrences_as_on_a_gpu")
def test_it_is_refused_before_a_trial_of_it_begins(study, monkeypatch):
    monkeypatch.setattr("study.own_checks.RECURRENCES_IN_FLOAT32", {"cpu"})
    monkeypatch.setattr("study.own_code.OwnCode.build", lambda *_: OwnModel(Recurrent(), 4))
    with pytest.raises(UserError, match="choose --precision float32"):
        TrialRun(study, study.cell(*CELL), 1)


# ---------------------------------------------------------------- recurrences on a CPU


@pytest.mark.parametrize("has", [True, False])
def test_where_onednn_has_no_such_products_it_is_left_out(monkeypatch, has):
    monkeypatch.setattr(kernels, "_has_products", lambda dtype: has)
    with bfloat16_products("cpu"):
        assert torch.backends.mkldnn.enabled == has and torch.is_autocast_enabled("cpu")
    assert torch.backends.mkldnn.enabled and not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("kind", [torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN])
def test_a_recurrence_takes_float32_numbers_too(kind):
    """On each processor: where oneDNN has no such products, PyTorch's own check for that overlooks this case."""
    torch.manual_seed(1)
    layer, x = kind(32, 32, batch_first=True), torch.randn(3, 7, 32, generator=stream())
    with bfloat16_products("cpu"):
        found = layer(x)[0]
    assert not torch.equal(found.float(), layer(x)[0])
    close(found, layer(x)[0].double(), roundings=16)


# ---------------------------------------------------------------- kernels


@pytest.mark.parametrize("bias", [True, False])
def test_linear_is_the_plain_one(bias):
    layer = Linear(24, 10, bias=bias)
    x = torch.randn(5, 7, 24, generator=stream())
    names, parameters = zip(*layer.named_parameters(), strict=True)

    def ours(x, *parameters):
        with bfloat16_products("cpu"):
            return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), x)

    exact = values_and_gradients(torch.nn.functional.linear, *(tensor.double() for tensor in (x, *parameters)))
    found = values_and_gradients(ours, x, *parameters)
    assert found[0].dtype == torch.bfloat16 and {value.dtype for value in found[1:]} == {torch.float32}
    for value, plain in zip(found, exact, strict=True):
        close(value, plain, roundings=4)
    assert not torch.equal(found[0].float(), layer(x))


@pytest.mark.parametrize("T", [1, QUERIES, 2 * QUERIES - 5])
@pytest.mark.parametrize("p", [0.0, 0.3])
def test_attention_is_the_plain_one(T, p):
    B, H, D = 2, 3, 8
    inputs = [torch.randn(B, H, T, D, generator=stream()).bfloat16() for _ in range(3)]
    whole = torch.ones(B * H, T, T)
    masks, done = MaskStream(), 0

    def mask(shape):
        nonlocal done
        drawn = masks.draw(torch.Size(shape), p) if p else None
        if drawn is not None:
            whole[:, done : done + shape[1], : shape[2]] = drawn
        done += shape[1]
        return drawn

    found = values_and_gradients(lambda *qkv: causal_attention(*qkv, mask), *inputs)
    exact = values_and_gradients(
        lambda *qkv: plain_attention(*qkv, whole.view(B, H, T, T).double()), *(x.double() for x in inputs)
    )
    for value, plain in zip(found, exact, strict=True):
        assert value.dtype == torch.bfloat16
        close(value, plain, roundings=8)


@pytest.mark.parametrize("name", ["smelu_05", "smelu_1"])
def test_smelu_is_rounded_once(name):
    x = (torch.randn(1000, generator=stream()) * 2).bfloat16()
    value, gradient = values_and_gradients(make_activation(name), x)
    exact, exact_gradient = values_and_gradients(make_activation(name), x.float())
    assert torch.equal(value, exact.bfloat16())
    close(gradient, exact_gradient.double(), roundings=2)


# ---------------------------------------------------------------- models


def gradients(architecture: str, activation: str, bfloat16: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of a batch, and the gradients of the loss by all weights in one vector."""
    model = build_model(architecture, activation, TINY, seed=1).train()
    model.masks.restart(1, 0)
    inputs, targets = training_batch(load_corpus("cpu"), TINY, 1, 0)
    with bfloat16_products("cpu") if bfloat16 else nullcontext():
        logits = model(inputs)
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())
    found = torch.autograd.grad(loss, list(model.parameters()))
    assert {gradient.dtype for gradient in found} == {torch.float32}
    return logits.detach().float(), torch.cat([gradient.flatten() for gradient in found])


@pytest.mark.parametrize(
    "architecture, activation",
    [*((name, "gelu") for name in MODELS), *(("charlm", name) for name in ACTIVATIONS if name != "gelu")],
)
def test_gradients_are_those_of_float32_to_rounding(architecture, activation):
    with deterministic("cpu"):
        (logits, exact), (rounded, found) = (gradients(architecture, activation, b) for b in (False, True))
    assert 0 < (rounded - logits).norm() < 0.02 * logits.norm()
    assert 0 < (found - exact).norm() < 0.03 * exact.norm()


@pytest.mark.parametrize("architecture", [*MODELS, "lstm_attention"])
def test_norms_and_what_blocks_pass_on_are_float32(study, architecture):
    seen: set[torch.dtype] = set()
    study = replace(study, config=replace(study.config, dropout=0.0))  # masks are float32, and would make all be so
    with deterministic("cpu"):
        trial = TrialRun(study, study.cell(architecture, "gelu"), 1)
        for module in trial.model.modules():
            if isinstance(module, torch.nn.LayerNorm | Block | ConvolutionBlock):
                module.register_forward_hook(
                    lambda module, inputs, output: seen.update((inputs[0].dtype, output.dtype))
                )
        trial.advance()
    assert seen == {torch.float32}


def test_products_are_bfloat16_and_the_rest_is_float32(study):
    seen: dict[type, set[torch.dtype]] = {}
    with deterministic("cpu"):
        trial = TrialRun(study, study.cell(*CELL), 1)
        for module in trial.model.modules():
            if isinstance(module, Linear | torch.nn.LayerNorm | torch.nn.GELU | Block):
                module.register_forward_hook(
                    lambda module, _, output: seen.setdefault(type(module), set()).add(output.dtype)
                )
        trial.advance()
    half, single = {torch.bfloat16}, {torch.float32}
    assert seen == {Linear: half, torch.nn.GELU: half, torch.nn.LayerNorm: single, Block: single}
    states = [value for state in trial.optimizer.state.values() for value in state.values()]
    assert {tensor.dtype for tensor in (*trial.model.parameters(), *states)} == single


# ---------------------------------------------------------------- trials


@pytest.mark.parametrize("architecture", MODELS)
def test_the_same_bits_twice_and_after_an_interruption(study, architecture):
    names = (architecture, "smelu_1")
    undisturbed = elsewhere(study, "undisturbed")
    run(undisturbed, names=names)
    run_until(study, 4, names=names)
    run(study, names=names)
    assert_same_trial(study, undisturbed, names)


def test_it_is_another_trial_evaluated_in_float32(study, tiny_study):
    facts, of_float32 = (of.identity(of.cell(*CELL)) for of in (study, tiny_study))
    assert facts == of_float32 | {"precision": "bfloat16"} and fingerprint(facts) != fingerprint(of_float32)
    record, cell = run(study), study.cell(*CELL)
    plain = elsewhere(tiny_study, "plain")
    assert 0 < abs(run(plain)["val_loss"] - record["val_loss"]) < 0.02
    model = build_model(*CELL, study.config).eval()
    model.load_state_dict(weights(study))
    with deterministic("cpu"):
        again = predict(model, probe_set(load_corpus("cpu"), study.config).contexts, study.config.batch_size)
    assert np.array_equal(again, study.store.read_predictions(cell, 1, record["predictions_sha256"])[-1])


# ---------------------------------------------------------------- the option


def asked(tmp_path: Path, *chosen: str) -> Study:
    parser = cli.Parser()
    options.add_study_options(parser)
    places = ["--results-dir", str(tmp_path), "--checkpoints-dir", str(tmp_path), "--config", "cpu"]
    args = parser.parse_args([*chosen, *places])
    args.model, args.activation = CELL
    return options.study_from(args)


@pytest.mark.parametrize("fast, said", [(True, False), (False, True), (None, True)])
def test_who_asks_for_it_where_it_is_slow_is_told(tmp_path, monkeypatch, capsys, fast, said):
    monkeypatch.setattr(options, "has_bfloat16_products", lambda: fast)
    study = asked(tmp_path, "--precision", "bfloat16")
    assert (study.precision, study.config.study) == ("bfloat16", "cpu_bfloat16")
    assert ("float32 is faster here" in capsys.readouterr().out) == said


def test_what_a_device_has_anyway_changes_nothing(tmp_path, capsys):
    study = asked(tmp_path, "--precision", "float32")
    assert (study.asked_precision, study.config.study, capsys.readouterr().out) == (None, "cpu", "")


def test_a_device_without_it_is_refused():
    with pytest.raises(UserError, match="for cpu and cuda, not for mps"):
        options.check_bfloat16("mps")


@pytest.mark.parametrize(
    "content, found",
    [
        ("processor : 0\nflags\t\t: fpu avx512f avx512_bf16 amx_tile\n", True),
        ("flags\t\t: fpu amx_bf16\n", True),
        ("flags\t\t: fpu avx512f avx512_vnni\n", False),
        ("processor\t: 0\nFeatures\t: fp asimd bf16\n", True),
        ("processor\t: 0\n", None),
    ],
)
def test_instructions_are_those_that_the_system_names(monkeypatch, content, found):
    monkeypatch.setattr(Path, "read_text", lambda path: content)
    assert environment.has_bfloat16_products() is found


def test_a_system_that_names_none_is_not_guessed_at(monkeypatch):
    def missing(path):
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    assert environment.has_bfloat16_products() is None

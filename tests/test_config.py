"""Configurations as data: the trained one, rates of single cells, and which settings are part of an identity."""

import argparse
from dataclasses import replace

import pytest
import torch
from conftest import TINY

import config
import config_cpu
import config_trained
from config import Shape
from model import ARCHITECTURES, count_parameters
from runner.pilots import FILE, choose, read_pilots
from study import cli
from study.files import RESULTS_DIR, ROOT
from study.options import CONFIGS, add_study_options, study_from
from study.plan import Study
from study.store import fingerprint, identity, read_cell_file

CELL = ("charlm", "gelu")


def identity_of(configuration: config.Config) -> dict:
    return identity(configuration, *CELL, "cpu", "float32")


@pytest.mark.parametrize("name", ["charlm_gelu_cpu", "convlm_swiglu_reference", "charlm_mish_modern"])
def test_committed_cells_keep_their_fingerprints(name):
    """The identity that the code gives today is the one in the file, but for the versions of the libraries."""
    cell = read_cell_file(RESULTS_DIR / f"{name}.json")
    there = cell["config"]
    settings = {key: there[key] for key in ("iterations", "eval_interval")}
    here = identity(
        replace(config_cpu.CONFIG, **settings), cell["model"], cell["activation"], there["device"], there["precision"]
    )
    versions = {library: there[library] for library in ("torch", "numpy")}
    assert here | versions == there and fingerprint(here | versions) == cell["fingerprint"]


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer": "adamw"},
        {"betas": (0.9, 0.99)},
        {"weight_decay": 0.1},
        {"schedule": "cosine"},
        {"warm_up": 0.1},
        {"floor": 0.1},
        {"clip_norm": 1.0},
        {"muon_rate": 0.1},
        {"rates": {CELL: 0.1}},
    ],
)
def test_every_setting_of_a_recipe_is_part_of_the_identity(change):
    assert fingerprint(identity_of(replace(TINY, **change))) != fingerprint(identity_of(TINY))


def test_the_rate_of_a_cell_is_its_own_and_no_other_s():
    configuration = replace(TINY, rates={CELL: 0.1, ("charlm", "relu"): 0.2})
    assert identity_of(configuration) == identity_of(replace(TINY, learning_rate=0.1))
    other = identity(configuration, "tinylstm", "gelu", "cpu", "float32")
    assert other == identity(TINY, "tinylstm", "gelu", "cpu", "float32")


def test_one_learning_rate_for_all_cells_is_asked_for_by_an_option():
    parser = argparse.ArgumentParser()
    add_study_options(parser)
    parser.set_defaults(model="charlm", activation="gelu")

    def asked(*options: str) -> Study:
        return study_from(parser.parse_args(["--config", "trained", *options]), runs_here=False)

    at_one = asked("--learning-rate", "0.002").config
    assert (at_one.study, at_one.learning_rate, at_one.rates) == ("trained_rate_0.002", 0.002, {})
    assert asked("--study", "trained").config == config_trained.CONFIG
    assert asked("--learning-rate", "0.004").config.study.startswith("trained_rate_0.004")  # of every cell
    assert asked("--learning-rate", "1e-05").config.study == "trained_rate_1e-05"
    for wrong in ("0", "-0.1", "nan", "inf", "fast"):
        with pytest.raises(argparse.ArgumentTypeError, match=f"'{wrong}' is not a learning rate above 0"):
            cli.learning_rate(wrong)
    with pytest.raises(argparse.ArgumentTypeError, match="'1000000' is more than 10, the most that is accepted"):
        cli.learning_rate("1000000")


def test_a_value_that_the_configuration_has_anyway_changes_no_name():
    parser = argparse.ArgumentParser()
    add_study_options(parser)
    parser.set_defaults(model="charlm", activation="gelu")

    def name(scale: str, *options: str) -> str:
        args = parser.parse_args(["--config", scale, "--results-dir", "none", *options])
        return study_from(args, runs_here=False).config.study

    own = config_cpu.CONFIG
    assert name("cpu", "--dropout", f"{own.dropout}", "--learning-rate", f"{own.learning_rate}") == name("cpu")
    assert name("cpu", "--dropout", "0.1") == f"{name('cpu')}_dropout_0.1"
    assert name("trained", "--dropout", "0") == name("trained")


def test_the_trained_study_is_the_laptop_s_trained_until_good():
    trained = CONFIGS["trained"]
    assert trained is config_trained.CONFIG and (trained.study, trained.device) == ("trained", "cpu")
    assert (trained.n_trials, trained.seed_base) == (10, 1000)
    evaluations = range(trained.eval_interval, trained.iterations + 1, trained.eval_interval)
    assert len(evaluations) >= 10 and {trained.iterations, trained.iterations * 4 // 5} <= set(evaluations)


@pytest.mark.parametrize("configuration", [config_cpu.CONFIG, config_trained.CONFIG, config.CONFIG])
def test_the_convolutions_of_convlm_reach_back_over_the_whole_context(configuration):
    shape: Shape = configuration.shapes["convlm"]
    reached = {0}
    for dilation in shape.dilations:
        reached = {place + tap * dilation for place in reached for tap in range(shape.taps)}
    assert set(range(configuration.context)) <= reached


def test_rates_are_those_that_the_pilots_chose():
    complete = {}
    for path in FILE.parent.glob("*.json"):
        grid, pilots = read_pilots(path)
        complete |= {cell: one.rate for cell, one in choose(grid, pilots).items() if one.complete} if grid else {}
    assert {cell: complete.get(cell) for cell in config_trained.RATES} == config_trained.RATES


def test_the_page_of_models_has_the_rate_of_cells_that_no_pilot_was_run_for():
    page = " ".join((ROOT / "docs" / "templates" / "models.md").read_text().split())
    assert f"are trained at {config_trained.CONFIG.learning_rate:g}, and" in page


def test_where_dropout_is_off_the_rate_of_a_variant_that_has_less_of_it_is_its_parent_s():
    trained, variant = config_trained.CONFIG, config.ONLY_WITH_DROPOUT
    for name in config.ACTIVATIONS:
        assert trained.of_cell(variant, name).learning_rate == trained.of_cell("charlm", name).learning_rate


# ---------------------------------------------------------------- sizes


@pytest.mark.parametrize("configuration", [config_cpu.CONFIG, config_trained.CONFIG, config.CONFIG])
@pytest.mark.parametrize("architecture", config.SCALED)
@pytest.mark.parametrize(
    "size",
    sorted(
        {config.size_in(name) or 430_000 for group in ("sizes", "gpu_sizes") for name in config.MODEL_GROUPS[group]}
    ),
)
def test_every_size_is_within_two_percent_by_the_model_s_own_count(configuration, architecture, size):
    shape = config.scaled(architecture, size, configuration)
    for activation in ("relu", "swiglu"):
        with torch.device("meta"):
            model = ARCHITECTURES[architecture](configuration, shape, activation)
        assert count_parameters(model) == pytest.approx(size, rel=0.02)
    assert shape.layers >= 2 and shape.width % shape.heads == 0
    like = configuration.shapes[architecture]
    assert shape.width // shape.heads == like.width // like.heads


@pytest.mark.parametrize("architecture", config.SCALED)
def test_the_parameters_of_a_shape_are_those_of_the_model(architecture):
    shape = Shape(layers=3, width=24, hidden=50, heads=2)
    with torch.device("meta"):
        model = ARCHITECTURES[architecture](TINY, shape, "gelu")
    assert config.transformer_parameters(shape, architecture, TINY) == count_parameters(model)


@pytest.mark.parametrize("configuration", [config_cpu.CONFIG, config_trained.CONFIG])
@pytest.mark.parametrize("architecture", config.SCALED)
def test_at_its_own_size_a_configuration_s_shape_comes_out(configuration, architecture):
    assert configuration.shape_of(f"{architecture}@0.43M") == configuration.shapes[architecture]


def test_larger_ones_are_deeper_and_wider():
    for architecture in config.SCALED:
        shapes = [config.scaled(architecture, size * 1_000_000, config_trained.CONFIG) for size in (1, 5, 25, 100)]
        assert [shape.layers for shape in shapes] == [3, 5, 8, 13]
        assert [shape.width for shape in shapes] == sorted({shape.width for shape in shapes})


def test_what_cannot_be_had_is_said():
    with pytest.raises(ValueError, match="charlm cannot have 5,000 parameters in this configuration"):
        config_cpu.CONFIG.shape_of("charlm@0.005M")
    with pytest.raises(ValueError, match="tinylstm is not made in sizes; charlm and minigpt are"):
        config_cpu.CONFIG.shape_of("tinylstm@1M")
    assert config.size_in("charlm@0.25M") == 250_000 and config.size_in("charlm") is None
    assert config.size_in("charlm@250K") is None and config.base_name("charlm@0.25M") == "charlm"


def test_a_size_is_part_of_the_identity_by_name_and_shape():
    facts = identity(config_trained.CONFIG, "charlm@1M", "gelu", "cpu", "float32")
    shape = config_trained.CONFIG.shape_of("charlm@1M")
    assert facts["model"] == "charlm@1M" and facts["shape"]["width"] == shape.width
    other = identity(config_trained.CONFIG, "charlm@0.43M", "gelu", "cpu", "float32")
    assert {name for name in facts if facts[name] != other[name]} <= {"model", "shape", "learning_rate"}
    assert fingerprint(facts) != fingerprint(other)

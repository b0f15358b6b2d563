"""The study of the examples: pilots, what the record holds of a task, the rule with and without the most different
activation, and that the committed record, the page and its decision tree fit the code."""

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import analyze_results
import compare
import sensitivity
from analysis import domains, stats
from analysis.own_answer import NOT_SETTLED, own_answer
from analysis.stats_many import EffectVerdict
from benchmarks.domains import DOMAINS
from config import ACTIVATIONS
from own import pilots, run
from own.task import load_task
from own.trial import Job, OwnTrial
from runner.pilots import Grid, choose
from study.files import ROOT
from study.own_code import OwnCode
from study.users_code import source_of
from views import domain_tables
from views.render import render

SIZES = {"relu": 0.5, "gelu": 0.5, "swish": 0.5, "swiglu": 1.2}  # of noise: one activation is far wider


def predicted(sizes: dict[str, float], seed: int, n: int = 8) -> dict[str, list[np.ndarray]]:
    """Probabilities of models whose logits differ from common ones by noise of a size of the activation's own."""
    common = 2 * np.random.default_rng(0).standard_normal((400, 5))
    rng = np.random.default_rng(seed)
    raised = {name: np.exp(common + size * rng.standard_normal((n, 400, 5))) for name, size in sizes.items()}
    return {name: list(each / each.sum(axis=-1, keepdims=True)) for name, each in raised.items()}


def made_up(sizes: dict[str, float], seed: int) -> dict:
    """What the record holds of a task of which models are such."""
    models = predicted(sizes, seed)
    targets = np.random.default_rng(1).integers(0, 5, 400)
    losses = {name: {"0.001": [0.5, 0.7], "0.003": [0.4, 0.4], "0.01": [0.3, None]} for name in sizes}
    return {
        "samples": 400,
        "diverged": 0,
        "steps": 100,
        "rates": dict.fromkeys(sizes, 0.003),
        "parameters": dict.fromkeys(sizes, 1000),
        "training_loss": dict.fromkeys(sizes, [0.2, 0.1]),
        "pilots": {"seeds": [9000, 9001], "losses": losses, "at_edge": ["gelu"]},
        **domains.measured(own_answer(models, models, range(8), targets)),
    }


@pytest.fixture(scope="module")
def record() -> dict:
    found = {"digits": made_up(SIZES, 1), "power": made_up(dict.fromkeys(SIZES, 0.6), 2)}
    return json.loads(json.dumps({"domains": found}, allow_nan=False))


def test_one_far_wider_activation_is_found_and_left_out(record):
    found = {(each.domain, each.metric, each.left_out is None): each for each in domains.verdicts(record["domains"])}
    assert found["digits", "top1_mismatches", True].verdict is EffectVerdict.MATTERS
    without = found["digits", "top1_mismatches", False]
    assert without.left_out == "swiglu" and without.verdict is not EffectVerdict.MATTERS
    assert found["power", "total_variation", True].verdict is EffectVerdict.NO_DIFFERENCE


def test_p_is_adjusted_over_domains_and_primary_metrics(record):
    found = domains.verdicts(record["domains"])
    for metrics, n_tests in ((domains.PRIMARY, 4), (("relative_pd",), 2)):
        of_all = [each for each in found if each.metric in metrics and each.left_out is None]
        assert [each.p_holm for each in of_all] == pytest.approx(stats.holm([each.p for each in of_all]))
        assert {each.n_tests for each in of_all} == {n_tests}


def test_what_is_left_out_changes_nothing_else():
    distances = np.random.default_rng(3).random((4, 8, 8))
    distances += distances.swapaxes(1, 2)
    distances[2] += 3
    distances *= 1 - np.eye(8)
    found = domains.without_most_different(["a", "b", "c", "d"], distances)
    assert found == {"left_out": "c", **domains.effect(distances[[0, 1, 3]])}


def test_the_tables_say_what_the_record_says(record):
    rows = domain_tables.verdicts_table(record).rows
    assert [(row["metric"], row["domain"]) for row in rows[:3]] == [
        ("top1_mismatches", "digits"),
        ("top1_mismatches", "power"),
        ("total_variation", "digits"),
    ]
    with_all, without = domain_tables.sentences(record)[0].split(" Without the most different activation")
    verdicts = "*matters* in digits, *no difference above the margin* in power"
    assert with_all.endswith(f": {verdicts}; a difference, however small, is shown in digits.")
    assert without.endswith("shown nowhere.") and "*matters*" not in without
    shown = domain_tables.activations_table(record).texts()
    assert len(shown) == 2 * len(SIZES) and shown[3][:4] == [
        domain_tables.KINDS["digits"],
        "SwiGLU",
        "1,000",
        "0.003",
    ]
    shown = domain_tables.pilots_table(record)
    assert shown.texts()[1][2:] == ["0.600", "0.400", "–", "0.003*"]
    assert "digits with GELU and power with GELU" in shown.notes[0]
    assert domain_tables.course_table(record).texts()[0][1:3] == ["400", "8"]
    assert domain_tables.course_table(record).texts()[0][4:8] == ["0", "100", "0.200", "0.100"]


# ---------------------------------------------------------------- pilots

TASK = """
import numpy as np
from torch import nn

x = np.random.default_rng(0).standard_normal((200, 6))
y = x[:, :3].argmax(axis=1)
probe, targets = x[150:], y[150:]
rates = {"relu": 7.0}


def model(activation):
    return nn.Sequential(nn.Linear(6, 16), activation(), nn.Linear(16, 3))


def batch(rng):
    i = rng.integers(0, 150, 16)
    return x[i], y[i]
"""
GRID = Grid((0.0001, 0.01, 3.0), (9000, 9001), 30)


@pytest.fixture
def in_this_process(tmp_path, monkeypatch) -> list:
    """The current folder is an empty one with a task, and trials are trained in this process; what was trained."""
    trained = []

    def run_jobs(setting, n_workers, jobs, on_event, should_stop, work):
        for job in jobs:
            trained.append((setting.rate, *job))
            on_event(work(setting, job, on_event, should_stop))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "run_jobs", run_jobs)
    Path("task.py").write_text(TASK)
    load_task.cache_clear()
    return trained


def piloted() -> list[dict]:
    load_task.cache_clear()
    task = load_task(Path("task.py").absolute())
    return pilots.pilots_of(task, GRID, ["relu", "gelu"], Path("here").absolute(), 1, lambda line: None)


def test_pilots_are_trained_at_every_rate_whatever_the_task_s_are(in_this_process):
    found = piloted()
    assert len(in_this_process) == 12 and {rate for rate, *_ in in_this_process} == {*GRID.rates}
    best = pilots.rates_of(choose(GRID, found))
    assert best == {"relu": 0.01, "gelu": 0.01}
    # Given again, also with other rates, comments and layout: nothing is trained; with other code, all of it.
    for text, trained in ((TASK.replace("7.0", "0.01") + "\n\n# done", 12), (TASK.replace("16", "17"), 24)):
        Path("task.py").write_text(text)
        again = piloted()
        assert len(in_this_process) == trained
        assert (again == found) is (trained == 12)


def test_a_pilot_has_the_loss_of_a_model_trained_at_its_rate(in_this_process):
    found = next(
        each for each in piloted() if (each["activation"], each["rate"], each["seed"]) == ("gelu", 0.01, 9001)
    )
    task = replace(load_task(Path("task.py").absolute()), rates={"gelu": 0.01})
    trial = OwnTrial(task, Job("gelu", 9001), "cpu", OwnCode())
    while trial.step < GRID.iterations:
        trial.advance(*trial.batch(trial.step))
    with torch.no_grad():
        logits = trial.model.eval()(torch.as_tensor(task.probe, dtype=torch.float32))
    expected = torch.nn.functional.cross_entropy(logits, torch.as_tensor(task.targets))
    assert found["val_loss"] == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("", "--steps", "30"), "the value is empty"),
        (("task.py", "--steps", "9" * 9), "is more than 10,000,000, the most"),
    ],
)
def test_options_that_cannot_be_used_are_refused_in_one_line(capsys, words, line):
    with pytest.raises(SystemExit) as end:
        pilots.main(list(words))
    err = capsys.readouterr().err
    assert end.value.code == 2 and line in err and err.count("\n") == 1


def test_the_command_prints_the_line_for_the_task(in_this_process, capsys):
    Path("my.py").write_text("from torch import nn\n\n\nclass Bend(nn.SiLU):\n    pass\n")
    command = [
        "task.py",
        "--activations",
        "relu,relu",
        "my.py:Bend",
        "--rates",
        "0.0001",
        "0.01",
        "3",
        "--steps",
        "30",
    ]
    assert pilots.main(command) == 0
    assert 'rates = {"relu": 0.01, "Bend": 0.01}' in capsys.readouterr().out.splitlines()
    assert len(in_this_process) == len({*in_this_process}) == 12
    Path("task.py").write_text(TASK.replace("probe, targets", "probe, unknown"))
    load_task.cache_clear()
    assert pilots.main(command) == 2
    assert capsys.readouterr().err.count("so the task needs targets") == 1


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (TASK + "targets = targets + 1\n", "targets holds class 3, predictions have 3 classes"),
        (TASK + "targets = targets - 1\n", "50 targets from 0 on are needed"),
        (
            TASK + "def predict(model, probe):\n    return model(probe.float())\n",
            "with relu they are none",
        ),
        (TASK + "def optimizer(parameters):\n    return None\n", "with rates it must be optimizer(parameters, rate)"),
    ],
)
def test_a_task_that_is_not_fit_is_refused_before_a_pilot_is_trained(in_this_process, capsys, text, line):
    Path("task.py").write_text(text)
    assert pilots.main(["task.py", "--activations", "relu", "gelu", "--steps", "30"]) == 2
    err = capsys.readouterr().err
    assert line in err and err.count("\n") == 1 and not in_this_process


# ---------------------------------------------------------------- what is committed

COMMITTED = json.loads((ROOT / "benchmarks" / "results" / "domains.json").read_text())["domains"]


@pytest.mark.parametrize("name", COMMITTED)
def test_the_committed_record_is_that_of_the_tasks(name):
    """Otherwise: python -m benchmarks.domains"""
    found, path = COMMITTED[name], ROOT / "examples" / f"{name}.py"
    source = path.read_text()
    assert found["source"] == source_of(path) and found["steps"] == DOMAINS[name].steps
    assert set(COMMITTED) == set(DOMAINS) == {path.stem for path in path.parent.glob("*.py")}
    (rates,) = re.findall(r"^rates = (\{.*\})$", source, re.MULTILINE)
    assert json.loads(rates) == found["rates"]
    assert list(found["activations"]) == list(ACTIVATIONS)
    assert found["seeds"] + found["diverged"] == 12 and not set(found["pilots"]["seeds"]) & set(range(42, 54))
    assert max(found["parameters"].values()) <= 1.02 * min(found["parameters"].values())


@pytest.mark.parametrize("name", COMMITTED)
def test_the_committed_rates_are_those_of_the_pilots(name):
    tried = COMMITTED[name]["pilots"]
    for activation, losses in tried["losses"].items():
        means = {float(rate): np.mean(each) for rate, each in losses.items() if None not in each}
        best = min(means, key=means.get)
        assert COMMITTED[name]["rates"][activation] == best
        assert (best in (min(map(float, losses)), max(map(float, losses)))) is (activation in tried["at_edge"])


def test_every_branch_of_the_decision_tree_names_a_command_that_can_be_given():
    tree = re.search(r"```mermaid\n(.*?)```", (ROOT / "docs" / "templates" / "domains.md").read_text(), re.DOTALL)[1]
    commands = re.findall(r"python (?:-m )?(\S+) ([^<\"]+)", tree)
    parsers = {
        "sensitivity.py": sensitivity.parse_arguments,
        "compare.py": compare.parse_arguments,
        "analyze_results.py": analyze_results.parse_arguments,
        "own.pilots": pilots.parse,
    }
    assert {program for program, _ in commands} == parsers.keys()
    for program, words in commands:
        parsers[program](shlex.split(words))
    verdicts = {str(verdict) for verdict in EffectVerdict} | {NOT_SETTLED}
    assert all(verdict.removesuffix(" to tell") in tree for verdict in verdicts)


def test_the_page_has_the_tables_and_sentences_of_the_record():
    record = json.loads((ROOT / "benchmarks" / "results" / "domains.json").read_text())
    page = (ROOT / "docs" / "domains.md").read_text()
    for make in domain_tables.TABLES.values():
        assert render(make(record), "github").partition("\n\n")[2].partition("\n\n")[0] in page
    in_one_line = " ".join(page.split())
    assert all(sentence in in_one_line for sentence in domain_tables.sentences(record))

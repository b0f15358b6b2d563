"""sensitivity.py: models written elsewhere, checks before anything is spent, plans, exact resume, answers."""

import errno
import io
import json
import os
import re
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import sensitivity
from analysis.own_answer import NOT_SETTLED, own_answer, sentences
from analysis.stats import FEWEST_JUDGED
from analysis.stats_many import EffectVerdict
from own import folder, run
from own import plan as planning
from own.plan import Cost, Plan
from own.task import load_task
from own.trial import Job, OwnTrial, Result, Setting, run_own_trial, train_own
from runner.workers import run_jobs
from study.files import ROOT, Unreadable, UserError, read_checked, write_checked, write_sealed
from study.options import MOST_STEPS, MOST_TRIALS
from study.own_code import OwnCode
from study.state import read_tensors
from train import Interrupted
from training.seeding import deterministic

TRAINED_ON = np.arange(300) % 3
NANOGPT = '''
"""In the manner of nanoGPT: a file of its own called model.py, and model(x, y) -> (logits, loss)."""
import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    def __init__(self, width, activation):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 2, dropout=0.1, batch_first=True)
        hidden = 2 * width if activation.gated else 3 * width
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * hidden if activation.gated else hidden), activation(), nn.Linear(hidden, width)
        )
        self.dropout = nn.Dropout(0.1)

    def forward(self, x):
        h = self.norm(x)
        mask = nn.Transformer.generate_square_subsequent_mask(x.size(1))
        x = x + self.attention(h, h, h, attn_mask=mask, need_weights=False)[0]
        return x + self.dropout(self.mlp(x))


class GPT(nn.Module):
    def __init__(self, vocabulary, width, activation):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.block = Block(width, activation)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, idx, targets=None):
        x = self.block(self.embedding(idx))
        if targets is None:
            return self.head(x[:, [-1], :]), None
        logits = self.head(x)
        return logits, F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1))
'''
SEQUENCES = """
import numpy as np
import torch
from torch import nn

steps = np.random.default_rng(0).integers(1, 3, 2000)
text = torch.from_numpy(steps.cumsum() % 8)


def batch(rng):
    starts = rng.integers(0, 1500, 16)
    return tuple(torch.stack([text[i + shift : i + shift + 8] for i in starts]) for shift in (0, 1))


probe = torch.stack([text[i : i + 8] for i in range(1600, 1640)])
targets = torch.stack([text[i + 1 : i + 9] for i in range(1600, 1640)])


def optimizer(parameters):
    return torch.optim.AdamW(parameters, lr=3e-3)
"""
GPT_TASK = f"""from model import GPT
{SEQUENCES}

def model(activation):
    return GPT(8, 16, activation)
"""
GRU_TASK = f"""{SEQUENCES}

class Net(nn.Module):
    def __init__(self, activation):
        super().__init__()
        self.embedding = nn.Embedding(8, 12)
        self.gru = nn.GRU(12, 12, batch_first=True)
        self.head = nn.Sequential(nn.Linear(12, 24), activation(), nn.Linear(24, 8))

    def forward(self, x):
        output, state = self.gru(self.embedding(x))
        return self.head(output), state


def model(activation):
    return Net(activation)
"""
PLAIN = """
import numpy as np
import torch
from torch import nn

print("what a task prints is not part of the answer")

x = np.random.default_rng(0).standard_normal((300, 6))
y = (x[:, :3].argmax(axis=1)).astype(np.int32)


def model(activation):
    return nn.Sequential(
        nn.Linear(6, 16), nn.BatchNorm1d(16), activation(), nn.Dropout(0.2), nn.Linear(16, 3)
    )


def batch(rng):
    i = rng.integers(0, 200, 16)
    return x[i], y[i]


probe, targets = x[200:], y[200:]
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """The current folder is an empty one, and trials are trained in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "run_jobs", in_this_process)
    load_task.cache_clear()


def in_this_process(setting, n_workers, jobs, on_event, should_stop, work):
    for job in jobs:
        if should_stop():
            return
        on_event(work(setting, job, on_event, should_stop))


def write_task(text: str = PLAIN, name: str = "task.py") -> Path:
    Path(name).write_text(text)
    load_task.cache_clear()
    return Path(name)


def found(capsys, *words: str, code: int = 0) -> dict:
    options = ("--workers", "1", "--device", "cpu", "--json")
    assert sensitivity.main(["task.py", "--activations", "relu", "gelu", *words, *options]) == code
    return json.loads(capsys.readouterr().out, parse_constant=pytest.fail)


def refusal(capsys, *words: str) -> str:
    """The one line of an error."""
    try:
        code = sensitivity.main(list(words))
    except SystemExit as stopped:
        code = stopped.code
    lines = capsys.readouterr().err.splitlines()
    assert code == 2 and len(lines) == 1, lines
    return lines[0]


def refused(capsys, text: str, *words: str) -> str:
    write_task(text)
    return refusal(capsys, "task.py", "--activations", "relu", "gelu", "--dry-run", "--device", "cpu", *words)


# ---------------------------------------------------------------- models written elsewhere


@pytest.mark.parametrize("text", [GPT_TASK, GRU_TASK], ids=["nanogpt", "gru"])
def test_a_model_written_elsewhere_runs_as_it_is(capsys, text):
    write_task(NANOGPT, "model.py")
    write_task(text)
    answer = found(capsys, "--seeds", "6", "--steps", "25", "--html", "page.html")
    assert answer["plan"]["activations"] == ["relu", "gelu"]
    assert (answer["plan"]["seeds"], answer["plan"]["steps"]) == (6, 25)
    assert answer["verdict"] in {NOT_SETTLED, *EffectVerdict}
    assert (answer["verdict"] == NOT_SETTLED) == (answer["settled"] is False)
    assert [(group["name"], group["n_models"], group["n_samples"]) for group in answer["groups"]] == [
        ("relu", 6, 40),
        ("gelu", 6, 40),
    ]
    assert answer["comparisons"][0]["paired"] and answer["groups"][0]["loss"] < np.log(8)
    targets = load_task(Path("task.py")).targets
    ends = [Result.read(path).end for path in sorted(Path("sensitivity_results/task/relu").glob("*.npz"))]
    loss = np.mean([-np.log(p[np.arange(40), targets].astype(float)).mean() for p in ends])
    assert answer["groups"][0]["loss"] == pytest.approx(loss)
    page = Path("page.html").read_text()
    assert "sensitivity.py ... --html" in page and answer["words"][-1] in page


def test_a_gated_activation_is_told_so_by_the_task(capsys):
    write_task(NANOGPT, "model.py")
    write_task(GPT_TASK)
    assert sensitivity.main(["task.py", "--activations", "relu,swiglu", "--dry-run", "--device", "cpu"]) == 0
    assert "warning" not in capsys.readouterr().out  # of equal size, by activation.gated
    write_task(NANOGPT.replace("2 * width if activation.gated else ", ""), "model.py")
    write_task(GPT_TASK + "\n")
    assert sensitivity.main(["task.py", "--activations", "relu,swiglu", "--dry-run", "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"warning: swiglu has \d+ % more parameters than relu", said)


def test_where_the_task_is_not_told_so_the_mistake_says_it(capsys):
    write_task(PLAIN)
    said = refusal(capsys, "task.py", "--activations", "relu", "swiglu", "--dry-run", "--device", "cpu")
    assert "mat1 and mat2" in said and said.endswith(
        "(swiglu returns half of the features it is given; ask activation.gated for their number)"
    )


def test_a_last_position_is_predicted_whatever_form_the_logits_have(capsys):
    """A task's own predict, and the default for (B, T, V), are the softmax at the last position."""
    own = "\ndef predict(model, probe):\n    return model(probe)[0][:, -1].softmax(-1)\n"
    results = []
    for text in (GRU_TASK, GRU_TASK + own):
        setting = Setting(write_task(text), Path.cwd() / str(len(text)), 5, "cpu")
        run_own_trial(setting, Job("relu", 1), lambda step: None, lambda: False)
        results.append(Result.read(setting.result_path(Job("relu", 1))))
    assert results[0].end.shape == (40, 8)
    np.testing.assert_array_equal(results[0].end, results[1].end)


@pytest.mark.parametrize("own", ["", "\ndef predict(model, probe):\n    return model(probe).softmax(-1)\n"])
def test_predictions_are_those_of_eval_mode(own):
    """No feature is dropped, and a batch is normalized by the running averages, worked out by hand here."""
    path = write_task(PLAIN + own).absolute()
    setting, job = Setting(path, Path.cwd() / "trials", 5, "cpu"), Job("relu", 1)
    run_own_trial(setting, job, lambda step: None, lambda: False)
    found = Result.read(setting.result_path(job))
    trial, expected = OwnTrial(load_task(path), job, "cpu", OwnCode()), {}
    linear, norm, _, _, head = trial.model
    probe = torch.from_numpy(trial.task.probe).float()
    for step in range(5):
        with deterministic("cpu"):  # as in a trial; Adam makes much of a rounding error
            trial.advance(*trial.batch(step))
        centred = (linear(probe) - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
        expected[step + 1] = head((centred * norm.weight + norm.bias).relu()).softmax(-1).detach().numpy()
    np.testing.assert_allclose(found.early, expected[setting.early_step], atol=1e-6)
    np.testing.assert_allclose(found.end, expected[5], atol=1e-6)


# ---------------------------------------------------------------- resume, workers, Ctrl-C


def trained(name: str, stops: list[int], steps: int = 12) -> Result:
    """A trial that is asked to stop at some of its steps, and goes on each time."""
    setting, job = Setting(Path("task.py").absolute(), Path(name).absolute(), steps, "cpu"), Job("relu", 3)
    for stop in stops:
        asked = iter(range(steps))
        with pytest.raises(Interrupted):
            run_own_trial(setting, job, lambda step: None, lambda asked=asked, stop=stop: next(asked) == stop)
        assert setting.state_path(job).exists() and Result.read(setting.result_path(job)) is None
    assert run_own_trial(setting, job, lambda step: None, lambda: False) == "completed"
    assert not setting.state_path(job).exists()
    return Result.read(setting.result_path(job))


def same(a: Result, b: Result) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("end", "early", "losses"))


# Batches from PyTorch's own generator, as nanoGPT's get_batch draws them, and predictions that are sampled.
DRAWN = """

def batch(rng):
    i = torch.randint(200, (16,))
    return x[i], y[i]


def predict(model, probe):
    return model.train()(probe).softmax(-1)
"""


@pytest.mark.parametrize("text", [PLAIN, PLAIN + DRAWN], ids=["rng", "torch"])
def test_stopped_and_continued_is_uninterrupted_to_the_bit(text):
    write_task(text)
    whole = trained("whole", [])
    assert len(whole.losses) == 12 and not np.array_equal(whole.early, whole.end)
    assert same(whole, trained("stopped", [3, 7, 1]))  # also after the early predictions
    assert not [*Path("stopped").rglob("*.damaged*")]  # from which it would have begun anew


def test_batches_and_steps_draw_from_streams_of_their_own():
    trial = OwnTrial(load_task(write_task().absolute()), Job("relu", 1), "cpu", OwnCode())
    trial.computes_loss(trial.batch(0)[0])
    seeds = []
    trial.model.register_forward_pre_hook(lambda *_: seeds.append(torch.initial_seed()))
    for step in range(3):
        batch = trial.batch(step)
        seeds.append(torch.initial_seed())
        trial.advance(*batch)
    assert len(seeds) == len(set(seeds)) == 6


def test_a_worker_process_trains_the_same_bits():
    setting = Setting(write_task().absolute(), Path("pool").absolute(), 12, "cpu")
    events = []
    run_jobs(setting, 1, [Job("relu", 3)], events.append, lambda: False, train_own)
    assert [event.kind for event in events if event.kind != "progress"] == ["done"]
    assert same(trained("here", []), Result.read(setting.result_path(Job("relu", 3))))


def test_what_is_complete_is_answered_from_and_the_same_command_goes_on(capsys, monkeypatch):
    write_task()
    options = ("--seeds", "6", "--steps", "20")
    uninterrupted = found(capsys, *options, "--results-dir", "whole")

    def interrupted(setting, n_workers, jobs, on_event, should_stop, work):
        in_this_process(setting, n_workers, jobs[:7], on_event, should_stop, work)
        os.kill(os.getpid(), 2)

    with monkeypatch.context() as patch:
        patch.setattr(run, "run_jobs", interrupted)
        partial = found(capsys, *options, code=130)
    assert [group["n_models"] for group in partial["groups"]] == [3, 3]  # the seventh trial has no partner
    assert partial["verdict"] in ("too few trials to tell", "not settled")
    before = {path: path.stat().st_mtime_ns for path in Path("sensitivity_results/task").glob("*/*.npz")}
    assert len(before) == 7
    continued = found(capsys, "--seeds", "6")
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert {**continued, "plan": 0, "words": 0} == {**uninterrupted, "plan": 0, "words": 0}
    more = found(capsys, "--seeds", "7")
    assert more["groups"][0]["n_models"] == 7 and more["plan"]["steps"] == 20


def test_what_is_done_is_counted_and_stopping_before_there_is_an_answer_is_no_mistake(capsys, monkeypatch):
    write_task()

    def interrupted(setting, n_workers, jobs, on_event, should_stop, work):
        in_this_process(setting, n_workers, jobs[:3], on_event, should_stop, work)
        os.kill(os.getpid(), 2)

    monkeypatch.setattr(run, "run_jobs", interrupted)
    words = ["task.py", "--activations", "relu", "gelu", "--seeds", "6", "--steps", "20", "--device", "cpu"]
    assert sensitivity.main(words) == 130
    captured = capsys.readouterr()
    assert "sensitivity.py: no answer yet: 1 seed complete with every activation\n" in captured.err
    lines = [line for line in captured.out.splitlines() if line.startswith("[")]
    assert [line.split("  ")[1] for line in lines] == ["relu seed 42", "gelu seed 42", "relu seed 43"]
    assert re.search(r"completed; 3 of 12, about \d+ s left$", lines[2])


def test_damaged_results_are_trained_again_and_diverged_seeds_left_out(capsys):
    write_task()
    whole = found(capsys, "--seeds", "7", "--steps", "20")
    relu, gelu = (Path(f"sensitivity_results/task/{name}/seed_45.npz") for name in ("relu", "gelu"))
    relu.write_bytes(relu.read_bytes()[:-30])
    assert found(capsys, "--seeds", "7")["groups"] == whole["groups"]
    done = Result.read(gelu)
    Result(np.full_like(done.end, np.nan), done.early, done.losses).write(gelu)
    without = found(capsys, "--seeds", "7")
    assert [group["n_models"] for group in without["groups"]] == [6, 6]
    assert "relu seed 45" not in without["groups"][0]["models"]
    assert without["words"][-1].startswith("Diverged") and "gelu seed 45" in without["words"][-1]


def test_a_trial_whose_loss_is_not_finite_ends_as_diverged():
    path = write_task(PLAIN + "\n\ndef loss(output, y):\n    return output.sum() * float('inf')\n").absolute()
    setting, job = Setting(path, Path("diverged").absolute(), 12, "cpu"), Job("relu", 1)
    assert run_own_trial(setting, job, lambda step: None, lambda: False) == "diverged"
    assert len(Result.read(setting.result_path(job)).losses) == 1


def test_what_would_mix_trials_is_refused(capsys, monkeypatch):
    write_task()
    found(capsys, "--seeds", "6", "--steps", "20")
    again = ("task.py", "--activations", "relu", "gelu", "--device", "cpu", "--dry-run")
    assert "have 20 steps" in refusal(capsys, *again, "--steps", "30")
    write_task(PLAIN.replace("Dropout(0.2)", "Dropout(0.3)"))
    assert "the task's code changed" in refusal(capsys, *again)
    write_task()
    with monkeypatch.context() as patched:
        patched.setattr(folder, "versions", lambda: {"torch": "1.0", "numpy": "1.0"})
        assert "PyTorch's version and NumPy's version changed" in refusal(capsys, *again)
    path = Path("sensitivity_results/task/plan.json")
    planned = read_checked(path)
    write_checked(path, {"plan": 1})
    assert "plan.json is damaged" in refusal(capsys, *again)
    for change in ({"seeds": 10**9}, {"steps": 10**12}, {"seeds": 0}, {"steps": -1}):
        write_checked(path, {**planned, "plan": {**planned["plan"], **change}})
        assert f"plan.json is damaged (plan.{next(iter(change))}: " in refusal(capsys, *again)


@pytest.mark.parametrize(
    ("name", "changed", "said"),
    [("train", (TRAINED_ON + 1) % 3, "the training data"), ("targets", 0 * TRAINED_ON[:20], "targets")],
)
def test_trials_of_other_data_in_the_same_files_are_not_mixed(capsys, name, changed, said):
    np.save("train.npy", TRAINED_ON)
    np.save("targets.npy", TRAINED_ON[:20])
    write_task(f"""{PLAIN}
y = np.load("train.npy")
targets = np.load("targets.npy")
probe = {{"inputs": x[:20]}}


def predict(model, probe):
    return model(probe["inputs"]).softmax(dim=-1)
""")
    found(capsys, "--seeds", "6", "--steps", "20")
    again = ("task.py", "--activations", "relu", "gelu", "--device", "cpu", "--dry-run")
    assert sensitivity.main([*again]) == 0
    np.save(f"{name}.npy", changed)
    load_task.cache_clear()
    capsys.readouterr()
    assert f"has trials from before {said} changed" in refusal(capsys, *again)


def test_a_sealed_file_that_is_no_state_is_set_aside(capsys):
    write_task()
    whole = found(capsys, "--seeds", "6", "--steps", "20")
    trial = Path("sensitivity_results/task/relu")
    (trial / "seed_42.npz").unlink()
    buffer = io.BytesIO()
    torch.save({"step": "many"}, buffer)
    write_sealed(trial / "seed_42.pt", buffer.getvalue())
    assert found(capsys, "--seeds", "6")["groups"] == whole["groups"]
    assert (trial / "seed_42.pt.damaged").exists()


def test_results_that_are_none_are_trained_again(capsys):
    """A whole archive is not believed for that: each of these has a right checksum and wrong contents."""
    write_task()
    options = ("--seeds", "7", "--steps", "20")
    whole = found(capsys, *options)
    folder = Path("sensitivity_results/task")
    done = Result.read(folder / "relu" / "seed_42.npz")
    off, middle = done.end.copy(), done.losses.copy()
    off[7], middle[3] = off[7] * 1.5, np.nan
    wrong = {
        "a row that sums to 1.5": {"end": off},
        "negative": {"early": np.stack([done.end[:, 0] + 1, -done.end[:, 0], 0 * done.end[:, 0]], axis=1)},
        "another number of axes": {"end": done.end[None], "early": done.early[None]},
        "another number of samples": {"end": done.end[:9], "early": done.early[:9]},
        "another number of samples before": {"early": done.early[:9]},
        "one class": {"end": np.ones((100, 1)), "early": np.ones((100, 1))},
        "whole numbers": {"end": np.eye(3, dtype=int)[done.end.argmax(axis=1)]},
        "text": {"end": done.end.astype(str)},
        "too few losses": {"losses": done.losses[:5]},
        "too many losses": {"losses": np.tile(done.losses, 2)},
        "no losses": {"losses": done.losses[:0]},
        "losses in a table": {"losses": done.losses[:, None]},
        "trained on after a loss that is not finite": {"losses": middle},
    }
    paths = sorted(folder.glob("*/seed_*.npz"))
    for path, change in zip(paths, wrong.values(), strict=False):
        replace(done, **change).write(path)
    with paths[-1].open("wb") as file:
        np.save(file, done.end)
    assert found(capsys, *options)["groups"] == whole["groups"]
    assert len(list(folder.glob("*/seed_*.npz.damaged"))) == len(paths) == len(wrong) + 1


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state["model"].update({"0.weight": torch.zeros(17, 6)}),
        lambda state: state["model"].pop("0.weight"),
        lambda state: state["optimizer"].pop("param_groups"),
        lambda state: state.update(step=5),
        lambda state: state.update(step=99, losses=[1.0] * 99, early=torch.full((100, 3), 1 / 3)),
        lambda state: state.update(early=torch.full((100, 3), 1 / 3)),
        lambda state: state.update(step=10, losses=[1.0] * 10),
        lambda state: state.update(step=10, losses=[1.0] * 10, early=torch.full((100, 4), 1 / 4)),
        lambda state: state.update(step=10, losses=[1.0] * 10, early=torch.ones((100, 3))),
        lambda state: state.update(step=10, losses=[1.0] * 10, early=torch.ones((100, 3), dtype=torch.bfloat16)),
        lambda state: state.update(trial=state["trial"].replace("seed=3", "seed=4")),
    ],
)
def test_a_state_that_is_none_is_set_aside_and_nothing_of_it_is_used(change):
    path, job = write_task().absolute(), Job("relu", 3)
    whole = trained("whole", [])
    setting = Setting(path, Path("stopped").absolute(), 12, "cpu", shape=whole.end.shape)
    asked = iter(range(12))
    with pytest.raises(Interrupted):
        run_own_trial(setting, job, lambda step: None, lambda: next(asked) == 4)
    state = read_tensors(setting.state_path(job), "cpu")
    assert state["step"] == 4
    change(state)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_sealed(setting.state_path(job), buffer.getvalue())
    assert run_own_trial(setting, job, lambda step: None, lambda: False) == "completed"
    assert same(whole, setting.result(job))
    assert setting.state_path(job).with_suffix(".pt.damaged").exists()


def test_the_state_of_another_trial_is_set_aside():
    """Also of one whose tensors fit: another seed, activation or rate."""
    path = write_task().absolute()
    whole = trained("whole", [])
    for job, rate in ((Job("relu", 4), None), (Job("gelu", 3), None), (Job("relu", 3), 0.5)):
        setting = Setting(path, Path(f"of {job} {rate}").absolute(), 12, "cpu", rate=rate)
        asked = iter(range(12))
        with pytest.raises(Interrupted):
            run_own_trial(setting, job, lambda step: None, lambda asked=asked: next(asked) == 4)
        name = f"for {job} {rate}"
        target = Setting(path, Path(name).absolute(), 12, "cpu").state_path(Job("relu", 3))
        target.parent.mkdir(parents=True)
        setting.state_path(job).rename(target)
        assert same(whole, trained(name, []))
        assert target.with_suffix(".pt.damaged").exists()


def test_predictions_that_become_none_while_training_end_the_trial_with_a_reason():
    """They pass the check beforehand, and their result would be set aside and trained again for ever."""
    own = "\n\ncalls = []\n\ndef predict(model, probe):\n    calls.append(1)\n    p = model(probe).softmax(-1)\n"
    for text, said in (("p * len(calls)", "must return probabilities"), ("p[len(calls) :]", "shape .98, 3., else")):
        path = write_task(PLAIN + own + f"    return {text}\n").absolute()
        setting, job = Setting(path, Path("none").absolute(), 12, "cpu"), Job("relu", 3)
        with pytest.raises(UserError, match=said):
            run_own_trial(setting, job, lambda step: None, lambda: False)
        assert not setting.result_path(job).exists()


def test_a_result_that_cannot_be_read_now_is_not_taken_for_damaged(tmp_path, monkeypatch):
    path = tmp_path / "seed_42.npz"
    Result(np.eye(2), np.eye(2), np.ones(3)).write(path)

    def too_many(*_, **__):
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", too_many)
        with pytest.raises(Unreadable):
            Result.read(path)
    assert Result.read(path) is not None


def test_an_own_activation_is_trained_anew_where_its_source_is_another(capsys):
    write_task()
    own = "class Bent(torch.nn.Module):\n    def forward(self, x):\n        return x.relu() * 0.9\n"
    asked = ["task.py", "--activations", "my.py:Bent", "relu", "--seeds", "6", "--steps", "20", "--device", "cpu"]
    for scale in ("0.9", "0.8"):
        Path("my.py").write_text("import torch\n" + own.replace("0.9", scale))
        assert sensitivity.main(asked) == 0
        assert "Bent" in capsys.readouterr().out
    folders = [path for path in Path("sensitivity_results/task").iterdir() if path.is_dir()]
    assert len(folders) == 3 and all(len(list(path.glob("*.npz"))) == 6 for path in folders)
    assert sum(re.fullmatch(r"Bent-[0-9a-f]{16}", path.name) is not None for path in folders) == 2


# ---------------------------------------------------------------- is the task fit?


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("\nimport os\ndef model(activation, make=model):\n"
         "    made = make(activation)\n    made[0].bias.data += int.from_bytes(os.urandom(2)) / 99\n    return made",
         "the same: initial values"),
        ("\ncalls = []\ndef batch(rng):\n    calls.append(1)\n    i = rng.integers(0, 200, 16) * 0 + len(calls)\n"
         "    return x[i], y[i]", "the same: batches"),
        ("\nnoise = np.random.default_rng()\ndef loss(output, y):\n"
         "    return nn.functional.cross_entropy(output, y.long()) * (1 + noise.random())", "the same: losses"),
        ("\nnoise = np.random.default_rng()\ndef predict(model, probe):\n"
         "    return (model(probe) + noise.random()).mul(noise.random()).softmax(-1)", "the same: predictions"),
        ("\ndef model(activation):\n    return nn.Linear(6, 3)", "relu and gelu give the same predictions"),
    ],
)  # fmt: skip
def test_what_is_not_deterministic_or_ignores_its_activation_is_named(capsys, change, said):
    write_task(PLAIN + change)
    assert sensitivity.main(["task.py", "--activations", "relu", "gelu", "--dry-run", "--device", "cpu"]) == 2
    assert said in capsys.readouterr().err


def test_a_loss_that_does_not_fall_is_said(capsys):
    write_task(PLAIN + "\ndef optimizer(parameters):\n    return torch.optim.SGD(parameters, lr=0.0)\n")
    # With a rate of zero nothing is learned, but the running averages of batch normalization move.
    write_task(Path("task.py").read_text().replace("nn.BatchNorm1d(16), ", ""))
    assert sensitivity.main(["task.py", "--activations", "relu", "gelu", "--dry-run", "--device", "cpu"]) == 0
    assert "warning: relu: the loss of one batch does not fall" in capsys.readouterr().out


def test_a_training_loss_falls_where_its_last_tenth_is_lower():
    falling = np.linspace(2, 1, 40)
    assert sensitivity.fell([falling, falling[::-1] / 2]) and not sensitivity.fell([falling[::-1], falling / 2])
    assert sensitivity.fell([np.array([2.0, 1.0])]) and not sensitivity.fell([np.array([1.0, 1.0])])


def test_the_rate_of_an_activation_is_that_of_the_task(tmp_path):
    """Given to the optimizer of the task, or to AdamW; an activation without one has the optimizer's own."""
    text = PLAIN + "\nrates = {'relu': 0.25, 'gelu': 0.125}\n"
    own = "\ndef optimizer(parameters, rate=0.5):\n    return torch.optim.SGD(parameters, lr=rate)\n"
    found = []
    for name, content in (("adamw.py", text), ("sgd.py", text + own)):
        task = load_task(write_task(content, name).absolute())
        for activation in ("relu", "gelu", "swish"):
            optimizer = OwnTrial(task, Job(activation, 1), "cpu", OwnCode()).optimizer
            found.append((type(optimizer).__name__, optimizer.param_groups[0]["lr"]))
    expected = [("AdamW", 0.25), ("AdamW", 0.125), ("AdamW", 0.001), ("SGD", 0.25), ("SGD", 0.125), ("SGD", 0.5)]
    assert found == expected


def test_an_activation_without_a_rate_is_named_where_another_has_one(capsys):
    said = {}
    for rates in ("{'gelu': 0.01}", "{}"):
        write_task(PLAIN + f"rates = {rates}\n")
        assert sensitivity.main(["task.py", "--activations", "relu", "gelu", "--dry-run", "--device", "cpu"]) == 0
        said[rates] = capsys.readouterr().out
    assert said["{'gelu': 0.01}"].count("no rate for") == 1
    assert "no rate for relu: the optimizer's own\n" in said["{'gelu': 0.01}"] and "no rate" not in said["{}"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("x = 1\n", "task.py has no model(activation)"),
        ("def model(a):\n  pass\n", "task.py has no batch(rng)"),
        (PLAIN.replace("probe, targets", "a, b"), "task.py has no probe, the inputs to predict on"),
        (PLAIN + "batch = 3\n", "task.py: batch is int, not a function"),
        ("\n1 / 0\n", "task.py, line 2, in <module>: ZeroDivisionError: division by zero"),
        ("\n\ndef f(:\n", "task.py, line 3: SyntaxError"),
        ("import no_such_module\n", "task.py, line 1, in <module>: ModuleNotFoundError"),
        ("raise SystemExit(3)", "task.py, line 1, in <module>: SystemExit: 3"),
        (PLAIN.replace("return x[i], y[i]", "return x[i + 999], y[i]"), "in batch: IndexError"),
        (PLAIN.replace("return x[i], y[i]", "return x[i]"), "batch(rng) must return two things"),
        (PLAIN.replace("nn.Linear(6, 16)", "nn.Linear(7, 16)"), "task.py: RuntimeError: mat1 and mat2"),
        (PLAIN + "def model(activation):\n    return 3\n", "returned int, not a torch.nn.Module"),
        (PLAIN + "targets = y[:7]\n", "7 targets for 100 samples"),
        (PLAIN + "targets = y[200:] + 1\n", "targets holds class 3, predictions have 3 classes"),
        (PLAIN + "targets = y[200:] * 0.5\n", "targets must be whole numbers"),
        (PLAIN + "def predict(model, probe):\n    return model(probe)\n", "must return probabilities"),
        (PLAIN + "def loss(output, y):\n    return output\n", "the loss is no single number"),
        (PLAIN + "rates = {'relu': 0}\n", "rates must have a learning rate above 0"),
        (PLAIN + "rates = [0.1]\n", "rates must have a learning rate above 0"),
        (PLAIN + "rates = {'relu': 0.1}\ndef optimizer(parameters):\n    return torch.optim.SGD(parameters)\n",
         "task.py: with rates it must be optimizer(parameters, rate)"),
        (PLAIN + "rates = {'rleu': 0.01}\n", "rates has unknown activation 'rleu'; choose from relu"),
    ],
)  # fmt: skip
def test_a_task_that_cannot_be_used_is_refused_in_one_line(capsys, text, line):
    write_task(text)
    assert sensitivity.main(["task.py", "--activations", "relu", "gelu", "--dry-run", "--device", "cpu"]) == 2
    err = capsys.readouterr().err
    assert line in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("none.py", "--activations", "relu", "gelu"), "none.py: no such file"),
        (("task.txt", "--activations", "relu", "gelu"), "not a .py file"),
        (("task.py", "--activations", "relu", "gelo"), "unknown activation 'gelo'; choose from relu"),
        (("task.py", "--activations", "relu,relu"), "one activation has nothing to be compared with"),
        (("task.py", "--activations", "relu", "gelu", "--seeds", "5"), "5 seeds are too few to be judged; 6 or more"),
        (("task.py", "--activations", "relu", "gelu", "--budget", "5"), "'5' is no time such as 90s"),
        (("task.py", "--activations", "relu", "gelu", "--html", "."), ". is a folder"),
        (("task.py", "--activations", "relu", "gelu", "--html", ""), "--html: the value is empty"),
        (("task.py", "--activations", "relu", "gelu", "--results-dir", ""), "--results-dir: the value is empty"),
        (("", "--activations", "relu", "gelu"), "the value is empty"),
        (("task.py", "--activations", "relu", "gelu", "--seeds", "9" * 9), "is more than 1,000, the most"),
        (("task.py", "--activations", "relu", "gelu", "--steps", "9" * 9), "is more than 10,000,000, the most"),
        (("task.py", "--activations", "relu", "gelu", "--budget", "1e300h"), "is more than 10,000 hours, the most"),
        (("task.py", "--activations", "relu", "gelu", "--workers", "9999"), "is more than 1,000, the most"),
    ],
)
def test_options_that_cannot_be_used_are_refused_in_one_line(capsys, words, line):
    write_task()
    Path("task.txt").write_text("")
    assert line in refusal(capsys, *words)


@pytest.mark.parametrize("there", [True, False])
def test_a_gpu_is_used_where_there_is_one(capsys, monkeypatch, there):
    devices = []

    def looked_at(task, names, seed, device, own):
        devices.append(device)
        return COST, (100, 3), []

    monkeypatch.setattr(sensitivity, "examine", looked_at)
    monkeypatch.setattr(sensitivity, "has_cuda", lambda: there)
    write_task()
    words = ["task.py", "--activations", "relu", "gelu", "--dry-run", "--workers", "1"]
    for device in ((), ("--device", "cpu")):
        assert sensitivity.main([*words, *device]) == 0
    assert devices == ["cuda" if there else "cpu", "cpu"]
    if not there:
        capsys.readouterr()
        assert "no CUDA device is available here" in refusal(capsys, *words, "--device", "cuda")


# ---------------------------------------------------------------- plans


COST = Cost(step={"relu": 0.01, "gelu": 0.02}, trial={"relu": 0.5, "gelu": 0.5})


def test_a_plan_costs_what_its_trials_take():
    planned = planning.plan(COST, budget=123, workers=2)
    assert planned == Plan(seeds=8, steps=966, seconds=planned.seconds, budget=123)
    assert planned.seconds == pytest.approx(planning.START + 8 * (1 + 966 * 0.03) / 2)
    assert planned.seconds <= 123
    assert planning.plan(COST, 123, 2, steps=100).seeds == 60  # 120 s x 2 workers over 4 s
    assert planning.plan(COST, 123, 2, seeds=20).steps == 366


@pytest.mark.parametrize("workers", [1, 3, 5, 12, 16, 32, 64, 128])
def test_a_plan_ends_in_time_where_workers_do_not_divide_the_trials(workers):
    """The clock: each worker takes the next trial, the longest ones first or last."""
    for budget in (60, 300):
        for planned in (planning.plan(COST, budget, workers), planning.plan(COST, budget, workers, steps=100)):
            trials = [COST.of_trial(name, planned.steps) for _ in range(planned.seeds) for name in COST.step]
            ends = [0.0] * workers
            for seconds in trials:
                ends[ends.index(min(ends))] += seconds
            longest = max(COST.of_trial(name, planned.steps) for name in COST.step)
            assert planned.seconds <= budget or planned.seeds == planning.FEWEST_SEEDS
            assert planning.START + max(ends) <= planned.seconds + longest


def test_steps_give_way_and_seeds_do_not():
    assert planning.FEWEST_SEEDS == FEWEST_JUDGED
    assert planning.plan(COST, planning.START + 12, workers=1).seeds == 6
    assert planning.plan(COST, 400, 2).seeds == planning.DEFAULT_SEEDS
    for budget in np.linspace(13, 400, 40):
        assert planning.plan(COST, budget, 2).seeds >= planning.FEWEST_SEEDS
    assert planning.plan(COST, 5, 2, steps=1000).seeds == planning.FEWEST_SEEDS
    with pytest.raises(UserError, match="6 seeds of 20 steps take about 13 s; give --budget 13s"):
        planning.plan(COST, 10, 1)


def test_a_larger_budget_buys_seeds_and_the_same_or_a_smaller_one_none():
    done = planning.plan(COST, 123, 2)
    assert planning.extended(done, COST, 123, 2, None).seeds == done.seeds
    assert planning.extended(done, COST, 60, 2, None).seeds == done.seeds
    longer = planning.extended(done, COST, 243, 2, None)
    assert (longer.seeds, longer.steps) == (16, done.steps)
    slower = Cost(step={"relu": 0.1, "gelu": 0.2}, trial=COST.trial)
    assert planning.extended(done, slower, 130, 2, None).seeds == done.seeds


def test_no_budget_plans_more_than_can_be_listed():
    most = planning.MOST_HOURS * 3600
    assert planning.plan(COST, most, 1000, steps=20).seeds == MOST_TRIALS
    assert planning.plan(COST, most, 1000).steps == MOST_STEPS
    done = planning.plan(COST, 123, 2)
    assert planning.extended(done, COST, most, 1000, None).seeds == MOST_TRIALS


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("5min", 300), ("1.5h", 5400)])
def test_times(text, seconds):
    assert planning.seconds_of(text) == seconds
    for wrong in ("5", "min", "-3s", "nans", "infh", "5 m"):
        with pytest.raises(ValueError, match="no time such as"):
            planning.seconds_of(wrong)


# ---------------------------------------------------------------- answers


def models(n: int, noise: dict[str, float], seed: int) -> dict[str, list[np.ndarray]]:
    """Probabilities of models whose logits differ from common ones by noise of a size of the activation's own."""
    common = 2 * np.random.default_rng(0).standard_normal((400, 5))
    rng = np.random.default_rng(seed)
    raised = {name: np.exp(common + size * rng.standard_normal((n, 400, 5))) for name, size in noise.items()}
    return {name: list(each / each.sum(axis=-1, keepdims=True)) for name, each in raised.items()}


@pytest.mark.parametrize(
    ("n", "late", "early", "verdict", "said"),
    [
        (8, (0.3, 0.9), (0.3, 0.9), "matters", "The activation matters for how much two trainings disagree"),
        (20, (0.6, 0.6), (0.6, 0.6), "no difference above the margin", "No difference above 10 %"),
        (4, (0.3, 0.9), (0.3, 0.9), "too few trials to tell", "Too few trials to tell: about"),
        (2, (0.3, 0.9), (0.3, 0.9), "too few trials to tell", "Too few trials to tell: about"),
        (8, (0.6, 1.2), (0.3, 0.6), "not settled", "Not settled: disagreement rose"),
    ],
)
def test_the_verdict_is_that_of_known_differences(n, late, early, verdict, said):
    names = ("relu", "gelu")
    end, before = (models(n, dict(zip(names, sizes, strict=True)), 5) for sizes in (late, early))
    answer = own_answer(end, before, range(n), None)
    assert answer.verdict == verdict
    assert answer.settled is (verdict != "not settled")
    words = list(sentences(answer, 100, minutes_a_seed=2.5))
    assert words[0].startswith(said)
    noise = "with" if n == 2 else "without"  # of two seeds, how much is noise cannot be told
    assert verdict == "not settled" or f"(CV {noise} the noise of seeds" in words[0]
    if verdict == "too few trials to tell":
        more = max(answer.seeds_needed or 0, 6) - n
        assert f"{more} more, which take about {int(np.ceil(2.5 * more))} min" in words[0]
    if verdict == "not settled":
        assert words[1].startswith("At that step: the activation matters")


def test_a_change_within_noise_is_not_called_one():
    end, before = (models(6, {"relu": 0.05, "gelu": 0.05}, seed) for seed in (5, 6))
    answer = own_answer(end, before, range(6), None)
    assert abs(answer.change.mean) > 0.05 and answer.change.low < 0 < answer.change.high
    assert answer.settled is None and answer.verdict != NOT_SETTLED
    assert any(word.startswith("Whether it has settled cannot be told") for word in sentences(answer, 100, 1.0))


# ---------------------------------------------------------------- what the docs promise


def test_the_task_of_the_docs_and_the_command_of_the_readme_work(capsys):
    doc = (ROOT / "docs" / "sensitivity.md").read_text()
    task, gated = (
        re.search(rf"<!-- example: {part} -->\n```python\n(.*?)```", doc, re.DOTALL)[1] for part in ("task", "gated")
    )
    write_task(task, "my_task.py")
    readme = (ROOT / "docs" / "templates" / "README.md").read_text()
    for text in (doc, readme):
        (command,) = re.findall(r"^python sensitivity\.py (.*)$", text, re.MULTILINE)
        assert sensitivity.main([*shlex.split(command, comments=True), "--dry-run", "--workers", "2"]) == 0
        assert re.search(
            r"plan: 3 activations x 8 seeds x \d+ steps, 24 trials on 2 workers: about 5.0 min", said(capsys)
        )
    (first,) = re.findall(r"^venv/bin/python sensitivity\.py (.*)$", doc, re.MULTILINE)
    assert (ROOT / sensitivity.parse_arguments(shlex.split(first)).task).exists()  # and test_examples.py tries it
    write_task(task + gated, "my_task.py")
    assert sensitivity.main(["my_task.py", "--activations", "relu", "swiglu", "--dry-run"]) == 0
    assert "warning" not in said(capsys)


def said(capsys) -> str:
    return capsys.readouterr().out

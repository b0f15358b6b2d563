"""Trials of a task: exact resume, what is set aside or refused, and what must not be mixed."""

import errno
import io
import os
import re
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from own_tasks import PLAIN, found, in_this_process, refusal, write_task

import sensitivity
from own import folder, run
from own.task import load_task, to_tensor
from own.trial import Job, OwnTrial, Result, Setting, run_own_trial, train_own
from runner.workers import run_jobs
from study.files import Unreadable, UserError, read_checked, write_checked, write_sealed
from study.own_code import OwnCode
from study.state import read_tensors
from train import Interrupted

pytestmark = pytest.mark.usefixtures("task_folder")


TRAINED_ON = np.arange(300) % 3


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
    for path in Path("sensitivity_results/task/gelu").glob("seed_*.npz"):
        Result(np.full_like(done.end, np.nan), done.early, done.losses).write(path)
    said = refusal(capsys, "task.py", "--activations", "relu", "gelu", "--seeds", "7", "--workers", "1")
    assert "no answer: 0 seeds complete with every activation, gelu seed 42, gelu seed 43" in said


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


def test_each_part_of_a_batch_becomes_a_tensor_and_the_batch_stays_what_it_was():
    Batch = namedtuple("Batch", "x y")
    batch = to_tensor(Batch(np.arange(3.0), {"name": "a", "y": [np.arange(2)]}), "cpu")
    assert type(batch) is Batch and torch.equal(batch.x, torch.arange(3.0)) and batch.x.dtype == torch.float32
    assert batch.y["name"] == "a" and torch.equal(batch.y["y"][0], torch.arange(2))

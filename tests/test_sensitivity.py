"""sensitivity.py: models written elsewhere, checks before anything is spent, refusals, and what the docs say."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from own_tasks import COST, PLAIN, found, refusal, write_task

import sensitivity
from analysis.own_answer import NOT_SETTLED
from analysis.stats_many import EffectVerdict
from own.task import load_task
from own.trial import Job, OwnTrial, Result, Setting, run_own_trial
from study.files import ROOT
from study.own_code import OwnCode
from training.seeding import deterministic

pytestmark = pytest.mark.usefixtures("task_folder")


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
        (PLAIN + "targets = np.eye(3, dtype=int)[y[200:]]\n", "targets (100, 3) look one-hot; give the classes"),
        (PLAIN + "targets = np.eye(3)[y[200:]] / 2\n", "whole numbers (samples,), not float64 (100, 3)"),
        (PLAIN + "probe[7, 2] = np.nan\n", "predictions of sample 7 of probe are not finite, though losses are"),
        (PLAIN + "x[:200, 2] = np.nan\n", "the loss of the first batch is nan before any training"),
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
    monkeypatch.setattr("study.plan.has_cuda", lambda: there)
    write_task()
    words = ["task.py", "--activations", "relu", "gelu", "--dry-run", "--workers", "1"]
    for device in ((), ("--device", "cpu")):
        assert sensitivity.main([*words, *device]) == 0
    assert devices == ["cuda" if there else "cpu", "cpu"]
    if not there:
        capsys.readouterr()
        assert "no CUDA device is available here" in refusal(capsys, *words, "--device", "cuda")


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

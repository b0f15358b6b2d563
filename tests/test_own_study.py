"""A user's own models, activations and texts in a study; docs/own_models.md is executed."""

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import TINY
from runs import run_jobs_here

import config_trained
import run_all_experiments
import train
from activations import ACTIVATIONS
from model import ARCHITECTURES, build_model
from runner import study_run
from study import own_code as own_module
from study import own_text
from study.corpus import CORPUS_PATH, CORPUS_SHA256
from study.files import ROOT, UserError
from study.options import CONFIGS
from study.own_code import own_code
from study.own_text import OwnText, read_text
from study.plan import Study
from study.store import Store
from study.users_code import source_of
from training.dataset import Corpus, passage

PAGE = (ROOT / "docs" / "own_models.md").read_text()
SMALL = """
import torch
from torch import nn


class Snake(nn.Module):
    def forward(self, x):
        return x + x.sin().square()


class Table(nn.Module):
    def __init__(self, activation, vocabulary_size, context):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, 16)
        self.activation = activation()
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(8 if activation.gated else 16, vocabulary_size)

    def forward(self, tokens):
        return self.head(self.dropout(self.activation(self.embedding(tokens))))
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """The current folder is an empty one with a small model; trials are trained in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(CONFIGS, "cpu", TINY)
    monkeypatch.setattr(study_run, "run_jobs", run_jobs_here)
    Path("my.py").write_text(SMALL)


def call(*options: str, study: str = "mine") -> int:
    places = ("--results-dir", "results", "--checkpoints-dir", "checkpoints", "--config", "cpu")
    try:
        return run_all_experiments.main([*options, *places, *(("--study", study) if study else ())])
    except SystemExit as end:
        return end.code


def cell(name: str) -> dict:
    return json.loads(Path("results", f"{name}.json").read_text())


def examples(what: str) -> list[str]:
    return re.findall(rf"<!-- example: {re.escape(what)} -->\n```\w+\n(.*?)```", PAGE, re.DOTALL)


# ---------------------------------------------------------------- models and activations


def test_the_page_is_executed(capsys):
    for name in ("my.py", "gpt.py"):
        (text,) = examples(name)
        Path(name).write_text(text)
    Path("my_text.txt").write_text(
        "Wer reitet so spät durch Nacht und Wind?\nEs ist der Vater mit seinem Kind.\n" * 40
    )
    runs = [line for block in examples("command") for line in block.splitlines() if "run_all_experiments" in line]
    for line in runs:
        _, _, *options = shlex.split(line)
        assert call(*options, "--iterations", "3", study="") == 0, capsys.readouterr().err
    names = {path.stem for path in Path("results").glob("*.json")}
    assert names == {
        *(f"{model}_{act}_mine" for model in ("GRULM", "charlm") for act in ("Snake", "gelu", "swiglu")),
        *(f"GPT_{act}_gpt" for act in ("relu", "gelu")),
        *(f"charlm_{act}_tiny_my_text" for act in ("relu", "gelu")),
    }
    said = capsys.readouterr().out
    assert "charlm has 9" in said and "% fewer parameters than GRULM" in said
    assert "% more parameters" not in said
    assert all(0 < pair["relative_pd"] < 2 for name in names for pair in cell(name)["pairs"])


def test_the_page_s_model_is_as_large_as_the_six():
    (text,) = examples("my.py")
    Path("my.py").write_text(text)
    own = own_code(["my.py:GRULM"], ["my.py:Snake"])
    config = replace(TINY, context=128)
    counts = [sum(p.numel() for p in own.build("GRULM", a, config, 0).parameters()) for a in ("Snake", "swiglu")]
    assert max(counts) / min(counts) < 1.02
    assert all(abs(count / 430_000 - 1) < 0.2 for count in counts)


@pytest.mark.parametrize("architecture", TINY.shapes)
def test_an_own_activation_is_in_every_architecture(architecture):
    Path("my.py").write_text(
        SMALL + "class Bent(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.bias = nn.Parameter(torch.rand(2, 3))\n"
        "    def forward(self, x):\n        return x.relu() * self.bias.mean()\n"
    )
    own = own_code([], ["my.py:Bent", "my.py:Snake"])
    first, again, other = (own.build(architecture, "Bent", TINY, seed) for seed in (1, 1, 2))
    bent = {name: value for name, value in first.named_parameters() if "activation" in name}
    assert bent and all(value.min() >= 0 and value.std() > 0.05 for value in bent.values()), "as constructed"
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not any(torch.equal(value, other.get_parameter(name)) for name, value in bent.items())
    plain, snake = build_model(architecture, "relu", TINY, 1), own.build(architecture, "Snake", TINY, 1)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), snake.parameters(), strict=True))
    assert "Snake" not in ACTIVATIONS and "Table" not in ARCHITECTURES


def test_initial_values_are_the_model_s_own_and_come_from_the_init_stream():
    Path("my.py").write_text(
        SMALL + "\nclass Mine(Table):\n    def __init__(self, *a):\n        super().__init__(*a)\n"
        "        nn.init.constant_(self.head.bias, 3.0)\n        nn.init.uniform_(self.head.weight, 5, 6)\n"
    )
    model = own_code(["my.py:Mine"], []).build("Mine", "relu", TINY, 1).module
    assert (model.head.bias == 3).all() and (model.head.weight >= 5).all()
    assert call("--models", "my.py:Mine", "--activations", "relu", "--vary", "none") == 0
    (pair,) = cell("Mine_relu_mine")["pairs"]
    assert pair["relative_pd"] == 0 and pair["top1_mismatches"] == 0


def test_a_trial_of_an_own_model_is_resumed_to_the_same_bits(tmp_path):
    Path("my.py").write_text(
        SMALL + "\nimport random\nimport numpy as np\nclass Noisy(Table):\n    def forward(self, tokens):\n"
        "        x = super().forward(tokens)\n"
        "        return x * (1 + random.random() + np.random.rand()) if self.training else x\n"
    )
    own, found = own_code(["my.py:Noisy"], ["my.py:Snake"]), []
    for name, stops in (("whole", ()), ("cut", (2, 2))):
        study = Study(TINY, "cpu", "cpu", Store(tmp_path / name, tmp_path / f"{name}_states"), own=own)
        where = study.cell("Noisy", "Snake")
        for stop in stops:
            calls = iter(range(99))
            with pytest.raises(train.Interrupted):
                train.run_trial(
                    study, where, 1, lambda event: None, lambda calls=calls, stop=stop: next(calls) == stop
                )
        found.append(train.run_trial(study, where, 1))
    assert found[0]["weights_sha256"] == found[1]["weights_sha256"]
    assert found[0]["predictions_sha256"] == found[1]["predictions_sha256"]


def test_trials_of_an_edited_source_are_named_and_not_paired_with_new_ones(capsys):
    grid = ("--models", "my.py:Table", "charlm", "--activations", "my.py:Snake", "gelu")
    Path("beside.py").write_text("SCALE = 1\n")
    Path("my.py").write_text("from beside import SCALE\n" + SMALL)
    assert call(*grid, "--trials", "1") == 0
    assert cell("Table_gelu_mine")["config"]["model_source"] == source_of(Path("my.py").resolve())[:16]
    assert cell("charlm_gelu_mine")["config"].keys().isdisjoint({"model_source", "activation_source"})
    assert call(*grid, "--trials", "1", "--verify") == 0
    assert call("--reproduce", "my.py:Table", "my.py:Snake", "1") == 0

    Path("beside.py").write_text("SCALE = 2\n")
    capsys.readouterr()
    assert call(*grid, "--trials", "1", "--verify") == 1
    said = capsys.readouterr().out
    assert said.count("foreign") >= 6 and "another source of the model" in said
    assert not re.search(r"foreign .*charlm_gelu", said)
    assert call(*grid, "--trials", "2") == 2
    assert "another source of the model" in capsys.readouterr().err
    assert len(cell("Table_gelu_mine")["trials"]) == 1 and len(cell("charlm_gelu_mine")["trials"]) == 1


def test_a_file_that_changes_while_the_study_runs_is_noticed():
    own = own_code(["my.py:Table"], [])
    own_module._loaded.clear()  # as in a worker that starts later
    Path("my.py").write_text(SMALL + "# edited\n")
    with pytest.raises(UserError, match="changed after the run began"):
        own.build("Table", "relu", TINY, 1)


def test_the_digest_is_of_what_a_file_imports_whatever_was_imported_before(tmp_path):
    (tmp_path / "package" / "deep").mkdir(parents=True)
    Path("package/__init__.py").write_text("from .deep import leaf\n")
    Path("package/deep/__init__.py").write_text("")
    Path("package/deep/leaf.py").write_text("x = 1\n")
    Path("other.py").write_text("")
    file = tmp_path / "my.py"
    file.write_text("def late():\n    import package\n")
    before = source_of(file)
    Path("other.py").write_text("y = 1\n")
    assert source_of(file) == before
    Path("package/deep/leaf.py").write_text("x = 2\n")
    assert source_of(file) != before


MISTAKES = [
    ("no.py:Table", "", "no.py: no such file"),
    ("my.py", "", "'my.py' says no model"),
    ("my.py:Tabel", "", r"my.py has no model 'Tabel' \(it has: Snake, Table\)"),
    ("my.py:Table", "\n1 / 0\n", "my.py, line 22, in <module>: ZeroDivisionError"),
    ("my.py:charlm", "\ncharlm = Table\n", "the name charlm is taken"),
    ("my.py:_T", "\n_T = Table\n", "'_T' would be part of a file's name"),
    ("my.py:F", "\ndef F(activation, config):\n    pass\n", "F must take three arguments"),
    ("my.py:F", "\ndef F(activation, v, t):\n    return 3\n", "int, not a torch.nn.Module"),
    ("my.py:F", "\nclass F(Table):\n    def forward(self, x):\n        return super().forward(x)[:, -1]\n",
     r"F with relu: logits are \(2, 65\) instead of \(2, 32, 65\)"),
    ("my.py:F", "\nclass F(Table):\n    def forward(self, x):\n        return super().forward(x) / 0\n",
     "logits are not all finite before any training"),
    ("my.py:F", "\nclass F(Table):\n    def __init__(self, *a):\n        super().__init__(*a)\n"
     "        self.left = nn.Linear(3, 3)\n", "parameter left.weight gets no gradient.*1 more"),
    ("my.py:F", "\nclass F(Table):\n    def forward(self, x):\n        y = super().forward(x)\n"
     "        return y + y.mean(1, keepdim=True)\n", "depends on characters after it"),
    ("my.py:F", "\nclass F(Table):\n    def forward(self, x):\n        return super().forward(x) + torch.rand(())\n",
     "must be without chance"),
    ("my.py:F", "\nclass F(Table):\n    n = 1.0\n    def forward(self, x):\n        self.n += self.training\n"
     "        return super().forward(x) * (self.n if self.training else 1)\n", "not in state_dict"),
    ("my.py:F", "\nimport os\nclass F(Table):\n    def __init__(self, *a):\n        super().__init__(*a)\n"
     "        self.head.bias.data += int.from_bytes(os.urandom(2)) / 99\n", "does not give the same initial values"),
    ("my.py:F", "\nclass F(Table):\n    def forward(self, x):\n        return self.embedding.missing(x)\n",
     r"my.py, line 24, in forward: AttributeError"),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "more", "said"), MISTAKES)
def test_a_model_that_cannot_be_trained_is_found_before_anything_is(asked, more, said, capsys):
    Path("my.py").write_text(SMALL + more)
    assert call("--models", "charlm", asked, "--activations", "relu") == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and re.search(said, err), err
    assert not Path("results").exists()


def test_a_model_without_a_thought_of_gates_is_told_of_them(capsys):
    Path("my.py").write_text(SMALL.replace("8 if activation.gated else 16", "16"))
    assert call("--models", "my.py:Table", "--activations", "relu", "swiglu", "--dry-run") == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "Table with swiglu: my.py, line " in err
    assert "(swiglu returns half of the features it is given; ask activation.gated" in err


@pytest.mark.parametrize(
    ("asked", "more", "said"),
    [
        ("my.py:f", "\ndef f(x):\n    return x\n", r"f\(\) takes arguments; an activation is"),
        ("my.py:f", "\ndef f():\n    return 3\n", r"f\(\) makes int"),
        (
            "my.py:relu",
            "\nrelu = Snake\n",
            "the name relu is taken",
        ),
        ("my.py:f", "\nclass f(nn.Module):\n    def forward(self, x):\n        return x.softmax(1)\n", "after it"),
    ],
)
def test_an_activation_that_is_none_is_refused(asked, more, said, capsys):
    Path("my.py").write_text(SMALL + more)
    assert call("--models", "charlm", "--activations", asked, "--dry-run") == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and re.search(said, err), err


def test_activations_that_change_nothing_are_refused_and_unlike_sizes_said(capsys):
    unused = "\nclass F(Table):\n    def __init__(self, a, v, t):\n        super().__init__(a, v, t)\n"
    unused += "        self.activation = nn.Tanh()\n"
    Path("my.py").write_text(SMALL + unused)
    assert call("--models", "my.py:F", "--activations", "relu", "gelu", "--dry-run") == 2
    assert "F predicts the same with relu and gelu" in capsys.readouterr().err
    assert call("--models", "my.py:Table", "--activations", "relu", "swiglu", "--dry-run") == 0
    assert "warning: Table: relu has 3" in capsys.readouterr().out


def test_an_own_loss_that_is_no_cross_entropy_is_said(capsys):
    (text,) = examples("gpt.py")
    Path("gpt.py").write_text(text)
    assert call("--models", "gpt.py:GPT", "--activations", "relu", "--dry-run") == 0
    assert "warning: GPT" not in capsys.readouterr().out
    Path("gpt.py").write_text(text.replace("targets.view(-1))", "targets.view(-1)) + logits.square().mean() + 1"))
    assert call("--models", "gpt.py:GPT", "--activations", "relu", "--dry-run") == 0
    assert "warning: GPT with relu: its own loss" in capsys.readouterr().out


def test_train_takes_them_too(capsys):
    places = ["--results-dir", "results", "--checkpoints-dir", "checkpoints", "--config", "cpu", "--study", "mine"]
    asked = ["--model", "my.py:Table", "--activation", "my.py:Snake", "--trials", "2"]
    assert train.main([*asked, *places]) == 0
    assert len(cell("Table_Snake_mine")["trials"]) == 2


# ---------------------------------------------------------------- texts


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (None, "no such file"),
        (b"", "is empty"),
        (b" \n \n", "is empty"),
        (b"aaaa", "one symbol alone"),
        (b"ab\xe9cd", "byte 3 is 0xe9"),
        (b"\xef\xbb\xbfab\xff", "byte 6 is 0xff"),
        ("".join(map(chr, range(300, 813))).encode(), "513 different symbols, more than 512"),
        (b"ab" * 300, "600 characters; 720 are needed"),
    ],
)
def test_a_text_that_cannot_be_used_is_refused(payload, said, capsys):
    if payload is not None:
        Path("t.txt").write_bytes(payload)
    assert call("--models", "charlm", "--corpus", "t.txt", "--dry-run") == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and said in err, err


def test_line_ends_and_a_byte_order_mark_are_dealt_with_and_said():
    Path("t.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\rthree\n")
    text, changes = read_text(Path("t.txt"))
    assert text == "one\ntwo\nthree\n"
    assert changes == ["without its byte-order mark", "2 line ends with a carriage return read as line feeds"]


def test_the_default_text_by_name_is_the_default_text(tmp_path):
    study = Study(TINY, "cpu", "cpu", Store(tmp_path, tmp_path))
    where = study.cell("charlm", "gelu")
    assert config_trained.GOOD_ENOUGH_ON == CORPUS_SHA256
    assert own_text.read_text(CORPUS_PATH)[0].encode() == CORPUS_PATH.read_bytes()
    named = replace(study, text=OwnText(CORPUS_PATH, CORPUS_SHA256))
    assert named.identity(where) == study.identity(where)


@pytest.mark.parametrize(
    "text", ["天地玄黄 宇宙洪荒\t🙂\0$_{}<&>" * 90, "ab" * 400, "a,b\n" * 200, ("x" * 700 + "\n") + "y" * 60]
)
def test_a_study_of_any_text_runs_to_its_page(text, capsys, recwarn):
    Path("Ein Text.txt").write_text(text)
    grid = ("--models", "charlm", "--activations", "relu", "gelu", "--corpus", "Ein Text.txt")
    assert call(*grid, "--trials", "2", study="") == 0, capsys.readouterr().err
    found = cell("charlm_relu_tiny_Ein_Text")
    assert found["config"]["vocabulary_size"] == len(set(text)) and found["config"]["corpus"] != CORPUS_SHA256
    assert all(set(trial["passage"]["text"]) <= set(text) for trial in found["trials"])
    assert call(*grid, "--trials", "2", "--verify", study="") == 0
    Path("Ein Text.txt").write_text(text + "b")
    assert call(*grid, "--trials", "2", study="") == 2
    assert "corpus " in capsys.readouterr().err


def test_a_passage_of_a_text_without_lines_is_cut():
    text = Corpus.from_text("ab" * 5000)
    assert len(passage(text, TINY).targets) == TINY.passage_length
    long_lines = Corpus.from_text(("a" * 999 + "\n") * 20)
    assert len(passage(long_lines, TINY).targets) == TINY.passage_length

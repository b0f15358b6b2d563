"""The tasks of examples/ on made-up data of their form: short, of equal sizes, and the activation is used."""

import gzip

import numpy as np
import pytest

import sensitivity
from activations import activation_named
from config import ACTIVATIONS
from own.task import load_task
from study import downloads
from study.files import ROOT

EXAMPLES = {path.stem: path for path in (ROOT / "examples").glob("*.py")}
MOST_LINES = 40


def table(n: int, features: int, most: int) -> bytes:
    """Rows of features and a digit, packed."""
    rows = np.c_[np.random.default_rng(0).integers(0, most + 1, (n, features)), np.arange(n) % 10]
    return gzip.compress("\n".join(",".join(map(str, row)) for row in rows).encode())


def series(n: int, features: int, length: int, classes: int) -> bytes:
    """Series and their class, as the UCR archive has them."""
    rng = np.random.default_rng(n)
    rows = [
        ":".join([*(",".join(f"{x:.4f}" for x in rng.standard_normal(length)) for _ in range(features)), str(label)])
        for label in np.arange(n) % classes + 1
    ]
    return ("#about\n@classLabel true\n@data\n" + "\n".join(rows) + "\n").encode()


MADE_UP = {
    "digits.csv.gz": table(1797, 64, 16),
    "mnist_5k.csv.gz": table(5000, 784, 255),
    "JapaneseVowels_eq_TRAIN.ts": series(270, 12, 25, 9),
    "JapaneseVowels_eq_TEST.ts": series(370, 12, 25, 9),
    "ItalyPowerDemand_TRAIN.ts": series(67, 1, 24, 2),
    "ItalyPowerDemand_TEST.ts": series(1029, 1, 24, 2),
}


@pytest.fixture(params=sorted(EXAMPLES))
def example(request, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(downloads, "from_wheel", lambda _, __, member, *___: MADE_UP[member.rpartition("/")[2]])
    load_task.cache_clear()
    yield EXAMPLES[request.param]
    load_task.cache_clear()


def test_an_example_is_fit_to_be_asked(example, capsys):
    """The checks of the command: deterministic, every activation changes the output, sizes within 2 %, loss falls."""
    assert example.read_text().count("\n") <= MOST_LINES
    command = [str(example), "--activations", *ACTIVATIONS, "--device", "cpu", "--dry-run", "--json"]
    assert sensitivity.main(command) == 0
    said = capsys.readouterr()
    assert "warning" not in said.err and '"relu"' in said.out


def test_sizes_are_equal(example):
    model = load_task(example).model
    sizes = [sum(p.numel() for p in model(activation_named(name)).parameters()) for name in ACTIVATIONS]
    assert max(sizes) <= 1.02 * min(sizes)

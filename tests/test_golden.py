"""The numbers of a trial belong to RECIPE, which is part of every fingerprint: they change with it, or not at all."""

import json

import golden
import pytest

from config import OPTIMIZERS, RECIPE
from model import ARCHITECTURES
from study.store import versions


def test_every_architecture_and_every_optimizer_has_a_trial():
    architectures, _, configurations = zip(*golden.TRIALS.values(), strict=True)
    assert (
        set(architectures) == ARCHITECTURES.keys() and golden.TRIALS.keys() == golden.read_golden()["trials"].keys()
    )
    assert {configuration.optimizer for configuration in configurations} == set(OPTIMIZERS)


@pytest.mark.parametrize("name", golden.TRIALS)
def test_numbers_change_only_with_the_recipe(name, tmp_path):
    known = golden.read_golden()
    assert known["recipe"] == RECIPE, f"RECIPE is {RECIPE}; write the numbers that belong to it with {golden.RENEW}"
    differ = golden.differing(known["trials"][name], golden.numbers_of(name, tmp_path))
    made_by = f"with {known['versions']}, here are {versions()}"
    assert not differ, (
        f"the numbers of a trial have changed (known {made_by}), so results made before are no more those of this "
        f"code: raise RECIPE in config.py and run {golden.RENEW}. " + "; ".join(differ)
    )


def test_changed_numbers_are_not_written_under_the_same_recipe(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(golden, "FILE", tmp_path / "golden.json")
    monkeypatch.setattr(golden, "TRIALS", dict.fromkeys(["charlm"]))
    loss = 4.0
    monkeypatch.setattr(golden, "numbers_of", lambda name, folder: {"val_loss": [loss]})
    assert golden.main() == 0
    loss += 2 * golden.TOLERANCE
    assert golden.main() == 1
    assert capsys.readouterr().err == "the numbers of charlm have changed; raise RECIPE in config.py first\n"
    monkeypatch.setattr(golden, "RECIPE", RECIPE + 1)
    assert golden.main() == 0
    assert json.loads(golden.FILE.read_text())["recipe"] == RECIPE + 1

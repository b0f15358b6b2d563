"""The faults of ``python tests/mutants.py``, its long form, still fit the code; and what it does with one of them."""

import json
import re
from collections import Counter

import mutants
import pytest
from mutants import KILLED, SURVIVED, Mutant

FAULTS = mutants.read_mutants()


def test_every_fault_still_fits_one_line_and_changes_it():
    lines = {file: Counter(map(str.strip, (mutants.ROOT / file).read_text().splitlines())) for file in files()}
    stale = [
        mutant.name for mutant in FAULTS if lines[mutant.file][mutant.line] != 1 or mutant.line == mutant.becomes
    ]
    assert not stale, f"no longer exactly one such line; mend tests/faults/*.toml: {stale}"


def files() -> set[str]:
    return {mutant.file for mutant in FAULTS}


def test_every_fault_has_a_name_of_its_own_and_tests_that_exist():
    assert len(FAULTS) >= 120 and len({mutant.name for mutant in FAULTS}) == len(FAULTS)
    tests = {test for mutant in FAULTS for test in mutant.tests}
    for test in tests:
        file, _, function = test.partition("::")
        text = (mutants.TESTS / file).read_text()
        assert not function or re.search(rf"^def {function}\(", text, re.MULTILINE), test


def test_a_fault_is_killed_where_a_test_fails_and_survives_where_none_does(tmp_path, monkeypatch):
    monkeypatch.setattr(mutants, "ROOT", tmp_path / "original")
    (tmp_path / "tests").mkdir()
    (tmp_path / "number.py").write_text("def one():\n    return 1\n")
    for name, claim in (("bites", "== 1"), ("blind", "> 0"), ("broken", "== 1 +")):
        source = f"from number import one\n\n\ndef test_one():\n    assert one() {claim}\n"
        (tmp_path / "tests" / f"test_{name}.py").write_text(source)
    (tmp_path / "conftest.py").write_text("")

    def outcome(test: str, becomes: str = "return 2") -> str:
        mutant = Mutant("part", "two", "number.py", "return 1", becomes, (test,))
        return mutants.try_mutant(mutant, tmp_path, tmp_path / "log")

    assert outcome("test_bites.py") == KILLED
    assert outcome("test_blind.py") == SURVIVED
    assert outcome("test_broken.py") == mutants.BROKEN
    assert (tmp_path / "number.py").read_text() == "def one():\n    return 1\n"
    monkeypatch.setattr(mutants, "STILL", 0.5)
    assert outcome("test_bites.py", "import time; time.sleep(60)") == KILLED
    with pytest.raises(ValueError, match="has 0 lines 'return 3'"):
        Mutant("part", "two", "number.py", "return 3", "", ()).mutated(tmp_path)


def test_the_figures_count_what_was_judged_and_name_what_was_not_noticed(tmp_path, capsys):
    known = [Mutant("a", name, "f.py", "x", "y", (), reason) for name, reason in (("1", ""), ("2", "why"), ("3", ""))]
    outcomes = {
        "a: 1": {"outcome": KILLED, "of": ""},
        "a: 2": {"outcome": SURVIVED, "of": ""},
        "a: of another time": {"outcome": SURVIVED, "of": ""},
    }
    mutants.write_outcomes(tmp_path / "out.json", known, outcomes)
    assert mutants.read_outcomes(tmp_path / "out.json").keys() == {"a: 1", "a: 2"}
    written = json.loads((tmp_path / "out.json").read_text())
    assert (written["mutants"], written["killed"], written["survivors"]) == (2, 1, {"a: 2": "why"})
    assert mutants.report(known, outcomes) == 1  # one of two is too little
    many = known + [Mutant("b", str(number), "f.py", "x", "y", ()) for number in range(18)]
    outcomes |= {mutant.name: {"outcome": KILLED, "of": ""} for mutant in many if mutant.part == "b"}
    assert mutants.report(many, outcomes) == 0
    assert mutants.report(many, outcomes | {"a: 3": {"outcome": mutants.BROKEN, "of": ""}}) == 1
    assert "broken: a: 3 (no reason known)" in capsys.readouterr().out

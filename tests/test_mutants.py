"""The faults of ``python tests/mutants.py``, its long form, still fit the code; and what it does with one of them."""

import json
import re
from collections import Counter

import mutants
import patience
import pytest
from mutants import BROKEN, KILLED, SURVIVED, Mutant
from patience import process_state

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


def be_impatient(monkeypatch) -> None:
    """What does nothing at all for 3 seconds hangs."""
    monkeypatch.setattr(mutants, "STILL", 3)
    monkeypatch.setattr(patience, "SPENT", 0.02)


def test_a_fault_is_killed_where_a_test_fails_and_survives_where_none_does(tmp_path, monkeypatch):
    monkeypatch.setattr(mutants, "ROOT", tmp_path / "original")
    (tmp_path / "tests").mkdir()
    (tmp_path / "number.py").write_text("def one():\n    return 1\n")
    for name, claim in (("bites", "== 1"), ("blind", "> 0"), ("broken", "== 1 +"), ("wrong", "== 3")):
        source = f"from number import one\n\n\ndef test_one():\n    assert one() {claim}\n"
        (tmp_path / "tests" / f"test_{name}.py").write_text(source)
    (tmp_path / "conftest.py").write_text("")

    def outcome(test: str, becomes: str = "return 2") -> str:
        mutant = Mutant("part", "two", "number.py", "return 1", becomes, (test,))
        return mutants.judge(mutant, tmp_path, tmp_path / "log", {})

    assert outcome("test_bites.py") == {"outcome": KILLED, "by": "test_bites.py::test_one"}
    assert outcome("test_blind.py") == {"outcome": SURVIVED}
    assert outcome("test_broken.py") == {"outcome": BROKEN}
    assert outcome("test_wrong.py") == {"outcome": BROKEN}
    assert (tmp_path / "number.py").read_text() == "def one():\n    return 1\n"
    be_impatient(monkeypatch)
    assert outcome("test_bites.py", "import time; time.sleep(60)")["outcome"] == KILLED
    with pytest.raises(ValueError, match="has 0 lines 'return 3'"):
        Mutant("part", "two", "number.py", "return 3", "", ()).mutated(tmp_path)


LEAVES_PROCESSES = """
import os, pathlib, subprocess, time


def test_one():
    program = "echo $$ >> pids; (setsid sleep 600 & echo $! >> pids)"
    pathlib.Path("pids").touch()
    for command in (["sh", "-c", program + "; sleep 600"], ["sh", "-c", program]):
        subprocess.Popen(command, start_new_session=True)
    while len(pathlib.Path("pids").read_text().split()) < 4:
        time.sleep(0.01)
    time.sleep({pause})
"""


@pytest.mark.parametrize("pause", [0, 600])
def test_no_process_outlives_its_tests(tmp_path, monkeypatch, pause):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_leaves.py").write_text(LEAVES_PROCESSES.format(pause=pause))
    be_impatient(monkeypatch)
    outcome, test = mutants.run_tests(tmp_path, ["test_leaves.py"], tmp_path / "log")
    assert (outcome, test) == (KILLED if pause else SURVIVED, "test_leaves.py::test_one")
    started = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(started) == 4 and all(process_state(pid)["state"] == "Z" for pid in started)


def test_other_tests_of_a_file_and_comments_are_no_change(tmp_path):
    def text(content: str, test: str) -> str:
        mutants.text_of_test.cache_clear()
        (tmp_path / "test_a.py").write_text(content)
        return mutants.text_of_test(tmp_path, test)

    first, second = "NUMBER = 1\n\n\ndef test_one():\n    assert NUMBER\n", "\n\ndef test_two():\n    pass\n"
    alone = text(first, "test_a.py::test_one")
    assert text(first + second + "# why\n", "test_a.py::test_one") == alone
    assert text(first.replace("= 1", "= 2"), "test_a.py::test_one") != alone
    assert text(first.replace("assert", "assert not"), "test_a.py::test_one") != alone
    assert text(first + second, "test_a.py") != text(first, "test_a.py") == alone
    assert text(second, "test_a.py::test_one") != alone != mutants.text_of_test(tmp_path, "test_b.py::test_one")


def test_who_was_killed_is_judged_anew_where_its_test_or_its_file_changes(tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_a.py").write_text("def test_one():\n    pass\n\n\ndef test_two():\n    pass\n")
    (tmp_path / "f.py").write_text("x = 1\ny = 2\n")
    mutant = Mutant("part", "two", "f.py", "x = 1", "x = 2", ("test_a.py",))

    def digests() -> list[str]:
        mutants.text_of_test.cache_clear()
        return [mutant.digest(by, tmp_path) for by in (None, "test_a.py::test_one[5]", "test_a.py::test_two")]

    before = digests()
    (tmp_path / "tests" / "test_a.py").write_text("def test_one():\n    pass\n\n\ndef test_two():\n    assert 1\n")
    assert [a == b for a, b in zip(before, digests(), strict=True)] == [False, True, False]
    before = digests()
    (tmp_path / "f.py").write_text("x = 1\ny = 2  # two\n")
    assert digests() == before
    (tmp_path / "f.py").write_text("x = 1\ny = 3\n")
    assert not set(digests()) & set(before)


def test_the_figures_count_what_was_judged_as_it_is_now_and_name_the_rest(tmp_path, capsys):
    reasons = (("1", ""), ("2", "why"), ("3", ""), ("4", ""))
    digests = {Mutant("a", name, "f.py", "x", "y", (), reason): "now" for name, reason in reasons}
    outcomes = {
        "a: 1": {"outcome": KILLED, "of": "now"},
        "a: 2": {"outcome": SURVIVED, "of": "now"},
        "a: 3": {"outcome": KILLED, "of": "an earlier test"},
        "a: of another time": {"outcome": SURVIVED, "of": "now"},
    }
    mutants.write_outcomes(tmp_path / "out.json", digests, outcomes)
    assert mutants.read_outcomes(tmp_path / "out.json").keys() == {"a: 1", "a: 2", "a: 3"}
    written = json.loads((tmp_path / "out.json").read_text())
    assert (written["known"], written["mutants"], written["killed"]) == (4, 2, 1)
    assert written["survivors"] == {"a: 2": "why"} and written["parts"] == {"a": {"mutants": 2, "killed": 1}}
    digests |= {Mutant("b", str(number), "f.py", "x", "y", ()): "now" for number in range(20)}
    outcomes |= {mutant.name: {"outcome": KILLED, "of": "now"} for mutant in digests if mutant.part == "b"}
    assert mutants.report(digests, outcomes) == 1
    assert "2 not judged as they are now: a: 3, a: 4" in capsys.readouterr().out
    outcomes |= {name: {"outcome": KILLED, "of": "now"} for name in ("a: 3", "a: 4")}
    assert mutants.report(digests, outcomes) == 0 and "not judged" not in capsys.readouterr().out
    assert mutants.report(digests, outcomes | {"a: 3": {"outcome": BROKEN, "of": "now"}}) == 1
    assert "broken: a: 3 (no reason known)" in capsys.readouterr().out
    assert mutants.report(dict(list(digests.items())[:2]), outcomes) == 1  # one of two is too little

"""Altered files and every reader and command, in short; ``python tests/fuzz_files.py`` is the long form."""

import pytest
from fuzz_files import CONFIG, KINDS, Fuzz, fuzz

from study import options


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patches:
        patches.setitem(options.CONFIGS, "cpu", CONFIG)
        yield Fuzz(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_not_altered_is_taken(target, kind):
    target.outcomes.clear()
    target.give(kind, target.contents[kind])
    assert target.outcomes == {f"{kind}, taken": 1}


def test_no_altered_file_ends_in_a_traceback(tmp_path):
    outcomes = fuzz(tmp_path, examples=100)
    assert all(outcomes[f"{kind}, refused"] for kind in KINDS), outcomes

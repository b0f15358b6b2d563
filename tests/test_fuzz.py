"""Altered files and every reader and command, in short; ``python tests/fuzz_files.py`` is the long form."""

from fuzz_files import KINDS, fuzz


def test_no_altered_file_ends_in_a_traceback(tmp_path):
    outcomes = fuzz(tmp_path, examples=100)
    assert all(outcomes[f"{kind}, refused"] for kind in KINDS), outcomes

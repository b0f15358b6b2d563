"""Models made up for the tests of compare.py, the command run in this process, and what it says."""

import json

import numpy as np
import pytest

import compare

SAMPLES, CLASSES = 60, 5
COMMON = 2 * np.random.default_rng(3).standard_normal((SAMPLES, CLASSES))
TARGETS = COMMON.argmax(axis=1)


def softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


def models(n: int, scale: float = 0.6, seed: int = 0) -> np.ndarray:
    """Probabilities (n, samples, classes) of models that differ by noise of their own."""
    return softmax(COMMON + scale * np.random.default_rng(seed).standard_normal((n, SAMPLES, CLASSES)))


def printed(capsys, *words: str, code: int = 0) -> str:
    assert compare.main(list(words)) == code
    return capsys.readouterr().out


def as_json(capsys, *words: str) -> dict:
    return json.loads(printed(capsys, *words, "--json"), parse_constant=pytest.fail)


def refusal(capsys, *words: str) -> str:
    """The one line that says why nothing is compared."""
    try:
        code = compare.main(list(words))
    except SystemExit as stopped:
        code = stopped.code
    captured = capsys.readouterr()
    assert code == 2 and captured.out == "" and captured.err.count("\n") == 1, captured
    return captured.err


GOOD = models(1)[0]

"""Where disagreement lives: groups worked by hand, and that they add up to the pair's own measures."""

import numpy as np
import pytest

import metrics
from analysis import measure
from study import pairs

CHARACTERS = "\n !',3Zabc"
RNG = np.random.default_rng(0)


def tokens(text: str) -> np.ndarray:
    return np.array([CHARACTERS.index(character) for character in text])


def groups_of(grouping: pairs.Grouping) -> list[str]:
    names, index = grouping
    return [names[group] for group in index]


def position(context: str, target: str) -> str:
    (name,) = groups_of(pairs.word_position(tokens(context)[None], tokens(target), CHARACTERS))
    return name


def test_every_character_has_a_class():
    assert groups_of(pairs.character_class(tokens("aZ \n!',3"), CHARACTERS)) == [
        "lower-case letter", "capital letter", "space", "newline", *["punctuation or other"] * 4
    ]  # fmt: skip


def test_words_are_runs_of_letters_that_begin_in_the_context():
    assert position("abc abc ", "a") == "1st letter"
    assert position("abc abcZ", "a") == "5th letter"
    assert position("abc' abc", "Z") == "4th letter"
    assert position("abc\nabc'", "c") == "1st letter"  # what follows an apostrophe is a word of its own
    assert position("aaa aaaa", "a") == "5th letter"
    assert position("aa aaaaa", "a") == position("aaaaaaaa", "a") == "6th or later"
    assert {position("abc abca", character) for character in "\n !',3"} == {"no letter"}


def test_confidence_is_the_mean_of_both_in_ten_intervals():
    p = np.array([[1.0, 0.0], [0.5, 0.5], [0.9, 0.1], [0.5, 0.5]], dtype=np.float32)
    q = np.array([[0.0, 1.0], [0.5, 0.5], [0.4, 0.6], [0.25, 0.75]], dtype=np.float32)
    assert groups_of(pairs.confidence(p, q)) == ["0.9 to 1.0", "0.5 to 0.6", "0.7 to 0.8", "0.6 to 0.7"]


def test_blocks_are_stretches_of_the_text_with_equally_many_contexts():
    starts = RNG.choice(10_000, size=200, replace=False)
    names, block = pairs.text_block(starts)
    assert np.bincount(block).tolist() == [10] * len(names)
    for k in range(len(names) - 1):
        assert starts[block == k].max() < starts[block == k + 1].min()


def test_worked_case():
    # PD of the samples: 2 * 0.2 / 0.8 on two of three classes, so 1/3; 0; 2, 2 and 0, so 4/3. The first and the
    # last are mismatches. Mean confidences: 0.5, 0.6 and 1.
    p = np.array([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3], [1.0, 0.0, 0.0]])
    q = np.array([[0.3, 0.5, 0.2], [0.1, 0.6, 0.3], [0.0, 1.0, 0.0]])
    contexts, targets = np.array([tokens("a a"), tokens(" ab"), tokens("abc")]), tokens("b b")
    groupings = pairs.text_groupings(contexts, targets, np.array([70, 4, 9]), CHARACTERS)
    found = pairs.break_down(p, q, groupings)
    assert found["character_class"] == {
        "group": list(pairs.CHARACTER_CLASSES),
        "n_predictions": [2, 0, 1, 0, 0],
        "relative_pd": [pytest.approx((1 / 3 + 4 / 3) / 2), None, 0, None, None],
        "top1_mismatches": [2, 0, 0, 0, 0],
    }
    assert found["word_position"] == {
        "group": list(pairs.WORD_POSITIONS),
        "n_predictions": [0, 1, 0, 1, 0, 0, 1],
        "relative_pd": [None, pytest.approx(1 / 3), None, pytest.approx(4 / 3), None, None, 0],
        "top1_mismatches": [0, 1, 0, 1, 0, 0, 0],
    }
    assert groups_of(groupings["text_block"]) == ["14", "1", "7"]
    sure = found["confidence"]
    assert sure["n_predictions"] == [0, 0, 0, 0, 0, 1, 1, 0, 0, 1]
    assert sure["top1_mismatches"] == [0, 0, 0, 0, 0, 1, 0, 0, 0, 1]


def test_pairs_are_pooled_by_their_predictions():
    def pair(counts: list, distances: list, mismatches: list) -> dict:
        groups = {"n_predictions": counts, "relative_pd": distances, "top1_mismatches": mismatches}
        return {"breakdown": {"confidence": groups}}

    pairs = [pair([30, 0, 70], [0.2, None, 0.1], [6, 0, 7]), pair([10, 0, 90], [0.4, None, 0.2], [4, 0, 1])]
    pooled = measure.pool(pairs, "confidence")
    assert pooled["n_predictions"].tolist() == [40, 0, 160]
    assert pooled["relative_pd"].tolist() == pytest.approx([10 / 40, np.nan, 25 / 160], nan_ok=True)
    assert pooled["mismatch_share"].tolist() == pytest.approx([10 / 40, np.nan, 8 / 160], nan_ok=True)


@pytest.mark.parametrize("sharpness", [0.02, 0.3, 5])
def test_groups_add_up_to_the_pair(sharpness):
    classes, samples = len(CHARACTERS), 300
    p, q = (RNG.dirichlet(np.full(classes, sharpness), samples).astype(np.float32) for _ in range(2))
    contexts, targets = RNG.integers(0, classes, (samples, 12)), RNG.integers(0, classes, samples)
    starts = RNG.permutation(samples)
    groupings = pairs.text_groupings(contexts, targets, starts, CHARACTERS)
    for groups in pairs.break_down(p, q, groupings).values():
        total = sum(n * pd for n, pd in zip(groups["n_predictions"], groups["relative_pd"], strict=True) if n)
        assert sum(groups["n_predictions"]) == samples
        assert total / samples == pytest.approx(metrics.relative_pd(p, q), rel=1e-12)
        assert sum(groups["top1_mismatches"]) == metrics.top1_mismatches(p, q)
        assert all(
            (n == 0) == (pd is None) for n, pd in zip(groups["n_predictions"], groups["relative_pd"], strict=True)
        )


def test_different_contexts_are_those_of_the_order_given():
    p, q = RNG.dirichlet(np.ones(7), (2, 3, 20))
    order = np.roll(np.arange(20), 1)
    found = pairs.compare_predictions(p, q, RNG.integers(0, 7, 20), order)["different_contexts"]
    assert found == {
        "relative_pd": metrics.relative_pd(p[-1], q[-1][order]),
        "top1_mismatches": metrics.top1_mismatches(p[-1], q[-1][order]),
        "global_pd": metrics.global_pd(p[-1], q[-1][order]),
    }

"""Intervals for other contexts and other trials at once."""

import numpy as np
import pytest
from synthetic_cells import random_cell

from analysis import contexts, stats
from analysis.findings import Findings
from analysis.measure import measure


def simulated(rng, n_trials: int, n_blocks: int, of_blocks: float) -> tuple[np.ndarray, np.ndarray]:
    """Distances (N, N) and their means by block (G,), around 1, with effects of trials and of blocks."""
    trials, blocks = rng.normal(0, 0.1, n_trials), rng.normal(0, of_blocks, n_blocks)
    noise = rng.normal(0, 0.05, (n_blocks, n_trials, n_trials))
    each = 1 + trials[:, None] + trials + blocks[:, None, None] + noise + np.swapaxes(noise, 1, 2)
    each *= 1 - np.eye(n_trials)
    return each.mean(axis=0), each.sum(axis=(1, 2)) / (n_trials * (n_trials - 1))


@pytest.mark.parametrize("of_blocks", [0.1, 0.6])
def test_the_crossed_interval_covers_and_that_of_trials_alone_does_not(of_blocks):
    rng = np.random.default_rng(1)
    covered = {"trials": 0, "both": 0}
    for _ in range(400):
        distances, blocks = simulated(rng, 5, 20, of_blocks)
        both = stats.crossed_estimate(distances, blocks)
        alone = stats.pairwise_estimate(distances)
        assert both.mean == alone.mean and both.high - both.low >= alone.high - alone.low
        for name, interval in (("trials", alone), ("both", both)):
            covered[name] += interval.low <= 1 <= interval.high
    assert covered["both"] >= 0.925 * 400
    if of_blocks > 0.5:
        assert covered["trials"] < 0.85 * 400


def test_without_three_trials_there_is_no_crossed_interval():
    assert np.isnan(stats.crossed_estimate(np.zeros((2, 2)), np.ones(20)).low)


def test_a_worked_interval():
    distances = np.array([[0, 1, 2], [1, 0, 3], [2, 3, 0]]) / 10
    blocks = [0.1, 0.3]  # mean 0.2, standard error 0.1, t(1) = 12.706
    trials = stats.pairwise_estimate(distances)
    both = stats.crossed_estimate(distances, blocks)
    assert both.high - 0.2 == pytest.approx(np.hypot(trials.high - 0.2, 1.2706), rel=1e-4)


def test_block_means_are_over_the_pairs_of_the_seeds():
    cell = random_cell("charlm", "relu", n_trials=4)
    seeds = [trial["seed"] for trial in cell["trials"][:3]]
    pairs = [pair for pair in cell["pairs"] if 4 not in pair["trials"]]
    assert len(pairs) == 3
    expected = sum(np.array(pair["breakdown"]["text_block"]["relative_pd"]) for pair in pairs) / 3
    assert contexts.block_means(measure(cell), seeds) == pytest.approx(expected)


def test_cells_without_blocks_or_with_too_few_trials_are_left_out():
    silent = random_cell("charlm", "swish")
    for pair in silent["pairs"]:
        del pair["breakdown"]["text_block"]
    few = random_cell("charlm", "smelu_1", n_trials=2)
    findings = Findings.of_study([random_cell("charlm", "relu"), random_cell("charlm", "gelu"), silent, few], "cpu")
    found = findings.cells_on_other_contexts
    assert [(each.cell.model, each.cell.activation) for each in found] == [("charlm", "relu"), ("charlm", "gelu")]
    for each in found:
        fixed = each.cell.estimate("relative_pd")
        assert each.both.low <= fixed.low < fixed.high <= each.both.high
    (other,) = findings.differences_on_other_contexts
    difference = other.difference
    assert (difference.activation, difference.other) == ("gelu", "relu")
    assert difference.estimate.mean == pytest.approx(
        found[1].cell.mean("relative_pd") - found[0].cell.mean("relative_pd")
    )
    assert difference.estimate.mean == pytest.approx(other.both.mean)
    assert other.both.low <= difference.estimate.low <= difference.estimate.high <= other.both.high


def distances_and_blocks(content: dict) -> tuple[np.ndarray, np.ndarray]:
    """Of a cell file: relative PD (N, N), and its means over pairs by block (G,)."""
    distances = np.zeros((len(content["trials"]),) * 2)
    for pair in content["pairs"]:
        i, j = (number - 1 for number in pair["trials"])
        distances[i, j] = distances[j, i] = pair["relative_pd"]
    blocks = [pair["breakdown"]["text_block"]["relative_pd"] for pair in content["pairs"]]
    return distances, np.mean(blocks, axis=0)


def test_cells_and_their_differences_are_widened_by_their_own_contexts():
    contents = [random_cell("charlm", name, n_trials=5) for name in ("relu", "gelu")]
    for pair in contents[1]["pairs"]:  # one activation finds some of the text harder than the other does
        blocks = pair["breakdown"]["text_block"]
        blocks["relative_pd"] = [pd + 0.04 * (-1) ** place for place, pd in enumerate(blocks["relative_pd"])]
    findings = Findings.of_study(contents, "cpu")
    (first, first_blocks), (other, other_blocks) = map(distances_and_blocks, contents)
    expected = stats.crossed_estimate(first, first_blocks)
    found = findings.cells_on_other_contexts[0]
    assert found.both.high == pytest.approx(expected.high)
    assert found.both.high > stats.pairwise_estimate(first).high + 1e-6 and found.widening > 1
    expected = stats.crossed_estimate(other - first, other_blocks - first_blocks)
    (found,) = findings.differences_on_other_contexts
    assert (found.both.low, found.both.high) == pytest.approx((expected.low, expected.high))
    assert found.both.high > found.difference.estimate.high + 1e-6


def test_where_contexts_add_nothing_the_interval_is_as_wide_also_when_it_is_cut_at_0():
    content = random_cell("charlm", "relu")
    for pair, distance in zip(content["pairs"], (0.01, 0.3, 0.35), strict=True):
        pair["relative_pd"] = distance
        pair["breakdown"]["text_block"]["relative_pd"] = [distance] * 20
    (found,) = contexts.cells_on_other_contexts([measure(content)])
    assert found.cell.estimate("relative_pd").low == found.both.low == 0
    assert found.widening == pytest.approx(1)

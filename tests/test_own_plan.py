"""Plans within a budget of time, and answers of known differences."""

import numpy as np
import pytest
from own_tasks import COST

from analysis.own_answer import NOT_SETTLED, own_answer, sentences
from analysis.stats import FEWEST_JUDGED
from own import plan as planning
from own.plan import Cost, Plan
from study.files import UserError
from study.options import MOST_STEPS, MOST_TRIALS

# ---------------------------------------------------------------- plans


def test_a_plan_costs_what_its_trials_take():
    planned = planning.plan(COST, budget=123, workers=2)
    assert planned == Plan(seeds=8, steps=966, seconds=planned.seconds, budget=123)
    assert planned.seconds == pytest.approx(planning.START + 8 * (1 + 966 * 0.03) / 2)
    assert planned.seconds <= 123
    assert planning.plan(COST, 123, 2, steps=100).seeds == 60  # 120 s x 2 workers over 4 s
    assert planning.plan(COST, 123, 2, seeds=20).steps == 366


@pytest.mark.parametrize("workers", [1, 3, 5, 12, 16, 32, 64, 128])
def test_a_plan_ends_in_time_where_workers_do_not_divide_the_trials(workers):
    """The clock: each worker takes the next trial, the longest ones first or last."""
    for budget in (60, 300):
        for planned in (planning.plan(COST, budget, workers), planning.plan(COST, budget, workers, steps=100)):
            trials = [COST.of_trial(name, planned.steps) for _ in range(planned.seeds) for name in COST.step]
            ends = [0.0] * workers
            for seconds in trials:
                ends[ends.index(min(ends))] += seconds
            assert planned.seconds <= budget or planned.seeds == planning.FEWEST_SEEDS
            # The longest trial takes 4/3 of the mean, so that a round takes up to that.
            assert max(ends) <= 4 / 3 * (planned.seconds - planning.START)


def test_steps_give_way_and_seeds_do_not():
    assert planning.FEWEST_SEEDS == FEWEST_JUDGED
    assert planning.plan(COST, planning.START + 12, workers=1).seeds == 6
    assert planning.plan(COST, 400, 2).seeds == planning.DEFAULT_SEEDS
    for budget in np.linspace(13, 400, 40):
        assert planning.plan(COST, budget, 2).seeds >= planning.FEWEST_SEEDS
    assert planning.plan(COST, 5, 2, steps=1000).seeds == planning.FEWEST_SEEDS
    with pytest.raises(UserError, match="6 seeds of 20 steps take about 13 s; give --budget 13s"):
        planning.plan(COST, 10, 1)


def test_a_larger_budget_buys_seeds_and_the_same_or_a_smaller_one_none():
    done = planning.plan(COST, 123, 2)
    assert planning.extended(done, COST, 123, 2, None).seeds == done.seeds
    assert planning.extended(done, COST, 60, 2, None).seeds == done.seeds
    longer = planning.extended(done, COST, 243, 2, None)
    assert (longer.seeds, longer.steps) == (16, done.steps)
    slower = Cost(step={"relu": 0.1, "gelu": 0.2}, trial=COST.trial)
    assert planning.extended(done, slower, 130, 2, None).seeds == done.seeds


def test_no_seed_is_forgotten_where_fewer_are_asked_for():
    done = planning.plan(COST, 123, 2)
    assert planning.extended(done, COST, 123, 2, 6) == done
    assert planning.extended(done, COST, 123, 2, 20).seeds == 20


def test_no_budget_plans_more_than_can_be_listed():
    most = planning.MOST_HOURS * 3600
    assert planning.plan(COST, most, 1000, steps=20).seeds == MOST_TRIALS
    assert planning.plan(COST, most, 1000).steps == MOST_STEPS
    done = planning.plan(COST, 123, 2)
    assert planning.extended(done, COST, most, 1000, None).seeds == MOST_TRIALS


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("5min", 300), ("1.5h", 5400)])
def test_times(text, seconds):
    assert planning.seconds_of(text) == seconds
    for wrong in ("5", "min", "-3s", "nans", "infh", "5 m"):
        with pytest.raises(ValueError, match="no time such as"):
            planning.seconds_of(wrong)


# ---------------------------------------------------------------- answers


def models(n: int, noise: dict[str, float], seed: int) -> dict[str, list[np.ndarray]]:
    """Probabilities of models whose logits differ from common ones by noise of a size of the activation's own."""
    common = 2 * np.random.default_rng(0).standard_normal((400, 5))
    rng = np.random.default_rng(seed)
    raised = {name: np.exp(common + size * rng.standard_normal((n, 400, 5))) for name, size in noise.items()}
    return {name: list(each / each.sum(axis=-1, keepdims=True)) for name, each in raised.items()}


@pytest.mark.parametrize(
    ("n", "late", "early", "verdict", "said"),
    [
        (8, (0.3, 0.9), (0.3, 0.9), "matters", "The activation matters for how much two trainings disagree"),
        (
            20,
            (0.6, 0.6),
            (0.6, 0.6),
            "no difference above the margin",
            "No difference is shown in how much two trainings",
        ),
        (4, (0.3, 0.9), (0.3, 0.9), "too few trials to tell", "Too few trials to tell: "),
        (2, (0.3, 0.9), (0.3, 0.9), "too few trials to tell", "Too few trials to tell: a test takes 6 seeds"),
        (8, (0.6, 1.2), (0.3, 0.6), "not settled", "Not settled: disagreement rose"),
    ],
)
def test_the_verdict_is_that_of_known_differences(n, late, early, verdict, said):
    names = ("relu", "gelu")
    end, before = (models(n, dict(zip(names, sizes, strict=True)), 5) for sizes in (late, early))
    answer = own_answer(end, before, range(n), None)
    assert answer.verdict == verdict
    assert answer.settled is (verdict != "not settled")
    words = list(sentences(answer, 100, minutes_a_seed=2.5))
    assert words[0].startswith(said)
    noise = "with" if n == 2 else "without"  # of two seeds, how much is noise cannot be told
    assert verdict == "not settled" or f"(CV {noise} the noise of seeds" in words[0]
    if verdict == "too few trials to tell":
        more = max(answer.seeds_needed or 0, 6) - n
        assert f"{more} more take about {int(np.ceil(2.5 * more))} min" in words[0]
    if verdict == "not settled":
        assert words[1].startswith("At that step: the activation matters")


def test_a_change_within_noise_is_not_called_one():
    end, before = (models(6, {"relu": 0.05, "gelu": 0.05}, seed) for seed in (5, 6))
    answer = own_answer(end, before, range(6), None)
    assert abs(answer.change.mean) > 0.05 and answer.change.low < 0 < answer.change.high
    assert answer.settled is None and answer.verdict != NOT_SETTLED
    assert any(word.startswith("Whether it has settled cannot be told") for word in sentences(answer, 100, 1.0))

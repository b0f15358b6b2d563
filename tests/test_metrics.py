import inspect
import itertools

import numpy as np
import pytest

import metrics
import probabilities

P = np.array([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3]])
Q = np.array([[0.3, 0.5, 0.2], [0.1, 0.6, 0.3]])
TARGETS = np.array([1, 1])
RNG = np.random.default_rng(0)


def random_pair(samples: int = 40, classes: int = 9) -> tuple[np.ndarray, np.ndarray]:
    return RNG.dirichlet(np.ones(classes), samples), RNG.dirichlet(np.ones(classes), samples)


def test_worked_case():
    # First sample: 2 * 0.2 / 0.8 = 0.5 twice and 0; second: all 0. Mean of six terms.
    assert metrics.relative_pd(P, Q) == pytest.approx(1 / 6)
    assert metrics.true_label_pd(P, Q, TARGETS) == pytest.approx(0.25)
    assert metrics.top1_mismatches(P, Q) == 1
    assert metrics.total_variation(P, Q) == pytest.approx(0.1)
    assert metrics.global_pd(P, Q) == pytest.approx(0.1)
    assert metrics.hellinger(P, Q) == pytest.approx((np.sqrt(0.5) - np.sqrt(0.3)) / 2)
    assert metrics.symmetric_kl(P, Q) == pytest.approx(0.2 * np.log(5 / 3) / 2)
    middle = 0.5 * np.log(0.5 / 0.4) + 0.3 * np.log(0.3 / 0.4)
    assert metrics.jensen_shannon(P, Q) == pytest.approx(middle / 2)
    assert metrics.ensemble_gain(P, Q, TARGETS) == pytest.approx((np.log(0.4) - np.log(0.15) / 2) / 2)
    assert metrics.mismatches_one_right(P, Q, TARGETS) == 1 and metrics.mismatches_both_wrong(P, Q, TARGETS) == 0
    # d = 1/2 with accuracies 1/2 and 1: least and most are both 1/2, so there is nothing to normalize.
    assert np.isnan(metrics.normalized_mismatch(P, Q, TARGETS))
    # d = 1/2 with accuracies 1/2 and 1/2 on targets 0 (p right) and 1 (both right) -> 1 and 1/2.
    assert metrics.accuracy(P, TARGETS) == 0.5 and metrics.accuracy(Q, TARGETS) == 1.0


def test_identical_models_do_not_differ():
    p, _ = random_pair()
    targets = RNG.integers(0, 9, 40)
    result = metrics.compare(p, p.copy(), targets)
    zero = "relative_pd true_label_pd global_pd total_variation symmetric_kl hellinger"
    counts = "top1_mismatches one_right both_wrong"
    assert {result[name] for name in f"{zero} {counts}".split()} == {0}
    assert result["jensen_shannon"] == pytest.approx(0, abs=1e-12)
    assert result["ensemble_gain"] == pytest.approx(0, abs=1e-12)
    assert result["top5_agreement"] == 1
    assert result["loss_correlation"] == pytest.approx(1)


def test_disjoint_models_differ_as_much_as_can_be():
    p, q = np.tile([1.0, 0.0], (7, 1)), np.tile([0.0, 1.0], (7, 1))
    assert metrics.relative_pd(p, q) == 2
    assert metrics.true_label_pd(p, q, np.zeros(7, dtype=int)) == 2
    assert metrics.total_variation(p, q) == metrics.global_pd(p, q) == metrics.hellinger(p, q) == 1
    assert metrics.jensen_shannon(p, q) == pytest.approx(np.log(2))
    assert metrics.top1_mismatches(p, q) == 7


def test_terms_that_are_both_zero_count_zero():
    p, q = np.array([[1.0, 0.0, 0.0, 0.0]]), np.array([[0.0, 1.0, 0.0, 0.0]])
    assert metrics.relative_pd(p, q) == 1  # (2 + 2 + 0 + 0) / 4
    assert metrics.relative_pd(p, p) == 0


def test_symmetry_and_ranges():
    targets = RNG.integers(0, 9, 40)
    bounds = {
        "relative_pd": (0, 2), "true_label_pd": (0, 2), "global_pd": (0, 1), "total_variation": (0, 1),
        "jensen_shannon": (0, np.log(2)), "hellinger": (0, 1), "top5_agreement": (0, 1), "ensemble_gain": (0, np.inf),
        "symmetric_kl": (0, np.inf), "loss_correlation": (-1, 1), "perplexity_correlation": (-1, 1),
    }  # fmt: skip
    for _ in range(10):
        p, q = random_pair()
        forward, backward = metrics.compare(p, q, targets), metrics.compare(q, p, targets)
        assert forward == pytest.approx(backward)
        for name, (low, high) in bounds.items():
            assert low <= forward[name] <= high, name
        assert forward["one_right"] + forward["both_wrong"] == forward["top1_mismatches"]


def test_global_form_equals_total_variation_for_distributions():
    p, q = random_pair()
    assert metrics.global_pd(p, q) == pytest.approx(metrics.total_variation(p, q))


def test_known_inequalities_between_distances():
    p, q = (x[:1] for x in random_pair())
    distance, hellinger = metrics.total_variation(p, q), metrics.hellinger(p, q)
    assert hellinger**2 <= distance <= hellinger * np.sqrt(2)
    assert metrics.symmetric_kl(p, q) >= 2 * distance**2  # Pinsker


def test_mismatches_stay_below_what_accuracies_allow():
    for _ in range(50):
        p, q = random_pair(classes=3)
        targets = RNG.integers(0, 3, 40)
        a1, a2 = metrics.accuracy(p, targets), metrics.accuracy(q, targets)
        assert metrics.top1_mismatches(p, q) <= 40 * min(1, 2 - a1 - a2) + 1e-9
        assert -1e-9 <= metrics.normalized_mismatch(p, q, targets) <= 1 + 1e-9


def test_one_model_s_loss_entropy_and_calibration():
    assert metrics.cross_entropy(P, TARGETS) == pytest.approx(-(np.log(0.3) + np.log(0.6)) / 2)
    assert metrics.entropy(np.full((3, 8), 1 / 8)) == pytest.approx(np.log(8))
    assert metrics.entropy(np.eye(4)) == pytest.approx(0)
    # Confidences 0.5 (wrong) and 0.6 (right), each alone in its interval: (0.5 + 0.4) / 2.
    assert metrics.calibration_error(P, TARGETS) == pytest.approx(0.45)
    # Both in one interval: accuracy 1/2 against a mean confidence of 0.55.
    both = np.array([[0.55, 0.45], [0.55, 0.45]])
    assert metrics.calibration_error(both, np.array([0, 1])) == pytest.approx(0.05)
    assert metrics.calibration_error(np.eye(3), np.arange(3)) == 0
    # Confidences 0.85 (wrong) and 0.95 (right), in the last two intervals: (0.85 + 0.05) / 2.
    sure = np.array([[0.85, 0.15], [0.05, 0.95]])
    assert metrics.calibration_error(sure, np.array([1, 1])) == pytest.approx(0.45)


def test_five_classes_are_compared_whatever_their_order():
    """The fifth of the one is the sixth of the other."""
    p = np.array([[0.3, 0.2, 0.15, 0.12, 0.1, 0.08, 0.05]])
    assert metrics.topk_agreement(p, p[:, [0, 1, 2, 3, 5, 4, 6]]) == pytest.approx(4 / 5)
    assert metrics.topk_agreement(p, p[:, [4, 3, 2, 1, 0, 5, 6]]) == 1
    assert metrics.topk_agreement(p, p[:, [1, 0, 2, 3, 4, 5, 6]], k=1) == 0


def test_losses_and_perplexities_are_correlated_each_as_themselves():
    chances = np.array([[0.5, 0.25, 0.125], [0.5, 0.125, 0.25]])  # of the true class: losses 1, 2, 3 and 1, 3, 2 bits
    p, q = (np.stack([chance, 1 - chance], axis=1) for chance in chances)
    targets = np.zeros(3, dtype=int)
    assert metrics.loss_correlation(p, q, targets) == pytest.approx(0.5)
    # Perplexities 2, 4, 8 and 2, 8, 4: (68 - 3 (14 / 3)^2) / (84 - 3 (14 / 3)^2).
    assert metrics.perplexity_correlation(p, q, targets) == pytest.approx(1 / 7)


def test_text_distance_is_the_share_of_edits():
    assert metrics.text_distance(["kitten", "same"], ["sitting", "same"]) == pytest.approx(3 / 7 / 2)
    assert metrics.text_distance(["abc"], ["xyz"]) == 1


def test_what_has_no_spread_has_no_correlation():
    uniform = np.full((5, 4), 0.25)
    assert np.isnan(metrics.loss_correlation(uniform, uniform, np.zeros(5, dtype=int)))
    many = np.full((1000, 3), 1 / 3)  # losses whose mean is rounded
    assert np.isnan(metrics.loss_correlation(many, many, np.zeros(1000, dtype=int)))


def test_float32_zeros_stay_finite():
    p = np.array([[1, 0, 0, 0, 0, 0]], dtype=np.float32)
    q = np.array([[0, 1, 0, 0, 0, 0]], dtype=np.float32)
    values = metrics.compare(p, q, np.array([2]))
    assert np.isfinite([value for name, value in values.items() if "correlation" not in name]).all()


@pytest.mark.parametrize(("p", "q"), [(P, Q[:1]), (P[0], Q[0]), (P[:0], Q[:0])])
def test_wrong_shapes_are_refused(p, q):
    with pytest.raises(ValueError, match="samples, classes"):
        metrics.relative_pd(p, q)


def test_the_registry_decides_what_is_computed():
    p, q = random_pair()
    targets = RNG.integers(0, 9, 40)
    compared, followed = metrics.compare(p, q, targets), metrics.follow(p, q, targets)
    declared = metrics.PAIR_METRICS.items()
    assert compared.keys() == {name for name, metric in declared if metric.function} | {"n_predictions"}
    assert followed == {name: compared[name] for name, metric in declared if metric.followed}
    assert metrics.describe(p, targets).keys() == {
        name for name, metric in metrics.TRIAL_METRICS.items() if metric.function
    }
    assert list(metrics.METRICS) == [*metrics.PAIR_METRICS, *metrics.TRIAL_METRICS]


def test_agreements_fall_where_distances_rise():
    """Of two models drawn apart step by step, every metric of a pair moves the way that the registry says."""
    rng = np.random.default_rng(5)
    logits, targets = rng.normal(0, 2, (400, 9)), rng.integers(0, 9, 400)
    apart = rng.normal(0, 1, (2, 400, 9))

    def models(scale: float) -> np.ndarray:
        drawn = np.exp(logits + scale * apart)
        return drawn / drawn.sum(axis=-1, keepdims=True)

    near, far = (metrics.compare(*models(scale), targets) for scale in (0.2, 1.5))
    for name, metric in metrics.PAIR_METRICS.items():
        if metric.function:
            assert (far[name] < near[name]) == metric.agreement, name


# ---------------------------------------------------------------- values that are no probabilities

LOGITS = RNG.normal(0, 3, (6, 4))
NOT_PROBABILITIES = {
    "nan": np.where(np.eye(2, dtype=bool), np.nan, 0.5),
    "inf": np.where(np.eye(2, dtype=bool), np.inf, 0.5),
    "negative": np.array([[1.2, -0.2], [0.5, 0.5]]),
    "sums": np.array([[0.5, 0.5], [0.5, 0.6]]),
}
OF_ONE = (
    metrics.top_probability, metrics.accuracy, metrics.cross_entropy, metrics.entropy, metrics.calibration_error,
    metrics.describe,
)  # fmt: skip
OF_TWO = (
    metrics.relative_pd, metrics.relative_pd_by_sample, metrics.true_label_pd, metrics.global_pd,
    metrics.total_variation, metrics.symmetric_kl, metrics.jensen_shannon, metrics.hellinger, metrics.top1_differs,
    metrics.top1_mismatches, metrics.topk_agreement, metrics.mismatches_one_right, metrics.mismatches_both_wrong,
    metrics.normalized_mismatch, metrics.loss_correlation, metrics.perplexity_correlation, metrics.ensemble_gain,
    metrics.compare, metrics.follow,
)  # fmt: skip


def arguments(function, *p) -> tuple:
    takes_targets = "targets" in inspect.signature(function).parameters
    return (*p, np.zeros(len(p[0]), dtype=int)) if takes_targets else p


def test_every_public_function_of_probabilities_is_listed_here():
    named = {
        name
        for name, function in vars(metrics).items()
        if inspect.isfunction(function) and list(inspect.signature(function).parameters)[:1] == ["p"]
        if not name.startswith("_") and function.__module__ == "metrics"
    }
    assert named == {function.__name__ for function in (*OF_ONE, *OF_TWO)}


@pytest.mark.parametrize(("words", "p"), NOT_PROBABILITIES.items())
def test_what_is_no_probability_is_refused_by_every_function(words, p):
    good = np.full((2, 2), 0.5)
    for function in OF_ONE:
        with pytest.raises(ValueError, match=words):
            function(*arguments(function, p))
    for function in OF_TWO:
        for pair in ((p, good), (good, p)):
            with pytest.raises(ValueError, match=words):
                function(*arguments(function, *pair))


def test_logits_are_refused_with_what_they_need():
    with pytest.raises(ValueError, match="softmax"):
        metrics.relative_pd(LOGITS, LOGITS + 1)


@pytest.mark.parametrize("classes", [2, 65, 5000])
def test_probabilities_in_half_precision_are_accepted(classes):
    p = RNG.dirichlet(np.ones(classes), 8)
    bits = p.astype(np.float32).view(np.uint32)
    bfloat16 = ((bits + 0x8000) & 0xFFFF0000).view(np.float32)  # rounded to its 8 significant bits
    for rounded in (p.astype(np.float16), bfloat16):
        assert metrics.total_variation(p, rounded) < 2e-3


@pytest.mark.parametrize("classes", [2, 3, 5, 6])
def test_every_metric_works_from_two_classes_on(classes):
    p, q = random_pair(classes=classes)
    found = metrics.compare(p, q, RNG.integers(0, classes, 40))
    assert found.keys() == {name for name, m in metrics.PAIR_METRICS.items() if m.function} | {"n_predictions"}
    assert (found["top5_agreement"] == 1) == (classes <= 5)


def test_a_value_that_underflowed_in_one_model_alone_counts_in_full():
    """TensorFlow Model Analysis counts a term as 0 where sum and doubled difference are below 1e-7; here only a sum
    of exactly 0 does."""
    tiny = 1e-30
    p, q = np.array([[1.0, 0.0, 0.0]]), np.array([[1.0, tiny, 0.0]])
    assert metrics.relative_pd(p, q) == pytest.approx(2 / 3)
    assert metrics.relative_pd(q, q) == 0
    assert metrics.true_label_pd(p, q, [1]) == 2
    above, half_of_it = np.array([[1.0, 2e-7]]), np.array([[1.0, 1e-7]])  # both conventions agree above the cut-off
    assert metrics.true_label_pd(above, half_of_it, [1]) == pytest.approx(2 * 1e-7 / 3e-7)


# ---------------------------------------------------------------- what is kept and shared


def plainly(p: np.ndarray, q: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Metrics in the form of their definitions, from nothing that was computed before."""
    tiny = np.finfo(np.float32).tiny
    logs = [np.log(np.maximum(x, tiny)) for x in (p, q, (p + q) / 2)]
    information = [(x * log).sum(axis=1) for x, log in zip((p, q, (p + q) / 2), logs, strict=True)]
    losses = [-np.log(np.maximum(x[np.arange(len(x)), targets], tiny)) for x in (p, q)]
    total = p + q
    relative = np.divide(2 * np.abs(p - q), total, out=np.zeros_like(p), where=total > 0)
    divergence = (information[0] + information[1]) / 2 - information[2]
    return {
        "relative_pd": relative.mean(),
        "global_pd": np.abs(p - q).mean() / (p.mean() + q.mean()),
        "total_variation": np.abs(p - q).sum(axis=1).mean() / 2,
        "jensen_shannon": np.maximum(divergence, 0).mean(),
        "symmetric_kl": ((p - q) * (logs[0] - logs[1])).sum(axis=1).mean() / 2,
        "hellinger": np.sqrt(((np.sqrt(p) - np.sqrt(q)) ** 2).sum(axis=1) / 2).mean(),
        "loss_correlation": np.corrcoef(*losses)[0, 1],
        "perplexity_correlation": np.corrcoef(*np.exp(losses))[0, 1],
    }


@pytest.mark.parametrize("concentration", [1, 0.3, 0.003])  # of the last, a third has underflowed to 0
def test_what_models_keep_and_share_changes_no_bit(concentration):
    models = RNG.dirichlet(np.full(65, concentration), (3, 1000)).astype(np.float32).astype(np.float64)
    kept = [probabilities.to_compare(model) for model in models]
    pairs = [(0, 1), (0, 2), (1, 2), (1, 0), (0, 1)]
    for targets, (i, j) in itertools.product(RNG.integers(0, 65, (2, 1000)), pairs):
        p, q = probabilities.together(kept[i], kept[j])
        found = metrics.compare(p, q, targets)
        assert found == metrics.compare(models[i], models[j], targets)
        wanted = plainly(models[i], models[j], targets)
        assert {name: found[name] for name in wanted} == wanted
        assert metrics.describe(p, targets) == metrics.describe(models[i], targets)
        by_sample = metrics.relative_pd_by_sample(models[i], models[j])
        np.testing.assert_array_equal(metrics.relative_pd_by_sample(p, q), by_sample)
        assert metrics.relative_pd(p, q) == metrics.relative_pd(q, p) == wanted["relative_pd"]
        assert metrics.relative_pd(p, p) == metrics.total_variation(q, q) == 0
        apart, last_first = probabilities.reordered(kept[j], np.arange(1000)[::-1]), models[j][::-1]
        assert metrics.relative_pd(p, apart) == plainly(models[i], last_first, targets)["relative_pd"]

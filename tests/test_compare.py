"""compare.py: numbers against oracles, what is told of how many models, in words, and what the docs promise."""

import itertools
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from compared import CLASSES, COMMON, GOOD, SAMPLES, TARGETS, as_json, models, printed, refusal, softmax
from scipy.spatial.distance import jensenshannon
from scipy.stats import binom

import compare
import metrics
from analysis import compared_shown, comparing, predictions
from analysis.comparing import compare_groups, excess
from analysis.model_files import Pairing
from analysis.stats import Estimate
from study.files import ROOT

# ---------------------------------------------------------------- numbers


def test_every_number_of_a_group_is_the_mean_over_its_pairs():
    p = models(4)
    found = compare.compare({"a": list(p)}, TARGETS)["groups"][0]
    pairs = list(itertools.combinations(p, 2))
    oracles = {
        "top1_mismatches": lambda p, q: np.mean(p.argmax(axis=1) != q.argmax(axis=1)),
        "total_variation": lambda p, q: np.abs(p - q).sum(axis=1).mean() / 2,
        "jensen_shannon": lambda p, q: np.mean(jensenshannon(p, q, axis=1) ** 2),
        "relative_pd": lambda p, q: np.mean(np.abs(p - q) / ((np.abs(p) + np.abs(q)) / 2)),  # sMAPE
    }
    assert list(found["metrics"]) == list(oracles)
    for metric, oracle in oracles.items():
        assert found["metrics"][metric]["mean"] == pytest.approx(np.mean([oracle(*pair) for pair in pairs]))
    assert found["accuracy"] == pytest.approx(np.mean([(each.argmax(axis=1) == TARGETS).mean() for each in p]))
    assert found["loss"] == pytest.approx(np.mean([-np.log(each[np.arange(SAMPLES), TARGETS]).mean() for each in p]))


def test_they_are_those_of_the_metrics_module_also_where_probabilities_are_zero(monkeypatch):
    p, q = (np.where(each < 0.05, 0, each) for each in models(2))
    p, q = (each / each.sum(axis=1, keepdims=True) for each in (p, q))
    found = compare.compare({"a": [p, q]})["groups"][0]["metrics"]
    expected = metrics.compare(p, q, TARGETS)
    for metric in predictions.OF_PROBABILITIES:
        assert found[metric]["mean"] == pytest.approx(expected[metric], rel=1e-12)
    assert found["top1_mismatches"]["mean"] * SAMPLES == pytest.approx(expected["top1_mismatches"])


def test_the_size_of_blocks_and_the_number_of_threads_change_nothing(monkeypatch):
    given = {"a": list(models(3)), "b": list(models(3, seed=9))}
    whole = compare.compare(given, TARGETS)
    monkeypatch.setattr(predictions, "usable_cores", lambda: 1)
    assert compare.compare(given, TARGETS) == whole
    monkeypatch.setattr(predictions, "BLOCK_VALUES", 7 * CLASSES)
    small = compare.compare(given, TARGETS)["groups"]
    for group, other in zip(small, whole["groups"], strict=True):
        for metric in group["metrics"]:
            assert group["metrics"][metric] == pytest.approx(other["metrics"][metric])


def test_models_of_different_groups_are_compared_across():
    first, second = models(3), models(2, seed=9)
    found = compare.compare({"a": list(first), "b": list(second)})["comparisons"][0]["across"]
    apart = [np.abs(p - q).sum(axis=1).mean() / 2 for p in first for q in second]
    assert found["total_variation"] == pytest.approx(np.mean(apart))


def test_what_belongs_together_is_left_out_across():
    p = models(3)
    found = compare.compare({"a": list(p), "b": list(p)}, paired=True)
    assert found["comparisons"][0]["across"] == pytest.approx(
        {metric: each["mean"] for metric, each in found["groups"][0]["metrics"].items()}
    )


@pytest.mark.parametrize("kind", [np.float16, np.float64, ">f4"])
def test_other_kinds_of_numbers_and_orders_of_memory(groups_folder, capsys, kind):
    before = as_json(capsys, "relu/seed_0.npy", "relu/seed_1.npy")["groups"][0]["metrics"]
    for i in range(2):
        np.save(f"{i}.npy", np.asfortranarray(np.load(f"relu/seed_{i}.npy").astype(kind)))
    after = as_json(capsys, "0.npy", "1.npy")["groups"][0]["metrics"]
    for metric in before:
        assert after[metric]["mean"] == pytest.approx(
            before[metric]["mean"], abs=1e-3 if kind == np.float16 else 1e-9
        )


def test_logits_get_a_softmax_that_does_not_overflow(groups_folder, capsys):
    logits = COMMON + np.random.default_rng(5).standard_normal((2, SAMPLES, CLASSES))
    logits[:, 0] += 5000  # softmax leaves it alone, exp does not
    logits[:, 1, 0] = -np.inf  # a class that is masked
    for i, each in enumerate(logits):
        np.save(f"{i}.npy", each)
    found = as_json(capsys, "0.npy", "1.npy", "--logits")["groups"][0]["metrics"]
    expected = compare.compare({"a": list(softmax(logits))})["groups"][0]["metrics"]
    for metric in expected:
        assert found[metric] == pytest.approx(expected[metric], nan_ok=True)


def test_labels_have_mismatches_and_accuracy_alone(groups_folder, capsys):
    for i, p in enumerate(models(3)):
        np.save(f"{i}.npy", p.argmax(axis=1).astype(np.uint8))
    group = as_json(capsys, "0.npy", "1.npy", "2.npy", "--targets", "targets.npy")["groups"][0]
    expected = compare.compare({"a": list(models(3))}, TARGETS)["groups"][0]
    assert group["metrics"] == {"top1_mismatches": expected["metrics"]["top1_mismatches"]}
    assert group["accuracy"] == expected["accuracy"] and group["loss"] is None


def test_an_array_of_an_archive(groups_folder, capsys):
    first, second = models(2)
    np.savez("both.npz", first=first, second=second)
    np.savez_compressed("one.npz", first)
    direct = compare.compare({"a": [first, second]})["groups"][0]["metrics"]
    for words in (("both.npz:first", "both.npz:second"), ("one.npz", "both.npz:second")):
        assert as_json(capsys, *words)["groups"][0]["metrics"] == direct


def test_an_array_of_every_archive_that_a_pattern_matches(groups_folder, capsys):
    for group in ("relu", "gelu"):
        for i in range(6):
            np.savez(f"{group}/both_{i}.npz", end=np.load(f"{group}/seed_{i}.npy"), early=GOOD)
    found = as_json(capsys, "relu/*.npz:end", "--vs", "gelu/both_?.npz:end")
    files = as_json(capsys, "relu/seed_[0-5].npy", "--vs", "gelu/seed_[0-5].npy")
    for each in (found, files):
        for group in each["groups"]:
            del group["models"]
    assert found == files and found["comparisons"][0]["paired"]
    assert "no file matches none/*.npz:end" in refusal(capsys, "relu/*.npz:end", "none/*.npz:end")


# ---------------------------------------------------------------- what is told of how many models


def test_two_models_have_an_interval_over_samples_and_none_over_models(groups_folder, capsys):
    group = as_json(capsys, "relu/seed_0.npy", "relu/seed_1.npy")["groups"][0]
    for metric, value in group["metrics"].items():
        over = group["over_samples"][metric]
        assert value == {"mean": over["mean"], "low": None, "high": None}
        assert over["low"] < over["mean"] < over["high"]
    words = printed(capsys, "relu/seed_0.npy", "relu/seed_1.npy")
    assert "Two models do not say how such models differ" in " ".join(words.split())


def test_intervals_over_samples_cover_what_more_samples_would_give():
    rng, covered = np.random.default_rng(4), np.zeros(2)
    p, q = (softmax(COMMON[0] + 1.5 * rng.standard_normal((50_000, CLASSES))) for _ in range(2))
    truth = np.mean(p.argmax(axis=1) != q.argmax(axis=1)), np.abs(p - q).sum(axis=1).mean() / 2
    for _ in range(100):
        rows = rng.integers(0, len(p), 80)
        over = compare.compare({"a": [p[rows], q[rows]]})["groups"][0]["over_samples"]
        for k, metric in enumerate(("top1_mismatches", "total_variation")):
            covered[k] += over[metric]["low"] <= truth[k] <= over[metric]["high"]
    assert (covered / 100 >= 0.88).all()


@pytest.mark.parametrize("n", [3, 5, 6])
@pytest.mark.parametrize("paired", [True, False])
def test_an_interval_takes_three_models_and_a_test_six(n, paired):
    found = compare.compare({"a": list(models(n, 0.9)), "b": list(models(n, 0.3, 8))}, TARGETS, paired=paired)
    (comparison,) = found["comparisons"]
    assert comparison["paired"] is paired
    for group in found["groups"]:
        assert all(value["low"] <= value["mean"] <= value["high"] for value in group["metrics"].values())
        assert group["over_samples"] is None
    for effect in comparison["metrics"].values():
        assert effect["low"] < effect["difference"] < effect["high"]
        assert (effect["p"] is None) == (n < 6)
    assert comparison["verdict"] == ("too few trials to tell" if n < 6 else "matters")
    assert comparison["loss"]["low"] < comparison["loss"]["difference"] < comparison["loss"]["high"]
    assert list(found["models_needed"]) == ["0.05", "0.1", "0.2"]
    assert sorted(found["models_needed"].values(), reverse=True) == list(found["models_needed"].values())


def test_groups_of_one_population_are_seldom_found_to_differ():
    rng, found = np.random.default_rng(6), 0  # at length in test_two_groups.py
    for _ in range(25):
        p = softmax(COMMON[:20] + 0.6 * rng.standard_normal((12, 20, CLASSES)))
        given = {"a": list(p[:6]), "b": list(p[6:])}
        found += compare.compare(given)["comparisons"][0]["metrics"]["total_variation"]["p"] <= 0.05
    assert found <= binom.ppf(0.999, 25, 0.06)


def test_three_groups_are_adjusted_for_three_comparisons():
    two = {"a": list(models(6, 0.8)), "b": list(models(6, 0.6, 8))}
    three = two | {"c": list(models(6, 0.6, 9))}
    alone, *_ = compare.compare(two)["comparisons"]
    first, *others = compare.compare(three)["comparisons"]
    assert [(each["first"], each["second"]) for each in others] == [("a", "c"), ("b", "c")]
    for metric, effect in alone["metrics"].items():
        assert effect["p"] <= first["metrics"][metric]["p"] <= 3 * effect["p"] + 1e-12


def test_one_model_each_is_these_two(groups_folder, capsys):
    words = ("relu/seed_0.npy", "--vs", "gelu/seed_0.npy")
    found = as_json(capsys, *words)
    p, q = np.load("relu/seed_0.npy"), np.load("gelu/seed_0.npy")
    over = found["comparisons"][0]["over_samples"]["top1_mismatches"]
    assert over["mean"] == pytest.approx(metrics.top1_mismatches(p, q) / SAMPLES)
    assert found["groups"][0]["metrics"]["total_variation"] == {"mean": None, "low": None, "high": None}
    assert "Two models do not say" in " ".join(printed(capsys, *words).split())


def test_models_that_predict_the_same_agree_and_are_named(groups_folder, capsys):
    np.save("copy.npy", np.load("relu/seed_0.npy"))
    found = as_json(capsys, "relu/seed_0.npy", "copy.npy")
    assert {value["mean"] for value in found["groups"][0]["metrics"].values()} == {0}
    assert any("Exactly the same predictions: relu/seed_0.npy and copy.npy" in each for each in found["words"])
    assert compare.main(["relu/seed_0.npy", "copy.npy", "--fail-above", "0%"]) == 0


def test_without_mismatches_there_is_nothing_to_test():
    sure = [softmax(50 * np.eye(CLASSES)[TARGETS] + each) for each in models(12)]
    (comparison,) = compare.compare({"a": sure[:6], "b": sure[6:]})["comparisons"]
    assert comparison["metrics"]["top1_mismatches"]["p"] is None
    assert comparison["verdict"] == "undecided"


def test_an_excess_is_that_of_whichever_group_is_larger():
    for ratio in (Estimate(1.5, 1.2, 2.0, 6), Estimate(1 / 1.5, 0.5, 1 / 1.2, 6)):
        found = excess(ratio)
        assert (found.mean, found.low, found.high) == pytest.approx((0.5, 0.2, 1.0))
    found = excess(Estimate(1.1, 0.8, 1.5, 6))  # perhaps none
    assert (found.low, found.high) == pytest.approx((0.0, 0.5))


def test_more_groups_take_more_models_because_all_are_compared():
    groups = [list(models(6, 0.6, seed)) for seed in range(4)]
    two, four = (compare.compare(dict(zip("abcd", groups[:n], strict=False)), paired=False) for n in (2, 4))
    assert four["models_needed"]["0.1"] > 1.5 * two["models_needed"]["0.1"]


def test_models_that_do_not_vary_say_nothing_of_how_many_it_takes():
    said = compare.compare({"relu": [GOOD.copy() for _ in range(3)]})["words"]
    assert any("cannot be told, because these do not vary" in each for each in said)
    said = compare.compare({"relu": [GOOD, GOOD[:, ::-1]]})["words"]
    assert any("With 3 models of a kind and more" in each for each in said)


# ---------------------------------------------------------------- in words


def test_losses_that_differ_are_said_and_equal_ones_are_not(groups_folder, capsys):
    differ = as_json(capsys, "relu/seed_*.npy", "--vs", "gelu/*.npy", "--targets", "targets.npy")["words"]
    assert any("relu and gelu differ in loss" in each for each in differ)
    alike = compare.compare({"a": list(models(6)), "b": list(models(6))}, TARGETS)["words"]
    assert not any("differ in loss" in each for each in alike)


def test_without_targets_it_is_said_that_nothing_is_known_of_quality(groups_folder, capsys):
    assert any("Without targets" in each for each in as_json(capsys, "relu/*.npy")["words"])
    with_them = as_json(capsys, "relu/*.npy", "--targets", "targets.npy")["words"]
    assert not any("Without targets" in each for each in with_them)


def test_words_lead_and_tables_follow(groups_folder, capsys):
    out = printed(capsys, "relu/*.npy", "--vs", "gelu/*.npy", "--targets", "targets.npy")
    assert out.startswith("Paired: files have the same names in all groups.\n")
    header = next(line for line in out.splitlines() if line.startswith("| Group"))
    columns = [word.strip() for word in header.strip("|").split("|")]
    assert columns[:6] == [
        "Group", "Models", "Accuracy (%)", "Loss (nats)", "Top-1 mismatches (% of samples)", "Total variation",
    ]  # fmt: skip
    assert "models of relu disagree more than those of gelu, by more than 10 %" in " ".join(out.split())


def distances(mean: float, n: int, rng: np.random.Generator) -> np.ndarray:
    """Between n models (n, n), that differ by a few percent."""
    upper = np.triu(mean * (1 + 0.02 * rng.standard_normal((n, n))), 1)
    return upper + upper.T


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize(
    ("first", "verdict", "said"),
    [
        (0.30, "matters", "models of a disagree more than those of b, by more than 10 %"),
        (0.15, "matters", "models of b disagree more than those of a, by more than 10 %"),
        (
            0.21,
            "differs, by less than the margin",
            "models of a disagree more than those of b, but by less than 10 %",
        ),
        (0.20, "no difference above the margin", "no difference is shown, and one of 10 % is ruled out"),
        (0.22, "undecided", "undecided, a difference of 10 % is neither shown nor ruled out"),
    ],
)
def test_known_differences_have_the_verdict_that_belongs_to_them(paired, first, verdict, said):
    rng, n = np.random.default_rng(1), 8
    matrix = np.zeros((2 * n, 2 * n))
    matrix[:n, :n], matrix[n:, n:] = distances(first, n, rng), distances(0.20, n, rng)
    labels = [predictions.check(predictions.predictions(str(i), TARGETS), None) for i in range(2 * n)]
    compared = compare_groups(
        {"a": labels[:n], "b": labels[n:]},
        predictions.Distances({"top1_mismatches": matrix}, {"top1_mismatches": matrix}),
        Pairing(paired, "as it is"),
        has_targets=False,
    )
    assert compared.comparisons[0].verdict == verdict
    assert any(said in sentence for sentence in compared_shown.words(compared))


def test_a_large_difference_that_is_not_shown_among_many_is_undecided():
    """The interval of a ratio is not adjusted for how many groups there are; p is."""
    first, second = (distances(mean, 6, np.random.default_rng(2)) for mean in (0.3, 0.2))
    for p, verdict in ((0.2, "undecided"), (0.05, "matters")):
        effect = comparing._effect(first, second, paired=False, p=p)
        assert effect.ratio.low > 1.1 and effect.verdict == verdict


@pytest.mark.parametrize("models", ["seed_0.npy", "seed_[01].npy"])
def test_two_models_each_make_no_claim_of_losses(groups_folder, capsys, models):
    found = as_json(capsys, f"relu/{models}", "--vs", f"gelu/{models}", "--targets", "targets.npy")
    (said,) = [each for each in found["words"] if "the loss" in each]
    assert "so few models do not say whether the kinds differ" in said and "differ in loss" not in said


def test_pairs_are_told_from_models_of_different_pairs(groups_folder, capsys):
    for i in range(7):
        np.save(f"gelu/seed_{i}.npy", np.load(f"relu/seed_{i}.npy"))
    (found,) = as_json(capsys, "relu/*.npy", "--vs", "gelu/*.npy")["comparisons"]
    assert found["together"]["top1_mismatches"] == 0 < found["across"]["top1_mismatches"]
    assert "two of one pair on 0.00 %" in printed(capsys, "relu/*.npy", "--vs", "gelu/*.npy")
    (found,) = as_json(capsys, "relu/*.npy", "--vs", "gelu/*.npy", "--unpaired")["comparisons"]
    assert found["together"] is None and not found["paired"]


# ---------------------------------------------------------------- what the docs promise


DOC = (ROOT / "docs" / "compare.md").read_text()


def example(part: str) -> str:
    (found,) = re.findall(rf"<!-- example: {part} -->\n```\w*\n(.*?)```", DOC, re.DOTALL)
    return found


def commands(text: str) -> list[list[str]]:
    """The words after ``python compare.py`` of every such line, patterns left for ``compare.py`` to expand."""
    found = re.findall(r"^python compare\.py (.*)$", text, re.MULTILINE)
    return [shlex.split(words, comments=True) for words in found]


def test_the_example_of_the_docs_prints_what_they_show(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(example("data"), {})
    (words,) = commands(example("command"))
    assert printed(capsys, *words) == example("output")


def test_the_commands_and_the_call_of_the_docs_work(groups_folder, capsys):
    Path("y.npy").symlink_to("targets.npy")
    Path("nightly").symlink_to("gelu")
    lines = [words for words in commands(DOC) if "--logits" not in words]
    assert lines
    for words in lines:
        assert compare.main(words) == ("--fail-above" in words)
    assert capsys.readouterr().out
    (call,) = re.findall(r"^found = (.*)$", DOC, re.MULTILINE)
    names = {f"{group}{i}": p for group in "pq" for i, p in enumerate(models(3), 1)}
    found = eval(call, {"compare": compare, "y": TARGETS, **names})
    assert found["comparisons"][0]["verdict"] == "too few trials to tell"

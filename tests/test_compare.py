"""compare.py: numbers against oracles, what is told of how many models, what is refused, and what is written."""

import csv
import io
import itertools
import json
import os
import pickle
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from page_reader import Page
from scipy.spatial.distance import jensenshannon
from scipy.stats import binom

import compare
import metrics
from analysis import compared_shown, predictions
from analysis.comparing import compare_groups, excess
from analysis.model_files import Pairing
from analysis.stats import Estimate
from analysis.table import Column, Table, plain
from study.files import ROOT
from views import compare_page
from views.render import csv_text

SAMPLES, CLASSES = 60, 5
COMMON = 2 * np.random.default_rng(3).standard_normal((SAMPLES, CLASSES))
TARGETS = COMMON.argmax(axis=1)


def softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


def models(n: int, scale: float = 0.6, seed: int = 0) -> np.ndarray:
    """Probabilities (n, samples, classes) of models that differ by noise of their own."""
    return softmax(COMMON + scale * np.random.default_rng(seed).standard_normal((n, SAMPLES, CLASSES)))


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Two groups of seven models in files of the same names, and targets; the current folder."""
    monkeypatch.chdir(tmp_path)
    for name, scale, seed in (("relu", 0.9, 1), ("gelu", 0.4, 2)):
        Path(name).mkdir()
        for i, p in enumerate(models(7, scale, seed)):
            np.save(f"{name}/seed_{i}.npy", p.astype(np.float32))
    np.save("targets.npy", TARGETS)
    return tmp_path


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
def test_other_kinds_of_numbers_and_orders_of_memory(folder, capsys, kind):
    before = as_json(capsys, "relu/seed_0.npy", "relu/seed_1.npy")["groups"][0]["metrics"]
    for i in range(2):
        np.save(f"{i}.npy", np.asfortranarray(np.load(f"relu/seed_{i}.npy").astype(kind)))
    after = as_json(capsys, "0.npy", "1.npy")["groups"][0]["metrics"]
    for metric in before:
        assert after[metric]["mean"] == pytest.approx(
            before[metric]["mean"], abs=1e-3 if kind == np.float16 else 1e-9
        )


def test_logits_get_a_softmax_that_does_not_overflow(folder, capsys):
    logits = COMMON + np.random.default_rng(5).standard_normal((2, SAMPLES, CLASSES))
    logits[:, 0] += 5000  # softmax leaves it alone, exp does not
    logits[:, 1, 0] = -np.inf  # a class that is masked
    for i, each in enumerate(logits):
        np.save(f"{i}.npy", each)
    found = as_json(capsys, "0.npy", "1.npy", "--logits")["groups"][0]["metrics"]
    expected = compare.compare({"a": list(softmax(logits))})["groups"][0]["metrics"]
    for metric in expected:
        assert found[metric] == pytest.approx(expected[metric], nan_ok=True)


def test_labels_have_mismatches_and_accuracy_alone(folder, capsys):
    for i, p in enumerate(models(3)):
        np.save(f"{i}.npy", p.argmax(axis=1).astype(np.uint8))
    group = as_json(capsys, "0.npy", "1.npy", "2.npy", "--targets", "targets.npy")["groups"][0]
    expected = compare.compare({"a": list(models(3))}, TARGETS)["groups"][0]
    assert group["metrics"] == {"top1_mismatches": expected["metrics"]["top1_mismatches"]}
    assert group["accuracy"] == expected["accuracy"] and group["loss"] is None


def test_an_array_of_an_archive(folder, capsys):
    first, second = models(2)
    np.savez("both.npz", first=first, second=second)
    np.savez_compressed("one.npz", first)
    direct = compare.compare({"a": [first, second]})["groups"][0]["metrics"]
    for words in (("both.npz:first", "both.npz:second"), ("one.npz", "both.npz:second")):
        assert as_json(capsys, *words)["groups"][0]["metrics"] == direct


def test_an_array_of_every_archive_that_a_pattern_matches(folder, capsys):
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


def test_two_models_have_an_interval_over_samples_and_none_over_models(folder, capsys):
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


def test_one_model_each_is_these_two(folder, capsys):
    words = ("relu/seed_0.npy", "--vs", "gelu/seed_0.npy")
    found = as_json(capsys, *words)
    p, q = np.load("relu/seed_0.npy"), np.load("gelu/seed_0.npy")
    over = found["comparisons"][0]["over_samples"]["top1_mismatches"]
    assert over["mean"] == pytest.approx(metrics.top1_mismatches(p, q) / SAMPLES)
    assert found["groups"][0]["metrics"]["total_variation"] == {"mean": None, "low": None, "high": None}
    assert "Two models do not say" in " ".join(printed(capsys, *words).split())


def test_models_that_predict_the_same_agree_and_are_named(folder, capsys):
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


# ---------------------------------------------------------------- in words


def test_losses_that_differ_are_said_and_equal_ones_are_not(folder, capsys):
    differ = as_json(capsys, "relu/seed_*.npy", "--vs", "gelu/*.npy", "--targets", "targets.npy")["words"]
    assert any("relu and gelu differ in loss" in each for each in differ)
    alike = compare.compare({"a": list(models(6)), "b": list(models(6))}, TARGETS)["words"]
    assert not any("differ in loss" in each for each in alike)


def test_without_targets_it_is_said_that_nothing_is_known_of_quality(folder, capsys):
    assert any("Without targets" in each for each in as_json(capsys, "relu/*.npy")["words"])
    with_them = as_json(capsys, "relu/*.npy", "--targets", "targets.npy")["words"]
    assert not any("Without targets" in each for each in with_them)


def test_words_lead_and_tables_follow(folder, capsys):
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


# ---------------------------------------------------------------- groups and pairs


def groups_of(capsys, *words: str) -> tuple[list[str], bool]:
    found = as_json(capsys, *words)
    return [group["name"] for group in found["groups"]], found["comparisons"][0]["paired"]


def test_groups_are_called_by_their_folder_their_files_or_their_given_name(folder, capsys):
    for i in range(3):
        for name in ("relu", "gelu"):
            os.link(f"{name}/seed_{i}.npy", f"{name}_{i}.npy")
    assert groups_of(capsys, "relu/*.npy", "--vs", "gelu/*.npy") == (["relu", "gelu"], True)
    assert groups_of(capsys, "relu_*.npy", "--vs", "gelu_*.npy") == (["relu", "gelu"], True)
    assert groups_of(capsys, "A=relu_*.npy", "--vs", "B=gelu/*.npy") == (["A", "B"], False)
    assert groups_of(capsys, "relu_0.npy", "--vs", "relu_1.npy")[0] == ["relu_0", "relu_1"]
    assert groups_of(capsys, "relu_0.npy", "gelu_1.npy", "--vs", "relu_1.npy", "gelu_0.npy")[0] == [
        "group 1",
        "group 2",
    ]


def test_files_of_the_same_names_are_pairs_whatever_their_order(folder, capsys):
    in_order = as_json(capsys, *(f"relu/seed_{i}.npy" for i in range(7)), "--vs", "gelu/*.npy")
    turned = as_json(capsys, *(f"relu/seed_{i}.npy" for i in (3, 6, 1, 0, 5, 2, 4)), "--vs", "gelu/*.npy")
    assert in_order == turned and in_order["comparisons"][0]["paired"]


def test_other_names_are_no_pairs_and_one_of_them_is_said(folder, capsys):
    found = as_json(capsys, "relu/*.npy", "--vs", "gelu/seed_[0-5].npy")
    assert not found["comparisons"][0]["paired"]
    assert found["words"][0] == "Unpaired: seed_6.npy is not in both relu and gelu."


def test_from_python_it_is_the_same(folder, capsys):
    given = {name: [f"{name}/seed_{i}.npy" for i in range(7)] for name in ("relu", "gelu")}
    from_files = compare.compare(given, "targets.npy")
    assert from_files == as_json(capsys, "relu/*.npy", "--vs", "gelu/*.npy", "--targets", "targets.npy")
    assert from_files == compare.compare({"relu": "relu/*.npy", "gelu": Path("gelu/*.npy")}, TARGETS)
    arrays = compare.compare({name: list(map(np.load, files)) for name, files in given.items()}, TARGETS, paired=True)
    for key in ("metrics", "loss", "verdict", "paired"):
        assert arrays["comparisons"][0][key] == from_files["comparisons"][0][key]


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ({}, "no groups"),
        ({"a": []}, "group 'a' is empty"),
        ({"a": [COMMON]}, "nothing to be compared with"),
        ({"a": [COMMON, COMMON]}, r"a\[0\]: row 0 sums to"),
        ({"a": [models(1)[0], np.full((SAMPLES, CLASSES), np.nan)]}, r"a\[1\]: row 0, class 0 is nan"),
        ({"a": [models(1)[0], "no.npy"]}, "no.npy: No such file"),
    ],
)
def test_from_python_what_cannot_be_compared_is_a_value_error(groups, words):
    with pytest.raises(ValueError, match=words):
        compare.compare(groups)


def test_groups_of_different_sizes_cannot_be_paired():
    with pytest.raises(ValueError, match="groups of 2 and 3 models cannot be paired"):
        compare.compare({"a": list(models(2)), "b": list(models(3))}, paired=True)


# ---------------------------------------------------------------- what is refused

GOOD = models(1)[0]


class Trap:
    def __reduce__(self):
        return (Path("sprung").touch, ())


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
    assert any(
        "From 3 models of a kind on" in each for each in compare.compare({"relu": [GOOD, GOOD[:, ::-1]]})["words"]
    )


def bad_arrays() -> dict[str, tuple[np.ndarray, str]]:
    def changed(row: int, column: int, value: float) -> np.ndarray:
        p = GOOD.copy()
        p[row, column] = value
        return p

    return {
        "nan": (changed(40, 2, np.nan), "row 40, class 2 is nan"),
        "infinite": (changed(40, 2, np.inf), "row 40, class 2 is inf"),
        "negative": (np.hstack([GOOD[:, :1] + 1, GOOD[:, 1:2] - 1, GOOD[:, 2:]]), "negative"),
        "logits": (COMMON, "--logits"),
        "counts": (np.ones((SAMPLES, CLASSES), dtype=int), "sums to 5, not to 1"),
        "samples": (GOOD[1:], "has shape (59, 5)"),
        "classes": (softmax(COMMON[:, :4]), "has shape (60, 4)"),
        "deep": (GOOD[None], "has shape (1, 60, 5)"),
        "flat": (GOOD[:, 0], "has shape (60,)"),
        "single": (np.array(0.5), "has shape ()"),
        "empty": (GOOD[:0], "has shape (0, 5)"),
        "one_class": (np.ones((SAMPLES, 1)), "two classes"),
        "labels": (TARGETS, "holds labels"),
        "complex": (GOOD.astype(complex), "type complex128"),
        "text": (GOOD.astype(str), "needs numbers"),
        "records": (np.zeros(SAMPLES, dtype=[("p", float)]), "needs numbers"),
    }


@pytest.mark.parametrize("name", bad_arrays())
def test_an_array_that_is_no_predictions_is_refused_by_name(folder, capsys, name, monkeypatch):
    monkeypatch.setattr(predictions, "BLOCK_VALUES", 7 * CLASSES)
    array, words = bad_arrays()[name]
    np.save(f"{name}.npy", array)
    said = refusal(capsys, "relu/seed_0.npy", f"{name}.npy")
    assert f"{name}.npy" in said and words in said


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_have_no_softmax_are_refused(folder, capsys, value):
    logits = COMMON.copy()
    logits[7, 1] = value
    np.save("bad.npy", logits)
    np.save("good.npy", COMMON)
    assert f"bad.npy: row 7 has no softmax, its largest logit is {value}" in refusal(
        capsys, "good.npy", "bad.npy", "--logits"
    )
    assert "holds labels, not logits" in refusal(capsys, "good.npy", "targets.npy", "--logits")


def test_no_pickle_is_read(folder, capsys):
    np.save("objects.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    np.savez("objects.npz", a=np.array([Trap()], dtype=object))
    for name in ("plain.npy", "plain.npz", "plain.pkl"):
        Path(name).write_bytes(pickle.dumps(Trap()))
    for name in ("objects.npy", "objects.npz", "plain.npy", "plain.npz", "plain.pkl"):
        assert name in refusal(capsys, "relu/seed_0.npy", name)
    assert not Path("sprung").exists()


@pytest.mark.parametrize("option", ["--vs", "--targets", "--html", "--csv", "FILE"])
def test_an_empty_value_is_refused(folder, capsys, option):
    words = ["relu/seed_0.npy", "relu/seed_1.npy"]
    said = refusal(capsys, "", *words) if option == "FILE" else refusal(capsys, *words, option, "")
    assert f"{option}: the value is empty" in said


def test_files_that_are_no_arrays_are_refused(folder, capsys):
    Path("cut.npy").write_bytes(Path("relu/seed_0.npy").read_bytes()[:-100])
    Path("head.npy").write_bytes(Path("relu/seed_0.npy").read_bytes()[:40])
    Path("nothing.npy").touch()
    Path("text.npz").write_text("no archive")
    Path("model.pt").touch()
    Path("dir.npy").mkdir()
    np.savez("two.npz", a=GOOD, b=GOOD)
    np.savez("cut.npz", a=GOOD)
    Path("cut.npz").write_bytes(Path("cut.npz").read_bytes()[:300])
    cases = (
        "cut.npy",
        "head.npy",
        "nothing.npy",
        "text.npz",
        "model.pt",
        "dir.npy",
        "two.npz",
        "cut.npz",
        "gone.npy",
    )
    for name in cases:
        assert f" {name}" in refusal(capsys, "relu/seed_0.npy", name)
    assert "(there: a, b)" in refusal(capsys, "relu/seed_0.npy", "two.npz:c")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_opened(folder, capsys):
    os.mkfifo("pipe.npy")  # opening it would wait for ever
    assert "pipe.npy is not a regular file" in refusal(capsys, "relu/seed_0.npy", "pipe.npy")
    assert "pipe.npy" in refusal(capsys, "relu/*.npy", "--targets", "pipe.npy")


def test_the_same_file_twice_is_refused_by_whatever_path(folder, capsys):
    Path("link.npy").symlink_to("relu/seed_0.npy")
    np.savez("both.npz", a=GOOD, b=GOOD)
    for other in ("relu/seed_0.npy", "./relu/seed_0.npy", "link.npy"):
        assert f"{other} is given twice" in refusal(capsys, "relu/seed_0.npy", other)
    assert "link.npy is given twice" in refusal(capsys, "relu/*.npy", "--vs", "gelu/seed_0.npy", "link.npy")
    with pytest.raises(ValueError, match="link.npy is given twice"):
        compare.compare({"a": ["relu/seed_0.npy", "link.npy"]})
    assert "both.npz:a is given twice" in refusal(capsys, "both.npz:a", "both.npz:b", "both.npz:a")


def test_groups_that_are_empty_or_called_the_same(folder, capsys):
    assert "no file matches none/*.npy" in refusal(capsys, "relu/*.npy", "--vs", "none/*.npy")
    assert "no file matches none/*" in refusal(capsys, "a=none/*")
    assert "called 'x'" in refusal(capsys, "x=relu/*.npy", "--vs", "x=gelu/*.npy")
    assert "several names: x, y" in refusal(capsys, "x=relu/*.npy", "y=gelu/*.npy")
    assert "is empty" in refusal(capsys, "=relu/*.npy")
    assert "is a folder" in refusal(capsys, "relu", "gelu")
    assert "nothing to be compared with" in refusal(capsys, "relu/seed_0.npy")


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (TARGETS[1:], "59 targets for 60 samples"),
        (np.append(TARGETS, 0), "61 targets for 60 samples"),
        (TARGETS + 1, "holds class 5"),
        (TARGETS - 1, "holds class -1"),
        (GOOD, "needs whole numbers"),
        (TARGETS.astype(float), "needs whole numbers"),
    ],
)
def test_targets_that_do_not_fit_are_refused(folder, capsys, targets, words):
    np.save("y.npy", targets)
    said = refusal(capsys, "relu/*.npy", "--targets", "y.npy")
    assert "y.npy" in said and words in said


@pytest.mark.parametrize("limit", ["5", "1", "-1%", "101%", "nan", "five", "%"])
def test_limits_that_are_no_shares_are_refused(folder, capsys, limit):
    assert "such as 5%" in refusal(capsys, "relu/*.npy", f"--fail-above={limit}")


def test_a_limit_is_a_percentage_or_a_fraction():
    assert [compare.share(text) for text in ("5%", "0.05", "0", "100%")] == [0.05, 0.05, 0, 1]


def test_an_output_that_cannot_be_written_is_said_before_anything_is_read(folder, capsys):
    for option in ("--html", "--csv"):
        assert "relu is a folder" in refusal(capsys, "gone.npy", "also_gone.npy", option, "relu")


# ---------------------------------------------------------------- the gate, the page, the table


def test_the_gate_is_the_mean_over_the_pairs_of_any_group(folder, capsys):
    found = as_json(capsys, "relu/*.npy", "--vs", "gelu/*.npy")
    first, second = (group["metrics"]["top1_mismatches"]["mean"] for group in found["groups"])
    assert first > second
    for limit, code in ((first, 0), (first - 1e-6, 1), ((first + second) / 2, 1)):
        words = ["relu/*.npy", "--vs", "gelu/*.npy", "--json", "--fail-above", str(limit)]
        assert compare.main(words) == code
        captured = capsys.readouterr()
        assert json.loads(captured.out) == found
        assert ("two models of relu disagree on" in captured.err) == bool(code)
        assert "gelu" not in captured.err


def test_the_gate_between_two_single_models(folder, capsys):
    assert compare.main(["relu/seed_0.npy", "--vs", "gelu/seed_0.npy", "--fail-above", "0.1%"]) == 1
    assert "relu and gelu disagree" in capsys.readouterr().err


def test_the_page_stands_alone_and_takes_no_name_for_markup(folder, capsys):
    odd = "<script>alert($1$)\udcff=relu/*.npy"  # the last letter is a byte of a path that is not UTF-8
    as_json(capsys, odd, "--vs", "gelu/*.npy", "--html", "out/page.html", "--csv", "out/all.csv")
    text = Path("out/page.html").read_text()
    page = Page(text)
    assert not page.all("script", "link") and "http" not in text
    (picture,) = page.all("img")
    assert picture["src"].startswith("data:image/png;base64,")
    assert any("<script>" in heading for heading in page.texts("h3"))
    assert "relu/seed_0.npy" in page.texts("code")
    assert len(page.tables()) == 2
    assert compare_page._drawable("$1$ or $2") == r"\$1\$ or \$2"


def test_the_table_has_every_number_and_no_formula(folder, capsys):
    Path("relu").rename("=cmd()")
    files = [str(file) for file in Path().glob("=cmd()/*.npy")]
    printed(capsys, *files, "--vs", "@SUM(A1)=gelu/*.npy", "--csv", "out.csv")
    rows = list(csv.DictReader(io.StringIO(Path("out.csv").read_text())))
    assert {row["first"] for row in rows} == {"'=cmd()", "'@SUM(A1)"}
    found = as_json(capsys, *files, "--vs", "gelu/*.npy")
    (row,) = [
        row
        for row in rows
        if row["first"] == "'@SUM(A1)" and not row["second"] and row["measure"] == "total_variation"
    ]
    assert float(row["mean_value"]) == found["groups"][1]["metrics"]["total_variation"]["mean"]
    (row,) = [row for row in rows if row["second"] and row["measure"] == "relative_pd"]
    assert float(row["p"]) == found["comparisons"][0]["metrics"]["relative_pd"]["p"]


@pytest.mark.parametrize("between", [("--vs",), ()], ids=["of two groups", "of one group"])
def test_the_table_of_two_models_has_what_they_disagree_on(folder, capsys, between):
    shown = printed(capsys, "relu/seed_0.npy", *between, "gelu/seed_0.npy", "--csv", "two.csv")
    rows = list(csv.DictReader(io.StringIO(Path("two.csv").read_text())))
    (found,) = (row for row in rows if row["measure"].startswith("top1_mismatches") and row["mean_value"])
    low, mean, high = (f"{100 * float(found[name]):.2f}" for name in ("low_value", "mean_value", "high_value"))
    assert f"{mean} % [{low}, {high}]" in shown or f"{mean} [{low}, {high}]" in shown
    whole = printed(capsys, "relu/*.npy", "--vs", "gelu/*.npy", "--csv", "all.csv") and Path("all.csv").read_text()
    assert whole.splitlines()[0] == Path("two.csv").read_text().splitlines()[0]


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r"])
def test_no_text_begins_as_a_formula_does_and_numbers_stay(first):
    columns = (Column("name", ("name",), plain), Column("number", ("number",), plain))
    named = [{"name": f"{first}1+1", "number": -2.5}, {"name": "a+b", "number": 1}, {"name": "a\r=b", "number": 2}]
    header, *rows = csv.reader(io.StringIO(csv_text(Table("title", columns, named)), newline=""))
    assert header == ["name", "number"]
    assert rows == [[f"'{first}1+1".replace("\r", " "), "-2.5"], ["a+b", "1"], ["a =b", "2"]]


def test_a_long_comparison_says_beforehand_how_long_it_takes(folder, capsys, monkeypatch):
    compare.main(["relu/*.npy"])
    assert "minute" not in capsys.readouterr().err
    monkeypatch.setattr(compare, "seconds_needed", lambda models: 150.0)
    compare.main(["relu/*.npy"])
    assert "21 pairs of models, about 3 minutes" in capsys.readouterr().err


def test_the_estimate_grows_with_pairs_and_samples():
    few, many = (
        [predictions.predictions(str(i), p) for i, p in enumerate(np.tile(models(n), (1, times, 1)))]
        for n, times in ((2, 1), (20, 200))
    )
    assert predictions.seconds_needed(many) > 10 * predictions.seconds_needed(few)


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


def test_the_commands_and_the_call_of_the_docs_work(folder, capsys):
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

"""compare.py's command: groups and pairs, what is refused, the gate, the page and the table."""

import csv
import io
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from compared import CLASSES, COMMON, GOOD, SAMPLES, TARGETS, as_json, models, printed, refusal, softmax
from page_reader import Page

import compare
from analysis import predictions
from analysis.table import Column, Table, plain
from views import compare_page
from views.render import csv_text

# ---------------------------------------------------------------- groups and pairs


def groups_of(capsys, *words: str) -> tuple[list[str], bool]:
    found = as_json(capsys, *words)
    return [group["name"] for group in found["groups"]], found["comparisons"][0]["paired"]


def test_groups_are_called_by_their_folder_their_files_or_their_given_name(groups_folder, capsys):
    for i in range(3):
        for name in ("relu", "gelu"):
            os.link(f"{name}/seed_{i}.npy", f"{name}_{i}.npy")
    assert groups_of(capsys, "relu/*.npy", "--vs", "gelu/*.npy") == (["relu", "gelu"], True)
    assert groups_of(capsys, "relu_*.npy", "--vs", "gelu_*.npy") == (["relu", "gelu"], True)
    assert groups_of(capsys, "A=relu_*.npy", "--vs", "B=gelu/*.npy") == (["A", "B"], False)
    assert groups_of(capsys, "A=relu_*.npy", "--vs", "B=gelu_*.npy") == (["A", "B"], True)
    assert groups_of(capsys, "A=relu_0.npy", "--vs", "B=gelu_1.npy") == (["A", "B"], False)
    assert groups_of(capsys, "relu_0.npy", "--vs", "relu_1.npy")[0] == ["relu_0", "relu_1"]
    assert groups_of(capsys, "relu_0.npy", "gelu_1.npy", "--vs", "relu_1.npy", "gelu_0.npy")[0] == [
        "group 1",
        "group 2",
    ]


def test_files_of_the_same_names_are_pairs_whatever_their_order(groups_folder, capsys):
    in_order = as_json(capsys, *(f"relu/seed_{i}.npy" for i in range(7)), "--vs", "gelu/*.npy")
    turned = as_json(capsys, *(f"relu/seed_{i}.npy" for i in (3, 6, 1, 0, 5, 2, 4)), "--vs", "gelu/*.npy")
    assert in_order == turned and in_order["comparisons"][0]["paired"]


def test_other_names_are_no_pairs_and_one_of_them_is_said(groups_folder, capsys):
    found = as_json(capsys, "relu/*.npy", "--vs", "gelu/seed_[0-5].npy")
    assert not found["comparisons"][0]["paired"]
    assert found["words"][0] == "Unpaired: seed_6.npy is not in both relu and gelu."


def test_no_file_is_dropped_or_paired_where_names_become_the_same(groups_folder, capsys):
    Path("col").mkdir()
    for place, name in enumerate(("run12", "run21", "rung2")):
        os.link(f"relu/seed_{place}.npy", f"col/{name}.npy")
    found = as_json(capsys, "1=col/run12.npy", "col/run21.npy", "--vs", "g=col/rung2.npy")  # run2 without 1 or g
    assert [group["n_models"] for group in found["groups"]] == [2, 1]
    assert not found["comparisons"][0]["paired"]


def test_whether_files_belong_together_can_be_said(groups_folder, capsys):
    in_order = [f"relu/seed_{i}.npy" for i in (3, 6, 1, 0, 5, 2, 4)]
    (found,) = as_json(capsys, *in_order, "--vs", "gelu/*.npy", "--paired")["comparisons"]
    (by_name,) = as_json(capsys, *in_order, "--vs", "gelu/*.npy")["comparisons"]
    assert found["paired"] and found["across"] != by_name["across"]
    assert "cannot be paired" in refusal(capsys, "relu/*.npy", "--vs", "gelu/seed_0.npy", "--paired")
    assert "not allowed with" in refusal(capsys, "relu/*.npy", "--vs", "gelu/*.npy", "--paired", "--unpaired")


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ([[GOOD, GOOD]], "groups are given by name"),
        ({"relu": GOOD, "gelu": GOOD}, "relu is one array; a group is a list of models"),
        ({"relu": [torch.ones(3, 2, requires_grad=True), GOOD]}, r"relu\[0\] cannot be made an array: "),
        ({"relu": [torch.ones(3, 2, dtype=torch.bfloat16), GOOD]}, r"relu\[0\] cannot be made an array: "),
    ],
)
def test_from_python_a_mistake_is_a_value_error_that_names_it(groups, words):
    with pytest.raises(ValueError, match=words):
        compare.compare(groups)


def test_from_python_it_is_the_same(groups_folder, capsys):
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


class Trap:
    def __reduce__(self):
        return (Path("sprung").touch, ())


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
        "percentages": (100 * GOOD, "sums to 100, not to 1; logits need a softmax first"),
        "scores": (100 * GOOD, "percentages and counts a division"),
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
def test_an_array_that_is_no_predictions_is_refused_by_name(groups_folder, capsys, name, monkeypatch):
    monkeypatch.setattr(predictions, "BLOCK_VALUES", 7 * CLASSES)
    array, words = bad_arrays()[name]
    np.save(f"{name}.npy", array)
    said = refusal(capsys, "relu/seed_0.npy", f"{name}.npy")
    assert f"{name}.npy" in said and words in said


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_have_no_softmax_are_refused(groups_folder, capsys, value):
    logits = COMMON.copy()
    logits[7, 1] = value
    np.save("bad.npy", logits)
    np.save("good.npy", COMMON)
    assert f"bad.npy: row 7 has no softmax, its largest logit is {value}" in refusal(
        capsys, "good.npy", "bad.npy", "--logits"
    )
    assert "holds labels, not logits" in refusal(capsys, "good.npy", "targets.npy", "--logits")


def test_no_pickle_is_read(groups_folder, capsys):
    np.save("objects.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    np.savez("objects.npz", a=np.array([Trap()], dtype=object))
    for name in ("plain.npy", "plain.npz", "plain.pkl"):
        Path(name).write_bytes(pickle.dumps(Trap()))
    for name in ("objects.npy", "objects.npz", "plain.npy", "plain.npz", "plain.pkl"):
        assert name in refusal(capsys, "relu/seed_0.npy", name)
    assert not Path("sprung").exists()


@pytest.mark.parametrize("option", ["--vs", "--targets", "--html", "--csv", "FILE"])
def test_an_empty_value_is_refused(groups_folder, capsys, option):
    words = ["relu/seed_0.npy", "relu/seed_1.npy"]
    said = refusal(capsys, "", *words) if option == "FILE" else refusal(capsys, *words, option, "")
    assert f"{option}: the value is empty" in said


def test_files_that_are_no_arrays_are_refused(groups_folder, capsys):
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
def test_a_pipe_is_not_opened(groups_folder, capsys):
    os.mkfifo("pipe.npy")  # opening it would wait for ever
    assert "pipe.npy is not a regular file" in refusal(capsys, "relu/seed_0.npy", "pipe.npy")
    assert "pipe.npy" in refusal(capsys, "relu/*.npy", "--targets", "pipe.npy")


def test_the_same_file_twice_is_refused_by_whatever_path(groups_folder, capsys):
    Path("link.npy").symlink_to("relu/seed_0.npy")
    np.savez("both.npz", a=GOOD, b=GOOD)
    for other in ("relu/seed_0.npy", "./relu/seed_0.npy", "link.npy"):
        assert f"{other} is given twice" in refusal(capsys, "relu/seed_0.npy", other)
    assert "link.npy is given twice" in refusal(capsys, "relu/*.npy", "--vs", "gelu/seed_0.npy", "link.npy")
    with pytest.raises(ValueError, match="link.npy is given twice"):
        compare.compare({"a": ["relu/seed_0.npy", "link.npy"]})
    assert "both.npz:a is given twice" in refusal(capsys, "both.npz:a", "both.npz:b", "both.npz:a")


def test_groups_that_are_empty_or_called_the_same(groups_folder, capsys):
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
def test_targets_that_do_not_fit_are_refused(groups_folder, capsys, targets, words):
    np.save("y.npy", targets)
    said = refusal(capsys, "relu/*.npy", "--targets", "y.npy")
    assert "y.npy" in said and words in said


@pytest.mark.parametrize("limit", ["5", "1", "-1%", "101%", "nan", "five", "%"])
def test_limits_that_are_no_shares_are_refused(groups_folder, capsys, limit):
    assert "such as 5%" in refusal(capsys, "relu/*.npy", f"--fail-above={limit}")


def test_a_limit_is_a_percentage_or_a_fraction():
    assert [compare.share(text) for text in ("5%", "0.05", "0", "100%")] == [0.05, 0.05, 0, 1]


def test_an_output_that_cannot_be_written_is_said_before_anything_is_read(groups_folder, capsys):
    for option in ("--html", "--csv"):
        assert "relu is a folder" in refusal(capsys, "gone.npy", "also_gone.npy", option, "relu")


# ---------------------------------------------------------------- the gate, the page, the table


def test_the_gate_is_the_mean_over_the_pairs_of_any_group(groups_folder, capsys):
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


def test_the_gate_between_two_single_models(groups_folder, capsys):
    assert compare.main(["relu/seed_0.npy", "--vs", "gelu/seed_0.npy", "--fail-above", "0.1%"]) == 1
    assert "relu and gelu disagree" in capsys.readouterr().err


def test_the_page_stands_alone_and_takes_no_name_for_markup(groups_folder, capsys):
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


def test_the_table_has_every_number_and_no_formula(groups_folder, capsys):
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
    for key, place in (("across", "one and one"), ("together", "one pair")):
        (row,) = [row for row in rows if row["measure"] == f"relative_pd of {place}"]
        assert float(row["mean_value"]) == found["comparisons"][0][key]["relative_pd"]


@pytest.mark.parametrize("between", [("--vs",), ()], ids=["of two groups", "of one group"])
def test_the_table_of_two_models_has_what_they_disagree_on(groups_folder, capsys, between):
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


def test_a_long_comparison_says_beforehand_how_long_it_takes(groups_folder, capsys, monkeypatch):
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

"""The table of controls: which cells are controls of which, and what it says of them."""

import itertools

import pytest
from synthetic_cells import make_cell, make_pair, make_trial, random_cell, varying

from analysis import controls, measure
from config import STREAMS
from views.render import csv_text

PAIRS = tuple(itertools.combinations((1, 2, 3), 2))
DIFFERENT = {"relative_pd": 0.8, "top1_mismatches": 850, "global_pd": 0.5}


def cell_of(study: str, streams: tuple[str, ...], distances: tuple[float, ...], **changes) -> dict:
    """A cell of three trials whose pairs have these relative PDs."""
    pairs = [make_pair(*pair, pd, different_contexts=DIFFERENT) for pair, pd in zip(PAIRS, distances, strict=True)]
    return varying(streams, make_cell(study=study, pairs=pairs, **changes))


def family() -> list[dict]:
    return [
        cell_of("cpu", STREAMS, (0.3, 0.4, 0.5)),
        cell_of("a", (), (0.0, 0.0, 0.0)),
        cell_of("b", ("order",), (0.2, 0.2, 0.2)),
        cell_of("c", ("init",), (0.3, 0.3, 0.3)),
    ]


def rows_of(cells: list[dict], study: str = "cpu") -> list[dict]:
    return controls.control_rows(measure.measure_study(cells, study))


def test_rows_go_from_everything_to_nothing_and_then_to_other_contexts():
    rows = rows_of(family())
    assert [(row["varies"], row["study"]) for row in rows] == [
        ("everything", "cpu"),
        ("only init", "c"),
        ("only order", "b"),
        ("nothing (same seed)", "a"),
        ("everything, contexts too", "cpu"),
    ]
    assert [row["mean_relative_pd"] for row in rows] == pytest.approx([0.4, 0.3, 0.2, 0, 0.8])
    assert [row["share"] for row in rows] == pytest.approx([100, 75, 50, 0, 200])
    assert rows[-1]["mean_top1_mismatches"] == 850


def test_intervals_are_those_of_each_control():
    rows = rows_of(family())
    measured = measure.measure(family()[0])
    assert (rows[0]["low_relative_pd"], rows[0]["high_relative_pd"]) == (
        measured["low_relative_pd"],
        measured["high_relative_pd"],
    )
    assert rows[1]["low_relative_pd"] == pytest.approx(0.3) == rows[1]["high_relative_pd"]
    assert (rows[3]["low_relative_pd"], rows[3]["high_relative_pd"]) == (0, 0)


def test_a_control_is_known_by_its_settings_not_by_its_name():
    whole, same_seed, order, init = family()
    longer = order | {"config": order["config"] | {"iterations": 200}}
    of_another_cell = cell_of("d", ("dropout",), (0.1, 0.1, 0.1), activation="relu")
    of_another_cell["config"]["activation"] = "relu"
    again = whole | {"study": "cpu_order"}
    (cell,) = measure.measure_study([whole, same_seed, longer, init, of_another_cell, again], "cpu")
    assert set(cell["controls"]) == {(), ("init",)}


def test_of_two_controls_that_with_more_trials_is_shown():
    fewer = varying((), make_cell(study="a", trials=[make_trial(1), make_trial(2)]))
    more = varying((), make_cell(study="b"))
    for cells in ([fewer, more], [more, fewer]):
        (cell,) = measure.measure_study([make_cell(), *cells], "cpu")
        assert cell["controls"][()]["study"] == "b"


def test_a_control_shows_the_same_rows_as_its_study():
    shown = [controls.controls(measure.measure_study(family(), study))[0] for study in ("cpu", "b")]
    assert csv_text(shown[0]) == csv_text(shown[1])


def test_without_the_study_itself_there_are_no_shares():
    rows = rows_of(family()[1:], "b")
    assert [row["varies"] for row in rows] == ["only init", "only order", "nothing (same seed)"]
    assert {row["share"] for row in rows} == {None}


def test_cells_without_controls_have_no_rows_but_are_counted():
    measured = measure.measure_study([*family(), random_cell("minigpt", "gelu")], "cpu")
    (table,) = controls.controls(measured)
    assert {row["model"] for row in table.rows} == {"charlm"}
    assert table.notes[0].startswith("1 of 2 cells have controls")


def test_the_same_seed_twice_is_checked_to_the_bit():
    exact, almost = cell_of("a", (), (0.0, 0.0, 0.0)), cell_of("a", (), (0.0, 1e-12, 0.0))
    for control, outcome in ((exact, "exactly 0 in 1 of 1 cell;"), (almost, "exactly 0 in 0 of 1 cell;")):
        (table,) = controls.controls(measure.measure_study([make_cell(), control], "cpu"))
        assert any(outcome in note for note in table.notes)


def test_two_streams_that_differ_are_both_named():
    assert controls.streams_text(("init", "order")) == "init and order"


def test_a_control_is_not_what_is_shown_by_default():
    late = [make_trial(number, finished="2027-01-01T00:00:00+00:00") for number in (1, 2, 3)]
    control = varying((), make_cell(study="again", trials=late))
    assert measure.latest_study([make_cell(), control]) == "cpu"
    assert measure.latest_study([control]) == "again"

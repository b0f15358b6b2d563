"""The table of controls: which cells are controls of which, and what it says of them."""

import itertools
import math

import pytest
from synthetic_cells import make_cell, make_pair, make_trial, random_cell, varying

from analysis import companion_tables, controls, measure
from analysis.controls import Control
from analysis.findings import Findings
from analysis.table import ABSENT, Table
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


def controls_in(cells: list[dict], study: str = "cpu") -> list[Control]:
    return controls.all_controls(measure.measure_study(cells, study))


def table_of(cells: list[dict], study: str = "cpu") -> Table:
    (table,) = companion_tables.controls(Findings.of_study(cells, study))
    return table


def test_they_go_from_everything_to_nothing_and_then_to_other_contexts():
    found = controls_in(family())
    assert [(each.varies, each.cell.study) for each in found] == [
        ("everything", "cpu"),
        ("only init", "c"),
        ("only order", "b"),
        ("nothing (same seed)", "a"),
        ("everything, contexts too", "cpu"),
    ]
    assert [each.cell.mean("relative_pd") for each in found] == pytest.approx([0.4, 0.3, 0.2, 0, 0.8])
    assert [each.share for each in found] == pytest.approx([1, 0.75, 0.5, 0, 2])
    assert found[-1].cell.mean("top1_mismatches") == 850
    table = table_of(family())
    of_everything = [column.header for column in table.columns].index("of everything's (%)")
    assert [texts[of_everything] for texts in table.texts()] == ["100.0", "75.0", "50.0", "0.0", "200.0"]
    # On other contexts models are compared at the end alone, so that nothing is known of untrained ones there.
    assert [each.row()["untrained"].known for each in found] == [True] * 4 + [False]


def test_intervals_are_those_of_each_control():
    found = [each.cell.estimate("relative_pd") for each in controls_in(family())]
    assert found[0] == measure.measure(family()[0]).estimate("relative_pd")
    assert found[1].low == pytest.approx(0.3) == found[1].high
    assert (found[3].low, found[3].high) == (0, 0)


def test_a_control_is_known_by_its_settings_not_by_its_name():
    whole, same_seed, order, init = family()
    longer = order | {"config": order["config"] | {"iterations": 200}}
    of_another_cell = cell_of("d", ("dropout",), (0.1, 0.1, 0.1), activation="relu")
    of_another_cell["config"]["activation"] = "relu"
    again = whole | {"study": "cpu_order"}
    (cell,) = measure.measure_study([whole, same_seed, longer, init, of_another_cell, again], "cpu")
    assert set(cell.controls) == {(), ("init",)}


def test_of_two_controls_that_with_more_trials_is_shown():
    fewer = varying((), make_cell(study="a", trials=[make_trial(1), make_trial(2)]))
    more = varying((), make_cell(study="b"))
    for cells in ([fewer, more], [more, fewer]):
        (cell,) = measure.measure_study([make_cell(), *cells], "cpu")
        assert cell.controls[()].study == "b"


def test_a_control_shows_the_same_rows_as_its_study():
    assert csv_text(table_of(family(), "cpu")) == csv_text(table_of(family(), "b"))


def test_without_the_study_itself_there_are_no_shares():
    found = controls_in(family()[1:], "b")
    assert [each.varies for each in found] == ["only init", "only order", "nothing (same seed)"]
    assert all(math.isnan(each.share) for each in found)


def test_barriers_are_shown_where_a_control_has_them():
    cells = family()
    headers = [column.header for column in table_of(cells).columns]
    assert "Loss barrier (nats/char)" not in headers
    for pair in cells[1]["pairs"]:
        pair["barrier"] = 0.25
    shown = table_of(cells)
    place = [column.header for column in shown.columns].index("Loss barrier (nats/char)")
    assert [row[place] for row in shown.texts()] == [ABSENT, ABSENT, ABSENT, "0.250", ABSENT]


def test_controls_from_other_processors_are_named():
    cells = family()
    assert "processors" not in table_of(cells).notes[-1]
    for trial in cells[1]["trials"]:
        trial["environment"]["processor"] = "another"
    said = "Trained on other processors than the cell itself: controls of CharLM with GELU."
    assert table_of(cells).notes[-1] == said


def test_cells_without_controls_have_no_rows_but_are_counted():
    table = table_of([*family(), random_cell("minigpt", "gelu")])
    assert {row["model"] for row in table.rows} == {"charlm"}
    assert table.notes[0].startswith("1 of 2 cells have controls")


def test_the_same_seed_twice_is_checked_to_the_bit():
    exact, almost = cell_of("a", (), (0.0, 0.0, 0.0)), cell_of("a", (), (0.0, 1e-12, 0.0))
    for control, outcome in ((exact, "exactly 0 in 1 of 1 cell;"), (almost, "exactly 0 in 0 of 1 cell;")):
        assert any(outcome in note for note in table_of([make_cell(), control]).notes)


def test_two_streams_that_differ_are_both_named():
    assert controls.streams_text(("init", "order")) == "init and order"


def test_a_control_is_not_what_is_shown_by_default():
    late = [make_trial(number, finished="2027-01-01T00:00:00+00:00") for number in (1, 2, 3)]
    control = varying((), make_cell(study="again", trials=late))
    assert measure.strongest_study([make_cell(), control]) == "cpu"
    assert measure.strongest_study([control]) == "again"

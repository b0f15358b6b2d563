"""Equal loss, the front of PD and loss, sweeps and other contexts."""

import numpy as np
import pytest
from measured_cells import FIRST, SECOND, THIRD, cell_of, on_a_curve
from synthetic_cells import make_cell, make_pair, make_trial

from analysis import companion_tables, contexts, differences, equal_loss, finding_tables, measure, trade_off
from analysis.equal_loss import When
from analysis.findings import Findings
from analysis.measure import MeasuredCell

# ---------------------------------------------------------------- equal loss


@pytest.mark.parametrize(
    "level, distance", [(4.0, 0.1), (3.0, 0.2), (2.75, 0.25), (2.5, 0.3), (2.2, 0.36), (1.9, None)]
)
def test_pd_at_a_loss_is_on_the_line_between_evaluations(level, distance):
    found = equal_loss.at_loss([3.5, 3.0, 2.5, 2.0], [0.1, 0.2, 0.3, 0.4], level)
    assert found == (None if distance is None else pytest.approx(distance))


def test_where_the_loss_alone_decides_nothing_is_left_at_equal_loss():
    found = equal_loss.at_equal_loss([on_a_curve("relu", [4, 3, 2]), on_a_curve("gelu", [4, 3.2, 2.7])])
    assert [each.at_end.mean("relative_pd") for each in found] == pytest.approx([3, 2.3])
    assert [each.level for each in found] == [2.7, 2.7]
    assert [each.step for each in found] == pytest.approx([1.3, 2])
    assert [each.matched.mean("relative_pd") for each in found] == pytest.approx([2.3, 2.3])
    assert [each.coarse_pd for each in found] == pytest.approx([2.3, 2.3])


def test_what_reading_between_evaluations_may_be_off_is_said():
    curves = on_a_curve("relu", [4, 2.8, 2.4, 2]), on_a_curve("gelu", [4, 3.2, 2.8, 2.6])
    for pair in curves[0].pairs:
        pair["history"]["relative_pd"] = [1, 1, 3, 3]
    (table,) = companion_tables.matched_loss(Findings(list(curves)))
    # ReLU at 2.6: 2 between steps 1 and 2; with steps 0, 1 and 3 only, 1 + 2 * 0.2 / 0.8 = 1.5.
    assert [row["matched_pd"].mean for row in table.rows] == pytest.approx([2, 2.4])
    assert table.notes[-1].endswith("would be read up to 0.5000 off.")


def test_differences_at_equal_loss_are_tested_as_those_at_the_end():
    rng = np.random.default_rng(3)
    at_end, matched = [], []
    for activation, shift in (("relu", 0.0), ("gelu", 0.01), ("swish", 1.0)):
        content = on_a_curve(activation, [4, 3, 3]).content
        distances = [2 + shift + rng.normal(0, 0.01) for _ in content["pairs"]]
        at_end.append(
            content
            | {"pairs": [pair | {"relative_pd": d} for pair, d in zip(content["pairs"], distances, strict=True)]}
        )
        matched.append(
            content
            | {
                "pairs": [
                    pair | {"relative_pd": 9, "history": pair["history"] | {"relative_pd": [1, d, 9]}}
                    for pair, d in zip(content["pairs"], distances, strict=True)
                ]
            }
        )
    first, second = Findings.of_study(at_end, "cpu"), Findings.of_study(matched, "cpu")
    (of_first,), (of_second,) = first.sensitivities(), second.sensitivities("relative_pd", When.EQUAL_LOSS)
    assert of_second == of_first
    assert second.differences("relative_pd", When.EQUAL_LOSS) == first.differences()
    assert second.second_opinions(When.EQUAL_LOSS) == first.second_opinions()
    assert {each.shown for each in first.differences()} == {True, False}
    sensitivity, differences = (
        companion_tables.matched_sensitivity(second)[0],
        companion_tables.matched_differences(second)[0],
    )
    assert sensitivity.rows == finding_tables.sensitivity(first)[1].rows
    assert differences.rows == finding_tables.differences(first)[0].rows


def test_a_cell_without_pairs_has_no_matched_pd():
    alone = measure.measure(make_cell(activation="gelu", trials=[make_trial(1)]))
    found = equal_loss.at_equal_loss([on_a_curve("relu", [4, 3, 2]), alone])
    assert [each.matched.estimate("relative_pd").known for each in found] == [True, False]


def test_a_metric_that_was_unknown_at_an_evaluation_is_unknown_at_the_loss_beside_it():
    losses = [3.5, 3.0, 2.5, 2.0]
    assert equal_loss.at_loss(losses, [None, 0.2, 0.3, 0.4], 2.75) == pytest.approx(0.25)
    assert equal_loss.at_loss(losses, [None, 0.2, 0.3, 0.4], 3.2) is None
    assert equal_loss.at_loss(losses, [None, 0.2, 0.3, 0.4], 4.0) is None


# ---------------------------------------------------------------- the front, sweeps, contexts


def test_the_front_is_what_nothing_dominates():
    rng = np.random.default_rng(5)
    cells = [
        measure.measure(
            make_cell(trials=[make_trial(1, loss), make_trial(2, loss)], pairs=[make_pair(1, 2, distance)])
        )
        for loss, distance in rng.integers(0, 8, (30, 2)).tolist()
    ]
    front = trade_off.pareto_front(cells)

    def dominates(a: MeasuredCell, b: MeasuredCell) -> bool:
        (x, y), (u, v) = ((cell.mean("val_loss"), cell.mean("relative_pd")) for cell in (a, b))
        return x <= u and y <= v and (x, y) != (u, v)

    assert front
    assert not any(dominates(a, b) for a in cells for b in front)
    assert all(any(dominates(a, b) for a in front) for b in cells if b not in front)


def test_the_front_of_an_architecture_need_not_be_that_of_all():
    measured = [
        cell_of(level * (1 - np.eye(3)), "relu", model) for model, level in (("charlm", 0.2), ("minigpt", 0.3))
    ]
    worse = cell_of(0.4 * (1 - np.eye(3)), "gelu", "minigpt")
    (table,) = companion_tables.pareto(Findings([*measured, worse]))
    assert [row["front"] for row in table.rows] == [
        "of all cells",
        "of its architecture",
        "no",
    ]


def sweep_cells(model: str, **distances: list[list[float]]) -> list[MeasuredCell]:
    return [cell_of(matrix, name, model) for name, matrix in distances.items()]


def test_the_sweep_is_in_the_order_of_beta_beside_relu():
    measured = sweep_cells("charlm", smelu_1=THIRD, gelu=SECOND, relu=FIRST, smelu_05=SECOND)
    findings = Findings(measured)
    (points,) = findings.sweeps.values()
    assert [(point.cell.activation, point.beta) for point in points] == [
        ("relu", 0),
        ("smelu_05", 0.5),
        ("smelu_1", 1),
    ]
    assert [point.cell.mean("relative_pd") for point in points] == pytest.approx([0.5, 0.3, 0.2])
    assert points[0].against_relu is None
    assert [point.against_relu.estimate.mean for point in points[1:]] == pytest.approx([-0.2, -0.3])
    assert points[1].against_relu.estimate == differences.difference_of_pairs(measured[3], measured[2]).estimate
    (table,) = companion_tables.smelu(findings)
    assert [row["difference"] for row in table.rows[1:]] == [point.against_relu.estimate for point in points[1:]]


def test_each_architecture_with_three_betas_has_a_sweep_in_the_order_given():
    without_relu = sweep_cells("minigpt", smelu_05=FIRST, smelu_1=SECOND, smelu_2=THIRD)
    two_betas = sweep_cells("tinylstm", relu=FIRST, smelu_1=SECOND, gelu=THIRD)
    whole = sweep_cells("convlm", relu=FIRST, smelu_01=SECOND, smelu_2=THIRD)
    sweeps = Findings([*without_relu, *two_betas, *whole]).sweeps
    assert list(sweeps) == ["minigpt", "convlm"]
    compared = [point.against_relu is not None for points in sweeps.values() for point in points]
    assert compared == [False] * 3 + [False, True, True]
    assert companion_tables.smelu(Findings(two_betas)) == []


def test_contexts_are_means_over_pairs():
    def pair(a: int, b: int, apart: float) -> dict:
        different = {"relative_pd": apart, "top1_mismatches": round(1000 * apart), "global_pd": apart / 2}
        return make_pair(a, b, 0.2, different_contexts=different)

    cell = measure.measure(make_cell(pairs=[pair(1, 2, 0.7), pair(1, 3, 0.8), pair(2, 3, 0.9)]))
    found = contexts.on_contexts(cell)
    assert found["shared_relative_pd"] == pytest.approx(0.2)
    assert [found[f"different_{name}"] for name in ("relative_pd", "top1_mismatches", "global_pd")] == pytest.approx(
        [0.8, 800, 0.4]
    )
    (texts,) = companion_tables.context_table(Findings([cell]))[0].texts()
    assert texts[2:4] == ["0.2000", "0.8000"] and "800 / 1000" in texts


def test_cells_without_other_contexts_say_nothing_of_them():
    assert contexts.on_contexts(cell_of(FIRST))["different_relative_pd"] is None

"""What the answer depends on: an early look, the loss alone, one activation, and the baseline before training."""

import itertools
import math

import numpy as np
import pytest
from readable import check_readable
from scipy import stats as scipy_stats
from synthetic_cells import make_cell, make_diverged, make_pair, make_trial, random_cell

from analysis import early, loss_alone, measure, report_tables, robustness_tables
from analysis.findings import Findings
from analysis.measure import UNKNOWN, MeasuredCell
from labels import label
from plot_utils import project_style
from study.files import ROOT
from views.course_figure import COURSE_FIGURE
from views.doc_numbers import Numbers

N = 7
STEPS = [0, 50, 100]
NAMES = ("relu", "gelu", "swish", "swiglu")


def followed_cell(activation: str, levels: list[float], losses: list[float], model: str = "charlm") -> MeasuredCell:
    """A cell whose PD is at ``levels`` at each of ``STEPS``, and whose trials have these losses there."""
    rng = np.random.default_rng([len(model), NAMES.index(activation)])
    effects = rng.normal(0, 0.002, N)
    history = {"step": STEPS, "train_loss": losses, "val_loss": losses}
    trials = [make_trial(number, losses[-1], history=history) for number in range(1, N + 1)]
    pairs = []
    for i, j in itertools.combinations(range(N), 2):
        pd = [level + effects[i] + effects[j] for level in levels]
        curve = {"step": STEPS, "relative_pd": pd, "top1_mismatches": [100 + i + j] * len(STEPS)}
        pairs.append(make_pair(i + 1, j + 1, pd[-1], 100 + i + j, history=curve))
    return measure.measure(make_cell(model, activation, trials=trials, pairs=pairs, planned=N))


def study(early_levels: list[float], late_levels: list[float], model: str = "charlm") -> list[MeasuredCell]:
    return [
        followed_cell(name, [0.25, first, last], [4.2, 3 - first, 2.6 - last], model)
        for name, first, last in zip(NAMES, early_levels, late_levels, strict=True)
    ]


RISING = [0.20, 0.24, 0.28, 0.32]


def test_an_early_order_that_stays_is_told_and_one_that_turns_is_not():
    stays = {each.step: each for each in Findings(study(RISING, RISING)).early_steps}
    turns = {each.step: each for each in Findings(study(RISING, RISING[::-1])).early_steps}
    assert sorted(stays) == [0, 50]  # the end does not tell itself
    assert stays[50].pd_to_pd.mean == 1 and stays[50].pd_to_pd.low > 0 and stays[50].predicts
    assert turns[50].pd_to_pd.mean == -1 and turns[50].same_verdict and not turns[50].predicts
    assert stays[50].loss_to_pd.mean == -1 and stays[50].loss_to_loss.mean == 1
    assert not stays[0].same_verdict  # nothing differs before training
    of_stays, of_turns = (robustness_tables.saving(Findings(study(RISING, late))) for late in (RISING, RISING[::-1]))
    assert "a study that ends there cannot say" in of_stays and "in 1 of 1 architecture after 50 steps." in of_stays
    assert "a study that ends there cannot say" in of_turns and "in 0 of 1 architecture after 50 steps." in of_turns


def test_of_two_activations_the_verdict_alone_is_told():
    two = [cell for cell in study(RISING, RISING) if cell.activation in NAMES[:2]]
    (_, late) = Findings(two).early_steps
    assert not late.pd_to_pd.known and late.predicts == late.same_verdict


def test_a_step_after_which_the_order_turns_again_does_not_tell_the_end(monkeypatch):
    told = [
        early.OverArchitectures(step, UNKNOWN, 2, predicts, 2)
        for step, predicts in zip(STEPS, (2, 1, 2), strict=True)
    ]
    monkeypatch.setattr(
        robustness_tables, "over_architectures", lambda found: [each._replace(step=each.step + 500) for each in told]
    )
    monkeypatch.setattr(robustness_tables, "shared_steps", lambda measured: [0, 500, 700])
    said = robustness_tables.saving(Findings(study(RISING, RISING)))
    assert "is not supported" in said
    assert said.endswith("told in 2 of 2 architectures after 500 steps, in all from step 600 on.")


def test_an_architecture_of_which_all_trials_diverged_has_no_loss_over_training():
    lost = make_cell("minigpt", "relu", trials=[make_diverged(1)], planned=1)
    findings = Findings([*study(RISING, RISING), measure.measure(lost)])
    (table,) = robustness_tables.course(findings)
    losses = {row["model"]: row["val_loss"] for row in table.rows}
    assert math.isnan(losses["minigpt"]) and losses["charlm"] > 0


def test_over_architectures_cvs_are_ranked():
    cells = [
        cell
        for place, model in enumerate(("charlm", "minigpt", "convlm", "tinylstm"))
        for cell in study(
            [0.2 + place * 0.01 * k for k in range(4)], [0.3 + place * 0.01 * k for k in range(4)], model
        )
    ]
    summed = {each.step: each for each in early.over_architectures(Findings(cells).early_steps)}
    assert (summed[50].cv_to_cv.mean, summed[50].n) == (1, 4)


def test_the_bootstrap_interval_is_that_of_resampled_seeds(monkeypatch):
    monkeypatch.setattr(early, "RESAMPLES", 99)
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 5, 8)) + np.arange(5)[:, None]
    found = early.bootstrapped(first, second)
    drawn = np.random.default_rng(early.SEED).integers(8, size=(99, 8))
    rhos = [scipy_stats.spearmanr(first[:, d].mean(axis=1), second[:, d].mean(axis=1)).statistic for d in drawn]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(rhos, [0.025, 0.975])))
    assert found.mean == pytest.approx(scipy_stats.spearmanr(first.mean(axis=1), second.mean(axis=1)).statistic)
    assert not early.bootstrapped(first[:2], second[:2]).known
    assert not early.bootstrapped(first[:, :2], second[:, :2]).has_interval


def test_bonett_and_wrights_interval_worked_by_hand():
    found = early.over_few([1, 2, 3, 4, 5, 6], [2, 1, 4, 3, 6, 5])  # rho = 1 - 6 * 6 / 210
    rho = 1 - 36 / 210
    margin = 1.959964 * math.sqrt((1 + rho**2 / 2) / 3)
    assert found.mean == pytest.approx(rho)
    assert (found.low, found.high) == pytest.approx(
        (math.tanh(math.atanh(rho) - margin), math.tanh(math.atanh(rho) + margin))
    )
    assert not early.over_few([1, 2, 3], [1, 3, 2]).has_interval


def test_over_cells_the_loss_explains_what_lies_on_a_line_with_it():
    cells = study([0.2, 0.3, 0.4, 0.5], [0.2, 0.3, 0.4, 0.5])  # each loss is 2.6 less the PD
    assert loss_alone.explained_by_loss(cells, "relative_pd") > 0.99
    (table,) = robustness_tables.loss_alone(Findings(cells))
    assert "describes 1.00 of the variance of Relative PD, all classes" in table.notes[-1]
    assert math.isnan(loss_alone.explained_by_loss(cells[:2], "relative_pd"))


def test_what_loss_and_step_explain_is_told_from_what_activation_adds():
    losses = {name: [4.2, 3.0 - 0.1 * place, 2.5 - 0.13 * place] for place, name in enumerate(NAMES)}

    def cells(shift: float) -> list[MeasuredCell]:
        return [
            followed_cell(name, [0.25, *(0.9 - 0.2 * loss + shift * (-1) ** place for loss in of_cell[1:])], of_cell)
            for place, (name, of_cell) in enumerate(losses.items())
        ]

    (by_loss,), (by_both,) = (loss_alone.loss_alone(each, []) for each in (cells(0.0), cells(0.05)))
    assert by_loss.n_points == 8 and by_loss.r_squared == pytest.approx(1, abs=0.01)
    assert by_both.r_squared < 0.9 < by_both.with_activation
    assert math.isnan(by_loss.step_at_equal_loss)
    by_step = [
        followed_cell(name, [0.25, *(0.1 + 0.1 * math.log(step) for step in STEPS[1:])], [4.2, loss, 5.5 - loss])
        for name, loss in zip(NAMES, (2.5, 2.6, 2.9, 3.0), strict=True)
    ]
    (by_step,) = loss_alone.loss_alone(by_step, [])
    assert by_step.r_squared == pytest.approx(1, abs=0.02)


def test_the_verdict_without_the_most_different_activation():
    findings = Findings(study(RISING, [0.30, 0.30, 0.30, 0.45]))
    (whole,) = findings.sensitivities()
    ((name, without),) = findings.without_most_different["relative_pd"]
    assert (name, without.n_activations) == ("swiglu", 3)
    assert whole.verdict == "matters" and without.verdict == "no difference above the margin"
    (table,) = robustness_tables.left_out(findings)
    assert [table.rows[0][key] for key in ("verdict_with", "verdict")] == [whole.verdict, without.verdict]
    two = Findings(study(RISING, RISING)[:2])
    assert two.without_most_different == {} and robustness_tables.left_out(two)[0].rows == []


def test_untrained_models_stand_beside_pd_where_they_were_looked_at():
    cell = followed_cell("relu", [0.25, 0.3, 0.4], [4.2, 3.0, 2.5])
    assert measure.untrained(cell) == measure.over_training(cell)[0]["relative_pd"]
    pairs = [
        pair | {"history": {name: values[1:] for name, values in pair["history"].items()}} for pair in cell.pairs
    ]
    later = measure.measure(cell.content | {"pairs": pairs})
    assert not measure.untrained(later).known
    for make in (
        report_tables.results,
        report_tables.overview,
        report_tables.reproducibility,
        report_tables.architectures,
    ):
        (with_it,), (without,) = make(Findings([cell])), make(Findings([later]))
        assert report_tables.UNTRAINED in with_it.columns and report_tables.UNTRAINED not in without.columns


def test_studies_that_were_not_followed_have_empty_tables():
    alone = Findings.of_study([random_cell("charlm", "relu", n_trials=1)], "cpu")
    for name, make in robustness_tables.TABLES.items():
        assert make(alone) or name == "rates"  # where nothing was trained at two
    assert robustness_tables.saving(alone) == "There is no earlier step to judge by."


def test_too_few_trials_to_tell_twice_are_no_verdict_that_was_told():
    few = Findings.of_study([random_cell("charlm", name, n_trials=3) for name in NAMES], "cpu")
    assert {each.n for each in early.over_architectures(few.early_steps)} == {0}
    assert robustness_tables.saving(few).startswith("No architecture has a verdict at the end")


def test_the_figure_has_a_point_and_a_bar_for_every_evaluation_filled_where_a_difference_is_shown():
    findings = Findings(study([0.25] * 4, RISING) + study(RISING, RISING, "tinylstm"))
    with project_style():
        figure = COURSE_FIGURE.draw(findings, {})
    check_readable(figure)
    drawn = {
        (ax.get_title(), line.get_xdata()[0], line.get_ydata()[0]): line.get_markerfacecolor() != "white"
        for ax in figure.axes
        for line in ax.lines
        if line.get_marker() == "o"
    }
    said = {
        (label(each.model), moment.step, 100 * each.cv.mean): each.shown
        for moment in findings.course
        for each in moment.sensitivities
        if each.tested
    }
    assert drawn == said and set(said.values()) == {True, False} and len(said) >= 4
    bars = {tuple(line.get_ydata()) for ax in figure.axes for line in ax.lines if line.get_marker() == "_"}
    assert bars == {
        (100 * each.cv.low, 100 * each.cv.high)
        for moment in findings.course
        for each in moment.sensitivities
        if each.tested
    }


def test_without_tests_there_is_no_figure_of_the_course():
    assert not COURSE_FIGURE.is_there(
        Findings([measure.measure(random_cell("charlm", name, n_trials=3)) for name in NAMES])
    )


def test_the_docs_say_where_pd_is_highest_and_how_it_goes_with_loss():
    def contents(levels: list[float], losses: list[float], model: str) -> list[dict]:
        return [followed_cell(name, levels, losses, model).content for name in NAMES]

    cells = [
        *contents([0.2, 0.5, 0.4], [4.2, 2.0, 1.5], "charlm"),
        *contents([0.2, 0.3, 0.6], [4.2, 3.0, 2.0], "minigpt"),
    ]
    numbers = Numbers(cells, {}, ROOT)
    said = numbers.peaks("cpu")
    assert said.startswith("In 1 of 2 architectures it is highest before the end, and then falls by 20.")
    assert "at step 50 (loss 2.000) and 0.4" in said and said.endswith("at the end (loss 2.000).")
    assert numbers.with_loss("cpu", "relative_pd").startswith("0.8")
    means = [[cell.mean("relative_pd") for cell in cells] for cells in numbers.findings("cpu").models.values()]
    low, high = sorted(100 * np.std(values) / np.mean(values) for values in means)
    assert numbers.cv_range("cpu") == f"{low:.1f} to {high:.1f} %"

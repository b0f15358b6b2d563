"""The answer in words follows the numbers."""

import numpy as np
import pytest
from synthetic_cells import make_cell, make_pair, make_trial

from analysis import answer
from analysis.findings import Findings
from analysis.stats_many import Verdict
from views.render import render


def cells_of(model: str, levels: dict[str, float], seed: int, spread: float = 0.01, n_trials: int = 5) -> list[dict]:
    """Cells with these mean PDs; a trial's own effect on PD scatters by ``spread``."""
    rng = np.random.default_rng(seed)
    cells = []
    for activation, level in levels.items():
        effects = rng.normal(0, spread, n_trials)
        pairs = [
            make_pair(i + 1, j + 1, float(level + effects[i] + effects[j]), mismatches=round(500 * level))
            for i in range(n_trials)
            for j in range(i + 1, n_trials)
        ]
        trials = [make_trial(number) for number in range(1, n_trials + 1)]
        cells.append(make_cell(model, activation, trials=trials, pairs=pairs, planned=n_trials))
    return cells


SENSITIVE = cells_of("charlm", {"relu": 0.4, "gelu": 0.3, "swish": 0.2}, seed=1)
ALIKE = cells_of("minigpt", {"relu": 0.3, "gelu": 0.3, "swish": 0.3}, seed=2)
NOISY = cells_of("tinylstm", {"relu": 0.3, "gelu": 0.3, "swish": 0.3}, seed=3, spread=0.1, n_trials=3)


@pytest.fixture(scope="module")
def findings() -> Findings:
    return Findings.of_study([*SENSITIVE, *ALIKE, *NOISY], "cpu")


def test_the_headline_has_a_sentence_for_each_verdict_that_occurs(findings):
    assert [each.verdict for each in findings.sensitivities()] == [
        Verdict.SENSITIVE,
        Verdict.NOT_SHOWN,
        Verdict.TOO_FEW,
    ]
    cv = 100 * findings.sensitivities()[0].cv.mean
    assert answer.headline(findings) == (
        "Yes in 1 of 3 architectures (CharLM): PD depends on the activation, "
        f"with a CV of {cv:.0f} % over activations. "
        "No effect on PD is shown, and a CV of 10 % is ruled out, in 1 of 3 architectures (MiniGPT). "
        "Too few trials to tell in 1 of 3 architectures (TinyLSTM)."
    )
    alone = answer.headline(Findings.of_study(ALIKE, "cpu"))
    assert alone.startswith("No effect") and "Yes" not in alone


def test_the_scope_counts_what_was_trained(findings):
    said = answer.scope(findings)
    assert said.startswith("From 39 trained models: 3 architectures with 3 activations, 3 to 5 trials from each")
    assert "about 430 K parameters" in said and "after 100 steps" in said


def test_an_architecture_s_effect_is_in_characters(findings):
    sensitive, *_ = answer.architecture_answers(findings)
    assert "disagree on 10 (Swish) to 20 (ReLU)" in sensitive.in_words()  # 100 and 200 of 1000
    assert f"PD is {sensitive.pd()}" in sensitive.in_words()
    found = sensitive.sensitivity
    assert f"varies by {100 * found.cv.mean:.1f}\u00a0% (CV)" in sensitive.evidence()
    assert "3\u00a0of\u00a03 activations, N\u00a0=\u00a05 shared seeds" in sensitive.evidence()


def test_what_cannot_be_compared_is_said_to_be():
    one_trial = make_cell(trials=[make_trial(1)], planned=1)
    (found,) = answer.architecture_answers(Findings.of_study([one_trial], "cpu"))
    assert found.in_words().startswith("Not compared")
    assert found.evidence().startswith("Not tested")
    assert (
        answer.headline(Findings.of_study([one_trial], "cpu"))
        == "Too few trials to tell in 1 of 1 architecture (CharLM)."
    )


def test_short_tables_show_every_cell_and_every_verdict(findings):
    distances, losses, verdicts = answer.short_tables(findings)
    for table, metric in ((distances, "relative_pd"), (losses, "val_loss")):
        for row, cells in zip(table.rows, findings.models.values(), strict=True):
            assert {cell.activation: row[cell.activation] for cell in cells} == {
                cell.activation: cell.estimate(metric) for cell in cells
            }
    assert [row["verdict"] for row in verdicts.rows] == [each.verdict for each in findings.sensitivities()]
    assert "10 (Swish) to 20 (ReLU)" in render(verdicts, "github")


@pytest.mark.parametrize("names, listed", [(["A"], "A"), (["A", "B"], "A and B"), (["A", "B", "C"], "A, B and C")])
def test_names_are_listed(names, listed):
    assert answer.listed(names) == listed

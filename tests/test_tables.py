"""Every table in every format, of awkward cells and committed ones; metrics added later; each test made once."""

import itertools
import re
from collections import Counter

import numpy as np
import pytest
from synthetic_cells import awkward_cells, make_pair, random_cell, variant_cells

import metrics
from analysis import differences, measure, stats, stats_many
from analysis.answer import architecture_answers, headline, short_tables
from analysis.equal_loss import When
from analysis.findings import Findings
from analysis.table import ABSENT, Table
from analysis.tables import TABLES
from audit import tables as audit_tables
from audit.ours import Ours
from metrics import Metric
from study import files, store
from study.pairs import compare_predictions
from views.render import FORMATS, csv_text, render

UNKNOWN = re.compile(r"\b(nan|None|inf)\b")
OF_ANY_STUDY = [name for name in TABLES if name not in ("registered", "rates")]  # those are of the registered study


def tables_of(findings: Findings) -> dict[str, list[Table]]:
    return {name: TABLES[name](findings) for name in OF_ANY_STUDY}


def text_of(tables: list[Table], form: str = "github") -> str:
    return "\n".join(render(table, form) for table in tables)


# ---------------------------------------------------------------- every table in every format


@pytest.fixture(scope="module")
def awkward() -> dict[str, list[Table]]:
    return awkward_tables()


def awkward_tables() -> dict[str, list[Table]]:
    return tables_of(Findings.of_study([*awkward_cells(), *variant_cells()[3:]], "cpu"))


def test_every_table_has_rows_and_a_name_of_its_own(awkward):
    titles = [table.title for tables in awkward.values() for table in tables]
    assert len(set(titles)) == len(titles)
    assert all(tables and all(table.rows for table in tables) for tables in awkward.values())


@pytest.mark.parametrize("name", OF_ANY_STUDY)
def test_diverged_trials_are_counted_in_every_table(awkward, name):
    assert re.search(r"\+ [1-9] diverged", text_of(awkward[name]))


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_shows_every_table(awkward, form):
    for name, tables in awkward.items():
        text = text_of(tables, form)
        assert not UNKNOWN.search(text), name
        if form.startswith("latex"):
            body = [line for line in text.splitlines() if not line.startswith("%")]
            assert "\n".join(body).isascii(), name
            assert not [line for line in body if re.search(r"(?<!\\)[%_#$]", line)], name


@pytest.mark.parametrize("n_trials", [1, 2])
@pytest.mark.parametrize("activations", [("relu",), ("relu", "gelu")])
def test_too_few_trials_are_said_to_be(n_trials, activations):
    cells = [random_cell("charlm", name, n_trials=n_trials) for name in activations]
    texts = {name: text_of(tables) for name, tables in tables_of(Findings.of_study(cells, "cpu")).items()}
    assert not any(UNKNOWN.search(text) for text in texts.values())
    assert texts["sensitivity"].count("too few trials to tell") == 2  # in the rule and in the row
    assert ("too few trials" in texts["differences"]) == (len(activations) > 1)


def test_the_same_cells_give_the_same_text(awkward):
    assert {name: text_of(tables) for name, tables in awkward_tables().items()} == {
        name: text_of(tables) for name, tables in awkward.items()
    }


# ---------------------------------------------------------------- committed cells


@pytest.fixture(scope="module")
def committed() -> list[dict]:
    return store.read_cells(files.RESULTS_DIR) or pytest.skip("no results here")


def test_committed_cells_are_measured_as_their_files_say(committed):
    for content in committed:
        cell = measure.measure(content)
        for metric in ("val_loss", "relative_pd", "top1_mismatches", "training_time", "val_accuracy"):
            if content.get(f"mean_{metric}") is not None:
                assert cell.mean(metric) == pytest.approx(content[f"mean_{metric}"], rel=1e-12, abs=1e-15)


def test_tables_are_made_of_committed_cells(committed):
    names = store.study_names(committed)
    study = "cpu" if "cpu" in names else measure.strongest_study(committed)
    text = "\n".join(text_of(tables) for tables in tables_of(Findings.of_study(committed, study)).values())
    assert not UNKNOWN.search(text)


# ---------------------------------------------------------------- a metric that is added


def largest_gap(p, q, targets) -> float:
    """Mean over samples of the largest difference between two probabilities."""
    return float(np.abs(np.asarray(p) - q).max(axis=1).mean())


@pytest.fixture
def added(monkeypatch) -> str:
    metric = Metric("Largest gap", "", largest_gap, followed=True, judged=True)
    monkeypatch.setitem(metrics.PAIR_METRICS, "largest_gap", metric)
    return "largest_gap"


def with_added(cell: dict) -> dict:
    """The cell as it would be if the metric had been there when it was written."""

    def entry(pair: dict) -> dict:
        history = pair["history"] | {"largest_gap": [distance / 3 for distance in pair["history"]["relative_pd"]]}
        return pair | {"largest_gap": pair["relative_pd"] / 3, "history": history}

    return cell | {"pairs": [entry(pair) for pair in cell["pairs"]]}


def cells_of_two_models() -> list[dict]:
    return [random_cell(model, name) for model in ("charlm", "tinylstm") for name in ("relu", "gelu", "swish")]


def test_an_added_metric_is_computed_of_every_pair_and_followed(added):
    p, q = np.random.default_rng(0).dirichlet(np.ones(6), (2, 3, 40)).astype(np.float32)  # (evaluations, samples, V)
    targets, shuffled = np.zeros(40, dtype=int), np.arange(40)[::-1]
    found = compare_predictions(p, q, targets, shuffled)
    in_float64 = [largest_gap(*pair, targets) for pair in zip(p.astype(float), q.astype(float), strict=True)]
    assert found["history"][added] == in_float64
    assert found[added] == in_float64[-1]


def test_a_followed_metric_may_be_unknown(monkeypatch):
    """Such as a correlation before anything was learned; JSON has no NaN."""
    metric = metrics.PAIR_METRICS["loss_correlation"]
    monkeypatch.setitem(
        metrics.PAIR_METRICS, "loss_correlation", Metric(metric.label, "", metric.function, followed=True)
    )
    alike = np.full((2, 8, 6), 1 / 6)
    found = compare_predictions(alike, alike, np.zeros(8, dtype=int), np.arange(8))
    assert found["loss_correlation"] is None
    assert found["history"]["loss_correlation"] == [None, None]


def test_an_added_metric_is_in_every_table_of_metrics(added):
    findings = Findings.of_study(list(map(with_added, cells_of_two_models())), "cpu")
    tables = tables_of(findings)
    for name in ("cell_metrics", "metrics", "companions", "ranks"):
        assert added in [row["metric"] for row in tables[name][0].rows], name
        assert "Largest gap" in text_of(tables[name]), name
        assert added in csv_text(tables[name][0]), name
    assert {each.when for each in findings.metric_verdicts if each.sensitivity.metric == added} == set(When)
    estimate = findings.measured[0].estimate(added)
    assert estimate.has_interval
    shown = next(row for row in tables["cell_metrics"][0].rows if row["metric"] == added)["of_relu"]
    assert shown == estimate
    assert f"{estimate.mean},{estimate.std},{estimate.low},{estimate.high}" in csv_text(tables["cell_metrics"][0])
    companion = next(row for row in tables["companions"][0].rows if row["metric"] == added)
    assert companion["rho"] == pytest.approx(1)  # it is a third of relative PD
    assert f"mean_{added}" in measure.summarize_study(findings.measured)["cells"][0]


@pytest.mark.parametrize("written_before", ["all", "some"])
def test_cells_written_before_a_metric_existed_show_a_dash(added, written_before):
    cells = cells_of_two_models()
    if written_before == "some":
        cells[1:] = map(with_added, cells[1:])
    findings = Findings.of_study(cells, "cpu")
    old = findings.models["charlm"][0]
    assert not old.estimate(added).known
    assert measure.over_training(old, added) == []
    tables = tables_of(findings)
    for name, form in itertools.product(tables, FORMATS):
        assert not UNKNOWN.search(text_of(tables[name], form)), (name, form)
    (texts,) = [row for row in tables["cell_metrics"][0].texts() if row[0] == "Largest gap"]
    assert texts[1] == ABSENT
    assert (texts[2] == ABSENT) == (written_before == "all")
    assert {each.when for each in findings.metric_verdicts if each.sensitivity.metric == added} == {When.END}
    verdict = next(each for each in findings.metric_verdicts if each.sensitivity.metric == added)
    assert (verdict.sensitivity.model, verdict.sensitivity.n_activations) == (
        "charlm",
        0 if written_before == "all" else 2,
    )


# ---------------------------------------------------------------- each test is made once


def asked(arrays: tuple[np.ndarray, ...]) -> frozenset:
    """The same for two activations in either order."""
    return frozenset(np.asarray(array).tobytes() for array in arrays)


def test_each_question_is_tested_once(monkeypatch):
    questions: dict[str, Counter] = {}

    def counted(module, name: str):
        function, counts = getattr(module, name), questions.setdefault(name, Counter())

        def call(*arguments):
            arrays = tuple(argument for argument in arguments if isinstance(argument, np.ndarray))
            counts[asked(arrays)] += 1
            return function(*arguments)

        monkeypatch.setattr(module, name, call)

    counted(stats, "permutation_test")
    for name in ("sign_flip_max_t", "sign_flips_of_values", "equal_means_test", "cv_without_noise_interval"):
        counted(stats_many, name)
    cells = [
        random_cell(model, name, n_trials=6)
        for model in ("charlm", "tinylstm")
        for name in ("relu", "smelu_05", "smelu_1")
    ]
    for cell in cells:  # no two metrics or points of training with the same values
        for pair in cell["pairs"]:
            for place, metric in enumerate(name for name in metrics.PAIR_METRICS if name in pair):
                pair[metric] *= 1 + 0.01 * place * pair["relative_pd"]
            for name in metrics.primary():
                pair["history"][name] = [scale * pair[name] for scale in (0.3, 0.7, 1)]
    findings = Findings.of_study(cells, "cpu")
    tables_of(findings)
    report = files.read_json(files.ROOT / "data" / "report.json")
    ours = Ours.beginning_with(findings, cells)
    audit_tables.tables(report, ours)
    audit_tables.outcome(report, ours)
    headline(findings), short_tables(findings), architecture_answers(findings), findings.against_first
    assert {name: max(counts.values()) for name, counts in questions.items()} == dict.fromkeys(questions, 1)
    models, pairs = 2, len(list(itertools.combinations(range(3), 2)))
    n_course = len(metrics.primary()) * (len(findings.course) - 1)  # the course's end is that of the study
    n_left_out = len(metrics.primary())
    n_metrics = sum(len(findings.metrics(when)) for when in When)
    assert {name: counts.total() for name, counts in questions.items()} == {
        "permutation_test": models * pairs * len(When),
        "sign_flip_max_t": models * n_metrics,
        "sign_flips_of_values": models * (n_metrics + 1),  # and of losses
        # the audit asks for the report's global formula too
        "equal_means_test": models * (n_metrics + 1 + n_course + n_left_out),
        "cv_without_noise_interval": models * (n_metrics + 1 + n_course + n_left_out),
    }


def test_an_argument_given_is_the_same_question_as_one_left_to_its_default():
    findings = Findings.of_study(cells_of_two_models(), "cpu")
    assert (
        findings.differences() is findings.differences("relative_pd", When.END) is findings.differences(when=When.END)
    )
    assert findings.sensitivities() is findings.sensitivities("relative_pd")
    assert findings.second_opinions() is findings.second_opinions(When.END)
    assert findings.differences() is not Findings.of_study(cells_of_two_models(), "cpu").differences()
    assert findings.differences("relative_pd", When.EQUAL_LOSS) is not findings.differences()


def test_differences_of_contexts_and_sweeps_are_those_of_the_tables():
    cells = [random_cell("charlm", name) for name in ("relu", "smelu_05", "smelu_1")]
    findings = Findings.of_study(cells, "cpu")
    to_relu = {each.activation: each for each in differences.against("relu", findings.differences())}
    for point in findings.sweeps["charlm"][1:]:
        assert point.against_relu == to_relu[point.cell.activation]
    for other in findings.differences_on_other_contexts:
        assert other.difference == to_relu[other.difference.activation]
    assert make_pair(1, 2)["breakdown"]  # of which these cells have one, so that the second loop is not empty
    assert len(findings.differences_on_other_contexts) == 2

"""The tables of simulated goals say what the record says."""

from views import simulation_tables

RECORD = {
    "repetitions": 2000,
    "goals": {"coverage": [0.93, 0.97], "false positives": [0.0, 0.06]},
    "rows": [
        {
            "what": "coverage: CV without noise",
            "scenario": scenario,
            "n": n,
            "shares": {"0": 0.99, "0.03": 0.95, "0.1": low},
            "missed": missed,
        }
        for scenario, n, low, missed in (
            ("equal", 3, 0.94, []),
            ("charlm", 3, 0.91, ["0.1"]),
            ("equal", 8, 0.95, []),
            ("skewed", 8, 0.80, ["0.1"]),
        )
    ]
    + [
        {
            "what": "rejections: all cells, F",
            "scenario": "equal",
            "n": 8,
            "shares": {"0": 0.04, "0.03": 0.5, "0.1": 1.0},
            "missed": [],
        },
        {
            "what": "rejections: all cells, F",
            "scenario": "charlm",
            "n": 8,
            "shares": {"0": 0.062, "0.03": 0.5, "0.1": 1.0},
            "missed": [],
        },
        {
            "what": "verdict: matters",
            "scenario": "equal",
            "n": 8,
            "shares": {"0": 0.0, "0.03": 0.1, "0.1": 0.5},
            "missed": [],
        },
    ],
}


def test_goals_are_ranges_over_scenarios_by_whether_trials_are_as_measured():
    measured, worse, level = simulation_tables.goals(RECORD).rows
    assert (measured["n3"], measured["n8"], measured["missed"]) == ("91.0 to 99.0", "95.0 to 99.0", "1 of 9")
    assert (worse["n8"], worse["missed"]) == ("80.0 to 99.0", "1 of 3")
    assert (level["n8"], level["missed"]) == ("4.0 to 6.2", "0 of 2, and nearly in 1")


def test_where_the_interval_of_the_cv_covers_too_often():
    wide = {"what": "coverage: CV without noise", "n": 3, "shares": {"0": 0.99, "0.03": 0.98}, "missed": ["0.03"]}
    rows = [*RECORD["rows"], wide | {"scenario": "minigpt"}, wide | {"scenario": "skewed", "shares": {"0.03": 0.995}}]
    assert simulation_tables.too_often(RECORD | {"rows": rows}) == "98.0 to 98.0"


def test_every_miss_is_a_row():
    found = simulation_tables.missed(RECORD)
    assert [(row["scenario"], row["n"], row["share"]) for row in found.rows] == [
        ("charlm", 3, 0.91),
        ("skewed", 8, 0.8),
    ]


def test_power_and_verdicts_are_by_true_cv():
    assert [(row["what"], row["cv"], row["n8"]) for row in simulation_tables.power(RECORD).rows] == [
        ("all cells, F", 0.03, "50.0 to 50.0"),
        ("all cells, F", 0.1, "100.0 to 100.0"),
    ]
    assert [row["n8"] for row in simulation_tables.verdicts(RECORD).rows] == [
        "0.0 to 0.0",
        "10.0 to 10.0",
        "50.0 to 50.0",
    ]

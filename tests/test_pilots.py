"""Pilots: what is run, kept and chosen; on the tests' small study, in this process."""

from dataclasses import replace
from itertools import islice

import pytest
from conftest import TINY

import config_trained
import train
from runner import pilots
from runner.pilots import Choice, Grid, choose, describe, read_pilots, shared_rates, write_pilots
from runner.workers import run_job
from study.files import write_checked
from training.dataset import whole_split

RATES = ("--rates", "0.001", "0.002")


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Runs the command with its files in ``tmp_path``, training here; returns exit code and the trials it trained."""
    monkeypatch.setattr(config_trained, "CONFIG", replace(TINY, rates={("charlm", "gelu"): 1.0}))
    monkeypatch.setattr(train, "whole_split", lambda *split: islice(whole_split(*split), 1))  # for time

    def run(*options: str, file: str = "pilots/trained.json", stop_after: int = 1000) -> tuple[int, list[tuple]]:
        trained = []

        def backend(study, n_workers, jobs, on_event, should_stop):
            for cell, number in jobs:
                if len(trained) == stop_after:
                    raise KeyboardInterrupt
                trained.append((cell.model, cell.activation, study.config.learning_rate, number))
                on_event(run_job(study, (cell, number), on_event, lambda: False))

        monkeypatch.setattr(pilots, "run_jobs", backend)
        names = ("--models", "charlm", "tinylstm", "--activations", "relu", "gelu")
        return pilots.main([*names, "--iterations", "2", "--file", str(tmp_path / file), *options]), trained

    return run


def test_every_cell_runs_at_every_rate_architecture_by_architecture(command, tmp_path, capsys):
    code, trained = command(*RATES)
    assert code == 0
    cells = [(m, a, r, 1) for m in ("charlm", "tinylstm") for r in (0.001, 0.002) for a in ("relu", "gelu")]
    assert trained == cells
    grid, kept = read_pilots(tmp_path / "pilots" / "trained.json")
    assert grid == Grid((0.001, 0.002), (9000,), 2)
    assert [(p["model"], p["activation"], p["rate"], p["seed"] - 8999) for p in kept] == cells
    assert all(p["status"] == "completed" and 1 < p["val_loss"] < 5 for p in kept)
    table = (tmp_path / "pilots" / "trained.md").read_text()
    assert table in capsys.readouterr().out and table.count("| charlm") == 2
    assert command("--show")[1] == [] and table in capsys.readouterr().out


def test_given_again_it_goes_on_from_what_was_cut_off_and_from_the_file_alone(command, tmp_path):
    assert command(*RATES, stop_after=3) == (
        130,
        [("charlm", a, r, 1) for r, a in ((0.001, "relu"), (0.001, "gelu"), (0.002, "relu"))],
    )
    _, rest = command(*RATES)
    assert len(rest) == 5 and rest[0] == ("charlm", "gelu", 0.002, 1)
    (tmp_path / "pilots" / "trained.json").rename(tmp_path / "committed.json")
    assert command(*RATES, file="committed.json") == (0, [])  # no trial's files are beside it
    _, more = command("--rates", "0.004", "--seeds", "2", file="committed.json")
    assert len(more) == 4 * 2 + 4 * 2 and {number for *_, rate, number in more if rate < 0.004} == {2}
    assert all(choice.complete for choice in choose(*read_pilots(tmp_path / "committed.json")).values())


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--iterations", "3"), "have 2 steps, not 3"),
        (("--rates", "0"), "'0' is not a learning rate above 0"),
        (("--models", "rnn"), "unknown model 'rnn'"),
        (("--file", ""), "--file: the value is empty"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(command, capsys, options, reason):
    assert command("--rates", "0.001", "--models", "charlm", "--activations", "relu")[0] == 0
    capsys.readouterr()
    try:
        code, trained = command(*options)
    except SystemExit as end:
        code, trained = end.code, []
    complaint = capsys.readouterr().err
    assert (code, trained) == (2, []) and complaint.count("\n") == 1 and reason in complaint


def test_pilots_of_other_settings_are_refused(command, tmp_path, monkeypatch, capsys):
    command(*RATES)
    monkeypatch.setattr(config_trained, "CONFIG", replace(TINY, batch_size=8))
    assert command(*RATES) == (2, []) and "pilots of other settings" in capsys.readouterr().err
    own_file = "pilots/other.json"  # as the message says
    assert len(command(*RATES, file=own_file)[1]) == 8 and command(*RATES, file=own_file) == (0, [])
    fingerprints = [
        {pilot["fingerprint"] for pilot in read_pilots(tmp_path / "pilots" / f"{name}.json")[1]}
        for name in ("trained", "other")
    ]
    assert fingerprints[0].isdisjoint(fingerprints[1])
    (tmp_path / "pilots" / "trained.json").unlink()  # of which the trials are here still
    assert command(*RATES) == (2, []) and "made with other settings" in capsys.readouterr().err


def test_another_kind_of_file_is_refused(command, tmp_path, capsys):
    write_checked(tmp_path / "cell.json", {"model": "charlm"})
    assert command(*RATES, file="cell.json") == (2, [])
    assert "cell.json is damaged (Object missing required field `rates`)" in capsys.readouterr().err


def test_what_another_run_notes_meanwhile_stays(command, tmp_path, monkeypatch):
    path, finished = tmp_path / "pilots" / "trained.json", pilots.finished_pilots

    def meanwhile(*arguments) -> list[dict]:
        found = finished(*arguments)
        if not path.exists():
            write_pilots(path, Grid((0.004,), (9000,), 2), [found[0] | {"activation": "swish", "rate": 0.004}])
        return found

    monkeypatch.setattr(pilots, "finished_pilots", meanwhile)
    assert command(*RATES, "--models", "charlm")[0] == 0
    grid, kept = read_pilots(path)
    assert grid.rates == (0.004,) and len(kept) == 1 + 4  # the file's own grid, which the others extend
    assert ("swish", 0.004) in {(pilot["activation"], pilot["rate"]) for pilot in kept}


def pilot(rate: float, loss: float | None, seed: int = 9000, activation: str = "gelu") -> dict:
    return {"model": "charlm", "activation": activation, "rate": rate, "seed": seed, "val_loss": loss}


def test_the_lowest_mean_is_chosen_divergence_is_worst_and_an_edge_is_named():
    grid = Grid((1.0, 2.0, 4.0), (9000, 9001), 10)
    kept = [
        *(pilot(1.0, loss, seed) for seed, loss in ((9000, 1.9), (9001, 1.7))),
        *(pilot(2.0, loss, seed) for seed, loss in ((9000, 1.7), (9001, 1.8))),
        *(pilot(4.0, loss, seed) for seed, loss in ((9000, 1.2), (9001, None))),
        *(pilot(rate, None, activation="relu") for rate in (1.0, 2.0)),
        *(pilot(rate, None, seed, "swish") for rate in (1.0, 2.0, 4.0) for seed in (9000, 9001)),
    ]
    found = choose(grid, kept)
    assert found["charlm", "gelu"] == Choice(2.0, {1.0: pytest.approx(1.8), 2.0: 1.75, 4.0: None}, True, False)
    assert not found["charlm", "relu"].complete and found["charlm", "relu"].at_edge
    assert found["charlm", "swish"] == Choice(None, dict.fromkeys((1.0, 2.0, 4.0)), True, True)
    gelu, relu, swish, _, shared = describe(grid, kept).splitlines()[-5:]
    assert [cell.strip() for cell in gelu.split("|")[3:-1]] == ["1.8000", "1.7500", "diverged", "2", ""]
    assert [cell.strip() for cell in relu.split("|")[3:-1]] == ["diverged", "diverged", "-", "not all run", "yes"]
    assert [cell.strip() for cell in swish.split("|")[3:-1]] == ["diverged"] * 3 + ["none", "yes"]
    assert shared == "One rate for all activations, with the lowest mean loss over them: none yet."


def test_the_shared_rate_of_an_architecture_has_the_lowest_mean_loss_and_no_divergence():
    grid = Grid((1.0, 2.0, 4.0), (9000,), 10)
    losses = {"gelu": (1.5, 1.6, 1.0), "relu": (1.9, 1.7, None)}
    kept = [
        pilot(rate, loss, activation=name)
        for name, found in losses.items()
        for rate, loss in zip(grid.rates, found, strict=True)
    ]
    assert shared_rates(choose(grid, kept)) == {"charlm": 2.0}
    assert shared_rates(choose(grid, kept[:-1])) == {}
    assert "over them: charlm 2." in describe(grid, kept)


@pytest.mark.parametrize(
    ("losses", "at_edge"), [((1.2, 1.7, 1.9), True), ((1.9, 1.2, 1.7), False), ((1.9, 1.7, 1.2), True)]
)
def test_the_best_rate_is_at_the_edge_where_it_is_the_lowest_or_the_highest(losses, at_edge):
    rates = (1.0, 2.0, 4.0)
    kept = [pilot(rate, loss) for rate, loss in zip(rates, losses, strict=True)]
    assert choose(Grid(rates, (9000,), 10), kept)["charlm", "gelu"].at_edge == at_edge


def test_the_grid_of_one_architecture_can_be_extended(command, tmp_path):
    """The extension counts for its architecture alone, whose cells all need it."""
    command(*RATES)
    _, trained = command("--rates", "0.004", "--models", "charlm", "--activations", "gelu")
    assert trained == [("charlm", "gelu", 0.004, 1)]
    choices = choose(*read_pilots(tmp_path / "pilots" / "trained.json"))
    assert {cell for cell, choice in choices.items() if not choice.complete} == {("charlm", "relu")}

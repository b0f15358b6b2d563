"""Files unlike ours and writers at once: what is refused, what is named and left out, and what is never lost."""

import errno
import json
import os
import threading
import time
from pathlib import Path

import msgspec
import pytest
from synthetic_cells import make_cell, make_diverged, make_pair, make_trial, random_cell, write_cells

import analyze_results
from metrics import PAIR_METRICS, Metric
from study import files, store
from study.files import Damaged, Unreadable
from study.schema import PairForm, measured, no_faults, step_fault
from study.store import read_cell_file, read_cells


def run(folder: Path, *options: str) -> int:
    places = ["--results-dir", str(folder / "results"), "--plots-dir", str(folder / "plots"), "--no-plots"]
    return analyze_results.main([*places, *options])


# ---------------------------------------------------------------- one file


def write_altered(folder: Path, alter) -> Path:
    """A cell file without a checksum, altered."""
    cell = random_cell("charlm", "relu")
    alter(cell)
    write_cells(folder, [cell])
    return folder / "charlm_relu_cpu.json"


def shorten(cell: dict) -> None:
    for values in cell["trials"][1]["history"].values():
        values.pop()


FAULTS = {
    "no field": (lambda c: c.pop("n_parameters"), "Object missing required field `n_parameters`"),
    "no seed": (lambda c: c["trials"][0].pop("seed"), "trials[0]: Object missing required field `seed`"),
    "no hash": (lambda c: c["trials"][2].pop("predictions_sha256"), "trials[2]: Object missing required field"),
    "text": (
        lambda c: c["trials"][0].update(val_loss="2.6"),
        "trials[0].val_loss: Expected `int | float | null`, got `str`",
    ),
    "a whole number beyond NumPy's": (
        lambda c: c["trials"][0].update(val_loss=10**30),
        "val_loss: Expected `int` <= ",
    ),
    "a list": (lambda c: c["pairs"][0].update(relative_pd=[0.2]), "pairs[0].relative_pd: Expected `float`"),
    "no object": (lambda c: c["pairs"].append(1), "pairs[3]: Expected `object`, got `int`"),
    "a truth value": (lambda c: c["pairs"][0].update(hellinger=True), "pairs[0].hellinger: Expected `float | null`"),
    "null settings": (lambda c: c.update(config=None), "config: Expected `object`, got `null`"),
    "null environment": (lambda c: c["trials"][0].update(environment=None), "trials[0].environment: Expected"),
    "a negative distance": (
        lambda c: c["pairs"][1].update(relative_pd=-5),
        "pairs[1].relative_pd: Expected `float` >=",
    ),
    "above its bound": (lambda c: c["pairs"][1].update(total_variation=1.5), "pairs[1].total_variation: Expected"),
    "a huge number": (lambda c: c["trials"][0].update(training_time=1e300), "trials[0].training_time: Expected"),
    "huge iterations": (lambda c: c["config"].update(iterations=10**25), "config.iterations: "),
    "no trial": (lambda c: c["pairs"][0].update(trials=[1, 9]), "pairs[0].trials: there is no completed trial 9"),
    "a pair twice": (lambda c: c["pairs"].append(c["pairs"][0]), "pairs[3].trials: the pair [1, 2] twice"),
    "a trial twice": (lambda c: c["trials"][1].update(trial=1), "trials[1].trial: trial 1 twice"),
    "a pair with itself": (lambda c: c["pairs"][0].update(trials=[1, 1]), "pairs[0].trials: 1 before 1"),
    "a shortened history": (shorten, "trials[1].history.step: ends at 50 of 100"),
    "an empty history": (lambda c: c["trials"][0]["history"].update(step=[]), "trials[0].history.step: Expected"),
    "steps not ascending": (lambda c: c["trials"][0]["history"].update(step=[0, 100, 50]), "step: not ascending"),
    "a step left out": (lambda c: c["trials"][0]["history"].update(step=[0, 70, 100]), "evaluations are missing"),
    "a loss left out": (lambda c: c["trials"][0]["history"].update(val_loss=[4.2]), "1 values for 3 steps"),
    "of other steps": (lambda c: c["pairs"][0]["history"].update(step=[0, 99, 100]), "step: not that of trial 1"),
    "more than all": (lambda c: c["pairs"][0].update(top1_mismatches=1001), "top1_mismatches: 1001 of 1000"),
    "completed without loss": (lambda c: c["trials"][0].update(val_loss=None), "status: completed without losses"),
    "another model": (lambda c: c["config"].update(model="tinylstm"), "config: of tinylstm with relu"),
    "groups": (lambda c: c["pairs"][1]["breakdown"]["confidence"]["group"].pop(), "columns of different lengths"),
    "an empty group": (
        lambda c: c["pairs"][1]["breakdown"]["text_block"]["relative_pd"].__setitem__(3, None),
        "pairs[1].breakdown.text_block.relative_pd: null in a group with predictions",
    ),
    "no schedule": (
        lambda c: c["config"].update(schedule=["cosine"]),
        "config.schedule: Expected `str`, got `array`",
    ),
    "no betas": (lambda c: c["config"].update(betas=[0.9]), "config.betas: Expected `array` of length 2"),
    "no corpus": (lambda c: c["config"].update(corpus="x"), "config.corpus: Expected `str` matching"),
    "a mean that is none": (lambda c: c.update(mean_val_loss="2.6"), "mean_val_loss: Expected `int | float | null`"),
    "a wrong mean": (lambda c: c.update(mean_training_time=22.1), "mean_training_time: 22.1 instead of 22.0"),
    "a mean of nothing": (
        lambda c: c.update(pairs=[], mean_relative_pd=0.2),
        "mean_relative_pd: 0.2 instead of None",
    ),
    "no mean": (lambda c: c.update(mean_val_accuracy=None), "mean_val_accuracy: None instead of 0.27"),
    "a wrong spread": (lambda c: c.update(std_val_loss=0.9), "std_val_loss: 0.9 instead of 0.00"),
    "too many": (lambda c: c.update(planned_trials=2), "status: completed with 3 of 2 trials"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_cell_with_wrong_contents_is_refused_with_file_and_place(tmp_path, fault):
    alter, place = FAULTS[fault]
    path = write_altered(tmp_path, alter)
    with pytest.raises(Damaged) as refused:
        read_cell_file(path)
    assert str(refused.value).startswith(f"{path} is damaged (") and place in str(refused.value)


def test_a_fingerprint_is_that_of_the_settings(tmp_path):
    path = write_altered(tmp_path, lambda cell: None)
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"config": content["config"] | {"batch_size": 7}}))
    with pytest.raises(Damaged, match="fingerprint: not that of its config"):
        read_cell_file(path)


def test_what_is_awkward_but_right_is_read(tmp_path):
    trials = [make_trial(1), make_trial(3), make_diverged(4)]
    cell = make_cell(trials=trials, planned=5, later_key={"x": [1]}, pairs=[make_pair(1, 3, hellinger=None)])
    folder = write_cells(tmp_path, [cell])
    assert len(read_cells(folder)) == 1


def test_steps_of_evaluations():
    assert step_fault([0, 3, 6], 6, 3, whole=True) is None
    assert step_fault([0, 3, 4, 6, 8], 8, 3, whole=True) is None  # continued after an end at 4
    assert step_fault([0, 3], 6, 3, whole=False) is None
    assert step_fault([0], 10**9, 1, whole=False) is None
    assert step_fault([], 6, 3, whole=True) == "ends at -1 of 6"
    assert step_fault([0, None, 6], 6, 3, whole=True) == "not ascending"
    assert step_fault([3, 6], 6, 3, whole=True) == "evaluations are missing"
    assert step_fault([0, 3, 6, 9], 6, 3, whole=False) == "ends at 9 of 6"


def test_a_metric_of_the_registry_is_checked_and_may_be_missing():
    Later = msgspec.defstruct(
        "Later", measured(PAIR_METRICS | {"gap": Metric("Gap", most=1)}, PairForm), bases=(PairForm,)
    )
    pair = make_pair(1, 2)
    for metric in (1.0, None, "absent"):
        files.check_form(Path("x"), pair if metric == "absent" else pair | {"gap": metric}, Later, no_faults)
    for metric in (1.1, -0.1, "0.5"):
        with pytest.raises(Damaged, match="gap: Expected"):
            files.check_form(Path("x"), pair | {"gap": metric}, Later, no_faults)


NOT_JSON = {
    "nested": (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "maximum recursion depth"),
    "NaN": (b'{"a": NaN}', "invalid character"),
    "infinite": (b'{"a": 1e999}', "out of range"),
    "digits": (b'{"a": ' + b"9" * 5000 + b"}", "out of range"),
    "a list": (b"[]", "not a JSON object"),
    "binary": (b"\x00\x05\x16\x07", "invalid character"),
}


@pytest.mark.parametrize("kind", NOT_JSON)
def test_what_is_no_json_is_refused(tmp_path, kind):
    content, reason = NOT_JSON[kind]
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(Damaged, match=reason):
        files.read_checked_if_it_can_be(tmp_path / "x.json")


def test_a_file_too_large_to_be_a_result_is_not_read(tmp_path):
    with (tmp_path / "x.json").open("wb") as file:
        file.truncate(2**40)  # a hole, which takes no room
    with pytest.raises(Damaged, match="too large"):
        files.read_json(tmp_path / "x.json")


@pytest.mark.parametrize("kind", ["fifo", "folder", "device"])
def test_what_is_no_file_is_refused_without_being_opened(tmp_path, kind):
    path = tmp_path / "charlm_gelu_cpu.json"
    make = {"fifo": os.mkfifo, "folder": Path.mkdir, "device": lambda path: path.symlink_to("/dev/zero")}
    make[kind](path)
    with pytest.raises(Damaged, match="is not a regular file"):
        files.read_bytes(path)
    assert store.Store(tmp_path, tmp_path).recorded_trials(store.Cell("charlm", "gelu", "cpu")) == set()


@pytest.mark.parametrize("why", [errno.EMFILE, errno.ETIMEDOUT, errno.EIO, errno.ENOTCONN])
def test_a_file_that_cannot_be_read_now_is_not_taken_for_damaged(tmp_path, monkeypatch, why):
    path = tmp_path / "x.json"
    path.write_text("{}")

    def refuse(*_):
        raise OSError(why, os.strerror(why))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(Unreadable, match=f"x.json cannot be read: {os.strerror(why)}$"):
        files.read_bytes(path)


# ---------------------------------------------------------------- one file among others


STRAY = {
    "._charlm_relu_cpu.json": b"\x00\x05\x16\x07\x00\x02",
    "notes.json": b'{"idea": 1}',
    "charlm_relu_cpu (copy).json": None,
}


@pytest.mark.parametrize("options", [(), ("--tables", "results")])
def test_a_stray_file_is_named_and_left_out_and_the_others_are_shown(tmp_path, capsys, options):
    cells = [random_cell("charlm", name) for name in ("relu", "gelu")]
    write_cells(tmp_path / "results", cells)
    for name, content in STRAY.items():
        copied = (tmp_path / "results" / "charlm_relu_cpu.json").read_bytes()
        (tmp_path / "results" / name).write_bytes(copied if content is None else content)
    assert run(tmp_path, *options) == 1
    captured = capsys.readouterr()
    assert captured.err.count("left out: ") == captured.err.count("\n") == len(STRAY)
    assert all(name in captured.err for name in STRAY)
    assert "2 of 2 cells" in captured.out


def test_where_every_file_is_bad_nothing_is_shown(tmp_path, capsys):
    (tmp_path / "results").mkdir()
    for name in STRAY:
        (tmp_path / "results" / name).write_bytes(b"{")
    assert run(tmp_path) == 2
    captured = capsys.readouterr()
    assert captured.err.count("left out: ") == 3 and "no results in" in captured.err and not captured.out


def test_cell_files_without_a_checksum_are_shown_and_counted(tmp_path, capsys):
    cells = [random_cell("charlm", name) for name in ("relu", "gelu")]
    folder = write_cells(tmp_path / "results", cells)
    path = folder / "charlm_gelu_cpu.json"
    files.write_checked(path, json.loads(path.read_text()))
    assert run(tmp_path, "--tables", "results") == 0
    assert "is not noticed: 1 of 2 cell files\n" in capsys.readouterr().out


def test_results_that_may_not_be_written_to_can_be_looked_at(tmp_path, capsys, monkeypatch):
    write_cells(tmp_path / "results", [random_cell("charlm", "relu")])

    def read_only(folder: Path) -> None:
        raise files.ReadOnly(f"cannot write to {folder}: Read-only file system")

    monkeypatch.setattr(analyze_results, "check_writable", read_only)
    options = [
        "--results-dir",
        str(tmp_path / "results"),
        "--plots-dir",
        str(tmp_path / "plots"),
        "--tables",
        "results",
    ]
    assert analyze_results.main(options) == 0
    said = capsys.readouterr().out
    assert f"Summary: not written (cannot write to {tmp_path / 'results'}: Read-only file system)" in said
    assert "Figures: not drawn (cannot write to" in said and "CharLM" in said


def test_a_read_only_folder_is_told_from_one_that_cannot_be(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(files.ReadOnly):
        files.check_writable(tmp_path)
    with pytest.raises(files.UserError) as refused:
        files.check_writable(Path(__file__) / "results")
    assert not isinstance(refused.value, files.ReadOnly)


@pytest.mark.parametrize("option", ["--results-dir", "--plots-dir"])
def test_an_empty_folder_name_is_refused(option, capsys):
    with pytest.raises(SystemExit) as stopped:
        analyze_results.main([option, ""])
    assert stopped.value.code == 2
    assert f"{option}: the value is empty" in capsys.readouterr().err


# ---------------------------------------------------------------- writers at once


def write_often(path: Path, letter: str, end: float, failures: list) -> None:
    while time.monotonic() < end:
        try:
            files.write_bytes(path, letter.encode() * 200)
        except OSError as error:
            failures.append(error)


def test_writers_at_once_never_tear_a_file_nor_fail(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)  # so that there are many writes
    path, failures = tmp_path / "x.json", []
    end = time.monotonic() + 0.3
    writers = [threading.Thread(target=write_often, args=(path, letter, end, failures)) for letter in "ab"]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        if path.exists():
            seen.add(path.read_bytes())
    assert not failures
    assert seen <= {b"a" * 200, b"b" * 200}
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_no_draft_and_the_old_file(tmp_path, monkeypatch):
    files.write_bytes(tmp_path / "x", b"old")

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        files.write_bytes(tmp_path / "x", b"new")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"x": b"old"}


def test_only_stale_drafts_are_removed_and_no_file_of_a_user(tmp_path):
    old, new, users = "x.json.12-0123abcd.part", "x.json.13-0123abcd.part", "thesis.pdf.part"
    for name in (old, new, users, "x.json"):
        (tmp_path / name).write_text("")
        if name != new:
            os.utime(tmp_path / name, (1, 1))
    files.remove_stale_drafts(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {new, users, "x.json"}


def test_a_second_damage_does_not_replace_the_first(tmp_path):
    for content in ("first", "second", "third"):
        (tmp_path / "x").write_text(content)
        files.move_damaged(tmp_path / "x")
    kept = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert kept == {"x.damaged": "first", "x.damaged2": "second", "x.damaged3": "third"}

"""The command that writes the page."""

from pathlib import Path

import pytest
from page_reader import Page
from synthetic_cells import random_cell, write_cells

import analyze_results
from study import files


def run(folder: Path, *options: str) -> int:
    places = ["--results-dir", str(folder / "results"), "--plots-dir", str(folder / "plots")]
    return analyze_results.main([*places, "--html", *options])


def test_the_command_writes_one_page_and_nothing_else(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(analyze_results, "PICTURES_OF_A_PAGE", 2)
    results = write_cells(tmp_path / "results", [random_cell("charlm", "relu")])
    before = set(tmp_path.rglob("*"))
    assert run(tmp_path) == 0
    page = results / files.PAGE_NAME
    assert set(tmp_path.rglob("*")) - before == {page}
    said = capsys.readouterr().out
    assert said.startswith("Study cpu: 1 of 1 cell") and f"Page: {page}" in said
    first = page.read_bytes()
    assert f"python analyze_results.py --study cpu --results-dir {results} --html" in first.decode()
    assert len(Page(first.decode()).all("img")) == 2
    assert run(tmp_path) == 0
    assert page.read_bytes() == first


def test_without_plots_the_page_has_no_figures(tmp_path):
    results = write_cells(tmp_path / "results", [random_cell("charlm", "relu")])
    assert run(tmp_path, "--no-plots") == 0
    page = Page((results / files.PAGE_NAME).read_text())
    assert not page.all("img")


def test_a_page_that_cannot_be_written_leaves_the_old_one(tmp_path, capsys, monkeypatch):
    results = write_cells(tmp_path / "results", [random_cell("charlm", "relu")])
    page = results / files.PAGE_NAME
    page.write_text("old")

    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", no_space)
    assert run(tmp_path, "--no-plots") == 2
    assert page.read_text() == "old"
    assert capsys.readouterr().err.count("\n") == 1
    assert not list(results.glob("*.part"))


def test_the_page_takes_the_place_of_audit_and_tables(tmp_path, capsys):
    for option in (["--audit"], ["--tables", "results"]):
        with pytest.raises(SystemExit) as stopped:
            run(tmp_path, *option)
        assert stopped.value.code == 2
        assert "not allowed with" in capsys.readouterr().err

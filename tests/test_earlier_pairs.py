"""Cells that grow: pairs of an earlier version beside new ones, and what is pooled."""

import shutil

import pytest
from made_study import write_trial

import analyze_results
from runner.verify import verify
from study import compact
from study.cell import update_cell
from study.files import UserError


def of_an_earlier_version(pair: dict) -> dict:
    """As it was when fewer metrics were followed and no grouping had stretches of text."""
    history = {name: pair["history"][name] for name in ("step", "relative_pd", "top1_mismatches")}
    breakdown = {name: groups for name, groups in pair["breakdown"].items() if name != "text_block"}
    rest = {name: value for name, value in pair.items() if name != "hellinger"}
    return rest | {"history": history, "breakdown": breakdown}


def made_earlier(study, cell) -> dict:
    """Rewrite the cell file so; returns what it was."""
    content = study.store.read_cell(cell)
    study.store.write_cell(cell, content | {"pairs": [of_an_earlier_version(pair) for pair in content["pairs"]]})
    return content


def test_pairs_of_an_earlier_version_are_computed_again_beside_new_ones(made):
    study, cell = made
    earlier = made_earlier(study, cell)
    write_trial(study, cell, 3)
    update_cell(study, cell)
    found = study.store.read_cell(cell)
    assert len(found["pairs"]) == 3 and found["pairs"][0] == earlier["pairs"][0]
    assert list(verify(study, [(cell, 3)]))[-1][1].endswith("results do not need them)")  # weights, and nothing else


def test_pairs_of_an_earlier_version_are_kept_where_their_predictions_are_gone(made, tmp_path, capsys):
    study, cell = made
    made_earlier(study, cell)
    shutil.rmtree(study.store.trials_dir(cell))  # as in a clone
    before = study.store.read_cell(cell)
    for number in (3, 4):
        write_trial(study, cell, number)
    update_cell(study, cell)
    first, second = study.store.read_cell(cell)["pairs"]
    assert first == before["pairs"][0] and second["trials"] == [3, 4]
    assert "text_block" in second["breakdown"] and "jensen_shannon" in second["history"]
    options = ["--results-dir", str(tmp_path / "results"), "--plots-dir", str(tmp_path / "plots"), "--tables", "all"]
    assert analyze_results.main([*options, "--all-figures"]) == 0
    assert capsys.readouterr().err == ""


def test_what_is_pooled_is_counted_once_though_its_pairs_are_computed_again(made, monkeypatch):
    monkeypatch.setattr(compact, "MOST_WHOLE_PAIRS", 2)
    study, cell = made
    write_trial(study, cell, 3)
    update_cell(study, cell)
    content = study.store.read_cell(cell)
    for pair in content["pairs"]:
        del pair["history"]["jensen_shannon"], pair["hellinger"]
    study.store.write_cell(cell, content)
    write_trial(study, cell, 4)
    update_cell(study, cell)
    found = study.store.read_cell(cell)
    study.store.cell_path(cell).unlink()
    update_cell(study, cell)
    at_once = study.store.read_cell(cell)
    assert found["pairs"] == at_once["pairs"] and "jensen_shannon" in found["pairs"][0]["history"]
    for grouping, groups in at_once["pooled"].items():
        assert found["pooled"][grouping]["n_predictions"] == groups["n_predictions"]
        assert sum(groups["n_predictions"]) == 6 * 40


def test_a_cell_that_has_grown_is_verified_and_has_the_mean_of_one_made_at_once(made, monkeypatch):
    monkeypatch.setattr(compact, "MOST_WHOLE_PAIRS", 2)
    study, cell = made
    path = study.store.cell_path(cell)
    for number in (3, 4):
        write_trial(study, cell, number)
        update_cell(study, cell)
    grown, content = path.read_bytes(), study.store.read_cell(cell)
    update_cell(study, cell)
    assert path.read_bytes() == grown
    assert not [what for kind, what in verify(study, [(cell, number) for number in range(1, 5)]) if kind == "damaged"]
    path.unlink()
    update_cell(study, cell)
    assert study.store.read_cell(cell)["mean_relative_pd"] == content["mean_relative_pd"]


def test_pairs_with_unlike_groupings_are_not_pooled(made, monkeypatch):
    monkeypatch.setattr(compact, "MOST_WHOLE_PAIRS", 0)
    study, cell = made
    content = study.store.read_cell(cell)
    (pair,) = content["pairs"]
    unlike = content | {"pairs": [of_an_earlier_version(pair), pair]}
    assert compact.compact(unlike) is unlike
    assert "pooled" in compact.compact(content)


def test_what_could_not_be_read_again_is_not_written(made):
    study, cell = made
    path, content = study.store.cell_path(cell), study.store.read_cell(cell)
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"is left as it is.*pairs\[1\].trials: the pair \[1, 2\] twice"):
        study.store.write_cell(cell, content | {"pairs": content["pairs"] * 2})
    assert path.read_bytes() == before

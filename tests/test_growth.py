"""A cell of many trials: what its file holds, and that a trial costs no more files the more there are."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from made_study import CONFIG, make_study, write_trial
from synthetic_cells import make_breakdown, make_cell, make_diverged, make_pair, make_trial

import metrics
from analysis.measure import measure
from benchmarks import growth
from runner.verify import verify
from study import cell as cells
from study import files, known
from study.compact import MOST_WHOLE_PAIRS, compact, expand
from study.files import Damaged, UserError
from study.store import Store, fingerprint, read_cell_file


def large_cell(n_trials: int = 21) -> dict:
    trials = [*(make_trial(n, val_loss=2.5 + n / 1000) for n in range(1, n_trials + 1)), make_diverged(n_trials + 1)]
    breakdowns = itertools.cycle([make_breakdown(seed) for seed in range(3)])
    pairs = [
        make_pair(i, j, relative_pd=0.2 + (31 * i + j) / 7919, breakdown=next(breakdowns))
        for i, j in itertools.combinations(range(1, n_trials + 1), 2)
    ]
    cell = make_cell(trials=trials, pairs=pairs, planned=n_trials + 1)
    return cell | {"fingerprint": fingerprint(cell["config"])}


def test_a_large_cell_comes_back_but_for_rounding_and_keeps_what_scripts_rely_on(tmp_path):
    content = large_cell()
    store, cell = Store(tmp_path, tmp_path), cells.Cell("charlm", "gelu", "cpu")
    store.write_cell(cell, content)
    raw, found = json.loads(store.cell_path(cell).read_text()), store.read_cell(cell)
    for pair in raw["pairs"]:
        assert {"trials", "relative_pd", "top1_mismatches", "n_predictions", "history"} == pair.keys()
        assert {"step", "relative_pd", "top1_mismatches"} == pair["history"].keys()
    wanted = "trial seed status train_loss val_loss train_accuracy val_accuracy training_time history"
    assert all(set(wanted.split()) <= trial.keys() for trial in raw["trials"])
    assert found["trials"] == content["trials"]
    for pair, before in zip(found["pairs"], content["pairs"], strict=True):
        assert pair.keys() == before.keys() and pair["trials"] == before["trials"]
        for name in metrics.PAIR_METRICS.keys() & pair.keys():
            assert pair[name] == pytest.approx(before[name], rel=5e-5)
        blocks, blocks_before = (each["breakdown"]["text_block"]["relative_pd"] for each in (pair, before))
        assert blocks == pytest.approx(blocks_before, rel=5e-3)
    whole, back = measure(content), measure(found)
    for grouping in content["pairs"][0]["breakdown"]:
        for name, values in whole.pooled(grouping).items():
            np.testing.assert_allclose(back.pooled(grouping)[name], values, rtol=1e-9)
    assert expand(tmp_path, compact(found)) == found  # written again, nothing more is lost


def test_a_pair_added_to_a_large_cell_is_added_to_what_is_pooled(tmp_path):
    content = large_cell()
    *pairs, last = content["pairs"]
    before = expand(tmp_path, compact(content | {"pairs": pairs}))
    after = expand(tmp_path, compact(before | {"pairs": [*before["pairs"], last]}))
    at_once = expand(tmp_path, compact(content))
    assert after["pairs"] == at_once["pairs"]
    for grouping in at_once["pooled"]:
        for name, values in measure(at_once).pooled(grouping).items():
            np.testing.assert_allclose(measure(after).pooled(grouping)[name], values, rtol=1e-9)


def test_a_pair_is_not_added_to_what_is_pooled_by_other_groups(tmp_path):
    content = large_cell()
    *pairs, last = content["pairs"]
    before = expand(tmp_path, compact(content | {"pairs": pairs}))
    before["pooled"]["confidence"]["group"][0] = "none"
    store, cell = Store(tmp_path, tmp_path), cells.Cell("charlm", "gelu", "cpu")
    with pytest.raises(UserError, match="could not be read again .pooled groups .'none', "):
        store.write_cell(cell, before | {"pairs": [*before["pairs"], last]})
    assert not store.cell_path(cell).exists()


def test_small_cells_have_everything_in_full():
    content = large_cell(20)
    assert len(content["pairs"]) == MOST_WHOLE_PAIRS and compact(content) is content


@pytest.mark.parametrize(
    "harm",
    [
        lambda raw: raw["columns"][3]["values"].pop(),
        lambda raw: raw["columns"][3].update(of=[]),
        lambda raw: raw["columns"][3].update(table="cells"),
        lambda raw: raw["columns"][3].update(of=["relative_pd", "deeper"]),
        lambda raw: raw["columns"][3].update(of=["history"]),
        lambda raw: raw["pooled"].pop("confidence"),
        lambda raw: raw["pooled"]["confidence"]["top1_mismatches"].pop(),
        lambda raw: raw["pooled"]["word_position"]["relative_pd"].__setitem__(0, None),
        lambda raw: raw["pairs"][7].update(breakdown={"text_block": {"top1_mismatches": [0] * 20}}),
        lambda raw: raw.pop("pooled"),
        lambda raw: raw.update(columns={}),
    ],
)
def test_columns_that_do_not_fit_are_damaged(tmp_path, harm):
    raw = compact(large_cell())
    raw = json.loads(json.dumps(raw))
    harm(raw)
    path = tmp_path / "charlm_gelu_cpu.json"
    files.write_checked(path, raw)
    with pytest.raises(Damaged, match="is damaged"):
        read_cell_file(path)


def test_a_cell_of_60_trials_takes_at_most_a_megabyte(tmp_path):
    study = growth.study_of(str(tmp_path), 60)
    cell = study.cell("charlm", "gelu")
    for number in (1, 2, 3):
        growth.make_trial(study, cell, number)
    cells.update_cell(study, cell)
    content = study.store.read_cell(cell)
    trial, pair = content["trials"][0], content["pairs"][0]
    pairs = [
        json.loads(json.dumps(content["pairs"][(i + j) % 3])) | {"trials": [i, j]}
        for i, j in itertools.combinations(range(1, 61), 2)
    ]
    for number, pair in enumerate(pairs):
        pair["relative_pd"] += number / 1e6
    trials = [content["trials"][n % 3] | {"trial": n, "seed": trial["seed"] + n - 1} for n in range(1, 61)]
    whole = {name: value for name, value in content.items() if not name.startswith(("mean_", "std_"))}
    whole |= {"trials": trials, "pairs": pairs, "planned_trials": 60, "status": "completed"}
    study.store.write_cell(cell, whole)
    assert study.store.cell_path(cell).stat().st_size < 1e6


# ---------------------------------------------------------------- one trial more


@pytest.fixture
def four(tmp_path):
    """A cell of three trials whose pairs are in files of theirs, of four that are planned."""
    study, cell = make_study(tmp_path)
    study = replace(study, config=replace(CONFIG, n_trials=4))
    for number in (2, 3):
        write_trial(study, cell, number)
        cells.keep_pairs(study, cell, number)
    return study, cell


def test_a_trial_compares_once_and_the_cell_file_waits_until_the_cell_is_complete(four, monkeypatch):
    study, cell = four
    before = study.store.cell_path(cell).read_bytes()
    reads = []
    read = Store.read_stacked
    monkeypatch.setattr(Store, "read_stacked", lambda *arguments: reads.append(arguments[2]) or read(*arguments))
    write_trial(study, cell, 4)
    study.store.record_path(cell, 1).touch()  # looked at again, its predictions not
    cells.keep_pairs(replace(study, config=replace(study.config, n_trials=5)), cell, 4)
    assert reads == [4] and study.store.cell_path(cell).read_bytes() == before
    monkeypatch.setattr(
        cells, "compare_trials", lambda *arguments: pytest.fail("compared again") if list(arguments[3]) else []
    )
    cells.keep_pairs(study, cell, 4)
    assert reads == [4] and cells.is_up_to_date(study, cell)
    content = study.store.read_cell(cell)
    assert content["status"] == "completed" and len(content["pairs"]) == 6
    monkeypatch.undo()
    missing = [finding for finding in verify(study, [(cell, 1)]) if "weights" not in finding[1]]
    assert missing == []


@pytest.mark.parametrize("harm", ["other predictions", "a flipped bit", "no json", "of another trial"])
def test_pairs_that_are_not_those_of_the_predictions_are_computed_again(four, harm):
    study, cell = four
    cells.update_cell(study, cell)
    right = study.store.read_cell(cell)
    study.store.cell_path(cell).unlink()
    path = study.store.pairs_path(cell, 3)
    content = json.loads(files.read_sealed(path))
    content["pairs"][0]["relative_pd"] = 1.0
    if harm == "other predictions":
        content["predictions_sha256"] = dict.fromkeys(content["predictions_sha256"], "0" * 64)
    payload = (
        b"{"
        if harm == "no json"
        else json.dumps(content | {"trial": 2 if harm == "of another trial" else 3}).encode()
    )
    files.write_sealed(path, payload)
    if harm == "a flipped bit":
        path.write_bytes(path.read_bytes().replace(b"1.0", b"1.1"))
    cells.update_cell(study, cell)
    assert study.store.read_cell(cell) == right
    assert path.exists() == (harm == "other predictions")


def test_what_changes_on_the_disk_is_read_again_and_memory_is_limited(four, monkeypatch):
    study, cell = four
    record = study.store.read_record(cell, 1)
    first = known.known_predictions(study.store, cell, 1, record)
    assert known.known_predictions(study.store, cell, 1, record) is first
    path = study.store.predictions_path(cell, 1)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(Damaged):
        known.known_predictions(study.store, cell, 1, record)
    write_trial(study, cell, 1)
    monkeypatch.setattr(known, "LARGEST_MEMORY", 1)
    fresh = known.Known()
    monkeypatch.setattr(known, "KNOWN", fresh)
    for _ in range(2):
        known.known_predictions(study.store, cell, 1, record)
    assert not fresh.contents and fresh.n_bytes == 0


def test_where_memory_is_short_a_file_is_read_once_an_update(four, monkeypatch):
    study, cell = four
    store = study.store
    write_trial(study, cell, 4)
    five = replace(study, config=replace(study.config, n_trials=5))
    cells.keep_pairs(five, cell, 4)
    right = store.pairs_path(cell, 4).read_bytes()
    store.pairs_path(cell, 4).unlink()
    monkeypatch.setattr(known, "LARGEST_MEMORY", 1)
    monkeypatch.setattr(known, "KNOWN", known.Known())
    reads = []
    read = Store.read_stacked
    monkeypatch.setattr(Store, "read_stacked", lambda *arguments: reads.append(arguments[2]) or read(*arguments))
    cells.keep_pairs(five, cell, 4)
    assert sorted(reads) == [1, 2, 3, 4] and store.pairs_path(cell, 4).read_bytes() == right
    path = store.predictions_path(cell, 2)
    path.write_bytes(path.read_bytes()[:-1] + b"x")  # looked at again, and found damaged
    cells.keep_pairs(five, cell, 4)
    assert not path.exists()

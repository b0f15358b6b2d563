"""--reproduce compares all that a trial leaves: whatever differs, however little, is not the same bits, and
what it may come from is said."""

import math

import numpy as np
import pytest
from made_study import CONFIG, STEPS, make_study, write_trial

import train
from runner.verify import report_reproduction

DIFFERENCES = {
    "nothing": {},
    "weights": {"weights_sha256": "1" * 64},
    "a loss": {"val_loss": 3.1 + 1e-15},
    "a text": {"texts": ["to be ", "or nor"]},
    "predictions": {},
    "its end": {"status": "diverged"},
}


@pytest.mark.parametrize("what", DIFFERENCES)
def test_whatever_differs_is_not_the_same_bits(tmp_path, monkeypatch, capsys, what):
    study, cell = make_study(tmp_path)

    def train_again(study, cell, number, report):
        write_trial(study, cell, number)
        record = study.store.read_record(cell, number) | DIFFERENCES[what]
        record["environment"] = record["environment"] | {"processor": "another"}
        if what in ("predictions", "its end"):
            p = study.store.predictions_of(cell, number, record)
            p[0] = np.full_like(p[0], 1 / CONFIG.vocabulary_size)
            p[-1][0, 0] = math.nan if what == "its end" else p[-1][0, 0]
            record["predictions_sha256"] = study.store.write_predictions(cell, number, STEPS, p)
        return record

    monkeypatch.setattr(train, "run_trial", train_again)
    assert report_reproduction(study, "charlm", "gelu", "1") == (what != "nothing")
    said = capsys.readouterr().out
    assert ("what bits depend on and differs: processor" in said) == (what != "nothing")
    assert said.endswith("NOT the same bits\n" if what != "nothing" else "\nthe same bits\n")

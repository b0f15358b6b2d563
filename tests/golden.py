"""Trials whose numbers are known: one of each architecture, at the tests' tiny size, and one of each other optimizer.

    python tests/golden.py

writes their numbers to ``golden.json``, under the RECIPE of config.py. Where numbers have changed and RECIPE has not,
it refuses: results that were made before would be taken for results of today's code.
"""

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent.parent), str(Path(__file__).resolve().parent)]

from conftest import TINY  # noqa: E402

from config import PARENTS, RECIPE, Config  # noqa: E402
from study.plan import Study  # noqa: E402
from study.store import Store, versions  # noqa: E402
from train import run_trial  # noqa: E402

FILE = Path(__file__).with_name("golden.json")
RENEW = "python tests/golden.py"
SAMPLES = 8  # of the probe set, whose two most probable characters are kept
# The kernels of a processor without AVX changed these numbers by up to 5e-7, so other rounding passes.
TOLERANCE = 3e-5
MODERN = {
    "betas": (0.9, 0.99),
    "weight_decay": 0.1,
    "schedule": "cosine",
    "warm_up": 0.34,
    "floor": 0.05,
    "clip_norm": 1.0,
}

TRIALS: dict[str, tuple[str, str, Config]] = {
    "charlm": ("charlm", "gelu", TINY),
    "minigpt": ("minigpt", "swiglu", TINY),
    "nanotransformer": ("nanotransformer", "relu", TINY),
    "tinylstm": ("tinylstm", "smelu_1", TINY),
    "convlm": ("convlm", "swish", TINY),
    "hybridlm": ("hybridlm", "smelu_05", TINY),
    **{name: (name, "gelu", TINY) for name in PARENTS},
    "apl": ("charlm", "apl", TINY),
    "adamw": ("charlm", "gelu", replace(TINY, optimizer="adamw", **MODERN)),
    "muon": ("charlm", "gelu", replace(TINY, optimizer="muon", **MODERN)),
}


def numbers_of(name: str, folder: Path) -> dict[str, list[float]]:
    """Losses (nats) at every evaluation and over the whole validation split, and for some samples of the probe set
    the two largest probabilities; trained in ``folder``."""
    architecture, activation, config = TRIALS[name]
    study = Study(config, "cpu", "cpu", Store(folder / "results", folder / "checkpoints"))
    cell = study.cell(architecture, activation)
    record = run_trial(study, cell, 1)
    last = study.store.read_predictions(cell, 1, record["predictions_sha256"])[-1]
    largest = last[:SAMPLES].astype(float)
    largest.sort(axis=1)
    found = {
        "train_loss": record["history"]["train_loss"],
        "val_loss": [*record["history"]["val_loss"], record["val_loss"]],
        "largest_probabilities": largest[:, -2:].flatten().tolist(),
    }
    return {key: [round(value, 7) for value in values] for key, values in found.items()}


def differing(there: dict[str, list[float]], here: dict[str, list[float]]) -> list[str]:
    """In words, which numbers are not the same, but for rounding."""
    return [
        f"{key} {there[key]} there, {values} here"
        for key, values in here.items()
        if len(there[key]) != len(values)
        or max(abs(a - b) for a, b in zip(there[key], values, strict=True)) > TOLERANCE
    ]


def read_golden() -> dict:
    return json.loads(FILE.read_text()) if FILE.exists() else {"recipe": None, "versions": {}, "trials": {}}


def main() -> int:
    before, found = read_golden(), {}
    for name in TRIALS:
        with tempfile.TemporaryDirectory() as folder:
            found[name] = numbers_of(name, Path(folder))
    changed = [name for name in found if name in before["trials"] and differing(before["trials"][name], found[name])]
    if changed and before["recipe"] == RECIPE:
        print(f"the numbers of {', '.join(changed)} have changed; raise RECIPE in config.py first", file=sys.stderr)
        return 1
    FILE.write_text(json.dumps({"recipe": RECIPE, "versions": versions(), "trials": found}, indent=1) + "\n")
    print(f"written to {FILE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

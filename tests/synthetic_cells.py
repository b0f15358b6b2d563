"""Cells made up for the tests of analysis and figures, shaped like those that ``train.py`` writes."""

import copy
import itertools
import json
import random
from functools import cache
from pathlib import Path

import numpy as np

from config import STREAMS
from study.pairs import break_down, text_groupings
from study.store import fingerprint

STEPS = (0, 50, 100)


PASSAGE = "BAPTISTA:\nI have a daughter, sir, called Katharina.\n\nGREMIO:\nYou are too blunt: go to it orderly.\n"
ENVIRONMENT = {"python": "3.11.9", "torch": "2.13.0", "device": "cpu", "threads": 1, "commit": "abc"}


def make_passage(seed: int) -> dict:
    """Predictions that are right for four characters of five."""
    rng = random.Random(seed)
    predicted = "".join(character if rng.random() < 0.8 else rng.choice("e \n") for character in PASSAGE)
    return {"text": PASSAGE, "predicted": predicted, "probability": [round(rng.random(), 4) for _ in PASSAGE]}


def make_breakdown(seed: int, samples: int = 200) -> dict:
    """Of two models that know nothing of the text and are the surer the higher the class."""
    return copy.deepcopy(_breakdown(seed, samples))  # a test may change its own


@cache
def _breakdown(seed: int, samples: int) -> dict:
    rng = np.random.default_rng(seed)
    characters = "\n .Aabcdefghijklmnopqrs"
    classes = rng.integers(0, len(characters), samples)
    logits = rng.normal(size=(2, samples, len(characters))) + 4 * np.eye(len(characters))[classes] * rng.random()
    p, q = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    contexts = rng.integers(0, len(characters), (samples, 12))
    return break_down(p, q, text_groupings(contexts, classes, np.arange(samples), characters))


def make_trial(number: int, val_loss: float = 2.6, **changes) -> dict:
    trial = {
        "trial": number,
        "seed": 41 + number,
        "status": "completed",
        "train_loss": val_loss + 0.01,
        "val_loss": val_loss,
        "train_accuracy": 0.28,
        "val_accuracy": 0.27,
        "probe_accuracy": 0.26,
        "probe_entropy": 2.4,
        "calibration_error": 0.05,
        "training_time": 20.0 + number,
        "evaluation_time": 2.0,
        "finished": f"2026-01-02T03:04:{number % 60:02d}+00:00",
        "history": {
            "step": list(STEPS),
            "train_loss": [4.2, 3.0, val_loss + 0.01],
            "val_loss": [4.2, 3.1 + 0.01 * number, val_loss],
        },
        "passage": make_passage(number),
        "predictions_sha256": f"{number:064x}",
        "environment": dict(ENVIRONMENT),
    }
    return trial | changes


def make_diverged(number: int) -> dict:
    of_data = ("train_loss", "val_loss", "train_accuracy", "val_accuracy")
    of_probe = ("probe_accuracy", "probe_entropy", "calibration_error", "passage")
    unknown = dict.fromkeys((*of_data, *of_probe))
    history = {"step": [0, 50], "train_loss": [4.2, None], "val_loss": [4.2, None]}
    return make_trial(number) | unknown | {"status": "diverged", "history": history}


def make_pair(first: int, second: int, relative_pd: float = 0.25, mismatches: int = 190, **changes) -> dict:
    pair = {
        "trials": [first, second],
        "relative_pd": relative_pd,
        "top1_mismatches": mismatches,
        "n_predictions": 1000,
        "true_label_pd": relative_pd * 0.9,
        "global_pd": relative_pd / 2,
        "total_variation": relative_pd / 2,
        "jensen_shannon": 0.01,
        "symmetric_kl": 0.04,
        "hellinger": 0.1,
        "top5_agreement": 0.9,
        "normalized_mismatch": 0.2,
        "one_right": 60,
        "both_wrong": mismatches - 60,
        "loss_correlation": 0.95,
        "perplexity_correlation": 0.9,
        "ensemble_gain": 0.01,
        "breakdown": make_breakdown(1000 * first + second),
        "history": {
            "step": list(STEPS),
            "relative_pd": [0.1, relative_pd * 0.8, relative_pd],
            "top1_mismatches": [900, 300, mismatches],
        },
    }
    return pair | changes


def make_cell(
    model="charlm", activation="gelu", study="cpu", *, trials=None, pairs=None, planned=3, **changes
) -> dict:
    """A cell of three alike trials, unless ``trials`` and ``pairs`` say otherwise."""
    trials = [make_trial(number) for number in (1, 2, 3)] if trials is None else trials
    completed = [trial["trial"] for trial in trials if trial["status"] == "completed"]
    if pairs is None:
        pairs = [make_pair(first, second) for first, second in itertools.combinations(completed, 2)]
    cell = {
        "model": model,
        "activation": activation,
        "study": study,
        "status": "completed" if len(trials) == planned else "partial",
        "planned_trials": planned,
        "n_parameters": 430_000,
        "config": {
            **{"model": model, "activation": activation, "shape": {}, "iterations": 100, "eval_interval": 50},
            **{"device": "cpu", "vary": list(STREAMS)},
        },
        "environment": dict(ENVIRONMENT),
        "fingerprint": "f" * 64,
        "trials": trials,
        "pairs": pairs,
    }
    return cell | changes


def random_cell(model: str, activation: str, study: str = "cpu", n_trials: int = 3, seed: int = 0) -> dict:
    """A cell whose numbers are spread as those of a real study are."""
    rng = random.Random(f"{model} {activation} {seed}")
    loss, distance = 2.4 + rng.random() / 2, 0.2 + rng.random() / 10
    trials = [make_trial(number, rng.gauss(loss, 0.006)) for number in range(1, n_trials + 1)]
    pairs = [
        make_pair(first, second, max(rng.gauss(distance, 0.006), 0), round(rng.gauss(190, 15)))
        for first, second in itertools.combinations(range(1, n_trials + 1), 2)
    ]
    return make_cell(model, activation, study, trials=trials, pairs=pairs, planned=n_trials)


def varying(streams: tuple[str, ...], cell: dict) -> dict:
    """The cell as a control, in which only ``streams`` differ between trials."""
    return cell | {"config": cell["config"] | {"vary": list(streams)}}


def awkward_cells() -> list[dict]:
    """Diverged, single and missing trials, names that nobody knows, and cells like any other."""
    diverged = make_cell(activation="gelu", trials=[make_trial(1), make_trial(2), make_diverged(3)])
    lost = make_cell("minigpt", "gelu", trials=[make_diverged(1)], planned=1)
    alone = make_cell("minigpt", "my_activation", trials=[make_trial(1)])
    bent = make_cell(activation="smelu_1", trials=[make_trial(1), make_trial(2), make_diverged(3)])
    usual = [random_cell("charlm", name) for name in ("relu", "swish", "smelu_05")]
    control = varying((), make_cell(study="again", trials=diverged["trials"]))
    grown = random_cell("hybridlm", "relu", n_trials=4)  # trial 4 was trained elsewhere, so its pairs are not known
    grown["trials"].append(make_diverged(5))
    grown["planned_trials"] = 5
    grown["pairs"] = [pair for pair in grown["pairs"] if 4 not in pair["trials"]]
    return [*usual, diverged, bent, lost, alone, random_cell("my_model", "my_activation"), control, grown]


def variant_cells(n_trials: int = 8) -> list[dict]:
    """CharLM and a variant in which PD is .1 higher, and three sizes of MiniGPT with a PD that rises with size; all
    with a landscape, and with GELU one trial of each diverged."""
    names = ("relu", "gelu", "swiglu")
    cells = [random_cell("charlm", name, n_trials=n_trials) for name in names]
    for cell in [random_cell("charlm", name, n_trials=n_trials, seed=1) for name in names]:
        cells.append(cell | {"model": "charlm_one_head", "pairs": [moved(pair, 0.1) for pair in cell["pairs"]]})
    for size, more in ((100_000, 0.0), (1_000_000, 0.05), (10_000_000, 0.1)):
        for cell in [random_cell("minigpt", name, n_trials=n_trials, seed=size) for name in names]:
            pairs = [moved(pair, more) for pair in cell["pairs"]]
            changes = {"model": f"minigpt@{size / 1e6:g}M", "n_parameters": size, "pairs": pairs}
            cells.append(cell | changes)
    for cell in cells:
        if cell["activation"] == "gelu":
            lost = n_trials
            cell["trials"] = [*cell["trials"][:-1], make_diverged(lost)]
            cell["pairs"] = [pair for pair in cell["pairs"] if lost not in pair["trials"]]
        for trial in cell["trials"]:
            if trial["status"] == "completed":
                trial["curvature"] = 20.0 + trial["trial"]
        for pair in cell["pairs"]:
            pair["barrier"] = 1.0 + 0.1 * sum(pair["trials"])
    return cells


def moved(pair: dict, by: float) -> dict:
    """The pair with a PD that is higher by so much, at the end and before."""
    history = pair["history"] | {"relative_pd": [x + by for x in pair["history"]["relative_pd"]]}
    return pair | {"relative_pd": pair["relative_pd"] + by, "history": history}


def write_cells(folder: Path, cells: list[dict]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for cell in cells:
        path = folder / f"{cell['model']}_{cell['activation']}_{cell['study']}.json"
        path.write_text(json.dumps(cell | {"fingerprint": fingerprint(cell["config"])}))
    return folder

"""What a trial costs the runner beside training, as its cell grows, from records and predictions that are made up.

Seconds are of this process's CPU, so that what else the machine does matters little.
"""

import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from tabulate import tabulate

import config_cpu
import metrics
from config import MODELS, Config
from runner.workers import worker_environment
from study.cell import keep_pairs, update_cell
from study.environment import environment
from study.files import ROOT
from study.pairs import probe_facts
from study.plan import Study, planned_jobs
from study.store import Cell, Store, fingerprint

STEPS = (0, 50, 100)
PLANNED_ACTIVATIONS = ("relu", "gelu")  # with the architectures 12 cells, of 50 trials each


def make_trial(study: Study, cell: Cell, number: int) -> None:
    """Record and predictions of a finished trial, as training would leave them."""
    config, facts = study.config, study.identity(cell)
    rng = np.random.default_rng(number)
    shape = (len(STEPS), config.probe_contexts, config.vocabulary_size)
    odds = np.exp(np.random.default_rng(0).normal(size=shape) * 2 + rng.normal(size=shape) / 4)
    probabilities = (odds / odds.sum(axis=-1, keepdims=True)).astype(np.float32)
    sha256 = study.store.write_predictions(cell, number, list(STEPS), probabilities)
    targets = rng.integers(0, config.vocabulary_size, config.probe_contexts)
    texts = ["".join(rng.choice(list("abcdefgh \n"), config.text_length)) for _ in range(config.texts)]
    passage = "".join(rng.choice(list("abcdefgh \n"), config.passage_length))
    losses = [float(loss) for loss in rng.normal(2.5, 0.01, len(STEPS))]
    record = {
        "model": cell.model,
        "activation": cell.activation,
        "study": cell.study,
        "trial": number,
        "seed": config.seed_base + number - 1,
        "status": "completed",
        **dict.fromkeys(("train_loss", "val_loss"), losses[-1]),
        **dict.fromkeys(("train_accuracy", "val_accuracy"), float(rng.random())),
        **metrics.describe(probabilities[-1], targets),
        "texts": texts,
        "passage": {
            "text": "x" * len(passage),
            "predicted": passage,
            "probability": [round(float(value), 4) for value in rng.random(len(passage))],
        },
        "training_time": 13.0 + number / 100,
        "evaluation_time": 2.0 + number / 100,
        "history": {"step": list(STEPS), "train_loss": losses, "val_loss": losses},
        "n_parameters": 430_000,
        "finished": f"2026-01-02T03:04:{number % 60:02d}+00:00",
        "predictions_sha256": sha256,
        "weights_sha256": "0" * 64,
        "config": facts,
        "fingerprint": fingerprint(facts),
        "environment": environment("cpu"),
    }
    study.store.write_record(cell, number, record)


def study_in(folder: str, config: Config) -> Study:
    return Study(config, "cpu", "cpu", Store(Path(folder, "results"), Path(folder, "checkpoints")))


def study_of(folder: str, n_trials: int) -> Study:
    return study_in(folder, replace(config_cpu.CONFIG, study="bench", n_trials=n_trials))


def growing_cell(n_trials: int) -> dict:
    """CPU seconds of what follows each trial of one cell, and of writing the cell file at the end; its megabytes."""
    with tempfile.TemporaryDirectory() as folder:
        study = study_of(folder, n_trials + 1)  # so that no trial completes the cell
        cell = study.cell("charlm", "gelu")
        probe_facts(study, cell)  # which a worker has found for the first trials of the cell
        seconds = []
        for number in range(1, n_trials + 1):
            make_trial(study, cell, number)
            start = time.process_time()
            keep_pairs(study, cell, number)
            seconds.append(time.process_time() - start)
        start = time.process_time()
        update_cell(study, cell)
        writing = time.process_time() - start
        size = study.store.cell_path(cell).stat().st_size
    shown = [number for number in (3, 10, 20, 40, 60, 100) if number <= n_trials]
    return {
        "after_trial": [
            {"trial": n, "cpu_seconds": float(np.median(seconds[max(1, n - 3) : n]))} for n in shown
        ],  # each with the two before it
        "writing_cell_cpu_seconds": writing,
        "cell_file_megabytes": size / 1e6,
    }


COMMAND = """
import json, resource, sys, time
import run_all_experiments
clock, cpu = time.perf_counter(), time.process_time()
code = run_all_experiments.main(sys.argv[1:])
cost = {"seconds": time.perf_counter() - clock, "cpu_seconds": time.process_time() - cpu}
print(json.dumps(cost | {"megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
sys.exit(code)
"""


def command_cost(study: Study, *options: str) -> tuple[dict, str]:
    """Seconds by the clock and of CPU, after its imports, and peak megabytes of a command that plans ``study``; and
    what it printed."""
    trials = str(study.config.n_trials)
    named = ["--config", "cpu", "--study", study.config.study, "--trials", trials]
    places = ["--results-dir", str(study.store.results), "--checkpoints-dir", str(study.store.checkpoints)]
    command = [sys.executable, "-c", COMMAND, *named, *places, *options]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True)
    *said, cost = done.stdout.splitlines()
    return json.loads(cost), "\n".join(said)


def planning(n_trials: int) -> dict:
    """CPU seconds of planning a study of 12 cells whose ``n_trials`` trials are all done."""
    with tempfile.TemporaryDirectory() as folder:
        study = study_of(folder, n_trials // (len(MODELS) * len(PLANNED_ACTIVATIONS)))
        jobs = planned_jobs(study, MODELS, PLANNED_ACTIVATIONS)
        for job in jobs:
            make_trial(study, *job)
        for cell in dict.fromkeys(cell for cell, _ in jobs):
            update_cell(study, cell)
        chosen = ["--models", *MODELS, "--activations", *PLANNED_ACTIVATIONS]
        cost, said = command_cost(study, *chosen, "--dry-run")
    if f"{len(jobs)} done, 0 pending" not in said:
        raise RuntimeError(f"not all of {len(jobs)} trials are done")
    return {"trials": len(jobs), "cpu_seconds": cost["cpu_seconds"]}


def bench_growth(n_trials: int) -> dict:
    """In a process of its own, with the threads and the memory of a worker."""
    with worker_environment(None), multiprocessing.get_context("spawn").Pool(1) as pool:
        return {"growing_cell": pool.apply(growing_cell, (n_trials,)), "planning": pool.apply(planning, (600,))}


GOALS = {"after_trial": 0.1, "cell_file_megabytes": 1.0, "planning": 1.0}


def describe_growth(found: dict) -> str:
    cell, plan = found["growing_cell"], found["planning"]
    rows = [
        [f"after trial {each['trial']} of a cell", each["cpu_seconds"], GOALS["after_trial"]]
        for each in cell["after_trial"]
    ]
    rows += [
        ["writing the cell file, CPU s", cell["writing_cell_cpu_seconds"], None],
        ["the cell file, MB", cell["cell_file_megabytes"], GOALS["cell_file_megabytes"]],
        [f"planning, {plan['trials']} trials done, CPU s", plan["cpu_seconds"], GOALS["planning"]],
    ]
    return tabulate(rows, ["growth", "CPU s or MB", "goal"], floatfmt=".3f")

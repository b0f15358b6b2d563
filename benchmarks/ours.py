"""Our training as the runner runs it, and the parts that a trial's time goes to."""

import atexit
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from torch.nn import functional as F

from config import Config
from runner.workers import worker_environment
from study.files import ROOT
from study.plan import Study
from study.store import Store
from train import TrialRun
from training.dataset import training_batch, whole_split
from training.evaluation import evaluate
from training.seeding import deterministic

LONG_TRIAL, EVALUATIONS = 500, 11  # of the trial whose parts are reported
FEWER_CONTEXTS = 100  # between the first and the last evaluation, as --contexts-between has them
CELL_TRIALS = 2
FOR_LIFE = ExitStack()  # what is entered here stays so until the process ends
atexit.register(FOR_LIFE.close)


def our_run(
    architecture: str, activation: str, config: Config, folder: str = "unused", precision: str | None = None
) -> TrialRun:
    FOR_LIFE.enter_context(deterministic("cpu"))
    store = Store(Path(folder, "results"), Path(folder, "checkpoints"))
    study = Study(replace(config, iterations=LONG_TRIAL), "cpu", "cpu", store, asked_precision=precision)
    return TrialRun(study, study.cell(architecture, activation), 1)


def our_step(architecture: str, activation: str, config: Config) -> Callable[[], None]:
    return our_run(architecture, activation, config).advance


def our_bfloat16_step(architecture: str, activation: str, config: Config) -> Callable[[], None]:
    return our_run(architecture, activation, config, precision="bfloat16").advance


def time_parts(architecture: str, activation: str, config: Config, steps: int) -> dict[str, float]:
    """Seconds that the parts of a trial of ``LONG_TRIAL`` iterations take."""
    parts: Counter = Counter()

    def timed(name: str, work: Callable, *arguments):
        start = time.perf_counter()
        result = work(*arguments)
        parts[name] += time.perf_counter() - start
        return result

    with tempfile.TemporaryDirectory() as folder:
        run = our_run(architecture, activation, config, folder)
        run.advance()
        run.evaluate()
        run.model.train()
        draw_mask = run.model.masks.draw
        run.model.masks.draw = lambda *arguments: timed("masks", draw_mask, *arguments)
        parts.clear()
        for step in range(steps):
            timed("restart", run.model.masks.restart, run.seeds["dropout"], step)
            inputs, targets = timed("batches", training_batch, run.corpus, run.config, run.seeds["order"], step)
            loss = timed(
                "forward", lambda x, y: F.cross_entropy(run.model(x).flatten(0, 1), y.flatten()), inputs, targets
            )
            run.optimizer.zero_grad()
            timed("backward", loss.backward)
            timed("optimizer", run.optimizer.step)
        parts["forward"] -= parts["masks"]
        parts["masks"] += parts.pop("restart")
        seconds = {name: value / steps * LONG_TRIAL for name, value in parts.items()}
        timed("evaluation", run.evaluate)
        timed("saving", run.save)
        run.facts |= {"contexts_between": FEWER_CONTEXTS}
        timed("evaluation on fewer contexts", run.evaluate)
        run.model.eval()
        timed("the whole validation split", evaluate, run.model, whole_split(run.corpus.validation, run.config))
    # A state is saved at the end and, at this scale, about once before.
    return seconds | {
        "evaluation": parts["evaluation"] * EVALUATIONS + parts["the whole validation split"],
        "evaluation, fewer contexts between": parts["evaluation on fewer contexts"] * (EVALUATIONS - 1)
        + parts["evaluation"]
        + parts["the whole validation split"],
        "saving": 2 * parts["saving"],
    }


def parts_of_a_trial(processes: int, *arguments) -> dict[str, float]:
    """Mean of ``time_parts`` in as many ``processes`` at once as the runner has, each as it starts them."""
    with worker_environment(gpu=None), ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        found = [future.result() for future in [pool.submit(time_parts, *arguments) for _ in range(processes)]]
    return {name: statistics.mean(parts[name] for parts in found) for name in found[0]}


def seconds_of_a_cell(architecture: str, activation: str) -> float:
    """Wall time of the command that trains ``CELL_TRIALS`` trials of the CPU configuration, all included."""
    with tempfile.TemporaryDirectory() as folder:
        places = ["--results-dir", f"{folder}/results", "--checkpoints-dir", f"{folder}/checkpoints"]
        what = ["--models", architecture, "--activations", activation, "--trials", f"{CELL_TRIALS}"]
        command = [sys.executable, "run_all_experiments.py", "--config", "cpu", *what, *places]
        start = time.perf_counter()
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        return time.perf_counter() - start

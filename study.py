"""A study: which configuration, on which device, under which name, and where its results lie."""

import argparse
import platform
import subprocess
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch

import cli
import config as full_config
import config_cpu
from config import STREAMS, Config
from dataset import Corpus
from storage import (
    CHECKPOINTS_DIR,
    RESULTS_DIR,
    ROOT,
    Cell,
    Store,
    UserError,
    check_study_name,
    identity,
    read_corpus,
)

CONFIGS = {"cuda": full_config.CONFIG, "cpu": config_cpu.CONFIG}


@dataclass(frozen=True)
class Study:
    """A configuration, the device it runs on, and where its results lie.

    ``config.study`` is the study's name, ``scale`` that of the configuration it was made from (cpu or cuda).
    With ``cuda_graphs`` training steps are replayed (``steps.RecordedStep``), which changes no number.
    """

    config: Config
    scale: str
    device: str
    store: Store
    cuda_graphs: bool = False

    @property
    def precision(self) -> str:
        return "bfloat16" if self.device == "cuda" else "float32"

    def cell(self, model: str, activation: str) -> Cell:
        return Cell(model, activation, self.config.study)

    def identity(self, cell: Cell) -> dict:
        """All that can change the numbers of a cell's trials."""
        return identity(self.config, cell.model, cell.activation, self.device, self.precision)


def add_study_options(parser: argparse.ArgumentParser) -> None:
    """The options that train.py and run_all_experiments.py share."""
    parser.add_argument("--trials", type=cli.positive_int, metavar="N", help="trials of a cell (default: 3)")
    parser.add_argument("--iterations", type=cli.positive_int, metavar="K", help="training steps of a trial")
    parser.add_argument(
        "--eval-interval", type=cli.positive_int, metavar="K", help="training steps between evaluations"
    )
    parser.add_argument(
        "--config",
        choices=("auto", *CONFIGS),
        default="auto",
        help="cuda: the full study, config.py; cpu: laptop scale, config_cpu.py; auto: by whether CUDA is there",
    )
    parser.add_argument("--device", choices=("cpu", "cuda", "mps"), help="default: the configuration's own")
    parser.add_argument(
        "--cuda-graphs", action="store_true", help="replay training steps on a GPU; the same bits, sooner (untested)"
    )
    parser.add_argument(
        "--vary",
        nargs="+",
        choices=(*STREAMS, "none"),
        metavar="STREAM",
        help=f"a control: only these of {', '.join(STREAMS)} differ between trials (none: all trials are the same)",
    )
    parser.add_argument("--study", metavar="NAME", help="name of the results (default: cpu or cuda)")
    parser.add_argument("--results-dir", type=Path, default=RESULTS_DIR, metavar="DIR")
    parser.add_argument("--checkpoints-dir", type=Path, default=CHECKPOINTS_DIR, metavar="DIR")


def study_from(args: argparse.Namespace, runs_here: bool = True) -> Study:
    """The study that the options ask for; UserError where they cannot be met, if it ``runs_here``."""
    has_cuda = torch.cuda.is_available()
    scale = ("cuda" if has_cuda else "cpu") if args.config == "auto" else args.config
    config = CONFIGS[scale]
    device = args.device or config.device
    if device == "cuda" and runs_here and not has_cuda:
        raise UserError("no CUDA device is available here; choose --config cpu, or --device cpu")
    if device == "mps" and runs_here and not torch.backends.mps.is_available():
        raise UserError("no MPS device is available here; choose --device cpu")
    if args.cuda_graphs and device != "cuda":
        raise UserError(f"--cuda-graphs is for CUDA devices, not for {device}")
    default = config.study if device == config.device else f"{config.study}_on_{device}"
    name = default if args.study is None else args.study
    vary = args.vary and tuple(name for name in STREAMS if name in args.vary)
    changes = {
        "study": check_study_name(name),
        "iterations": args.iterations,
        "eval_interval": args.eval_interval,
        "n_trials": args.trials,
        "vary": vary,
    }
    config = replace(config, **{key: value for key, value in changes.items() if value is not None})
    store = Store(args.results_dir.absolute(), args.checkpoints_dir.absolute())
    return Study(config, scale, device, store, args.cuda_graphs)


@cache
def environment(device: str) -> dict:
    """What numbers are made with and on."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "system": platform.system(),
        "machine": platform.machine(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "threads": 1 if device == "cpu" else torch.get_num_threads(),
        "commit": commit(),
    }


def commit() -> str:
    """The commit of the code, "-dirty" if its modules were changed since; "unknown" outside a repository."""

    def git(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)

    found = git("rev-parse", "--short=12", "HEAD").stdout.strip()
    changed = git("diff", "--quiet", "HEAD", "--", "*.py").returncode
    return found + "-dirty" * bool(changed) if found else "unknown"


@cache
def load_corpus(device: str) -> Corpus:
    """Tiny Shakespeare as tokens on ``device``; UserError if it is missing or altered."""
    return Corpus.from_text(read_corpus(), device)

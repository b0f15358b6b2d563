"""Runs a study: finds which of its trials are pending and trains them on a pool of worker processes.

Running again continues: what is done is kept, what is missing or was cut off is run.
"""

import argparse
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

import torch

from activations import ACTIVATIONS
from config import ACTIVATION_GROUPS, STREAMS
from labels import counted
from model import ARCHITECTURES
from runner.progress import Progress, clock
from runner.verify import reproduce, verify
from runner.workers import Event, run_jobs
from study import cli
from study.cell import cells_to_reuse, check_cell, update_cell
from study.corpus import read_corpus
from study.files import UserError, check_writable, write_bytes
from study.options import add_study_options, check_names, names_from, study_from
from study.plan import Job, Study, describe_plan, failed_jobs, pending_jobs, planned_jobs, without_complete_cells
from study.store import Cell
from train import tell

FAILED = 1  # the exit code when a trial failed, or a check found something


# ---------------------------------------------------------------- the run


Runner = Callable[[list[Job], Callable[[Event], None], Callable[[], bool]], None]


def run_study(study: Study, jobs: list[Job], pending: list[Job], runner: Runner) -> int:
    """Train ``pending``, tell how it goes and how it ended; returns the exit code."""
    progress = Progress(study, jobs, pending)

    def hear(event: Event) -> None:
        progress.hear(event)
        keep_error(study, event)

    with cli.stop_signals() as received:
        runner(pending, hear, lambda: bool(received))
        # On the way, results of trials that were done may have turned out to be damaged; a worker may have been told
        # to stop; and what another run had in work may be free now.
        settled = {event.job for event in progress.of_kind("done") + progress.of_kind("failed")}
        again = [job for job in pending_jobs(study, jobs) if job not in settled]
        if again and not received:
            progress.done -= set(again)
            runner(again, hear, lambda: bool(received))
    progress.bar.close()
    if received:
        cli.say(cli.STOPPED)
        return 128 + received[0]
    return conclude(study, progress)


def update_cells(study: Study, cells: Iterable[Cell]) -> None:
    """Bring cell files up to date that lack a finished trial, as after a run that was killed just before."""
    for cell in cells:
        done, found = study.store.done_trials(cell), study.store.read_cell(cell)
        if done and (found is None or not done <= {trial["trial"] for trial in found["trials"]}):
            update_cell(study, cell, report=tell)


def keep_error(study: Study, event: Event) -> None:
    """Keep the text of a failed trial's error beside its record; take it away once the trial is done."""
    path = study.store.error_path(*event.job)
    try:
        if event.kind == "failed":
            write_bytes(path, event.detail.encode())
        elif event.kind == "done":
            path.unlink(missing_ok=True)
    except OSError as error:
        print(f"cannot bring {path} up to date: {error.strerror}", file=sys.stderr)


def conclude(study: Study, progress: Progress) -> int:
    """Say how the run ended; returns the exit code."""
    failed, busy = progress.of_kind("failed"), progress.of_kind("busy")
    diverged = sum(event.detail == "diverged" for event in progress.of_kind("done"))
    stopped = progress.n_jobs - len(progress.done) - len(failed) - len(busy)
    cli.say(
        f"{len(progress.done)} of {progress.n_jobs} trials done, {len(failed)} failed, {diverged} diverged, "
        f"in {clock(time.monotonic() - progress.start)}"
    )
    if busy:
        cli.say(f"{counted(len(busy), 'trial')} left to another run, which has them in work")
    if stopped:
        cli.say(f"{counted(stopped, 'trial')} not finished, because workers were told to stop; run again to go on")
    for event in failed:
        (cell, number), path = event.job, study.store.error_path(*event.job)
        if not path.exists():
            keep_error(study, event)  # the disk was full then, perhaps
        where = f"see {path}" if path.exists() else "whose error could not be kept"
        cli.say(f"failed: {cell.name} trial {number}, {where}")
    return FAILED if failed or stopped else 0


def workers_for(device: str) -> int:
    """One worker for each core on the CPU, for each GPU with CUDA."""
    if device == "cuda":
        return torch.cuda.device_count()
    if device == "mps":
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = cli.Parser(
        prog="run_all_experiments.py",
        description="Train every pending trial of a study. Running again continues where it stopped.",
    )
    all_models = f"all, or some of: {', '.join(ARCHITECTURES)}"
    groups = ", ".join(ACTIVATION_GROUPS)
    all_activations = f"all (those of the study), or some of: {groups} (lists), {', '.join(ACTIVATIONS)}"
    parser.add_argument("--models", nargs="+", default=["all"], metavar="NAME", help=all_models)
    parser.add_argument("--activations", nargs="+", default=["all"], metavar="NAME", help=all_activations)
    add_study_options(parser)
    parser.add_argument(
        "--workers", type=cli.positive_int, metavar="W", help="processes (default: one per core, or one per GPU)"
    )
    parser.add_argument(
        "--shard", type=shard, default=(1, 1), metavar="I/N", help="only trials I, I+N, ... of the plan"
    )
    parser.add_argument(
        "--skip-complete",
        action="store_true",
        help="leave out cells whose file in the results folder holds all their trials: to go on with a study of "
        "which only those files are here, as in a fresh clone",
    )
    parser.add_argument(
        "--reuse",
        metavar="STUDY",
        help="take over the cells that this other study has complete and with the same settings, instead of "
        "training them again",
    )
    parser.add_argument("--retry-failed", action="store_true", help="run only the trials whose last run failed")
    parser.add_argument(
        "--scheduler", metavar="ADDRESS|FILE", help="train on a dask.distributed cluster instead of this machine"
    )
    parser.add_argument("--verify", action="store_true", help="check every result against its hashes, and stop")
    parser.add_argument(
        "--reproduce",
        nargs=3,
        metavar=("MODEL", "ACTIVATION", "TRIAL"),
        help="train one trial again, aside, say whether it comes out the same, and stop",
    )
    parser.add_argument("--dry-run", action="store_true", help="print what is done and what is pending, and stop")
    parser.add_argument("--analyze", action="store_true", help="print the tables and draw the figures at the end")
    parser.add_argument(
        "--controls",
        action="store_true",
        help=f"then the same with --vary none, {', '.join(STREAMS)}, as studies NAME_none and so on",
    )
    args = parser.parse_args(argv)
    if args.controls and args.vary:
        parser.error("--controls chooses itself what to vary; leave --vary out")
    return args


def shard(text: str) -> tuple[int, int]:
    """The value of --shard."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    index, count = (int(part) for part in match.groups()) if match else (0, 0)
    if not 1 <= index <= count:
        raise argparse.ArgumentTypeError(f"{text!r} is not I/N with 1 <= I <= N")
    return index, count


def studies_from(args: argparse.Namespace) -> list[Study]:
    """The study asked for and, with --controls, its controls: nothing differs between their trials, or one stream."""
    study = study_from(args, runs_here=not (args.scheduler or args.verify or args.dry_run))
    varied = {"none": (), **{name: (name,) for name in STREAMS}} if args.controls else {}
    name = study.config.study
    configs = [replace(study.config, study=f"{name}_{kind}", vary=vary) for kind, vary in varied.items()]
    return [study, *(replace(study, config=config) for config in configs)]


def run(args: argparse.Namespace) -> int:
    code, studies = 0, studies_from(args)
    for study in studies:
        code = max(code, run_one(study, args))
        if code > FAILED:
            return code
    if args.analyze and not (args.reproduce or args.verify or args.dry_run):
        import analyze_results  # here, because it loads the plotting library

        options = ["--results-dir", str(args.results_dir), *(["--study", args.study] if args.study else [])]
        code = analyze_results.main(options) or code
    return code


def run_one(study: Study, args: argparse.Namespace) -> int:
    """What the options ask for, of one study; returns the exit code."""
    if args.reproduce:
        return run_reproduce(study, *args.reproduce)
    models = names_from(args.models, {"all": study.config.models})
    activations = names_from(args.activations, {"all": study.config.activations, **ACTIVATION_GROUPS})
    check_names(study, models, activations)
    index, count = args.shard
    jobs = planned_jobs(study, models, activations)[index - 1 :: count]
    if args.verify:
        return run_verify(study, jobs)
    cells = dict.fromkeys(cell for cell, _ in jobs)
    for cell in cells:
        check_cell(study, cell)
    if args.skip_complete:
        jobs = without_complete_cells(study, jobs)
    reused = cells_to_reuse(study, cells, args.reuse) if args.reuse else {}
    jobs = [job for job in jobs if job[0] not in reused]
    pending = pending_jobs(study, jobs)
    if args.retry_failed:
        jobs = pending = failed_jobs(study, pending)
    n_workers = args.workers or workers_for(study.device)
    where = f"the cluster at {args.scheduler}" if args.scheduler else counted(n_workers, "worker")
    if args.reuse:
        cli.say(f"taken over from study {args.reuse!r}: {', '.join(cell.name for cell in reused) or 'no cell'}")
    cli.say(announce(study, len(jobs), len(pending), where, args))
    if args.dry_run:
        cli.say(describe_plan(study, jobs, pending))
        return 0
    read_corpus()
    for folder in (study.store.results, study.store.checkpoints):
        check_writable(folder)
    try:
        for cell, content in reused.items():
            study.store.write_cell(cell, content)
        update_cells(study, cells)
        for job in set(jobs) - set(pending):
            study.store.error_path(*job).unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {study.store.results}: {error.strerror}") from None
    return run_study(study, jobs, pending, choose_runner(study, n_workers, args.scheduler))


def choose_runner(study: Study, n_workers: int, scheduler: str | None) -> Runner:
    if scheduler is None:
        return partial(run_jobs, study, n_workers)
    from cluster import run_on_cluster  # here, because the local path needs no dask

    return partial(run_on_cluster, study, scheduler)


def run_verify(study: Study, jobs: list[Job]) -> int:
    findings = list(verify(study, jobs))
    for kind, what in findings:
        cli.say(f"{kind:8} {what}")
    counts = [f"{sum(kind == k for kind, _ in findings)} {k}" for k in ("missing", "damaged", "foreign")]
    cli.say(f"study {study.config.study!r}, {len(jobs)} trials: {', '.join(counts)}")
    if any(kind == "damaged" for kind, _ in findings):
        cli.say("remove the record (trial_<i>.json) of what is damaged, or the cell file, and run again to mend it")
    return FAILED if findings else 0


def run_reproduce(study: Study, model: str, activation: str, trial: str) -> int:
    check_names(study, [model], [activation])
    try:
        number = cli.positive_int(trial)
    except argparse.ArgumentTypeError as error:
        raise UserError(f"--reproduce: trial {error}") from None
    same, account = reproduce(study, study.cell(model, activation), number, tell)
    cli.say(account)
    cli.say("the same bits" if same else "NOT the same bits")
    return 0 if same else FAILED


def announce(study: Study, n_jobs: int, n_pending: int, where: str, args: argparse.Namespace) -> str:
    """What is about to run, and why this configuration."""
    config = study.config
    found = "a CUDA device is here" if torch.cuda.is_available() else "no CUDA device is here"
    why = found if args.config == "auto" else "as asked"
    part = " of this shard" if args.shard[1] > 1 else ""
    return (
        f"study {config.study!r}: the {study.scale.upper()} configuration ({why}), "
        f"on {study.device}, {where}\n"
        f"{counted(n_jobs, 'trial')}{part} of {counted(config.iterations, 'iteration')}: "
        f"{n_jobs - n_pending} done, {n_pending} pending"
    )


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    try:
        return run(args)
    except UserError as error:
        return cli.report_mistake("run_all_experiments.py", error)
    except KeyboardInterrupt:
        print("stopped; the same command can be given again", file=sys.stderr)
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())

"""Runs a study: finds which of its trials are pending and trains them on a pool of worker processes.

Running again continues: what is done is kept, what is missing or was cut off is run.
"""

import argparse
import re
from dataclasses import replace

from config import ACTIVATION_GROUPS, ACTIVATIONS, MODEL_GROUPS, MODELS, MODERN, PARENTS, SCALED, STREAMS
from labels import counted
from runner.first_step import check_cells
from runner.study_run import check_places, choose_backend, run_study, workers_for
from runner.verify import report_reproduction, report_verification
from study import cli
from study.carry_on import continuation_of
from study.cell import cells_to_reuse, check_begun, check_cell
from study.corpus import read_corpus
from study.options import MOST_SHARDS, MOST_WORKERS, add_study_options, check_names, names_from, study_from
from study.own_code import short_name
from study.plan import (
    Job,
    Plan,
    Study,
    describe_plan,
    has_cuda,
    pending_jobs,
    planned_jobs,
    without_landscape,
    without_pilot,
)
from study.store import check_study_name

# ---------------------------------------------------------------- options

# What a mode would not heed.
IGNORED = {
    "verify": ("reuse", "workers", "scheduler"),
    "reproduce": ("models", "activations", "controls", "reuse", "shard", "workers", "scheduler"),
}


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = cli.Parser(
        prog="run_all_experiments.py",
        description="Train every pending trial of a study. Running again continues where it stopped.",
    )
    _add_cells(parser)
    add_study_options(parser)
    _add_where(parser)
    _add_instead(parser)
    args = parser.parse_args(argv)
    for chosen, ignored in IGNORED.items():
        given = [name for name in ignored if getattr(args, name) != parser.get_default(name)]
        if getattr(args, chosen) and given:
            parser.error(f"--{chosen} has no use for --{given[0]}; leave it out")
    tls = [args.tls_ca_file, args.tls_cert, args.tls_key]
    if any(tls) and not (all(tls) and args.scheduler):
        parser.error("--tls-ca-file, --tls-cert and --tls-key are given together, and with --scheduler")
    if args.controls and args.vary:
        parser.error("--controls chooses itself what to vary; leave --vary out")
    return args


def _add_cells(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("which trials")
    all_models = (
        f"all (those of the study), or some of: {', '.join(MODEL_GROUPS)} (lists), {', '.join((*MODELS, *PARENTS))}, "
        f"{' and '.join(SCALED)} in any size, such as {SCALED[0]}@0.25M, what else model.py has, and your own, such "
        "as my.py:GRULM"
    )
    groups = ", ".join(ACTIVATION_GROUPS)
    names = ", ".join(dict.fromkeys((*ACTIVATIONS, *MODERN)))
    all_activations = (
        f"all (those of the study), or some of: {groups} (lists), {names}, what else activations.py has, and "
        "your own, such as my.py:Snake"
    )
    group.add_argument("--models", nargs="+", default=["all"], metavar="NAME", help=all_models)
    group.add_argument("--activations", nargs="+", default=["all"], metavar="NAME", help=all_activations)
    group.add_argument(
        "--controls",
        action="store_true",
        help=f"then the same with --vary none, {', '.join(STREAMS)}, as studies NAME_none and so on, which shows "
        "which source of randomness causes the differences",
    )
    group.add_argument(
        "--reuse",
        type=cli.nonempty,
        metavar="STUDY",
        help="copy the cells that this other study has complete and with the same settings, instead of training "
        "them again",
    )
    group.add_argument(
        "--shard",
        type=shard,
        default=(1, 1),
        metavar="I/N",
        help="only trials I, I+N, ... of the plan: for job arrays without a scheduler, one shard a job",
    )


def _add_where(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("where trials run")
    where = group.add_mutually_exclusive_group()
    where.add_argument(
        "--workers",
        type=cli.up_to(MOST_WORKERS),
        metavar="W",
        help="processes (default: one per core, or one per GPU)",
    )
    where.add_argument(
        "--scheduler",
        type=cli.nonempty,
        metavar="ADDRESS|FILE",
        help="train on a dask.distributed cluster instead of this machine",
    )
    for name, what in (
        ("ca-file", "certificate authority"),
        ("cert", "certificate"),
        ("key", "key of the certificate"),
    ):
        group.add_argument(
            f"--tls-{name}", type=cli.nonempty, metavar="FILE", help=f"of a tls:// scheduler: {what}, in PEM format"
        )
    group.add_argument(
        "--started-file",
        type=cli.path,
        metavar="FILE",
        help="write the process id to this file once folders, corpus and scheduler have been found usable",
    )


def _add_instead(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("instead of training, or after it")
    mode = group.add_mutually_exclusive_group()
    mode.add_argument("--dry-run", action="store_true", help="print what is done and what is pending, and stop")
    mode.add_argument("--verify", action="store_true", help="check every result against its hashes, and stop")
    mode.add_argument(
        "--reproduce",
        nargs=3,
        metavar=("MODEL", "ACTIVATION", "TRIAL"),
        help="train one trial again in a temporary folder, say whether it comes out the same, and stop",
    )
    mode.add_argument("--analyze", action="store_true", help="print the tables and draw the figures at the end")


def shard(text: str) -> tuple[int, int]:
    """The value of --shard."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    index, count = (cli.whole_number(match[1]) or 0, cli.whole_number(match[2]) or 0) if match else (0, 0)
    if not 1 <= index <= count <= MOST_SHARDS:
        raise argparse.ArgumentTypeError(f"{text!r} is not I/N with 1 <= I <= N <= {MOST_SHARDS:,}")
    return index, count


# ---------------------------------------------------------------- plan


def studies_from(args: argparse.Namespace) -> list[Study]:
    """The study asked for and, with --controls, its controls: nothing differs between their trials, or one stream."""
    study = study_from(args, runs_here=not (args.scheduler or args.verify or args.dry_run))
    if not args.controls:
        return [study]
    varied: dict[str, tuple[str, ...]] = {"none": (), **{name: (name,) for name in STREAMS}}
    name = study.config.study
    configs = [
        replace(study.config, study=check_study_name(f"{name}_{kind}"), vary=vary) for kind, vary in varied.items()
    ]
    return [study, *(replace(study, config=config) for config in configs)]


def jobs_from(study: Study, args: argparse.Namespace) -> list[Job]:
    """The trials asked for, of this shard."""
    asked = names_from(args.models, {"all": study.config.models, **MODEL_GROUPS})
    models = list(dict.fromkeys(map(short_name, asked)))
    asked = names_from(args.activations, {"all": study.config.activations, **ACTIVATION_GROUPS})
    activations = list(dict.fromkeys(map(short_name, asked)))
    check_names(study, models, activations)
    index, count = args.shard
    return planned_jobs(study, models, activations)[index - 1 :: count]


def make_plan(study: Study, jobs: list[Job], reuse: str | None) -> Plan:
    """What is to be trained and what is copied from study ``reuse``; UserError where other results are there."""
    cells = dict.fromkeys(cell for cell, _ in jobs)
    carried = [found for cell in cells if (found := continuation_of(study, cell))]
    for each in carried:
        for line in each.describe(study):
            cli.say(line)
    for cell in cells:
        if cell not in [each.cell for each in carried]:
            check_cell(study, cell)
            check_begun(study, cell)
    reused = cells_to_reuse(study, cells, reuse) if reuse else {}
    jobs = [job for job in jobs if job[0] not in reused]
    return Plan(jobs, pending_jobs(study, jobs), reused, tuple(each.cell for each in carried))


def announce(study: Study, plan: Plan, n_workers: int, args: argparse.Namespace) -> None:
    """Say what is about to run, where, and why in this configuration."""
    if args.reuse:
        names = ", ".join(cell.name for cell in plan.reused)
        copied = "to be copied" if args.dry_run else "copied"
        cli.say(f"{copied} from study {args.reuse!r}: {names or 'no cell'}")
    config, n_pending = study.config, len(plan.pending)
    found = "a CUDA device is here" if has_cuda() else "no CUDA device is here"
    why = found if args.config == "auto" else "as asked"
    here = counted(n_workers, "worker") if n_workers else "which this machine does not have"
    where = f"the cluster at {args.scheduler}" if args.scheduler else here
    part = " of this shard" if args.shard[1] > 1 else ""
    cli.say(
        f"study {config.study!r}: the {study.scale.upper()} configuration ({why}), on {study.device}, {where}\n"
        f"{counted(len(plan.jobs), 'trial')}{part} of {counted(config.iterations, 'iteration')}: "
        f"{len(plan.jobs) - n_pending} done, {n_pending} pending"
    )
    if line := without_pilot(study, plan.jobs):
        cli.say(line)
    if args.landscape and (line := without_landscape(study, plan.jobs)):
        cli.say(line)


# ---------------------------------------------------------------- run


def run(args: argparse.Namespace) -> int:
    """What the options ask for, of the study and its controls; returns the exit code."""
    code, studies = 0, studies_from(args)
    for study in studies:
        code = max(code, run_one(study, args))
        if code > cli.FAILED:
            return code
    if args.analyze:
        import analyze_results  # here, because it loads the plotting library

        options = ["--study", studies[0].config.study, "--results-dir", str(args.results_dir)]
        code = analyze_results.main(options) or code
    return code


def run_one(study: Study, args: argparse.Namespace) -> int:
    """What the options ask for, of one study; returns the exit code."""
    if args.reproduce:
        model, activation, trial = args.reproduce
        return report_reproduction(study, short_name(model), short_name(activation), trial)
    jobs = jobs_from(study, args)
    if args.verify:
        return report_verification(study, jobs)
    plan = make_plan(study, jobs, args.reuse)
    n_workers = args.workers or workers_for(study.device)
    announce(study, plan, n_workers, args)
    if args.dry_run:
        cli.say(describe_plan(plan))
        check_places(study)
    # So that what every trial needs is a mistake of the command where it is missing, not a failure of each trial.
    if not study.text:
        read_corpus()
    files = {"tls_ca_file": args.tls_ca_file, "tls_client_cert": args.tls_cert, "tls_client_key": args.tls_key}
    tls = {name: path for name, path in files.items() if path}
    backend = choose_backend(study, n_workers, args.scheduler, tls)
    if plan.pending and (study.own or not args.dry_run):
        check_cells(study, plan.cells)
    return 0 if args.dry_run else run_study(study, plan, backend, args.started_file)


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    return cli.outcome("run_all_experiments.py", lambda: run(args))


if __name__ == "__main__":
    cli.leave(main())

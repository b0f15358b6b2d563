"""The folder that the trials of one task lie in: what they were made with, and which are complete."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from msgspec import Struct

from config import RECIPE
from own.plan import Plan
from own.task import Task, hashed
from own.trial import Job, Result, Setting, drawn_batch
from study.files import ROOT, OtherSettings, check_form, digest, read_bytes, read_checked, write_checked
from study.options import MOST_STEPS
from study.store import versions
from study.users_code import users_code

PLAN_NAME = "plan.json"
MOST_SEEDS = 1_000_000  # far above what was ever planned, and few enough to be looked for one by one
FACTS = {
    "source": "the task's code",
    "batch": "the training data",
    "probe": "probe",
    "targets": "targets",
    "activations": "activations.py",
    "recipe": "the way trials are trained",
    "device": "the device",
    "torch": "PyTorch's version",
    "numpy": "NumPy's version",
}


class PlanForm(Struct):
    """What ``PLAN_NAME`` holds."""

    facts: dict[str, str]
    plan: Plan


def facts_of(task: Task, device: str) -> dict:
    """What a trial's numbers depend on, beside its activation, seed and steps. Of the training data, which may come
    from a file or another package, the batch of the first step from seed 0 stands for all."""
    with users_code(task.path):
        first_batch = hashed(drawn_batch(task, 0, 0))
    return {
        "source": task.source,
        "batch": first_batch,
        "probe": hashed(task.probe),
        "targets": hashed(task.targets),
        "activations": digest(read_bytes(ROOT / "activations.py")),
        "recipe": str(RECIPE),
        "device": device,
        **versions(),
    }


def planned_before(folder: Path, facts: dict) -> Plan | None:
    """The plan that a folder was begun with; OtherSettings if its trials were made with other ``facts``."""
    path = folder / PLAN_NAME
    if not path.exists():
        return None
    found = read_checked(path)
    check_form(path, found, PlanForm, plan_faults)
    differ = [name for name in facts if found["facts"].get(name) != facts[name]]
    if differ:
        raise OtherSettings(
            f"{folder} has trials from before {' and '.join(FACTS[name] for name in differ)} changed; "
            "choose another --results-dir, or remove it"
        )
    return Plan(**found["plan"])


def plan_faults(form: PlanForm) -> Iterator[str]:
    if not 0 < form.plan.seeds <= MOST_SEEDS:
        yield f"plan.seeds: {form.plan.seeds}"
    if not 0 < form.plan.steps <= MOST_STEPS:
        yield f"plan.steps: {form.plan.steps}"


def write_plan(folder: Path, facts: dict, plan: Plan) -> None:
    write_checked(folder / PLAN_NAME, {"facts": facts, "plan": asdict(plan)})


def jobs_of(activations: Sequence[str], seeds: int, seed_base: int) -> list[Job]:
    """Seed by seed over all activations, so that stopping early leaves whole seeds."""
    return [Job(name, seed) for seed in range(seed_base, seed_base + seeds) for name in activations]


def pending_of(setting: Setting, jobs: Sequence[Job]) -> list[Job]:
    return [job for job in jobs if setting.result(job) is None]


def complete_seeds(
    setting: Setting, activations: Sequence[str], seeds: Sequence[int]
) -> Iterator[tuple[int, dict[str, Result]]]:
    """Each seed whose trials are complete with every activation, and their results."""
    for seed in seeds:
        found = {name: setting.result(Job(name, seed)) for name in activations}
        complete = {name: result for name, result in found.items() if result is not None}
        if len(complete) == len(found):
            yield seed, complete

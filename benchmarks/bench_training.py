"""How fast training is: the obvious loop, ours as the runner runs it, and the floor, side by side.

    python -m benchmarks.bench_training [--cases charlm small ...] [--steps 3] [--rounds 9]

For each architecture of the CPU configuration and for a small shape, in turns within one run:
  obvious  plain modules as one would write them (benchmarks/obvious.py), in four arrangements: eager or compiled, one
           process of two threads or two processes of one
  ours     two processes of one thread, each training a trial; also in bfloat16, where the processor multiplies such
           numbers itself
  floor    only the kernels of a step that do its arithmetic (benchmarks/floor.py), on both cores
Reported are median, minimum and maximum over the rounds, and ratios of what ran in the same round. Then the command
that trains a cell of two trials of 100 iterations is timed, beside what the obvious loop would take that evaluates
one sample at a time. Machines differ and are noisy: read the ratios.
"""

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path

import config_cpu
from benchmarks.contenders import Contender, ratios, spread
from benchmarks.floor import floor_step
from benchmarks.obvious import obvious_evaluation, obvious_step
from benchmarks.ours import CELL_TRIALS, our_bfloat16_step, our_step, parts_of_a_trial, seconds_of_a_cell
from benchmarks.training_shown import describe, draw
from config import Config, Shape
from labels import label
from study import cli
from study.environment import environment, has_bfloat16_products
from study.files import PLOTS_DIR, ROOT, write_bytes, write_json
from study.plan import load_corpus
from training.dataset import whole_split

CONFIG = config_cpu.CONFIG
CORES = 2
ARRANGEMENTS = {  # of the obvious loop: processes, threads of each, compiled
    "eager, 2 threads": (1, CORES, False),
    "eager, 2 processes": (CORES, 1, False),
    "compiled, 2 threads": (1, CORES, True),
    "compiled, 2 processes": (CORES, 1, True),
}


@dataclass(frozen=True)
class Case:
    """An architecture in a configuration, by a name."""

    name: str
    model: str
    config: Config

    @property
    def characters(self) -> int:
        """In a training step."""
        return self.config.batch_size * self.config.context


SMALL = replace(
    CONFIG,
    shapes={"minigpt": Shape(layers=4, width=128, hidden=512, heads=4)},
    context=64,
    batch_size=12,
    dropout=0.0,
)
CASES = {name: Case(label(name), name, CONFIG) for name in CONFIG.models}
CASES["small"] = Case("MiniGPT, small", "minigpt", SMALL)
GOALS = {  # times as fast as the best obvious loop, at least
    "ours": {"charlm": 1.6, "minigpt": 1.6, "hybridlm": 1.6, "small": 1.2},
    "ours, bfloat16": {"charlm": 2.3, "minigpt": 2.3, "hybridlm": 2.3, "small": 1.6},
}
GOALS_ELSEWHERE = {"ours": 1.3, "ours, bfloat16": 1.7}  # of the other cases
GOAL_OF_SHARE = 0.08  # of evaluation and saving, at most


def bench(key: str, activation: str, steps: int, rounds: int) -> dict:
    case = CASES[key]
    what = (case.model, activation, case.config)
    contenders = {
        name: Contender(obvious_step, (*what, threads, compiled), processes, as_worker=False)
        for name, (processes, threads, compiled) in ARRANGEMENTS.items()
    }
    contenders["ours"] = Contender(our_step, what, CORES, as_worker=True)
    if has_bfloat16_products():
        contenders["ours, bfloat16"] = Contender(our_bfloat16_step, what, CORES, as_worker=True)
    contenders["floor"] = Contender(floor_step, what, CORES, as_worker=True)
    one_sample = Contender(obvious_evaluation, (*what, CORES), 1, as_worker=False)
    for contender in (*contenders.values(), one_sample):
        contender.wait_until_ready()
    for _ in range(rounds):
        for contender in contenders.values():
            contender.measure(steps)
    one_sample.measure(30)
    for contender in (*contenders.values(), one_sample):
        contender.stop()
    per_second = {
        name: [turns * case.characters for turns in contender.per_second()] for name, contender in contenders.items()
    }
    rates = {name: spread(values) for name, values in per_second.items()}
    best = max(ARRANGEMENTS, key=lambda name: rates[name]["median"])
    compared = {
        f"{ours} / {name}": ratios(per_second[ours], per_second[name])
        for ours in contenders
        if ours.startswith("ours")
        for name in (*ARRANGEMENTS, "floor")
    }
    parts = parts_of_a_trial(CORES, *what, steps)
    fewer = parts.pop("evaluation, fewer contexts between")
    whole = sum(parts.values())
    training = whole - parts["evaluation"] - parts["saving"]
    return {
        "name": case.name,
        "model": case.model,
        "activation": activation,
        "steps": steps,
        "rounds": rounds,
        "characters_per_second": rates,
        "best_obvious": best,
        "ratios": compared,
        "ours_to_obvious": compared[f"ours / {best}"]["median"],
        "goals": {name: GOALS[name].get(key, GOALS_ELSEWHERE[name]) for name in GOALS if name in contenders},
        "ours_to_floor": compared["ours / floor"]["median"],
        "obvious_seconds_per_sample": 1 / one_sample.per_second()[0],
        "seconds_of_parts": parts,
        "share_of_evaluation_and_saving": 1 - training / whole,
        "share_with_fewer_contexts": (fewer + parts["saving"]) / (training + fewer + parts["saving"]),
        "peak_memory_mb": {name: contender.peak for name, contender in contenders.items()},
    }


def compare_cells(case: Case, result: dict) -> dict:
    """A whole cell by the runner's command, and by the obvious loop from its measured rates: it evaluates the same
    windows and contexts, one at a time."""
    config = case.config
    evaluations = config.iterations // config.eval_interval + 1
    whole_windows = sum(len(inputs) for inputs, _ in whole_split(load_corpus("cpu").validation, config))
    samples = evaluations * (config.probe_contexts + 2 * config.eval_windows) + whole_windows
    rate = result["characters_per_second"][result["best_obvious"]]["median"]
    obvious = CELL_TRIALS * (
        config.iterations * case.characters / rate + samples * result["obvious_seconds_per_sample"]
    )
    ours = seconds_of_a_cell(result["model"], result["activation"])
    return {"model": result["model"], "ours_seconds": ours, "obvious_seconds": obvious, "ratio": obvious / ours}


def main(argv: list[str] | None = None) -> None:
    parser = cli.Parser(
        prog="bench_training", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--activation", choices=CONFIG.activations, default="gelu")
    parser.add_argument("--steps", type=cli.positive_int, default=3, help="training steps of a turn")
    parser.add_argument("--rounds", type=cli.positive_int, default=9, help="turns of each contender")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results" / "bench_training.json")
    parser.add_argument("--figure", type=Path, default=PLOTS_DIR / "bench_training.png")
    args = parser.parse_args(argv)
    results = []
    for name in args.cases:
        results.append(bench(name, args.activation, args.steps, args.rounds))
        print(json.dumps(results[-1]), flush=True)
    print(f"\n{describe(results, CORES)}")
    found = {"environment": environment("cpu"), "goal_of_share": GOAL_OF_SHARE, "results": results}
    if args.cases[0] != "small":  # which the command that trains a cell does not have
        cell = found["cell"] = compare_cells(CASES[args.cases[0]], results[0])
        print(
            f"\na cell of {CELL_TRIALS} trials x {CONFIG.iterations} iterations of {label(cell['model'])}: "
            f"{cell['ours_seconds']:.1f} s, the obvious loop {cell['obvious_seconds']:.1f} s: "
            f"{cell['ratio']:.2f} times"
        )
    write_json(args.output, found)
    write_bytes(args.figure, draw(results, CORES))
    print(f"\nwritten to {args.output} and {args.figure}")


if __name__ == "__main__":
    main()

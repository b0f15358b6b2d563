"""What ``compare.py`` costs: its time, CPU seconds and peak memory for models of many samples and classes.

  python -m benchmarks.bench_compare [--models 20] [--samples 10000] [--classes 1000]

Writes made-up probabilities in float32 into a temporary folder, 800 MB of them if no option is given, and compares
all as one group. The goals are for two cores, and for as many as are compared then.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from study import cli
from study.environment import environment
from study.files import ROOT, write_json

GOALS = {"seconds": 60, "megabytes": 4000}
WRITTEN_AT_ONCE = 1000  # samples
SPREAD, NOISE = 2.0, 0.5  # of the logits that all models share, and of what each adds


def write_models(folder: Path, models: int, samples: int, classes: int) -> list[Path]:
    """A file of probabilities (samples, classes) for each model, written in parts."""
    paths = [folder / f"model_{number}.npy" for number in range(models)]
    for number, path in enumerate(paths):
        values = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(samples, classes))
        for start in range(0, samples, WRITTEN_AT_ONCE):
            part = values[start : start + WRITTEN_AT_ONCE]
            part[:] = SPREAD * np.random.default_rng(start).standard_normal(part.shape, np.float32)
            part += NOISE * np.random.default_rng([start, number]).standard_normal(part.shape, np.float32)
            np.exp(part, out=part)
            part /= part.sum(axis=1, keepdims=True)
        values.flush()
    return paths


def bench(models: int, samples: int, classes: int) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        paths = write_models(Path(folder), models, samples, classes)
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        command = [sys.executable, str(ROOT / "compare.py"), *map(str, paths), "--json"]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "models": models,
        "samples": samples,
        "classes": classes,
        "seconds": seconds,
        "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "megabytes": after.ru_maxrss / 1000,  # with what of the files is mapped
    }


def describe(found: dict) -> str:
    return (
        f"{found['models']} models of {found['samples']:,} samples and {found['classes']:,} classes: "
        f"{found['seconds']:.1f} s (goal: {GOALS['seconds']}), {found['cpu_seconds']:.1f} s of CPU, "
        f"{found['megabytes']:,.0f} MB (goal: {GOALS['megabytes']:,})"
    )


def main(argv: list[str] | None = None) -> None:
    parser = cli.Parser(
        prog="bench_compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default, least in (("models", 20, 2), ("samples", 10_000, 1), ("classes", 1000, 2)):
        parser.add_argument(f"--{name}", type=cli.positive_int, default=default, help=f"{least} or more ({default})")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results" / "bench_compare.json")
    args = parser.parse_args(argv)
    found = bench(args.models, args.samples, args.classes)
    print(describe(found))
    write_json(args.output, {"environment": environment("cpu"), "goals": GOALS, **found})
    print(f"written to {args.output}")


if __name__ == "__main__":
    main()

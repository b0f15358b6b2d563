"""How fast training is: the obvious loop, ours as the runner runs it, and the floor, side by side.

    python -m benchmarks.bench_training [--models charlm ...] [--steps 6] [--rounds 3]

For each architecture, in turns within one run:
  obvious  plain modules with the same arithmetic and the same dropout sites (nn.Linear, nn.Dropout, nn.Conv1d,
           PyTorch's attention, Adam's default), batches stacked from slices, two threads
  ours     two processes of one thread, each training a trial
  floor    only the kernels of a step that do its arithmetic (matrix products, LSTM), each at
           the best rate that the installed libraries reach here, on both cores
Reported are medians over the rounds. Then the command that trains a cell of two trials of 100 iterations is timed,
beside what the obvious loop would take that evaluates one sample at a time. Machines differ and are noisy: read the
ratios.
"""

import argparse
import atexit
import io
import json
import multiprocessing
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from matplotlib.figure import Figure
from tabulate import tabulate
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

import config_cpu
from labels import label
from model import LanguageModel, build_model
from runner.workers import worker_environment
from study import cli
from study.environment import environment
from study.files import PLOTS_DIR, ROOT, write_bytes, write_json
from study.plan import Study, load_corpus
from study.store import Store
from train import TrialRun
from training.dataset import training_batch, whole_split
from training.evaluation import evaluate
from training.kernels import Linear
from training.layers import CausalAttention, CausalConvolution, Dropout
from training.seeding import deterministic

CONFIG = config_cpu.CONFIG
CORES = 2
LONG_TRIAL = 500  # iterations of the trial whose parts are reported
CELL_TRIALS = 2
FOR_LIFE = ExitStack()  # what is entered here stays so until the process ends
atexit.register(FOR_LIFE.close)
CHARACTERS = CONFIG.batch_size * CONFIG.context  # in a training step


# ---------------------------------------------------------------- the obvious loop


class PlainConvolution(nn.Module):
    """``CausalConvolution`` as one would write it: padding, then ``nn.Conv1d``."""

    def __init__(self, ours: CausalConvolution):
        super().__init__()
        out, width = ours.linear.weight.shape
        self.padding = (ours.taps - 1) * ours.dilation
        self.convolution = nn.Conv1d(width // ours.taps, out, ours.taps, dilation=ours.dilation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.convolution(F.pad(x.transpose(1, 2), (self.padding, 0))).transpose(1, 2)


class PlainAttention(nn.Module):
    """``CausalAttention`` as one would write it."""

    def __init__(self, ours: CausalAttention):
        super().__init__()
        self.heads, self.p = ours.heads, ours.dropout.p
        self.qkv, self.project = plain_linear(ours.qkv), plain_linear(ours.project)

    def forward(self, x: torch.Tensor, last_only: bool = False) -> torch.Tensor:
        qkv = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1))
        p = self.p if self.training else 0.0
        mixed = F.scaled_dot_product_attention(*qkv, dropout_p=p, is_causal=True)
        return self.project(mixed.transpose(1, 2).flatten(2))


def plain_linear(ours: Linear) -> nn.Linear:
    return nn.Linear(ours.in_features, ours.out_features, bias=ours.bias is not None)


PLAIN = {
    Dropout: lambda ours: nn.Dropout(ours.p),
    CausalConvolution: PlainConvolution,
    CausalAttention: PlainAttention,
    Linear: plain_linear,
}


def plain(module: nn.Module) -> nn.Module:
    """The model with PyTorch's own modules in the place of ours; a head that shares its weights still does."""
    tied = isinstance(module, LanguageModel) and module.head.weight is module.embedding.weight
    for name, child in list(module.named_children()):
        setattr(module, name, PLAIN[type(child)](child) if type(child) in PLAIN else plain(child))
    if tied:
        module.head.weight = module.embedding.weight
    return module


def obvious_step(architecture: str, activation: str) -> Callable[[], None]:
    torch.set_num_threads(CORES)
    tokens = load_corpus("cpu").train
    model = plain(build_model(architecture, activation, CONFIG)).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=CONFIG.learning_rate)

    def step() -> None:
        starts = torch.randint(len(tokens) - CONFIG.context - 1, (CONFIG.batch_size,))
        inputs = torch.stack([tokens[start : start + CONFIG.context] for start in starts])
        targets = torch.stack([tokens[start + 1 : start + CONFIG.context + 1] for start in starts])
        logits = model(inputs)
        loss = F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()

    return step


def obvious_evaluation(architecture: str, activation: str) -> Callable[[], None]:
    """The prediction of one sample, as in a loop over samples."""
    torch.set_num_threads(CORES)
    model = plain(build_model(architecture, activation, CONFIG)).eval()
    context = load_corpus("cpu").validation[None, : CONFIG.context]

    def predict_one() -> None:
        with torch.no_grad():
            model(context)[0, -1].softmax(-1)

    return predict_one


# ---------------------------------------------------------------- ours


def our_run(architecture: str, activation: str, folder: str = "unused") -> TrialRun:
    FOR_LIFE.enter_context(deterministic("cpu"))
    store = Store(Path(folder, "results"), Path(folder, "checkpoints"))
    study = Study(replace(CONFIG, iterations=LONG_TRIAL), "cpu", "cpu", store)
    return TrialRun(study, study.cell(architecture, activation), 1)


def our_step(architecture: str, activation: str) -> Callable[[], None]:
    return our_run(architecture, activation).advance


def time_parts(architecture: str, activation: str, steps: int) -> dict[str, float]:
    """Seconds that the parts of a trial of ``LONG_TRIAL`` iterations take."""
    parts = Counter()

    def timed(name: str, work: Callable, *arguments):
        start = time.perf_counter()
        result = work(*arguments)
        parts[name] += time.perf_counter() - start
        return result

    with tempfile.TemporaryDirectory() as folder:
        run = our_run(architecture, activation, folder)
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
        timed("the whole validation split", evaluate, run.model, whole_split(run.corpus.validation, run.config))
    evaluations = LONG_TRIAL // CONFIG.eval_interval + 1
    seconds["evaluation"] = parts["evaluation"] * evaluations + parts["the whole validation split"]
    seconds["saving"] = parts["saving"] * evaluations
    return seconds


def parts_of_a_trial(*arguments) -> dict[str, float]:
    """Mean of ``time_parts`` in as many processes at once as the runner has, each as it starts them."""
    with worker_environment(gpu=None), ProcessPoolExecutor(CORES, multiprocessing.get_context("spawn")) as pool:
        found = [future.result() for future in [pool.submit(time_parts, *arguments) for _ in range(CORES)]]
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


# ---------------------------------------------------------------- the floor

aten = torch.ops.aten
PRODUCTS = {
    torch.ops.mkldnn._linear_pointwise.default,
    *(aten.mm.default, aten.addmm.default, aten.bmm.default, aten.bmm.out, aten.baddbmm_.default),
}
RECURRENCES = {aten.mkldnn_rnn_layer.default, aten.mkldnn_rnn_layer_backward.default}


class KernelLog(TorchDispatchMode):
    """Keeps the arguments of every kernel of a step that does arithmetic."""

    def __init__(self):
        super().__init__()
        self.calls: Counter = Counter()
        self.arguments: dict = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in PRODUCTS | RECURRENCES:
            key = (func, *(_form(a) for a in args))
            self.calls[key] += 1
            self.arguments.setdefault(
                key, ([_copied(a) for a in args], {name: _copied(a) for name, a in kwargs.items()})
            )
        return func(*args, **kwargs)


def _form(argument):
    return (tuple(argument.shape), argument.stride()) if isinstance(argument, torch.Tensor) else str(argument)


def _copied(argument):
    return argument.detach().clone() if isinstance(argument, torch.Tensor) else argument


def floor_step(architecture: str, activation: str) -> Callable[[], None]:
    """A step's kernels alone, each in the faster of its forms."""
    run = our_run(architecture, activation)
    run.advance()
    with KernelLog() as log:
        run.advance()
    work = [(fastest(key[0], *log.arguments[key]), count) for key, count in log.calls.items()]

    @torch.no_grad()
    def step() -> None:
        for kernel, count in work:
            for _ in range(count):
                kernel()

    return step


def fastest(func, args: list, kwargs: dict) -> Callable[[], object]:
    """The kernel as recorded, or the same product through oneDNN, whichever is faster here."""
    forms = [lambda: func(*args, **kwargs)]
    if func in (aten.mm.default, aten.addmm.default):
        a, b = args[-2:]
        forms.append(lambda: torch.ops.mkldnn._linear_pointwise(a, b.t(), None, "none", [], ""))
    with torch.no_grad():
        return min(forms, key=lambda form: min(_seconds(form) for _ in range(5)))


def _seconds(work: Callable) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


# ---------------------------------------------------------------- side by side


def serve(connection, make: Callable[..., Callable[[], None]], names: tuple[str, str]) -> None:
    """In a child: make the step once, then time as many as asked for."""
    step = make(*names)
    step()
    connection.send("ready")
    while count := connection.recv():
        start = time.perf_counter()
        for _ in range(count):
            step()
        connection.send(((time.perf_counter() - start) / count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))


OBVIOUS = (obvious_step, obvious_evaluation)


class Contender:
    """``processes`` children that do the same at once, ours in the environment that the runner gives them."""

    def __init__(self, make: Callable, processes: int, names: tuple[str, str]):
        context = multiprocessing.get_context("spawn")
        self.pipes, self.seconds, self.peak = [], [], 0.0
        with nullcontext() if make in OBVIOUS else worker_environment(gpu=None):
            for _ in range(processes):
                ours, theirs = context.Pipe()
                context.Process(target=serve, args=(theirs, make, names), daemon=True).start()
                self.pipes.append(ours)
        for pipe in self.pipes:
            pipe.recv()

    def measure(self, count: int) -> None:
        for pipe in self.pipes:
            pipe.send(count)
        answers = [pipe.recv() for pipe in self.pipes]
        self.seconds.append(statistics.mean(seconds for seconds, _ in answers))
        self.peak = max(peak for _, peak in answers) / 1024

    def stop(self) -> None:
        for pipe in self.pipes:
            pipe.send(0)

    @property
    def per_second(self) -> float:
        """Turns a second, of all processes together."""
        return len(self.pipes) / statistics.median(self.seconds)


def bench(architecture: str, activation: str, steps: int, rounds: int) -> dict:
    names = (architecture, activation)
    contenders = {
        "obvious": Contender(obvious_step, 1, names),
        "ours": Contender(our_step, CORES, names),
        "floor": Contender(floor_step, CORES, names),
    }
    one_sample = Contender(obvious_evaluation, 1, names)
    for _ in range(rounds):
        for contender in contenders.values():
            contender.measure(steps)
    one_sample.measure(30)
    for contender in (*contenders.values(), one_sample):
        contender.stop()
    rates = {name: contender.per_second * CHARACTERS for name, contender in contenders.items()}
    parts = parts_of_a_trial(architecture, activation, steps)
    apart = parts["evaluation"] + parts["saving"]
    return {
        "model": architecture,
        "activation": activation,
        "characters_per_second": rates,
        "ours_to_obvious": rates["ours"] / rates["obvious"],
        "ours_to_floor": rates["ours"] / rates["floor"],
        "obvious_seconds_per_sample": 1 / one_sample.per_second,
        "seconds_of_parts": parts,
        "share_of_evaluation_and_saving": apart / sum(parts.values()),
        "peak_memory_mb": {name: contender.peak for name, contender in contenders.items()},
    }


def compare_cells(result: dict) -> dict:
    """A whole cell by the runner's command, and by the obvious loop from its measured rates: it evaluates the same
    windows and contexts, one at a time."""
    evaluations = CONFIG.iterations // CONFIG.eval_interval + 1
    whole_windows = sum(len(inputs) for inputs, _ in whole_split(load_corpus("cpu").validation, CONFIG))
    samples = evaluations * (CONFIG.probe_contexts + 2 * CONFIG.eval_windows) + whole_windows
    training = CONFIG.iterations * CHARACTERS / result["characters_per_second"]["obvious"]
    obvious = CELL_TRIALS * (training + samples * result["obvious_seconds_per_sample"])
    ours = seconds_of_a_cell(result["model"], result["activation"])
    return {"model": result["model"], "ours_seconds": ours, "obvious_seconds": obvious, "ratio": obvious / ours}


# ---------------------------------------------------------------- command


def describe(results: list[dict]) -> str:
    rates = [
        [
            label(r["model"]),
            *(f"{r['characters_per_second'][name]:,.0f}" for name in ("obvious", "ours", "floor")),
            f"{r['ours_to_obvious']:.2f}",
            f"{r['ours_to_floor']:.2f}",
            f"{r['peak_memory_mb']['ours']:.0f}",
        ]
        for r in results
    ]
    headers = ["", "obvious (chars/s)", "ours", "floor", "ours / obvious", "ours / floor", "memory of a worker (MB)"]
    names = list(results[0]["seconds_of_parts"])
    parts = [
        [label(r["model"]), *(f"{r['seconds_of_parts'].get(name, 0):.1f}" for name in names)]
        + [f"{100 * r['share_of_evaluation_and_saving']:.0f} %"]
        for r in results
    ]
    part_headers = [f"seconds of {LONG_TRIAL} iterations", *names, "evaluation and saving"]
    return f"{tabulate(rates, headers, disable_numparse=True)}\n\n{tabulate(parts, part_headers)}"


def draw(results: list[dict]) -> bytes:
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    ax = figure.subplots()
    looks = {
        "obvious": ("#cccccc", "the obvious loop"),
        "ours": ("#555555", "ours"),
        "floor": ("white", "the kernels alone"),
    }
    for offset, (name, (colour, said)) in enumerate(looks.items()):
        places = [i + (offset - 1) * 0.27 for i in range(len(results))]
        heights = [r["characters_per_second"][name] / 1000 for r in results]
        ax.bar(places, heights, 0.25, color=colour, edgecolor="#555555", linewidth=0.6, label=said)
        for place, height, r in zip(places, heights, results, strict=True):
            if name == "ours":
                ax.text(place, height, f"x{r['ours_to_obvious']:.1f}", ha="center", va="bottom", fontsize=9)
    ax.set_xticks(range(len(results)), [label(r["model"]) for r in results])
    ax.set_ylabel("thousand characters a second")
    ax.set_title(f"Training throughput on {CORES} cores (medians; numbers: ours / obvious)")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, ncols=3)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=120, metadata={"Software": None})
    return drawn.getvalue()


def main() -> None:
    parser = cli.Parser(
        prog="bench_training", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=CONFIG.models, default=CONFIG.models)
    parser.add_argument("--activation", choices=CONFIG.activations, default="gelu")
    parser.add_argument("--steps", type=cli.positive_int, default=6, help="training steps of a turn")
    parser.add_argument("--rounds", type=cli.positive_int, default=3, help="turns of each contender")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results" / "bench_training.json")
    args = parser.parse_args()
    results = []
    for architecture in args.models:
        results.append(bench(architecture, args.activation, args.steps, args.rounds))
        print(json.dumps(results[-1]), flush=True)
    cell = compare_cells(results[0])
    print(f"\n{describe(results)}")
    print(
        f"\na cell of {CELL_TRIALS} trials x {CONFIG.iterations} iterations of {label(cell['model'])}: "
        f"{cell['ours_seconds']:.1f} s, the obvious loop {cell['obvious_seconds']:.1f} s: {cell['ratio']:.2f} times"
    )
    write_json(args.output, {"environment": environment("cpu"), "results": results, "cell": cell})
    write_bytes(PLOTS_DIR / "bench_training.png", draw(results))
    print(f"\nwritten to {args.output} and {PLOTS_DIR / 'bench_training.png'}")


if __name__ == "__main__":
    main()

"""The floor: only the kernels of a training step that do its arithmetic (matrix products, LSTM), each at the best
rate that the installed libraries reach here."""

import time
from collections import Counter
from collections.abc import Callable

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.ours import our_run
from config import Config

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


def floor_step(architecture: str, activation: str, config: Config) -> Callable[[], None]:
    """A step's kernels alone, each in the faster of its forms."""
    run = our_run(architecture, activation, config)
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

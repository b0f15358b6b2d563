"""Named random streams and determinism.

Every source of randomness draws from a stream of its own, derived from a seed and names. Streams with
different names are independent; the same seed and names give the same stream on every machine.
"""

import hashlib
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def stream_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the stream ``names`` of ``seed`` (the first bits of a SHA-256)."""
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def numpy_stream(seed: int, *names: str | int) -> np.random.Generator:
    """The stream as a NumPy generator. SFC64: the fastest of NumPy's for bulk bytes."""
    return np.random.Generator(np.random.SFC64(stream_seed(seed, *names)))


def torch_stream(seed: int, *names: str | int) -> torch.Generator:
    """The stream as a PyTorch generator on the CPU, so that initial weights are the same for every device."""
    return torch.Generator().manual_seed(stream_seed(seed, *names))


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and PyTorch: for dropout on a GPU, and for what a user adds."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch.manual_seed(seed)


@contextmanager
def deterministic(device: str) -> Iterator[None]:
    """Inside, PyTorch uses deterministic kernels only (an error where there is none) and, on the CPU, one thread,
    so that numbers do not depend on how many cores a machine has."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    fill_before = torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=device == "mps")
    torch.utils.deterministic.fill_uninitialized_memory = False  # it is all written to; filling costs a twentieth
    if device == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.utils.deterministic.fill_uninitialized_memory = fill_before
        torch.set_num_threads(before[1])


class MaskStream:
    """Where the dropout masks of a model come from.

    ``restart`` makes the masks of a training step a function of (seed, step) alone, so that resuming a trial
    needs no generator state. On the CPU masks are cut out of bulk random bits, which costs a tenth of
    ``bernoulli_``; elsewhere PyTorch's own dropout draws from the generator that ``restart`` seeds.
    """

    def __init__(self):
        self._generator = numpy_stream(0, "dropout", 0)

    def restart(self, seed: int, step: int) -> None:
        self._generator = numpy_stream(seed, "dropout", step)
        torch.manual_seed(stream_seed(seed, "dropout", step, "torch"))

    def draw(self, shape: torch.Size, p: float) -> torch.Tensor:
        """A mask: 0 with probability ``p``, else 1 / (1 - p). ``p`` is rounded to a multiple of 2^-16."""
        size = shape.numel()
        bits = self._generator.bit_generator.random_raw(-(-size // 4)).view(np.uint16)[:size]
        dropped = round(p * 2**16)
        scale = np.float32(2**16 / (2**16 - dropped))
        return torch.from_numpy(np.multiply(bits >= dropped, scale)).view(shape)

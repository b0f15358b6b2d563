"""Named random streams, dropout masks and determinism.

Every source of randomness draws from a stream of its own, derived from a seed and names. Streams with
different names are independent; the same seed and names give the same stream on every machine.
"""

import hashlib
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def stream_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the stream ``names`` of ``seed`` (the first bits of a SHA-256)."""
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def numpy_stream(seed: int, *names: str | int) -> np.random.Generator:
    """The stream as a NumPy generator; SFC64 is NumPy's fastest for random bits in bulk."""
    return np.random.Generator(np.random.SFC64(stream_seed(seed, *names)))


def torch_stream(seed: int, *names: str | int) -> torch.Generator:
    """The stream as a PyTorch generator on the CPU, so that initial weights are the same for every device."""
    return torch.Generator().manual_seed(stream_seed(seed, *names))


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and PyTorch: for dropout on a GPU, and for what a user adds.

    What ``torch.manual_seed`` does, for the devices that are here alone: it looks for every kind of device each time,
    which takes a tenth of a millisecond of every step.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(seed)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)


@contextmanager
def deterministic(device: str) -> Iterator[None]:
    """Inside, PyTorch uses deterministic kernels only (an error where there is none) and, but for MPS, one thread, so
    that numbers do not depend on how many cores a machine has."""
    # Of the two values that deterministic algorithms accept (:4096:8 and :16:8) the one that cuDNN's LSTM needs too:
    # with the other one it may differ from run to run, and nothing says so. pytorch.org/docs, torch.nn.LSTM.
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":16:8"
    before = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    memory: Any = torch.utils.deterministic  # a module with a property, which its type does not show
    fill_before, tf32_before = memory.fill_uninitialized_memory, torch.backends.cudnn.allow_tf32
    torch.use_deterministic_algorithms(True, warn_only=device == "mps")
    # Deterministic mode fills what torch.empty returns. Here all of it is written to anyway, and filling costs 5 %.
    memory.fill_uninitialized_memory = False
    torch.backends.cudnn.allow_tf32 = False  # in which a GPU's LSTM would multiply what is to be float32
    if device != "mps":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        memory.fill_uninitialized_memory = fill_before
        torch.backends.cudnn.allow_tf32 = tf32_before
        torch.set_num_threads(before[1])


@contextmanager
def float32_products() -> Iterator[None]:
    """Inside, float32 numbers are multiplied as such, whatever the environment or a user's code has asked for: not as
    TF32, nor on the CPU as bfloat16."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


class MaskStream:
    """The source of a model's dropout masks.

    ``restart`` makes the masks of a training step a function of (seed, step) alone, so that resuming a trial
    needs no generator state. On the CPU masks are made of random bits in bulk, which takes a tenth of the time of
    ``bernoulli_``; elsewhere PyTorch's own dropout draws from the generator that ``restart`` seeds, and so may a
    user's modules, from NumPy's and Python's too.
    """

    def __init__(self) -> None:
        self._generator = numpy_stream(0, "dropout", 0)

    def restart(self, seed: int, step: int) -> None:
        self._generator = numpy_stream(seed, "dropout", step)
        seed_everything(stream_seed(seed, "dropout", step, "torch"))

    def draw(self, shape: torch.Size, p: float) -> torch.Tensor:
        """A mask: 0 with probability ``p``, else 1 / (1 - p). ``p`` is rounded to a multiple of 2^-16.

        One 64-bit random number is enough for four values: each takes 16 bits, a uniform integer below 2^16, and is
        dropped where that is below the threshold p 2^16. The scale is that of the rounded p, so the mean stays 1.
        """
        size = shape.numel()
        words = self._generator.bit_generator.random_raw(-(-size // 4))  # size / 4, rounded up; uint64
        bits = np.asarray(words).view(np.uint16)[:size]
        threshold = round(p * 2**16)
        scale = np.float32(2**16 / (2**16 - threshold))
        return torch.from_numpy(np.multiply(bits >= threshold, scale)).view(shape)

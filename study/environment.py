"""What a record says of the code, the software and the machine that its numbers come from.

All of it is optional: a fact that cannot be found out is null, and never costs a trial. None of it is part of a
trial's identity: the same settings on another machine are the same trial, whose numbers may be rounded differently.

PyTorch takes seconds to load, so what needs it imports it where it is used: environments are compared without.
"""

import os
import platform
import re
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from study.files import ROOT, digest
from study.users_code import imported_files

if TYPE_CHECKING:
    import torch

# What makes oneDNN, MKL and PyTorch choose other kernels than the processor would let them.
VARIABLES = (
    "ONEDNN_MAX_CPU_ISA",
    "DNNL_MAX_CPU_ISA",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "MKL_CBWR",
    "ATEN_CPU_CAPABILITY",
)
# Of an environment, what the bits of a trial depend on.
BITS_DEPEND_ON = (
    "torch",
    "numpy",
    "machine",
    "processor",
    "cpu_capability",
    "device",
    "threads",
    "mkl",
    "onednn",
    "onednn_rounding",
    "blas_rounding",
    "torch_rounding",
    *VARIABLES,
    "code_sha256",
)
COMMAND_SECONDS = 10
DIGITS = 16  # of a digest

Fact = TypeVar("Fact")


@cache
def environment(device: str) -> dict:
    """The software, machine and device that numbers come from; None for what cannot be found out."""
    import torch

    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),  # of a type of its own, which a saved state may not have
        "numpy": np.__version__,
        "system": platform.system(),
        "machine": platform.machine(),
        "processor": optional(processor),
        "cpu_capability": optional(torch.backends.cpu.get_cpu_capability),
        "device": optional(torch.cuda.get_device_name) if device == "cuda" else device,
        "threads": torch.get_num_threads() if device == "mps" else 1,
        "mkl": optional(lambda: built_with(r"Math Kernel Library Version (\S+)")),
        "onednn": optional(lambda: built_with(r"MKL-DNN v(\S+)")),
        "onednn_rounding": optional(onednn_rounding),
        "blas_rounding": optional(blas_rounding),
        "torch_rounding": optional(torch_rounding),
        **{name: os.environ.get(name) for name in VARIABLES},
        **code_facts(),
    }


def has_bfloat16_products() -> bool | None:
    """Whether this processor multiplies bfloat16 numbers itself, so that they are faster than float32; None where the
    system does not say what it can. x86: AVX512-BF16 or AMX; Arm: BF16."""
    try:
        found = Path("/proc/cpuinfo").read_text()
    except OSError:
        return None
    flags = {
        flag for line in re.findall(r"^(?:flags|Features)\s*:(.*)$", found, re.MULTILINE) for flag in line.split()
    }
    return bool(flags & {"avx512_bf16", "amx_bf16", "bf16"}) if flags else None


def optional(find: Callable[[], Fact]) -> Fact | None:
    """What ``find`` returns, or None where it fails, however it fails: no fact is worth a trial."""
    try:
        return find()
    except Exception:
        return None


def differing(there: dict, here: dict) -> tuple[list[str], list[str]]:
    """Names of what bits depend on: of the facts that differ, and of those that ``there`` does not have."""
    unknown = [name for name in BITS_DEPEND_ON if name not in there]
    return [name for name in BITS_DEPEND_ON if name in there and there[name] != here.get(name)], unknown


def possible_causes(there: dict, here: dict) -> str:
    """Which of the facts that bits depend on differ between two environments, in words."""
    differ, unknown = differing(there, here)
    words = f"what bits depend on and differs: {', '.join(differ) or 'nothing that was recorded'}"
    return f"{words}; not recorded there: {', '.join(unknown)}" if unknown else words


# ---------------------------------------------------------------- the machine


def processor() -> str | None:
    """The processor's model, such as "AMD EPYC 7763"; of ARM, which Linux does not name, its numbers."""
    if platform.system() == "Darwin":
        asked = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(asked, capture_output=True, text=True, timeout=COMMAND_SECONDS).stdout.strip() or None
    return processor_in(Path("/proc/cpuinfo").read_text())


def processor_in(cpuinfo: str) -> str | None:
    """The processor's model in the text of /proc/cpuinfo."""
    entries = (line.partition(":") for line in cpuinfo.splitlines())
    first: dict[str, str] = {}
    for name, _, value in entries:
        first.setdefault(name.strip(), value.strip())
    model = first.get("model name")
    numbers = [first[name] for name in ("cpu family", "model", "stepping") if name in first]
    if model:
        return f"{model} ({'.'.join(numbers)})" if numbers else model
    arm = [first[name] for name in ("CPU implementer", "CPU part", "CPU revision") if name in first]
    return f"ARM {' '.join(arm)}" if arm else None


def built_with(pattern: str) -> str | None:
    """The version of a library that PyTorch was built with."""
    import torch

    found = re.search(pattern, torch.__config__.show())
    return found and found[1]


# ---------------------------------------------------------------- rounding

# Which instructions a library uses cannot be asked; what they make of fixed numbers can be seen. Each digest below is
# of a product or function with enough terms that another order of summation, or another polynomial, changes bits.


def _numbers(*shape: int) -> "torch.Tensor":
    """Fixed float32 numbers in [-0.5, 0.5), made of whole numbers, so that they are the same on every machine."""
    import torch

    count = torch.arange(int(np.prod(shape)), dtype=torch.int64)
    return ((count * 2654435761 % 2**20).float() / 2**20 - 0.5).view(shape)


def _digest(*results: "torch.Tensor") -> str:
    return digest(b"".join(result.contiguous().numpy().tobytes() for result in results))[:DIGITS]


def onednn_rounding() -> str | None:
    """Of a product and a convolution by oneDNN; they depend on its effective instruction set."""
    import torch

    if not torch.backends.mkldnn.is_available():
        return None
    product = torch.ops.mkldnn._linear_pointwise(_numbers(64, 96), _numbers(80, 96), None, "none", [], "")
    return _digest(product, torch.conv1d(_numbers(2, 16, 40), _numbers(24, 16, 4)))


def blas_rounding() -> str:
    """Of a product, and of several at once, by BLAS (MKL on x86)."""
    import torch

    return _digest(_numbers(96, 64) @ _numbers(64, 80), torch.bmm(_numbers(3, 16, 64), _numbers(3, 64, 32)))


def torch_rounding() -> str:
    """Of functions that PyTorch computes itself."""
    x = _numbers(64, 96)
    return _digest(x.softmax(-1), x.sigmoid(), x.tanh(), x.sum(0))


# ---------------------------------------------------------------- the code


@cache
def code_facts() -> dict[str, str | None]:
    """Which code this process has: what is on the disk when it is first asked, as soon as the code is loaded."""
    return {"commit": optional(commit), "code_sha256": optional(code_digest)}


def commit() -> str | None:
    """The commit of the code, with "-dirty" if a module was changed, added or removed since; None where this folder
    is not a repository of its own, such as one that was unpacked inside of another."""

    def git(*arguments: str) -> str:
        # Without GIT_DIR and the like, which would name another repository.
        surroundings = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        asked = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(
            asked, env=surroundings, capture_output=True, text=True, check=True, timeout=COMMAND_SECONDS
        ).stdout

    if Path(git("rev-parse", "--show-toplevel").rstrip("\n")).resolve() != ROOT:
        return None
    changed = git("status", "--porcelain", "--untracked-files=all", "--", "*.py").strip()
    return git("rev-parse", "--short=12", "HEAD").strip() + ("-dirty" if changed else "")


def code_digest(root: Path = ROOT) -> str:
    """A digest of the modules that make a trial's numbers: train.py, what that imports, and so on."""
    found: dict[str, bytes] = {}
    waiting = [root / "train.py"]
    while waiting:
        path = waiting.pop()
        name = path.relative_to(root).as_posix()
        if name not in found:
            found[name] = path.read_bytes().replace(b"\r\n", b"\n")
            waiting += imported_files(path, found[name], root)
    return digest(b"\0".join(part for name in sorted(found) for part in (name.encode(), found[name])))

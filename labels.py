"""How architectures and activations are called, and their order, in every table and figure."""

from collections.abc import Iterable

from config import SMELU_BETAS

LABELS = {
    "charlm": "CharLM",
    "minigpt": "MiniGPT",
    "nanotransformer": "NanoTransformer",
    "tinylstm": "TinyLSTM",
    "convlm": "ConvLM",
    "hybridlm": "HybridLM",
    "relu": "ReLU",
    "gelu": "GELU",
    "swish": "Swish",
    "swiglu": "SwiGLU",
    "geglu": "GeGLU",
    "reglu": "ReGLU",
    "mish": "Mish",
    "elu": "ELU",
    "selu": "SELU",
    "prelu": "PReLU",
    "squared_relu": "Squared ReLU",
    **{name: f"SmeLU β={beta:g}" for name, beta in SMELU_BETAS.items() if beta > 0},
}


def label(name: str) -> str:
    """The name for readers; one that is not known here stays as it is."""
    return LABELS.get(name, name)


def counted(count: int, noun: str) -> str:
    """Such as "1 pair" or "3 pairs"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def in_prose(name: str) -> str:
    """A label within a sentence: "top-1 mismatches", but "PD" and "Jensen-Shannon"."""
    return name[0].lower() + name[1:] if name.split()[0][1:].islower() else name


def listed(names: Iterable[str]) -> str:
    """Such as "CharLM, ConvLM and HybridLM"."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def in_order(names: Iterable[str]) -> list[str]:
    """Each name once: those of ``LABELS`` in its order, then the others by name."""
    names = set(names)
    return [name for name in LABELS if name in names] + sorted(names - LABELS.keys())

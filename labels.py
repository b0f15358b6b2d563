"""How architectures and activations are called, and their order, in every table and figure."""

from collections.abc import Iterable

from config import ACTIVATIONS, MODELS

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
    "smelu_05": "SmeLU β=0.5",
    "smelu_1": "SmeLU β=1",
}


def label(name: str) -> str:
    """The name for readers; one that is not known here stays as it is."""
    return LABELS.get(name, name)


def counted(count: int, noun: str) -> str:
    """Such as "1 pair" or "3 pairs"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def in_order(names: Iterable[str]) -> list[str]:
    """Each name once: those of the study in its order, then the others by name."""
    names, known = set(names), MODELS + ACTIVATIONS
    return [name for name in known if name in names] + sorted(names - set(known))

"""How architectures and activations are called, and their order, in every table and figure."""

from collections.abc import Iterable

from config import SMELU_BETAS, base_name, size_in

LABELS = {
    "charlm": "CharLM",
    "charlm_one_head": "CharLM with one head",
    "charlm_one_block": "CharLM with one block",
    "charlm_no_attention_dropout": "CharLM without attention dropout",
    "charlm_no_gain": "CharLM without gain",
    "charlm_rms_norm": "CharLM with RMS norm",
    "minigpt": "MiniGPT",
    "nanotransformer": "NanoTransformer",
    "tinylstm": "TinyLSTM",
    "tinygru": "TinyGRU",
    "tinyrnn": "TinyRNN",
    "lstm_attention": "LSTM with attention",
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
    "apl": "APL",
    **{name: f"SmeLU β={beta:g}" for name, beta in SMELU_BETAS.items() if beta > 0},
}


def label(name: str) -> str:
    """The name for readers; one that is not known here stays as it is."""
    size = size_in(name)
    return f"{label(base_name(name))} at {size / 1e6:g} M" if size else LABELS.get(name, name)


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
    """Each name once: those of ``LABELS`` in its order, the sizes of an architecture after it, then the others by
    name."""
    known = {name: place for place, name in enumerate(LABELS)}

    def place(name: str) -> tuple[int, int, str]:
        size = size_in(name)
        return known.get(base_name(name) if size else name, len(known)), size or 0, name

    return sorted(set(names), key=place)

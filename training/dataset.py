"""The text as tokens: vocabulary, splits, training batches, evaluation windows and the probe set.

A window is T + 1 consecutive characters: T inputs and, shifted by one, their T targets.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from config import Config
from training.seeding import numpy_stream

TRAIN_FRACTION = 0.9
LONGEST_REST = 200  # characters by which a passage goes on to the end of its line


@dataclass(frozen=True)
class Corpus:
    """Text as tokens (int64), the first 90 % for training, the rest for validation; a token is an index into
    ``characters``."""

    characters: str
    train: torch.Tensor
    validation: torch.Tensor

    @classmethod
    def from_text(cls, text: str, device: str = "cpu") -> "Corpus":
        characters = "".join(sorted(set(text)))
        token = {character: index for index, character in enumerate(characters)}
        tokens = torch.tensor([token[character] for character in text], device=device)
        boundary = int(TRAIN_FRACTION * len(tokens))
        return cls(characters, tokens[:boundary], tokens[boundary:])

    def decode(self, tokens: torch.Tensor | np.ndarray) -> str:
        return "".join(self.characters[token] for token in tokens.tolist())


@dataclass(frozen=True)
class Probe:
    """Fixed contexts (samples, T) of the validation split on which every trial predicts, the characters (samples,)
    that follow, and the places (samples,) where the contexts start."""

    contexts: torch.Tensor
    targets: torch.Tensor
    starts: np.ndarray


Windows = tuple[torch.Tensor, torch.Tensor]


def windows(tokens: torch.Tensor, starts: torch.Tensor | np.ndarray | list[int], length: int) -> Windows:
    """Inputs and targets, each (len(starts), length), of the windows that begin at ``starts``."""
    starts = _on(tokens.device, torch.as_tensor(starts))
    # (S, 1) + (length + 1,) -> (S, length + 1): the places of each window's characters.
    taken = tokens[starts[:, None] + torch.arange(length + 1, device=tokens.device)]
    return taken[:, :-1], taken[:, 1:]


def _on(device: torch.device, starts: torch.Tensor) -> torch.Tensor:
    """``starts`` on ``device``; from page-locked memory, so that Python does not wait for a GPU."""
    return starts.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else starts.to(device)


def training_batch(corpus: Corpus, config: Config, seed: int, step: int) -> Windows:
    """Batch ``step`` of a trial: (B, T) inputs and targets, a function of (seed, step) alone."""
    last_start = len(corpus.train) - config.context - 1
    starts = numpy_stream(seed, "order", step).integers(0, last_start, size=config.batch_size, endpoint=True)
    return windows(corpus.train, starts, config.context)


def evaluation_windows(corpus: Corpus, config: Config, split: str) -> Windows:
    """The study's fixed windows of ``split`` ("train" or "validation") on which losses are followed."""
    stream = numpy_stream(config.seed_base, "evaluation", split)
    return _drawn_windows(getattr(corpus, split), stream, config.eval_windows, config.context)


def landscape_windows(corpus: Corpus, config: Config, count: int) -> Windows:
    """The study's first ``count`` fixed windows of the training split on which the landscape is measured."""
    stream = numpy_stream(config.seed_base, "landscape", "windows")
    return _drawn_windows(corpus.train, stream, count, config.context)


def _drawn_windows(tokens: torch.Tensor, stream: np.random.Generator, count: int, length: int) -> Windows:
    starts = stream.integers(0, len(tokens) - length - 1, size=count, endpoint=True)
    return windows(tokens, starts, length)


def whole_split(tokens: torch.Tensor, config: Config) -> Iterator[Windows]:
    """Every character but the first as a target once: adjacent windows, in batches; the last window is shorter."""
    span = config.context * config.batch_size
    for start in range(0, len(tokens) - 1, span):
        part = tokens[start : start + span + 1]
        rows, rest = divmod(len(part) - 1, config.context)
        if rows:
            yield windows(part, torch.arange(rows) * config.context, config.context)
        if rest:
            yield windows(part, [rows * config.context], rest)


def probe_set(corpus: Corpus, config: Config) -> Probe:
    """The study's probe set: random places of the validation split, each once, the same for every trial."""
    places = len(corpus.validation) - config.context
    starts = numpy_stream(config.seed_base, "probe").choice(places, size=config.probe_contexts, replace=False)
    return _probe(corpus, starts, config)


def passage(corpus: Corpus, config: Config) -> Probe:
    """The study's passage of the validation split, each of its characters in turn after the T before it.

    It begins after the first empty line that has T characters before it and enough after it, such as with a
    speaker's name, and ends with a line. In a text without such lines it begins after any line, or anywhere, and
    where a line is longer than ``LONGEST_REST`` beyond the passage, it ends within.
    """
    text, length = corpus.decode(corpus.validation), config.passage_length
    begun = ((mark, text.find(mark, config.context, len(text) - length)) for mark in ("\n\n", "\n"))
    start = next((place + len(mark) for mark, place in begun if place >= 0), config.context)
    end = text.find("\n", start + length - 1, start + length + LONGEST_REST) + 1 or start + length
    return _probe(corpus, np.arange(start, end) - config.context, config)


def _probe(corpus: Corpus, starts: np.ndarray, config: Config) -> Probe:
    contexts, targets = windows(corpus.validation, starts, config.context)
    return Probe(contexts.contiguous(), targets[:, -1].contiguous(), starts)


def text_noise(config: Config) -> np.ndarray:
    """The study's Gumbel noise (length, texts, V) with which every trial writes its texts, float32."""
    shape = (config.text_length, config.texts, config.vocabulary_size)
    return numpy_stream(config.seed_base, "texts").gumbel(size=shape).astype(np.float32)


def shuffled_probe(config: Config) -> np.ndarray:
    """The study's permutation of the probe set, for scoring two models on different contexts on purpose."""
    return numpy_stream(config.seed_base, "shuffle").permutation(config.probe_contexts)

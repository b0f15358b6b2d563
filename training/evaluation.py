"""What a model is measured by: losses, predictions on the probe set, and the texts that it writes."""

from collections.abc import Callable, Iterable
from typing import Protocol

import numpy as np
import torch
from torch.nn import functional as F

from config import Config
from training.dataset import Corpus, Windows, passage


class Predictor(Protocol):
    """A language model, as far as it is asked for the next character only."""

    def predict_next(self, tokens: torch.Tensor, /) -> torch.Tensor:
        """Logits (B, V) for the character after the last of ``tokens`` (B, T)."""


@torch.no_grad()
def evaluate(model: Callable[[torch.Tensor], torch.Tensor], batches: Iterable[Windows]) -> tuple[float, float]:
    """Mean cross-entropy in nats per character, and top-1 accuracy, over every target of ``batches``."""
    loss, correct, count = 0.0, 0, 0
    for inputs, targets in batches:
        logits, targets = model(inputs).flatten(0, 1), targets.flatten()  # (B T, V) and (B T,)
        loss += F.cross_entropy(logits, targets, reduction="sum").item()
        correct += int((logits.argmax(-1) == targets).sum())
        count += len(targets)
    return loss / count, correct / count


@torch.no_grad()
def predict(model: Predictor, contexts: torch.Tensor, batch_size: int) -> np.ndarray:
    """Probabilities (samples, V), float32, of the character after each of ``contexts`` (samples, T)."""
    parts = [model.predict_next(part).softmax(-1).cpu() for part in contexts.split(batch_size)]
    return torch.cat(parts).numpy()


@torch.no_grad()
def write_texts(model: Predictor, contexts: torch.Tensor, noise: np.ndarray) -> torch.Tensor:
    """Continue ``contexts`` (texts, T) character by character; returns the new tokens (texts, length).

    Each is drawn from the model's probabilities by adding ``noise`` (length, texts, V), of the Gumbel
    distribution, to the logits and taking the largest. Models that are given the same noise write the same
    text where they predict the same. Gumbel 1954; Maddison, Tarlow & Minka 2014, arXiv:1411.0030.
    """
    T = contexts.shape[1]
    for gumbel in noise:  # (texts, V)
        logits = model.predict_next(contexts[:, -T:])
        drawn = (logits + torch.as_tensor(gumbel, device=logits.device)).argmax(-1, keepdim=True)
        contexts = torch.cat([contexts, drawn], dim=1)
    return contexts[:, T:]


def predict_passage(model: Predictor, corpus: Corpus, config: Config) -> dict:
    """The study's passage and, for each of its characters, the one the model holds most probable, and how much."""
    probe = passage(corpus, config)
    probabilities = predict(model, probe.contexts, config.batch_size)
    return {
        "text": corpus.decode(probe.targets),
        "predicted": corpus.decode(probabilities.argmax(axis=1)),
        "probability": [round(float(value), 4) for value in probabilities.max(axis=1)],
    }

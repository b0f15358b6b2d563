"""The loss around a trial that ends, and its barriers to the trials of its cell that ended before it.

Everything is measured on the study's fixed windows of the training split. The record of a trial holds its barriers to
those whose records are older, so every pair of a cell is in one record. Which of two trials ends later changes no
number: a barrier is the same to the bit both ways.
"""

import io
from collections.abc import Container

import torch
from torch import nn

from model import count_parameters
from study.cell import Report
from study.files import ResultError, finite_or_none
from study.plan import Study, load_corpus
from study.store import Cell, check_identity
from training.dataset import landscape_windows
from training.landscape import barrier, gradient_noise, top_eigenvalue
from training.seeding import torch_stream

CURVATURE_WINDOWS = 16
NOISE_WINDOWS, NOISE_BATCH = 256, 8  # the gradient's noise shrinks with the windows, and must not exceed it by far
BARRIER_WINDOWS = 32


def landscape_of(study: Study, model: nn.Module) -> dict[str, float | None]:
    """The metrics of a trial that come from the loss around its weights; None where one is not finite."""
    corpus, config = load_corpus(study.device, study.text), study.config
    few, many = (landscape_windows(corpus, config, count) for count in (CURVATURE_WINDOWS, NOISE_WINDOWS))
    start = torch.randn(count_parameters(model), generator=torch_stream(config.seed_base, "landscape", "start"))
    return {
        "curvature": finite_or_none(top_eigenvalue(model, few, start)),
        "gradient_noise": finite_or_none(gradient_noise(model, many, NOISE_BATCH)),
    }


def barriers_to_finished(
    study: Study, cell: Cell, model: nn.Module, known: Container[str], report: Report
) -> dict[str, float | None]:
    """Of ``model``, to each completed trial of ``cell`` that is not ``known``, in nats per character, by its number.

    None where a loss on the line is not finite, and where the other's record or weights cannot be used, whatever the
    reason: that is reported, and never costs the trial that has just ended its own record. One that is trained anew
    measures the pair itself.
    """
    store, own = study.store, model.state_dict()
    batch = landscape_windows(load_corpus(study.device, study.text), study.config, BARRIER_WINDOWS)
    found: dict[str, float | None] = {}
    for number in sorted(store.done_trials(cell)):
        if str(number) in known:
            continue
        try:
            record = store.read_record(cell, number)
            check_identity(store.record_path(cell, number), record, study.identity(cell))
            if record["status"] != "completed":
                continue
            store.settle_weights(cell, number)
            payload = store.read_weights(cell, number, record["weights_sha256"])
        except (ResultError, OSError) as error:
            report({"step": study.config.iterations, "note": f"no barrier to trial {number}: {error}"})
            found[str(number)] = None
            continue
        other = torch.load(io.BytesIO(payload), map_location=study.device, weights_only=True)
        found[str(number)] = finite_or_none(barrier(model, own, other, batch))
    return found

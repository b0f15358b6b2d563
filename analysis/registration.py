"""The studies that were registered before their first trial: what is theirs, by name, recipe and seeds."""

from dataclasses import dataclass, replace

import config_trained
from analysis.measure import MeasuredCell
from config import MODEL_GROUPS, Config

OF_TRAINED, OF_PARTS = "docs/preregistration.md", "docs/preregistration_parts.md"
RECIPE = ("iterations", "schedule", "optimizer", "dropout")


@dataclass(frozen=True)
class Registration:
    """``config`` has the registered models, activations, seeds and number of trials; ``document`` says the rest."""

    config: Config
    document: str

    def has(self, cell: MeasuredCell) -> bool:
        """Whether the cell is one of the study."""
        study = self.config
        return (
            cell.study == study.study
            and all(cell.config.get(key) == getattr(study, key) for key in RECIPE)
            and cell.model in study.models
            and cell.activation in study.activations
            and all(trial["seed"] == study.seed_base + trial["trial"] - 1 for trial in cell.trials)
        )


def _of_parts(
    study: str, models: tuple[str, ...], activations: tuple[str, ...], n_trials: int, **other
) -> Registration:
    config = replace(
        config_trained.CONFIG,
        study=study,
        models=models,
        activations=activations,
        n_trials=n_trials,
        **{"seed_base": 2000, **other},
    )
    return Registration(config, OF_PARTS)


PARTS_ACTIVATIONS = ("relu", "gelu", "swiglu", "smelu_1")
ADDED = ("geglu", "reglu", "apl")
REGISTERED = {
    each.config.study: each
    for each in (
        Registration(config_trained.CONFIG, OF_TRAINED),
        _of_parts("parts", MODEL_GROUPS["parts"], PARTS_ACTIVATIONS, 8),
        _of_parts("gated", ("minigpt", "tinylstm"), (*config_trained.CONFIG.activations, *ADDED), 6, seed_base=1000),
        _of_parts("sizes", MODEL_GROUPS["sizes"], ("relu", "gelu", "swiglu"), 6),
        _of_parts("attention_dropout", MODEL_GROUPS["attention_dropout"], PARTS_ACTIVATIONS, 8, dropout=0.2),
    )
}


def registration_of(cells: list[MeasuredCell]) -> Registration | None:
    """The registration of the study whose cells these are; None if any of them is not of it."""
    found = REGISTERED.get(cells[0].study) if cells else None
    return found if found and all(map(found.has, cells)) else None


def complete_models(cells: list[MeasuredCell]) -> set[str]:
    """The architectures of a registered study of which all cells have all their trials, completed or diverged."""
    found = registration_of(cells)
    if not found:
        return set()
    full = {(cell.model, cell.activation) for cell in cells if len(cell.trials) >= found.config.n_trials}
    return {model for model in found.config.models if all((model, name) in full for name in found.config.activations)}

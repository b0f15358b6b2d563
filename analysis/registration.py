"""The studies that were registered before their first trial: what is theirs, by name, recipe, rates and seeds."""

from dataclasses import dataclass, fields, replace

import config_trained
from analysis.measure import MeasuredCell, by_model
from analysis.stats import FEWEST_JUDGED
from config import MODEL_GROUPS, Config

OF_TRAINED, OF_PARTS = "docs/preregistration.md", "docs/preregistration_parts.md"
# What a study is a study of, or what each cell may have of its own, is no part of the recipe; all other settings are.
NO_RECIPE = ("study", "device", "shapes", "models", "activations", "n_trials", "landscape", "rates", "learning_rate")
SETTINGS = {setting.name: setting.default for setting in fields(Config) if setting.name not in NO_RECIPE}


@dataclass(frozen=True)
class Registration:
    """``config`` has the registered models, activations, seeds and number of trials; ``document`` says the rest.

    With ``one_rate`` all activations of an architecture have the same learning rate.
    """

    config: Config
    document: str
    one_rate: bool

    def has(self, cell: MeasuredCell) -> bool:
        """Whether the cell is one of the study: of its names and seeds, and trained by its recipe on its text."""
        study = self.config
        fixed = {"corpus": config_trained.GOOD_ENOUGH_ON, "precision": "float32"}
        recipe = {name: getattr(study, name) for name in SETTINGS} | fixed
        there = SETTINGS | fixed | cell.config  # a cell file leaves out what had one value when it was written
        return (
            cell.study == study.study
            and all(_plain(there[name]) == _plain(value) for name, value in recipe.items())
            and cell.model in study.models
            and cell.activation in study.activations
            and all(trial["seed"] == study.seed_base + trial["trial"] - 1 for trial in cell.trials)
        )

    def foreign(self, cells: list[MeasuredCell]) -> list[MeasuredCell]:
        """Those of ``cells`` that are not of the study, or not at the rate of most of their architecture."""
        found = [cell for cell in cells if not self.has(cell)]
        if self.one_rate:
            for of_model in by_model([cell for cell in cells if self.has(cell)]).values():
                rates = [cell.config.get("learning_rate") for cell in of_model]
                usual = max(rates, key=rates.count)
                found += [cell for cell, rate in zip(of_model, rates, strict=True) if rate != usual]
        return found


def _plain(value: object) -> object:
    """As it comes back from JSON."""
    return list(value) if isinstance(value, tuple) else value


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
    return Registration(config, OF_PARTS, one_rate=True)


OF_PARTS_ACTIVATIONS = ("relu", "gelu", "swiglu", "smelu_1")
ADDED = ("geglu", "reglu", "apl")
REGISTERED = {
    each.config.study: each
    for each in (
        Registration(config_trained.CONFIG, OF_TRAINED, one_rate=False),
        _of_parts("parts", MODEL_GROUPS["parts"], OF_PARTS_ACTIVATIONS, 8),
        _of_parts("gated", ("minigpt", "tinylstm"), (*config_trained.CONFIG.activations, *ADDED), 6, seed_base=1000),
        _of_parts("sizes", MODEL_GROUPS["sizes"], ("relu", "gelu", "swiglu"), 6),
        _of_parts("attention_dropout", MODEL_GROUPS["attention_dropout"], OF_PARTS_ACTIVATIONS, 8, dropout=0.2),
    )
}


def registration_of(cells: list[MeasuredCell]) -> Registration | None:
    """The registration of the study whose cells these are; None if any of them is not of it."""
    found = REGISTERED.get(cells[0].study) if cells else None
    return found if found and not found.foreign(cells) else None


def incomplete_models(cells: list[MeasuredCell]) -> set[str]:
    """Of a registered study the architectures, among those of ``cells``, that get no verdict yet: those that lack an
    activation, or share fewer than ``FEWEST_JUDGED`` completed seeds over all of them."""
    registration = registration_of(cells)
    if not registration:
        return set()
    return {model for model, found in by_model(cells).items() if not _is_complete(registration, found)}


def _is_complete(registration: Registration, cells: list[MeasuredCell]) -> bool:
    seeds = [{trial["seed"] for trial in cell.completed} for cell in cells]
    all_there = {cell.activation for cell in cells} >= set(registration.config.activations)
    return all_there and len(set.intersection(*seeds)) >= FEWEST_JUDGED


def complete_models(cells: list[MeasuredCell]) -> set[str]:
    """Of a registered study the architectures that are complete enough for a verdict; none of another study."""
    return {cell.model for cell in cells} - incomplete_models(cells) if registration_of(cells) else set()


def planned_trials_only(contents: list[dict]) -> list[dict]:
    """The cells without the trials beyond those that their registered study plans: a cell that was copied from
    another study has as many as that."""
    return [_planned_only(cell) if "taken_from" in cell else cell for cell in contents]


def _planned_only(cell: dict) -> dict:
    registration = REGISTERED.get(cell["study"])
    if not registration or len(cell["trials"]) <= (n := registration.config.n_trials):
        return cell
    trials = [trial for trial in cell["trials"] if trial["trial"] <= n]
    pairs = [pair for pair in cell["pairs"] if max(pair["trials"]) <= n]
    return cell | {"trials": trials, "pairs": pairs, "planned_trials": n}

"""Which of our studies stands beside a part of the report: the one trained most like it. Pure functions."""

import math
from collections.abc import Callable, Hashable
from functools import cache
from typing import Any, TypeVar

from analysis import omnibus
from analysis.findings import Findings
from analysis.measure import MeasuredCell, varied
from analysis.stats import UNKNOWN, Estimate
from config import family_of

R = TypeVar("R")
ALIKE = 2  # by which factor steps and parameters may differ at most


class Ours:
    """All our cells, by study; the findings of a study are computed when it is first needed.

    ``contents`` are those of the cell files of all studies. ``findings_of`` gives the findings of a study by its
    name; a caller that has them already hands them over, so that nothing is computed twice.
    """

    def __init__(self, contents: list[dict], findings_of: Callable[[str], Findings] | None = None):
        self.contents = contents
        self.findings_of = findings_of or cache(lambda study: Findings.of_study(contents, study))
        self._answers: dict[tuple, Any] = {}

    @classmethod
    def beginning_with(cls, findings: Findings, contents: list[dict]) -> "Ours":
        """All studies, of which one has been looked at already."""
        others = cache(lambda study: Findings.of_study(contents, study))
        return cls(contents, lambda study: findings if study == findings.study else others(study))

    def beside(self, section: dict | None) -> Findings | None:
        """The study nearest to a section of the report in training steps, None if none is near.

        Near: steps and parameters differ by a factor of at most ``ALIKE``. Where the report does not say how many
        steps it trained, and without a section, it is the longest of the studies with the most architectures. Of
        equals it is the one with the most cells, then trials. Controls, which vary fewer streams, take no part.
        """
        wanted = section or {"iterations": None, "parameters": None}
        near = [cells for cells in self._studies() if _is_near(cells, wanted)]
        if not near:
            return None
        return self.findings_of(min(near, key=lambda cells: _distance(cells, wanted))[0]["study"])

    def named(self, study: str) -> Findings | None:
        """Our study of that name, None where there is none."""
        return self.findings_of(study) if any(cell["study"] == study for cell in self.contents) else None

    def cv(self, findings: Findings, model: str, activations: list[str]) -> Estimate:
        """The CV of PD over some activations of an architecture; unknown where one is missing."""
        return self.once(_cv, findings, model, frozenset(activations))

    def once(self, values: Callable[..., R], findings: Findings, model: str, *more: Hashable) -> R:
        """What ``values`` makes of the cells of an architecture in a study, computed once."""
        question = (values, findings.study, model, *more)
        if question not in self._answers:
            self._answers[question] = values(findings.models[model], *more)
        return self._answers[question]

    def _studies(self) -> list[list[dict]]:
        """The cells of each study in which all random streams vary that vary in any."""
        streams = max((len(varied(cell)) for cell in self.contents), default=0)
        studies: dict[str, list[dict]] = {}
        for cell in self.contents:
            if len(varied(cell)) == streams:
                studies.setdefault(cell["study"], []).append(cell)
        return [studies[name] for name in sorted(studies)]


def _cv(cells: list[MeasuredCell], activations: frozenset[str]) -> Estimate:
    compared = [cell for cell in cells if cell.activation in activations]
    whole = len(compared) == len(activations) > 1
    return omnibus.sensitivities(compared, ("relative_pd",))["relative_pd"][0].cv if whole else UNKNOWN


def steps_of(cells: list[dict]) -> int:
    return max(cell["config"]["iterations"] for cell in cells)


def _is_near(cells: list[dict], wanted: dict) -> bool:
    parameters = sum(cell["n_parameters"] for cell in cells) / len(cells)
    known = [(wanted["parameters"], parameters), (wanted["iterations"], steps_of(cells))]
    return all(abs(math.log(theirs / ours)) <= math.log(ALIKE) for theirs, ours in known if theirs is not None)


def _distance(cells: list[dict], wanted: dict) -> tuple:
    """Ascending from the nearest study."""
    steps, trials = steps_of(cells), sum(len(cell["trials"]) for cell in cells)
    if wanted["iterations"] is None:
        return -len({family_of(cell["model"]) for cell in cells}), -steps, -len(cells), -trials
    return abs(math.log(wanted["iterations"] / steps)), -len(cells), -trials


def where(findings: Findings) -> str:
    """Such as "cpu, 100 steps"."""
    return f"{findings.study}, {steps_of([cell.content for cell in findings.measured])} steps"

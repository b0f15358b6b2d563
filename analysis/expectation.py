"""An expectation that was registered before a study was run, and what can become of it."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from analysis.findings import Findings
from analysis.omnibus import Sensitivity
from labels import counted, label, listed

PD = "relative_pd"


class Outcome(StrEnum):
    NOT_WRONG = "not shown wrong"
    WRONG = "wrong"
    UNDECIDED = "undecided"
    OPEN = "open: the study is not complete"

    @classmethod
    def of(cls, wrong: bool) -> "Outcome":
        return cls.WRONG if wrong else cls.NOT_WRONG


Found = tuple[str, Outcome]  # what was found, in words, and what that makes of the expectation
NOTHING: Found = "nothing yet", Outcome.OPEN


@dataclass(frozen=True)
class Expectation:
    """One of a registration's, by its ``number`` there and in its words.

    ``judge`` says what was found and the outcome, if the architectures in ``needs`` are complete; with none named,
    all of the study's. Until then it is open.
    """

    number: int
    text: str
    wrong_if: str
    judge: Callable[[Findings], Found]
    needs: tuple[str, ...] = ()


def where(found: list[Sensitivity], asked: Callable[[Sensitivity], bool]) -> list[str]:
    """The architectures of which it is true."""
    return [each.model for each in found if asked(each)]


def in_models(models: list[str], total: int) -> str:
    """Such as "1 of 6 architectures (CharLM)"."""
    names = f" ({listed(map(label, models))})" if models else ""
    return f"{len(models)} of {counted(total, 'architecture')}{names}"

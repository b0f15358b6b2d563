"""A finished study with more iterations: each trial goes on from its last state, what it had is kept as a study."""

from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace

from labels import counted
from study.cell import Report, ignore, update_cell
from study.files import Busy, OtherSettings, UserError
from study.locks import exclusive
from study.plan import Study, earlier_steps
from study.store import Cell, check_study_name


@dataclass(frozen=True)
class Continuation:
    """What carrying a cell on means.

    steps    what its trials have
    going_on numbers of the trials whose last state is here
    again    numbers of those that are trained from the start, because theirs is not, or because they diverged
    seconds  what a trial trained from the start takes, about, on one core; as its first steps did
    """

    cell: Cell
    steps: int
    going_on: list[int]
    again: list[int]
    seconds: float

    def describe(self, study: Study) -> list[str]:
        """In words, a line each: what goes on, what that costs, and where the results are kept."""
        lines, again = [], self._asked_for(study, self.again)
        if going_on := self._asked_for(study, self.going_on):
            lines.append(f"{self.cell.name} is carried on from step {self.steps}: {_trials(going_on)}")
        if again:
            which = f"{self.cell.name} {_trials(again)}"
            lines.append(f"{which} from the start, having no last state: {self._cost(study)}")
        return [
            *lines,
            f"its results after {self.steps} steps are kept as study {kept_cell(self.cell, self).study!r}",
        ]

    def _cost(self, study: Study) -> str:
        n_trials = len(self._asked_for(study, self.again))
        return (
            f"{n_trials} x {counted(study.config.iterations, 'step')}, "
            f"about {n_trials * self.seconds:.0f} seconds of one core"
        )

    def _asked_for(self, study: Study, numbers: list[int]) -> list[int]:
        """Those that ``study`` trains: it may have fewer trials than there were."""
        return [number for number in numbers if number <= study.config.n_trials]


def _trials(numbers: list[int]) -> str:
    return f"{'trial' if len(numbers) == 1 else 'trials'} {' '.join(map(str, numbers))}"


def kept_cell(cell: Cell, continuation: Continuation) -> Cell:
    """The cell that keeps what there was before."""
    return replace(cell, study=check_study_name(f"{cell.study}_after_{continuation.steps}"))


def continuation_of(study: Study, cell: Cell) -> Continuation | None:
    """What carrying ``cell`` on means; None where its results are not the beginning of what ``study`` asks for.

    OtherSettings where no trial's last state is here, though some completed, so that there is nothing to carry on.
    """
    steps = earlier_steps(study, cell)
    if steps is None:
        return None
    found = study.store.read_cell(cell)
    trials = found["trials"] if found else []
    numbers = sorted({trial["trial"] for trial in trials} | study.store.recorded_trials(cell))
    diverged = {trial["trial"] for trial in trials if trial["status"] == "diverged"}
    going_on = [number for number in numbers if study.store.last_state_path(cell, number).exists()]
    again = [number for number in numbers if number not in going_on]
    spent = max((trial["training_time"] or 0 for trial in trials), default=0)
    continuation = Continuation(cell, steps, going_on, again, spent / steps * study.config.iterations)
    if not going_on and not diverged.issuperset(numbers):
        raise OtherSettings(
            f"{cell.name} has {counted(steps, 'step')} of each trial, and no last state to carry them on from; "
            f"training them from the start costs {continuation._cost(study)}; give that run its own name with "
            "--study NAME"
        )
    return continuation


def carry_on(study: Study, cell: Cell, report: Report = ignore) -> None:
    """Keep what the trials of ``cell`` have as a study of its own, and make way for what they will have.

    Can be interrupted and called again: the cell file goes last, and until then it says what is to be done.
    """
    store, steps = study.store, earlier_steps(study, cell)
    if steps is None:
        return
    before = store.read_cell(cell)
    planned = before["planned_trials"] if before else max(store.recorded_trials(cell))
    update_cell(replace(study, config=replace(study.config, iterations=steps, n_trials=planned)), cell, report)
    with exclusive(store.lock_path(cell, "cell"), wait=True), ExitStack() as locks:
        content, continuation = store.read_cell(cell), continuation_of(study, cell)
        if content is None or continuation is None:  # another run has done so meanwhile
            return
        kept = kept_cell(cell, continuation)
        there = store.read_cell(kept)
        if there is not None and there["fingerprint"] != content["fingerprint"]:
            raise UserError(f"{store.cell_path(kept)} is of other settings and in the way; move it elsewhere")
        if there is not None and not (holds(there, content) or holds(content, there)):
            raise UserError(f"{store.cell_path(kept)} has other trials and is in the way; move it elsewhere")
        numbers = {*continuation.going_on, *continuation.again}
        for number in sorted(numbers | store.trials_with_locks(cell)):  # a trial in work has no record yet
            try:
                locks.enter_context(exclusive(store.lock_path(cell, f"trial_{number}")))
            except Busy:
                raise UserError(f"another run has trial {number} of {cell.name} in work; wait for its end") from None
        if there is None or not holds(there, content):  # it has more where trials were carried on before
            store.write_cell(kept, content | {"study": kept.study})
        for number in sorted(numbers):
            _keep_trial(study, cell, kept, number)
        store.cell_path(cell).unlink()


def holds(cell: dict, other: dict) -> bool:
    """Whether a cell file has every trial and every pair of an ``other``, with the same bits."""
    trials, trials_there = (
        {(trial["trial"], trial["predictions_sha256"]) for trial in content["trials"]} for content in (cell, other)
    )
    pairs, pairs_there = ({tuple(pair["trials"]) for pair in content["pairs"]} for content in (cell, other))
    return trials >= trials_there and pairs >= pairs_there


def _keep_trial(study: Study, cell: Cell, kept: Cell, number: int) -> None:
    """Move weights, predictions and, last, the record of a trial to those of another study."""
    store = study.store
    for path_of in (store.checkpoint_path, store.predictions_path):
        path_of(kept, number).parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            path_of(cell, number).replace(path_of(kept, number))
    store.pairs_path(cell, number).unlink(missing_ok=True)
    if store.record_path(cell, number).exists():
        record = store.read_record(cell, number)
        store.write_record(kept, number, record | {"study": kept.study})
        store.record_path(cell, number).unlink()

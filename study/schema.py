"""What each kind of file holds, declared once: the types that msgspec checks where a file is read, to the leaves.

What types cannot say, such as which trials a pair may have, is yielded as faults: the place and what is wrong there,
in words. Keys that are not declared are let through, so that a file of a later version can be read; a metric that a
file lacks was declared after it was written.
"""

import math
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, defstruct
from msgspec.structs import fields

from config import STREAMS
from metrics import PAIR_METRICS, TRIAL_METRICS, Metric
from study.means import mean_faults

LARGEST = 1e38  # about that of float32, in which losses are computed; squares and sums of such numbers are finite
LARGEST_WHOLE = 2**53
ROUNDING = 1e-6  # by which a computed number may lie outside of its bounds
CAME_LATER = "text_block"  # a grouping of pairs that earlier files lack

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")]
ModelName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,99}\Z")]  # with a size: charlm@1M
Hash = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
# JSON's whole numbers are Python's, which NumPy computes with up to a size only.
Number = Annotated[float, Meta(ge=-LARGEST, le=LARGEST)] | Annotated[int, Meta(ge=-LARGEST_WHOLE, le=LARGEST_WHOLE)]
NotNegative = Annotated[float, Meta(ge=0, le=LARGEST)] | Annotated[int, Meta(ge=0, le=LARGEST_WHOLE)]
Distance = Annotated[float, Meta(ge=0, le=2 + ROUNDING)]  # relative PD
Fraction = Annotated[float, Meta(ge=0, le=1 + ROUNDING)]
Seconds = Annotated[float, Meta(ge=0, le=1e10)]
Count = Annotated[int, Meta(ge=0, le=10**13)]
Positive = Annotated[int, Meta(ge=1, le=10**13)]
TrialNumber = Annotated[int, Meta(ge=1, le=10**9)]
Seed = Annotated[int, Meta(ge=0, le=2**33)]
NUMBER = r"^[1-9][0-9]{0,8}\Z"  # of a trial, as the key of an object
Barriers = dict[Annotated[str, Meta(pattern=NUMBER)], NotNegative | None]
Scalar = str | Number | bool | None
Fact = Scalar | list[str] | dict[str, Scalar]
Environment = dict[str, Fact]


def measured(metrics: dict[str, Metric], declared: type[Struct]) -> list[tuple[str, Any, Any]]:
    """A field for each of ``metrics`` that ``declared`` lacks: a number in its bounds, null or absent."""

    def bounded(metric: Metric) -> Any:
        least, most = max(metric.least - ROUNDING, -LARGEST), min(metric.most + ROUNDING, LARGEST)
        whole = Meta(ge=max(math.ceil(least), -LARGEST_WHOLE), le=min(math.floor(most), LARGEST_WHOLE))
        found = Annotated[float, Meta(ge=least, le=most)]
        return found | Annotated[int, whole] if most > LARGEST_WHOLE else found

    left = (name for name in metrics if name not in declared.__struct_fields__)
    return [(name, bounded(metrics[name]) | None | UnsetType, UNSET) for name in left]


# ---------------------------------------------------------------- the parts


class Config(Struct):
    """The settings of a trial (``store.identity``)."""

    model: ModelName
    activation: Name
    iterations: Positive
    eval_interval: Positive
    vary: list[Literal[STREAMS]]  # type: ignore[valid-type]
    seed_base: Seed | UnsetType = UNSET
    device: Name | UnsetType = UNSET
    shape: dict[str, Count | list[Count]] | UnsetType = UNSET
    model_source: str | UnsetType = UNSET
    activation_source: str | UnsetType = UNSET
    context: Positive | UnsetType = UNSET
    batch_size: Positive | UnsetType = UNSET
    probe_contexts: Positive | UnsetType = UNSET
    contexts_between: Positive | UnsetType = UNSET
    vocabulary_size: Positive | UnsetType = UNSET
    texts: Count | UnsetType = UNSET
    dropout: Fraction | UnsetType = UNSET
    learning_rate: Number | UnsetType = UNSET
    recipe: Count | UnsetType = UNSET
    precision: Name | UnsetType = UNSET
    corpus: Hash | UnsetType = UNSET
    torch: Name | UnsetType = UNSET
    numpy: Name | UnsetType = UNSET
    eval_windows: Positive | UnsetType = UNSET
    text_length: Count | UnsetType = UNSET
    passage_length: Count | UnsetType = UNSET
    optimizer: Name | UnsetType = UNSET
    betas: tuple[Fraction, Fraction] | UnsetType = UNSET
    weight_decay: NotNegative | UnsetType = UNSET
    schedule: Name | UnsetType = UNSET
    warm_up: Fraction | UnsetType = UNSET
    floor: Fraction | UnsetType = UNSET
    clip_norm: NotNegative | UnsetType = UNSET
    muon_rate: NotNegative | UnsetType = UNSET


class History(Struct):
    """Losses on the evaluation windows; null where they were not finite."""

    step: Annotated[list[Count], Meta(min_length=1)]
    train_loss: list[Number | None]
    val_loss: list[Number | None]


class Passage(Struct):
    text: str
    predicted: str
    probability: list[Fraction]


class Beginning(Struct):
    """The steps of a trial up to ``step``, where they were made in another environment than the rest."""

    step: Count
    environment: Environment


class TrialFacts(Struct, kw_only=True):
    trial: TrialNumber
    seed: Seed
    status: Literal["completed", "diverged"]
    finished: datetime
    history: History
    environment: Environment
    train_loss: Number | None
    val_loss: Number | None
    train_accuracy: Fraction | None
    val_accuracy: Fraction | None
    training_time: Seconds
    evaluation_time: Seconds
    predictions_sha256: Hash
    texts: list[str] | None | UnsetType = UNSET
    passage: Passage | None | UnsetType = UNSET
    begun_elsewhere: list[Beginning] | UnsetType = UNSET


class Groups(Struct):
    """A pair's predictions by groups of samples; the PD of a group without samples is null."""

    group: list[str]
    n_predictions: list[Count]
    relative_pd: list[Distance | None]
    top1_mismatches: list[Count] | UnsetType = UNSET


class Pooled(Struct):
    """Where the pairs of a cell disagree, all together; of a cell of many, whose pairs do not say it one by one."""

    character_class: Groups
    word_position: Groups
    confidence: Groups
    text_block: Groups | UnsetType = UNSET


GROUPINGS = {field.name for field in fields(Pooled) if field.required}


class OtherContexts(Struct):
    relative_pd: Distance
    top1_mismatches: Count
    global_pd: Fraction


class PairFacts(Struct):
    trials: tuple[TrialNumber, TrialNumber]
    n_predictions: Positive
    relative_pd: Distance
    top1_mismatches: Count
    history: dict[str, list[Number | None]]
    different_contexts: OtherContexts | UnsetType = UNSET
    breakdown: dict[str, Groups] | UnsetType = UNSET


if TYPE_CHECKING:
    TrialForm = TrialFacts
    PairForm = PairFacts
else:  # with every other metric of the registry
    TrialForm = defstruct("TrialForm", measured(TRIAL_METRICS, TrialFacts), bases=(TrialFacts,), kw_only=True)
    PairForm = defstruct("PairForm", measured(PAIR_METRICS, PairFacts), bases=(PairFacts,), kw_only=True)

# ---------------------------------------------------------------- the files


class Owned(Struct, kw_only=True):
    """Whose a file is, and by which settings it was made."""

    model: ModelName
    activation: Name
    study: Name
    n_parameters: Positive
    config: Config
    fingerprint: Hash


class CellForm(Owned, kw_only=True):
    status: Literal["completed", "partial"]
    planned_trials: TrialNumber
    environment: Environment
    trials: Annotated[list[TrialForm], Meta(min_length=1)]
    pairs: list[PairForm]
    pooled: Pooled | UnsetType = UNSET
    taken_from: Name | UnsetType = UNSET
    mean_val_loss: Number | None | UnsetType = UNSET
    std_val_loss: NotNegative | None | UnsetType = UNSET
    mean_val_accuracy: Fraction | None | UnsetType = UNSET
    mean_training_time: Seconds | None | UnsetType = UNSET
    mean_relative_pd: Distance | None | UnsetType = UNSET
    mean_top1_mismatches: NotNegative | None | UnsetType = UNSET


# Both an Owned and a trial; the fields of two structs cannot be inherited.
RecordForm = defstruct(
    "RecordForm",
    [*Owned.__annotations__.items(), ("weights_sha256", Hash), ("barriers", Barriers | UnsetType, UNSET)],
    bases=(TrialForm,),
    kw_only=True,
)


class PairsForm(Struct):
    """The pairs of one trial, and which predictions they were computed from."""

    trial: TrialNumber
    predictions_sha256: dict[Annotated[str, Meta(pattern=NUMBER)], Hash]
    pairs: list[PairForm]


class StateForm(Struct):
    """What a trial is continued from; its tensors are checked by ``study.state``."""

    config: Config
    fingerprint: Hash
    trial: TrialNumber
    step: Count
    history: History
    train_accuracy: Fraction
    times: tuple[Seconds, Seconds]
    model: dict[str, Any]
    optimizer: dict[str, Any]
    finite: Any
    predictions: Any
    earlier_predictions: Any = UNSET
    environment: Environment | UnsetType = UNSET
    begun_elsewhere: list[Beginning] | UnsetType = UNSET


class StudySummary(Struct):
    cells: list[dict[str, str | Number | None]]
    architectures: list[dict[str, str | Number | None]]
    environment: dict[str, Scalar | list[Fact] | dict[str, Scalar]]  # a list where trials differ
    total_time_seconds: Seconds


class SummaryForm(Struct):
    studies: dict[Name, StudySummary]


class Pilot(Struct):
    model: ModelName
    activation: Name
    rate: Number
    seed: Seed
    status: Literal["completed", "diverged"]
    val_loss: Number | None
    training_time: Seconds
    fingerprint: Hash
    evaluation_time: Seconds | UnsetType = UNSET  # an earlier version left it out


class PilotsForm(Struct):
    rates: Annotated[list[Number], Meta(min_length=1)]
    seeds: Annotated[list[Seed], Meta(min_length=1)]
    iterations: Positive
    pilots: list[Pilot]


# ---------------------------------------------------------------- what types cannot say


def cell_faults(cell: CellForm) -> Iterator[str]:
    yield from config_faults(cell)
    trials: dict[int, TrialFacts] = {}
    for place, trial in enumerate(cell.trials):
        for fault in trial_faults(trial, cell.config):
            yield f"trials[{place}].{fault}"
        if trial.trial in trials:
            yield f"trials[{place}].trial: trial {trial.trial} twice"
        trials[trial.trial] = trial
    if cell.status != ("completed" if len(trials) == cell.planned_trials else "partial"):
        yield f"status: {cell.status} with {len(trials)} of {cell.planned_trials} trials"
    if len(trials) > cell.planned_trials:
        yield f"planned_trials: {cell.planned_trials}, with {len(trials)} trials"
    seen: set[tuple[int, int]] = set()
    for place, pair in enumerate(cell.pairs):
        for fault in chain(partner_faults(pair, trials), pair_faults(pair)):
            yield f"pairs[{place}].{fault}"
        if pair.trials in seen:
            yield f"pairs[{place}].trials: the pair {list(pair.trials)} twice"
        seen.add(pair.trials)
        if other := unlike(pair, cell.pairs[0]):
            yield f"pairs[{place}].{other}"
        for name, groups in (pair.breakdown or {}).items():
            if cell.pooled is UNSET and groups.top1_mismatches is UNSET:
                yield f"pairs[{place}].breakdown.{name}: no top1_mismatches"
            if cell.pooled is not UNSET and groups.top1_mismatches is not UNSET:
                yield f"pairs[{place}].breakdown.{name}: in what is pooled already"
        if pair.breakdown and cell.pooled is UNSET:
            yield from (
                f"pairs[{place}].breakdown.{name}: missing" for name in sorted(GROUPINGS - pair.breakdown.keys())
            )
    if len({trial.passage.text for trial in cell.trials if trial.passage}) > 1:
        yield "trials: passages of different texts"
    for name in cell.pooled.__struct_fields__ if cell.pooled else ():
        groups = getattr(cell.pooled, name)
        if groups and (groups.top1_mismatches is UNSET or not even(groups)):
            yield f"pooled.{name}: columns of different lengths"
        if groups and unmeasured(groups):
            yield f"pooled.{name}.relative_pd: null in a group with predictions"
    yield from mean_faults(cell)


def pairs_faults(content: PairsForm) -> Iterator[str]:
    for place, pair in enumerate(content.pairs):
        if content.trial not in pair.trials:
            yield f"pairs[{place}].trials: {list(pair.trials)}"
        for fault in pair_faults(pair):
            yield f"pairs[{place}].{fault}"


def record_faults(record: Any) -> Iterator[str]:
    yield from config_faults(record)
    yield from missing_settings(record.config)
    yield from trial_faults(record, record.config)
    n_texts = len(record.texts or ())
    if record.status == "completed" and n_texts != (record.config.texts or 0):
        yield f"texts: {n_texts} instead of {record.config.texts}"


def state_faults(state: StateForm) -> Iterator[str]:
    yield from missing_settings(state.config)
    iterations, interval, steps = state.config.iterations, state.config.eval_interval, state.history.step
    if fault := step_fault(steps, iterations, interval, whole=False):
        yield f"history.step: {fault}"
    if not 0 <= state.step - steps[-1] < interval or state.step > iterations:
        yield f"step: {state.step} after an evaluation at {steps[-1]}"
    for name, losses in (("train_loss", state.history.train_loss), ("val_loss", state.history.val_loss)):
        if len(losses) != len(steps) or None in losses:
            yield f"history.{name}: not a loss for each step"


def config_faults(owned: Owned) -> Iterator[str]:
    config = owned.config
    if (config.model, config.activation) != (owned.model, owned.activation):
        yield f"config: of {config.model} with {config.activation}"
    if len(set(config.vary)) < len(config.vary):
        yield "config.vary: a stream twice"


def missing_settings(config: Config) -> Iterator[str]:
    """Of those that say what shape the predictions beside a record or in a state have."""
    for name in ("probe_contexts", "vocabulary_size"):
        if getattr(config, name) is UNSET:
            yield f"config: Object missing required field `{name}`"


def trial_faults(trial: TrialFacts, config: Config) -> Iterator[str]:
    if config.seed_base is not UNSET and trial.seed != config.seed_base + trial.trial - 1:
        yield f"seed: {trial.seed} in trial {trial.trial}"
    outcome = (trial.train_loss, trial.val_loss, trial.train_accuracy, trial.val_accuracy)
    if trial.status == "completed" and None in outcome:
        yield "status: completed without losses and accuracies"
    history = trial.history
    if fault := step_fault(history.step, config.iterations, config.eval_interval, trial.status == "completed"):
        yield f"history.step: {fault}"
    for name, values in (("train_loss", history.train_loss), ("val_loss", history.val_loss)):
        if len(values) != len(history.step):
            yield f"history.{name}: {len(values)} values for {len(history.step)} steps"
        elif trial.status == "completed" and None in values:
            yield f"history.{name}: null in a completed trial"
    if trial.passage is None and trial.status == "completed":
        yield "passage: null in a completed trial"
    passage = trial.passage or Passage("", "", [])
    if not len(passage.text) == len(passage.predicted) == len(passage.probability):
        yield "passage: text, predicted and probability of different lengths"


def step_fault(steps: Sequence[float | None], iterations: int, interval: int, whole: bool) -> str | None:
    """What is wrong with the ``steps`` of evaluations, those of a ``whole`` trial or of a beginning."""
    ascending = [step for step in steps if step is not None]
    if len(ascending) < len(steps) or any(a >= b for a, b in zip(ascending, ascending[1:], strict=False)):
        return "not ascending"
    last = ascending[-1] if ascending else -1
    if last > iterations or (whole and last != iterations):
        return f"ends at {last} of {iterations}"
    if sum(step % interval == 0 for step in ascending) != last // interval + 1:
        return "evaluations are missing"
    return None


def partner_faults(pair: PairFacts, trials: dict[int, TrialFacts]) -> Iterator[str]:
    partners = [trials.get(number) for number in pair.trials]
    for number, partner in zip(pair.trials, partners, strict=True):
        if partner is None or partner.status != "completed":
            yield f"trials: there is no completed trial {number}"
        elif pair.history.get("step") != partner.history.step:
            yield f"history.step: not that of trial {number}"


def pair_faults(pair: PairFacts) -> Iterator[str]:
    first, second = pair.trials
    if first >= second:
        yield f"trials: {first} before {second}"
    for name, values in pair.history.items():
        if len(values) != len(pair.history.get("step", values)):
            yield f"history.{name}: {len(values)} values for {len(pair.history['step'])} steps"
    for name in ("relative_pd", "top1_mismatches"):
        if None in pair.history.get(name, [None]):
            yield f"history.{name}: missing values"
    if pair.top1_mismatches > pair.n_predictions:
        yield f"top1_mismatches: {pair.top1_mismatches} of {pair.n_predictions}"
    for name, groups in (pair.breakdown or {}).items():
        if not even(groups):
            yield f"breakdown.{name}: columns of different lengths"
        if unmeasured(groups):
            yield f"breakdown.{name}.relative_pd: null in a group with predictions"


def even(groups: Groups) -> bool:
    """Whether there is a value of everything for each group."""
    columns: tuple[list, ...] = (groups.group, groups.n_predictions, groups.relative_pd)
    columns += (groups.top1_mismatches,) if isinstance(groups.top1_mismatches, list) else ()
    return len(set(map(len, columns))) == 1


def unmeasured(groups: Groups) -> bool:
    """Whether a group with predictions has no PD."""
    return any(n and pd is None for n, pd in zip(groups.n_predictions, groups.relative_pd, strict=False))


def unlike(pair: PairFacts, first: PairFacts) -> str | None:
    """What the pairs of a cell share and ``pair`` does not share with the ``first``. Metrics followed over training
    and groups that came later may be in some alone: the predictions of the others may be gone."""
    if pair.n_predictions != first.n_predictions:
        return f"n_predictions: {pair.n_predictions}, elsewhere {first.n_predictions}"
    if pair.breakdown is UNSET or first.breakdown is UNSET:
        return None
    names, there = ({name: groups.group for name, groups in (each.breakdown or {}).items()} for each in (pair, first))
    differ = {name for name in names.keys() | there.keys() if names.get(name) != there.get(name)}
    lacking = {CAME_LATER} & (names.keys() ^ there.keys())
    return "breakdown: other groups than elsewhere" if differ - lacking else None


def no_faults(content: object) -> Iterator[str]:
    """Of a form whose types say everything."""
    yield from ()

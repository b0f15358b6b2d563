"""Where two models disagree: PD and top-1 mismatches by the character to predict, its place and their confidence.

Pure functions of ``contexts`` (samples, T) and ``targets`` (samples,), both tokens, that is indices into
``characters``, of ``starts`` (samples,), the contexts' places in the text, and of ``p`` and ``q``, the probabilities
(samples, classes) that two models give on these samples.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

import metrics
from probabilities import reordered, to_compare, together
from study.files import finite_or_none
from study.known import Predictions, known_predictions
from study.plan import Study, load_corpus
from study.store import Cell, fingerprint


@dataclass(frozen=True)
class ProbeFacts:
    """What comparing needs to know of the study's probe set: true classes, groups, and the order for scoring two
    models on different contexts."""

    targets: np.ndarray
    groupings: dict[str, "Grouping"]
    shuffled: np.ndarray


def compare_trials(study: Study, cell: Cell, records: dict[int, dict], keys: Iterable[tuple[int, int]]) -> list[dict]:
    """The pairs ``keys`` of completed trials, computed from their predictions."""
    keys = list(keys)
    if not keys:
        return []
    facts, uses = probe_facts(study, cell), Counter(itertools.chain(*keys))
    held: dict[int, Predictions] = {}  # those that are needed again

    def predictions(number: int) -> Predictions:
        found = held.get(number) or known_predictions(study.store, cell, number, records[number])
        if uses[number] > 1:
            held[number] = found
        return found

    return [compare_two(predictions(i), predictions(j), records[i], records[j], facts) for i, j in keys]


PROBES: dict[str, ProbeFacts] = {}  # what this process compared with last, by the fingerprint of the settings


def probe_facts(study: Study, cell: Cell) -> ProbeFacts:
    key = fingerprint(study.identity(cell))
    if key not in PROBES:
        PROBES.clear()
        PROBES[key] = find_probe_facts(study)
    return PROBES[key]


def find_probe_facts(study: Study) -> ProbeFacts:
    from training.dataset import probe_set, shuffled_probe  # here, because it loads PyTorch

    corpus = load_corpus("cpu", study.text)
    probe = probe_set(corpus, study.config)
    contexts, targets = probe.contexts.numpy(), probe.targets.numpy()
    groupings = text_groupings(contexts, targets, probe.starts, corpus.characters)
    return ProbeFacts(targets, groupings, shuffled_probe(study.config))


def compare_two(p: Predictions, q: Predictions, first: dict, second: dict, facts: ProbeFacts) -> dict:
    """The pair of two trials from their predictions and records, ``first`` being that of the lower number; without
    its barrier, which the records have."""
    *p_before, p_last = p.compared
    *q_before, q_last = q.compared
    p_last, q_last = together(p_last, q_last)
    pair = {
        "trials": [first["trial"], second["trial"]],
        **compare_predictions([*p_before, p_last], [*q_before, q_last], facts.targets, facts.shuffled),
        "text_distance": metrics.text_distance(first["texts"], second["texts"]),
        "breakdown": break_down(p_last, q_last, facts.groupings),
    }
    pair["history"]["step"] = first["history"]["step"]
    return pair


def with_barrier(pair: dict, records: dict[int, dict]) -> dict:
    """A ``pair`` with its barrier, where it lacks one and a record has it."""
    first, second = map(records.get, pair["trials"])
    if pair.get("barrier") is not None or first is None or second is None:
        return pair
    return pair | recorded_barrier(first, second)


def recorded_barrier(first: dict, second: dict) -> dict[str, float | None]:
    """What the records of two trials say of their "barrier"; empty where neither was trained with it."""
    found = []
    for own, other in ((first, second), (second, first)):
        measured = own.get("barriers", {})
        if (name := str(other["trial"])) in measured:
            found.append(measured[name])
    return {"barrier": next((value for value in found if value is not None), None)} if found else {}


def compare_predictions(
    p: Sequence[np.ndarray], q: Sequence[np.ndarray], targets: np.ndarray, shuffled: np.ndarray
) -> dict:
    """Every metric of a pair at the end of training, and those that are followed at every evaluation.

    ``p`` and ``q`` have (samples, V) for each evaluation. Under "different_contexts" is what comes out when the
    second model is scored on other contexts than the first: on the same ones in the order ``shuffled`` (samples,).
    """
    *p_before, p_last = p
    *q_before, q_last = q
    last = {name: finite_or_none(value) for name, value in metrics.compare(p_last, q_last, targets).items()}
    before = [followed(*both, targets) for both in zip(p_before, q_before, strict=True)]
    names = [name for name, metric in metrics.PAIR_METRICS.items() if metric.followed]
    history = {name: [*(finite_or_none(values[name]) for values in before), last[name]] for name in names}
    apart = together(p_last, reordered(to_compare(q_last), shuffled))
    different = {
        "relative_pd": metrics.relative_pd(*apart),
        "top1_mismatches": metrics.top1_mismatches(*apart),
        "global_pd": metrics.global_pd(*apart),
    }
    return {**last, "different_contexts": different, "history": history}


def followed(p: np.ndarray, q: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """The metrics that are followed over training, from predictions (samples, V) on the first of all contexts, whose
    true classes are ``targets``. A count of fewer is scaled to what it would be of all."""
    n = len(p)
    values = metrics.follow(*together(p, q), targets[:n])
    if n < len(targets):
        values["top1_mismatches"] *= len(targets) / n
    return values


CHARACTER_CLASSES = ("lower-case letter", "capital letter", "space", "newline", "punctuation or other")
WORD_POSITIONS = ("1st letter", "2nd letter", "3rd letter", "4th letter", "5th letter", "6th or later", "no letter")
CONFIDENCE_BINS = tuple(f"{k / 10} to {(k + 1) / 10}" for k in range(10))
TEXT_BLOCKS = tuple(str(k) for k in range(1, 21))

Grouping = tuple[tuple[str, ...], np.ndarray]  # the groups' names and, for each sample (samples,), its group's index


def character_class(targets: np.ndarray, characters: str) -> Grouping:
    """What kind of character is to be predicted."""

    def index(character: str) -> int:
        tests = (character.islower(), character.isupper(), character == " ", character == "\n", True)
        return tests.index(True)

    return CHARACTER_CLASSES, np.array([index(character) for character in characters])[targets]


def word_position(contexts: np.ndarray, targets: np.ndarray, characters: str) -> Grouping:
    """Which letter of its word is to be predicted; a word is a run of letters, which may begin in the context."""
    is_letter = np.array([character.isalpha() for character in characters])
    letters_before = np.cumprod(is_letter[contexts[:, ::-1]], axis=1).sum(axis=1)
    no_letter = len(WORD_POSITIONS) - 1
    return WORD_POSITIONS, np.where(is_letter[targets], np.minimum(letters_before, no_letter - 1), no_letter)


def text_block(starts: np.ndarray) -> Grouping:
    """Stretches of the text with equally many contexts, up to one. Neighbours are alike, so stretches,
    not single contexts, say what other contexts would have given."""
    ranks = np.argsort(np.argsort(starts, kind="stable"), kind="stable")
    return TEXT_BLOCKS, ranks * len(TEXT_BLOCKS) // len(starts)


def confidence(p: np.ndarray, q: np.ndarray) -> Grouping:
    """How sure the two models are: the mean of their largest probabilities, in ten equal intervals."""
    sure = (metrics.top_probability(p) + metrics.top_probability(q)) / 2
    bins = len(CONFIDENCE_BINS)
    return CONFIDENCE_BINS, np.minimum((sure * bins).astype(int), bins - 1)


def text_groupings(
    contexts: np.ndarray, targets: np.ndarray, starts: np.ndarray, characters: str
) -> dict[str, Grouping]:
    """The groupings that are the same for every pair of models."""
    return {
        "character_class": character_class(targets, characters),
        "word_position": word_position(contexts, targets, characters),
        "text_block": text_block(starts),
    }


def break_down(p: np.ndarray, q: np.ndarray, groupings: dict[str, Grouping]) -> dict[str, dict[str, list]]:
    """For ``groupings`` and for confidence, a list each: the groups, and their samples, relative PD and mismatches.

    Every group is listed; the PD of one without samples is None. Mismatches add up to those of all samples, and so
    does PD when it is weighted by samples.
    """
    distance, differs = metrics.relative_pd_by_sample(p, q), metrics.top1_differs(p, q)

    def by_group(names: tuple[str, ...], index: np.ndarray) -> dict[str, list]:
        counts, sums, mismatches = (
            np.bincount(index, weights, minlength=len(names)).tolist() for weights in (None, distance, differs)
        )
        return {
            "group": list(names),
            "n_predictions": counts,
            "relative_pd": [total / count if count else None for total, count in zip(sums, counts, strict=True)],
            "top1_mismatches": [int(count) for count in mismatches],
        }

    groupings = groupings | {"confidence": confidence(p, q)}
    return {name: by_group(*grouping) for name, grouping in groupings.items()}

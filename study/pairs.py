"""Where two models disagree: PD and top-1 mismatches by the character to predict, its place and their confidence.

Pure functions of ``contexts`` (samples, T) and ``targets`` (samples,), both tokens, that is indices into
``characters``, of ``starts`` (samples,), the contexts' places in the text, and of ``p`` and ``q``, the probabilities
(samples, classes) that two models give on these samples.
"""

import itertools
from functools import cache

import numpy as np

import metrics
from study.files import finite_or_none
from study.plan import Study, load_corpus
from study.store import Cell


def compare_trials(
    study: Study, cell: Cell, numbers: list[int], records: dict[int, dict], previous: dict | None
) -> list[dict]:
    """The pairs of the completed trials ``numbers``, computed only where the cell file does not hold them yet."""
    from training.dataset import probe_set, shuffled_probe  # here, because it loads PyTorch

    known = {tuple(pair["trials"]): pair for pair in previous["pairs"]} if previous else {}

    @cache
    def predictions(number: int) -> np.ndarray:
        return study.store.predictions_of(cell, number, records[number])

    corpus = load_corpus("cpu", study.text)
    probe = probe_set(corpus, study.config)
    contexts, targets = probe.contexts.numpy(), probe.targets.numpy()
    groupings = text_groupings(contexts, targets, probe.starts, corpus.characters)
    shuffled = shuffled_probe(study.config)
    pairs = []
    for i, j in itertools.combinations(numbers, 2):
        if (i, j) in known:
            pairs.append(with_barrier(known[i, j], records))
        elif i in records and j in records:
            pair = {
                "trials": [i, j],
                **compare_predictions(predictions(i), predictions(j), targets, shuffled),
                "text_distance": metrics.text_distance(records[i]["texts"], records[j]["texts"]),
                "breakdown": break_down(predictions(i)[-1], predictions(j)[-1], groupings),
                **recorded_barrier(records[i], records[j]),
            }
            pair["history"]["step"] = records[i]["history"]["step"]
            pairs.append(pair)
    return pairs


def with_barrier(pair: dict, records: dict[int, dict]) -> dict:
    """A ``pair`` of the cell file, with the barrier that it lacked where a trial trained anew has measured it."""
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


def compare_predictions(p: np.ndarray, q: np.ndarray, targets: np.ndarray, shuffled: np.ndarray) -> dict:
    """Every metric of a pair at the end of training, and those that are followed at every evaluation.

    ``p`` and ``q`` are (evaluations, samples, V). Under "different_contexts" is what comes out when the second
    model is scored on other contexts than the first: on the same ones in the order ``shuffled`` (samples,).
    """
    last = {name: finite_or_none(value) for name, value in metrics.compare(p[-1], q[-1], targets).items()}
    followed = [metrics.follow(*pair, targets) for pair in zip(p, q, strict=True)]
    history = {name: [finite_or_none(values[name]) for values in followed] for name in followed[0]}
    apart = p[-1], q[-1][shuffled]
    different = {
        "relative_pd": metrics.relative_pd(*apart),
        "top1_mismatches": metrics.top1_mismatches(*apart),
        "global_pd": metrics.global_pd(*apart),
    }
    return {**last, "different_contexts": different, "history": history}


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
    sure = (p.max(axis=1).astype(np.float64) + q.max(axis=1)) / 2
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

"""Where two models disagree: PD and top-1 mismatches by the character to predict, its place and their confidence.

Pure functions of ``contexts`` (samples, T) and ``targets`` (samples,), both tokens, that is indices into
``characters``, of ``starts`` (samples,), the contexts' places in the text, and of ``p`` and ``q``, the probabilities
(samples, classes) that two models give on these samples.
"""

import numpy as np

import metrics

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
    """Stretches of the text with equally many contexts, up to one. Neighbours are alike, so what other contexts
    would have given is told by stretches, not by single contexts."""
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


def pool(pairs: list[dict], grouping: str) -> dict[str, np.ndarray]:
    """All ``pairs`` together: predictions, relative PD and share of mismatches (groups,); nan of an empty group."""
    groups = [pair["breakdown"][grouping] for pair in pairs]
    count, distance, mismatches = (
        np.array([group[name] for group in groups], dtype=float)
        for name in ("n_predictions", "relative_pd", "top1_mismatches")
    )
    total = count.sum(axis=0)

    def share(values: np.ndarray) -> np.ndarray:
        return np.divide(np.nansum(values, axis=0), total, out=np.full_like(total, np.nan), where=total > 0)

    return {"n_predictions": total, "relative_pd": share(count * distance), "mismatch_share": share(mismatches)}

"""Which files are one group of models, how the group is called, and which models of two groups belong together."""

import glob
import itertools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.predictions import Unfit, file_and_key

Groups = Mapping[str, Sequence[Any]]  # by name, the models of each: paths or arrays

NAMED = re.compile(r"([^=/]*)=(.+)", re.DOTALL)


def named_groups(given: Sequence[Sequence[str]]) -> dict[str, list[str]]:
    """The files of each group by its name, from the words for it: files, patterns, ``NAME=FILE``, ``NAME=PATTERN``.

    A group without a name is called as the folder that holds all its files; where two groups would be called the
    same, as what the names of its files begin with; else by its place. Raises Unfit.
    """
    expanded = [_expand(words) for words in given]
    names = _names(expanded)
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise Unfit(f"two groups are called {repeated!r}; name them, as in NAME={expanded[0][1][0]}")
    return dict(zip(names, (files for _, files in expanded), strict=True))


def _expand(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """The name of a group, if it has one, and its files."""
    names, files = set(), []
    for word in words:
        named = None if os.path.lexists(word) else NAMED.fullmatch(word)
        if named and not named[1]:
            raise Unfit(f"{word}: the name before = is empty")
        names |= {named[1]} if named else set()
        files += _matching(named[2] if named else word)
    if len(names) > 1:
        raise Unfit(f"one group has several names: {', '.join(sorted(names))}; begin another with --vs")
    return (names.pop() if names else None), files


def _matching(pattern: str) -> list[str]:
    if os.path.lexists(pattern) or not glob.has_magic(pattern):
        return [pattern]
    files, key = file_and_key(pattern)
    array = f":{key}" if key else ""
    matches = glob.glob(files, recursive=True)  # noqa: PTH207  Path.glob takes no absolute patterns
    found = [f"{file}{array}" for file in sorted(matches)]
    if not found:
        raise Unfit(f"no file matches {pattern}, so the group is empty")
    return found


def _check_once(files: list[str]) -> None:
    """Raises Unfit if one file is there twice, by whatever path."""
    seen: dict[tuple, str] = {}
    for file in files:
        try:
            status = Path(file).stat()
        except OSError:
            continue  # an array in an archive, or what cannot be read: that is said where it is opened
        place = (status.st_dev, status.st_ino)
        if place in seen:
            raise Unfit(f"{file} is given twice" + (f", also as {seen[place]}" if seen[place] != file else ""))
        seen[place] = file
    archived = [file for file in files if not os.path.lexists(file)]
    if repeated := next((file for file in archived if archived.count(file) > 1), None):
        raise Unfit(f"{repeated} is given twice")


# ---------------------------------------------------------------- names


def _names(expanded: list[tuple[str | None, list[str]]]) -> list[str]:
    """The first way of naming that gives every group a name of its own."""
    ways: tuple[Callable[[int, list[str]], str], ...] = (
        lambda _, files: _common_folder(files).resolve().name,
        lambda _, files: _common_beginning(files).rstrip("0123456789_-. "),
        lambda _, files: _common_beginning(files),
        lambda place, _: f"group {place}",
    )
    for way in ways:
        names = [name or way(place, files) for place, (name, files) in enumerate(expanded, 1)]
        if all(names) and len(set(names)) == len(names):
            break
    return names


def _common_folder(files: Sequence[str]) -> Path:
    return Path(os.path.commonpath([Path(file).parent.absolute() for file in files]))


def _common_beginning(files: Sequence[str]) -> str:
    return os.path.commonprefix([Path(file).stem for file in files])


# ---------------------------------------------------------------- pairs


@dataclass(frozen=True)
class Pairing:
    """Whether the i-th models of all groups belong together, and ``why``, in words."""

    paired: bool
    why: str


def matched(groups: Groups, paired: bool | None) -> tuple[Groups, Pairing]:
    """The groups with what belongs together at the same place.

    If ``paired`` is None, files do that have the same names in all groups, below the group's folder, or the same but
    for the group's name or what all its names begin with, as relu_1.npy and gelu_1.npy; arrays do not. Raises Unfit
    for groups without models, for one file twice, and for different sizes that are to be paired.
    """
    if not isinstance(groups, Mapping):
        raise Unfit('groups are given by name, such as {"relu": [p1, p2], "gelu": [q1, q2]}')
    groups = {name: _models_of(name, group) for name, group in groups.items()}
    if not groups:
        raise Unfit("no groups of models are given")
    if empty := next((name for name, group in groups.items() if not group), None):
        raise Unfit(f"group {empty!r} is empty")
    _check_once([str(model) for model in itertools.chain(*groups.values()) if _is_path(model)])
    sizes = {len(group) for group in groups.values()}
    if sum(map(len, groups.values())) < 2:
        raise Unfit("one model has nothing to be compared with; give at least two")
    if paired and len(sizes) > 1:
        raise Unfit(f"groups of {' and '.join(map(str, sorted(sizes)))} models cannot be paired")
    if len(groups) == 1:
        return groups, Pairing(False, "one group")
    if paired is not None:
        return groups, Pairing(paired, "as the caller says, by their place" if paired else "as the caller says")
    if not all(_is_path(model) for group in groups.values() for model in group):
        return groups, Pairing(False, "models are given as arrays, and nothing says which belong together")
    return _by_name(groups)


def _is_path(model: object) -> bool:
    return isinstance(model, str | os.PathLike)


def _models_of(name: str, group: Any) -> list[Any]:
    if _is_path(group):
        return _matching(str(group))
    if getattr(group, "ndim", 3) < 3:
        raise Unfit(f"{name} is one array; a group is a list of models, such as [p1, p2]")
    return list(group)


def _by_name(groups: Groups) -> tuple[Groups, Pairing]:
    paths = {name: [str(file) for file in files] for name, files in groups.items()}
    below = {name: [os.path.relpath(path, _common_folder(files)) for path in files] for name, files in paths.items()}
    same = "files have the same names in all groups"
    ways: dict[Callable[[str, str], str], str] = {
        lambda _, file: file: same,
        lambda name, file: file.replace(name, "", 1): same,
        lambda name, file: file.removeprefix(_beginning_of_names(below[name])): f"{same}, but for how these begin",
    }
    for way, why in ways.items():
        keys = {name: [way(name, file) for file in files] for name, files in below.items()}
        first, *others = (sorted(of_group) for of_group in keys.values())
        if len(set(first)) == len(first) and all(other == first for other in others):
            ordered = {name: [path for _, path in sorted(zip(keys[name], paths[name], strict=True))] for name in keys}
            return ordered, Pairing(True, why)
    names, found = list(below), [set(files) for files in below.values()]
    place, lacking = next((k, found[0] ^ other) for k, other in enumerate(found) if found[0] ^ other)
    return groups, Pairing(False, f"{min(lacking)} is not in both {names[0]} and {names[place]}")


def _beginning_of_names(files: Sequence[str]) -> str:
    """What all of several names begin with, without the digits at its end, which tell models apart."""
    return os.path.commonprefix(files).rstrip("0123456789") if len(files) > 1 else ""

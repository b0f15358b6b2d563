"""The pairs that a trial makes with those that ended before it, in a sealed file of its own that is written once.

From these files the cell file is put together. They are worth only the time that comparing took: what is missing,
damaged or of other predictions is computed again.
"""

import json
import os
from typing import Any

import msgspec

from study.files import Damaged, check_form, move_damaged, read_sealed, write_sealed
from study.schema import PairsForm, pairs_faults
from study.store import Cell, Store

Key = tuple[int, int]  # the numbers of a pair's trials, the lower one first


def write_pairs(store: Store, cell: Cell, number: int, hashes: dict[int, str], pairs: list[dict]) -> None:
    """Keep the ``pairs`` of a trial; ``hashes`` are those of the predictions of all trials that take part."""
    content = {"trial": number, "predictions_sha256": {str(n): value for n, value in hashes.items()}, "pairs": pairs}
    write_sealed(store.pairs_path(cell, number), json.dumps(content, allow_nan=False).encode())


def read_pairs(store: Store, cell: Cell, number: int) -> dict[str, Any]:
    """What ``write_pairs`` wrote; Damaged if it is not that."""
    path = store.pairs_path(cell, number)
    try:
        content = msgspec.json.decode(read_sealed(path))
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{path} is damaged ({error})") from None
    check_form(path, content, PairsForm, pairs_faults)
    if content["trial"] != number:
        raise Damaged(f"{path} is of trial {content['trial']}")
    return content


def kept_pairs(store: Store, cell: Cell, number: int, records: dict[int, dict]) -> dict[Key, dict]:
    """The pairs in the file of a trial whose predictions are those of ``records`` still; a damaged file is moved."""
    if not os.path.lexists(store.pairs_path(cell, number)):
        return {}
    try:
        content = read_pairs(store, cell, number)
    except Damaged:
        move_damaged(store.pairs_path(cell, number))
        return {}
    there = {int(name): value for name, value in content["predictions_sha256"].items()}
    same = {n for n, record in records.items() if record["predictions_sha256"] == there.get(n)}
    return {(i, j): pair for pair in content["pairs"] for i, j in [pair["trials"]] if {i, j} <= same}

"""What the commands share: exit codes, a mistake in one line on stderr, printing, signals, kinds of option values."""

import argparse
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from study.files import Damaged

FAILED = 1  # the exit code when a trial failed, or a check found something
MISTAKE = 2  # the exit code when a command cannot do what it is asked
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
STOPPED = "stopped; what was trained is saved, and the same command goes on from there"
LARGEST_SEED = 2**32 - 1


class Parser(argparse.ArgumentParser):
    """An argument parser that says what is wrong in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(MISTAKE, f"{self.prog}: error: {message} (see --help)\n")


def report_mistake(program: str, error: Exception) -> int:
    """Print ``error`` on one line of stderr; returns the exit code."""
    remedy = "; restore it or remove it" if isinstance(error, Damaged) else ""
    print(f"{program}: error: {' '.join(str(error).split())}{remedy}", file=sys.stderr)
    return MISTAKE


def say(text: str) -> None:
    """Print ``text`` at once. Where it cannot be printed, because the reader of the output has ended or the disk of
    the log is full, the run continues without."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        close_output()
    except OSError:
        pass


def close_output() -> None:
    """Discard what is printed from now on: its reader, such as head, has ended."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# ---------------------------------------------------------------- kinds of option values


def positive_int(text: str) -> int:
    """An option's value that counts something."""
    value = whole_number(text)
    if value is None or value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return value


def seed(text: str) -> int:
    """An option's value that seeds random streams."""
    value = whole_number(text)
    if value is None or not 0 <= value <= LARGEST_SEED:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to {LARGEST_SEED}")
    return value


def nonempty(text: str) -> str:
    """An option's value that names something."""
    if not text:
        raise argparse.ArgumentTypeError("the value is empty")
    return text


def path(text: str) -> Path:
    """An option's value that names a file or folder; an empty one, as of a variable that is not set, is none."""
    return Path(nonempty(text))


def whole_number(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


# ---------------------------------------------------------------- signals


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Inside, SIGINT and SIGTERM are not fatal; the list has those received."""
    received: list[int] = []
    before = {number: signal.signal(number, lambda got, _: received.append(got)) for number in STOP_SIGNALS}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

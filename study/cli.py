"""What the commands share: a mistake gets one line on stderr, and exit code 2."""

import argparse
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from study.files import Damaged

MISTAKE = 2
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
STOPPED = "stopped; what was trained is saved, and the same command goes on from there"


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
    """Print ``text`` at once. Work goes on where nobody hears it: its reader is gone, or its log's disk is full."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        close_output()
    except OSError:
        pass


def close_output() -> None:
    """Let what is printed from now on go nowhere: its reader, such as head, has seen enough."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def positive_int(text: str) -> int:
    """An option's value that counts something."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return value


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

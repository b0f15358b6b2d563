"""What the commands share: exit codes, a mistake in one line on stderr, printing, signals, kinds of option values."""

import argparse
import codecs
import io
import multiprocessing
import os
import select
import signal
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from study.files import Damaged, UserError

FAILED = 1  # the exit code when a trial failed, or a check found something
MISTAKE = 2  # the exit code when a command cannot do what it is asked
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
ONE_WISH = 1  # second within which several signals are one wish to stop
STOPPED = "stopped; what was trained is saved, and the same command goes on from there"
LARGEST_SEED = 2**32 - 1
LARGEST_COUNT = 10**9
LARGEST_RATE = 10.0  # far above any that trains, and one that can be part of a study's name


class Parser(argparse.ArgumentParser):
    """The argument parser of every command: says what is wrong in one line, without the usage.

    From when there is one, whatever the command prints can be printed (``make_printable``).
    """

    def __init__(self, *arguments, **options):
        options.setdefault("allow_abbrev", False)  # which scripts that look for an option would miss
        super().__init__(*arguments, **options)
        make_printable()

    def error(self, message: str) -> NoReturn:
        self.exit(MISTAKE, f"{self.prog}: error: {message} (see --help)\n")


def parser_with_examples(program: str, description: str, examples: str) -> Parser:
    """A parser whose description and ``examples``, shown after the options, keep their lines."""
    layout = argparse.RawDescriptionHelpFormatter
    return Parser(prog=program, description=description, epilog=examples, formatter_class=layout)


def outcome(program: str, action: Callable[[], int]) -> int:
    """The exit code that ``action`` returns; a user's mistake and Ctrl-C are said in one line."""
    try:
        return action()
    except (UserError, OSError) as error:
        if isinstance(error, BrokenPipeError) and output_has_no_reader():
            close_output()
            return 0
        return report_mistake(program, error)
    except KeyboardInterrupt:
        print(f"{program}: stopped; the same command can be given again", file=sys.stderr)
        return 128 + signal.SIGINT


def leave(code: int) -> NoReturn:
    """End the process. A child that cannot even be killed, because a file server is gone, is not waited for."""
    if multiprocessing.active_children():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def report_mistake(program: str, error: Exception) -> int:
    """Print ``error`` on one line of stderr; returns the exit code."""
    remedy = "; restore it or remove it" if isinstance(error, Damaged) else ""
    said = str(error)
    if isinstance(error, OSError) and isinstance(error.filename, str | bytes):
        said = f"{os.fsdecode(error.filename)}: {error.strerror}"
    print(f"{program}: error: {' '.join(said.split())}{remedy}", file=sys.stderr)
    return MISTAKE


# ---------------------------------------------------------------- printing


# What terminals without Unicode get instead; of another letter, what is left without its accents, or "?".
PLAIN = {"±": "+/-", "–": "-", "—": "-", "−": "-", "×": "x", "β": "beta", "≤": "<=", "≥": ">=", "·": ".", "…": "..."}


def plain_letters(error: UnicodeError) -> tuple[str, int]:
    """An error handler of ``codecs``: ASCII for letters that an encoding lacks, "?" for what has none."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return "".join(map(_plain, letters)), error.end


def _plain(letter: str) -> str:
    if letter in PLAIN:
        return PLAIN[letter]
    if unicodedata.name(letter, "").startswith("BOX DRAWINGS"):
        return {"─": "-", "═": "=", "│": "|", "║": "|"}.get(letter, "+")
    return unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode() or "?"


codecs.register_error("plain_letters", plain_letters)


def make_printable() -> None:
    """Let everything be printed on a terminal that has few letters, and paths that are not UTF-8 on any."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="plain_letters")


def say(text: str) -> None:
    """Print ``text`` at once. Where it cannot be printed, because the reader of the output has ended or the disk of
    the log is full, the run continues without."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        close_output()
    except OSError:
        pass


def say_progress(progress: dict) -> None:
    """Print what a trial reports: a note, or the losses of an evaluation."""
    if "note" in progress:
        say(f"  {progress['note']}")
    elif "val_loss" in progress:
        say("  step {step:5d}  train loss {train_loss:.4f}  val loss {val_loss:.4f}".format(**progress))


def output_has_no_reader() -> bool:
    """Whether what is printed goes into a pipe whose reader, such as head, has ended."""
    output = select.poll()
    with suppress(OSError, ValueError):  # where there is no output, or none of the system's
        output.register(sys.stdout.fileno(), 0)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in output.poll(0))


def close_output() -> None:
    """Discard what is printed from now on: its reader, such as head, has ended."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# ---------------------------------------------------------------- kinds of option values


def up_to(most: int) -> Callable[[str], int]:
    """The kind of an option's value that counts something of which there are at most ``most``."""

    def count(text: str) -> int:
        value = whole_number(text)
        if value is None or value < 1:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
        if value > most:
            raise argparse.ArgumentTypeError(f"{text!r} is more than {most:,}, the most that is accepted")
        return value

    return count


positive_int = up_to(LARGEST_COUNT)


def seed(text: str) -> int:
    """An option's value that seeds random streams."""
    value = whole_number(text)
    if value is None or not 0 <= value <= LARGEST_SEED:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to {LARGEST_SEED}")
    return value


def learning_rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a learning rate above 0")
    if value > LARGEST_RATE:
        raise argparse.ArgumentTypeError(f"{text!r} is more than {LARGEST_RATE:g}, the most that is accepted")
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
    """Inside, a first SIGINT or SIGTERM is not fatal, and the list has it; a further one raises KeyboardInterrupt.

    Those that follow within ``ONE_WISH`` seconds are not further ones: some programs that start others, such as
    ``timeout``, pass a signal on twice.
    """
    received: list[int] = []
    first = 0.0

    def receive(number: int, _: object) -> None:
        nonlocal first
        if received and time.monotonic() - first > ONE_WISH:
            raise KeyboardInterrupt
        if not received:
            first = time.monotonic()
        received.append(number)

    before = {number: signal.signal(number, receive) for number in STOP_SIGNALS}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

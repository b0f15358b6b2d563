"""A user's own text in place of Tiny Shakespeare (``--corpus FILE``): read and checked, and known by its hash."""

import re
from dataclasses import dataclass
from pathlib import Path

from config import Config
from study.files import UserError, digest, read_bytes

MOST_SYMBOLS = 512
SHOWN = 5  # of the rarest symbols
MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class OwnText:
    """The text in the file at ``path``; ``sha256`` is that of what is trained on, in UTF-8."""

    path: Path
    sha256: str

    def read(self) -> str:
        """UserError if it has changed since the run began."""
        text, _ = read_text(self.path)
        if digest(text.encode()) != self.sha256:
            raise UserError(f"{self.path} was changed after the run began; give the command again")
        return text


def read_text(path: Path) -> tuple[str, list[str]]:
    """The text, without a byte-order mark and with line feeds for line ends, and what was changed so, in words.

    UserError for a file that is missing, empty or not UTF-8, or that has too many symbols or one alone.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    payload, changes = read_bytes(path), []
    if payload.startswith(MARK):
        payload = payload.removeprefix(MARK)
        changes.append("without its byte-order mark")
    try:
        text = payload.decode()
    except UnicodeDecodeError as error:
        place = len(path.read_bytes()) - len(payload) + error.start
        raise UserError(
            f"{path} is not UTF-8: byte {place + 1:,} is 0x{payload[error.start]:02x}; convert it, such as with iconv"
        ) from None
    if "\r" in text:
        changes.append(f"{text.count(chr(13)):,} line ends with a carriage return read as line feeds")
        text = re.sub("\r\n?", "\n", text)
    symbols = set(text)
    if not text.strip():
        raise UserError(f"{path} is empty")
    if len(symbols) == 1:
        raise UserError(f"{path} has one symbol alone, so there is nothing to predict")
    if len(symbols) > MOST_SYMBOLS:
        rare = sorted(symbols, key=lambda symbol: (text.count(symbol), symbol))[:SHOWN]
        raise UserError(
            f"{path} has {len(symbols):,} different symbols, more than {MOST_SYMBOLS}; replace rare ones, such as "
            f"{' '.join(map(ascii, rare))}"
        )
    return text, changes


def check_length(path: Path, text: str, config: Config) -> None:
    """UserError unless the tenth that validates has room for the probe set and the passage, each after a context."""
    beside = max(config.probe_contexts, config.passage_length)
    needed = 10 * (config.context + beside)
    if len(text) < needed:
        raise UserError(
            f"{path} has {len(text):,} characters; {needed:,} are needed, so that the last tenth has "
            f"{beside:,} places with {config.context} characters before each"
        )


def name_of(path: Path) -> str:
    """What the file's name adds to the default name of a study; UserError where nothing can be made of it."""
    name = re.sub(r"[^A-Za-z0-9]+", "_", path.stem).strip("_")[:40]
    if not name:
        raise UserError(f"no name for the study can be made of {path.name!r}; give one with --study NAME")
    return name

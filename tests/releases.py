"""The releases in RELEASES, and the files of one, for tests of upgrades.

A test that needs an older release takes it from the history of this repository. Where the history does not
reach that far (a shallow clone, an unpacked archive), it fails: an upgrade that was not tried is not sound.
"""

import io
import re
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

LINE = re.compile(r"(v\d+\.\d+\.\d+) ([0-9a-f]{40})")


class ReleaseError(Exception):
    """RELEASES or the history of the repository does not give a release."""


@dataclass(frozen=True, kw_only=True)
class Release:
    """One line of RELEASES."""

    #: As it is tagged, for example "v0.1.0".
    version: str
    #: The full id of the released commit, 40 hexadecimal digits.
    commit: str


def releases(file: Path = ROOT / "RELEASES") -> list[Release]:
    """Return all releases, oldest first.

    Raises:
        ReleaseError: a line is not `vX.Y.Z <full commit id>`, or there is none.
    """
    lines = file.read_text().splitlines()
    matches = [LINE.fullmatch(line) for line in lines]
    if not lines or None in matches:
        raise ReleaseError(f"{file} must hold lines `vX.Y.Z <full commit id>` and nothing else.")
    return [Release(version=match[1], commit=match[2]) for match in matches if match]


def last_release(file: Path = ROOT / "RELEASES") -> Release:
    """Return the newest release: the last line of RELEASES."""
    return releases(file)[-1]


def extract(release: Release, folder: Path, repository: Path = ROOT) -> Path:
    """Write the files of a release into a folder, which is made where it is missing, and return it.

    Raises:
        ReleaseError: the repository's history does not hold the commit; never a skip.
    """
    command = ["git", "-C", str(repository), "archive", "--format=tar", release.commit]
    archive = subprocess.run(command, capture_output=True, check=False)
    if archive.returncode:
        raise ReleaseError(
            f"The history here does not hold release {release.version} (commit {release.commit}), which "
            f"tests of upgrades need. In a shallow clone run `git fetch --unshallow`. "
            f"git says: {archive.stderr.decode(errors='replace').strip()}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    return folder

"""Log files that stay small while their writers hold them open."""

import contextlib
import os
import shutil
from pathlib import Path

#: A log larger than this is set aside.
LIMIT_BYTES = 20 * 2**20
#: Parts kept beside a log: `<name>.log.1` is the newest.
PARTS_KEPT = 3


def rotate(log: Path, *, limit_bytes: int = LIMIT_BYTES) -> None:
    """Set a log aside when it is larger than the limit; its writers, who append, go on in the emptied file.

    Lines written between copy and cut are lost. When the disk has no room for the copy, there is none.
    """
    if not log.exists() or log.stat().st_size <= limit_bytes:
        return
    for number in range(PARTS_KEPT - 1, 0, -1):
        if _part(log, number).exists():
            _part(log, number).replace(_part(log, number + 1))
    try:
        shutil.copyfile(log, _part(log, 1))
    except OSError:
        with contextlib.suppress(OSError):
            _part(log, 1).unlink()
    os.truncate(log, 0)


def log_tail(log: Path, lines: int = 12) -> str:
    """Return the last lines of a log, for an error message."""
    if not log.exists():
        return ""
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - 8192))
        return "\n".join(stream.read().decode(errors="replace").splitlines()[-lines:])


def _part(log: Path, number: int) -> Path:
    return log.with_name(f"{log.name}.{number}")

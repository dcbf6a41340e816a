"""One supervisor a state folder: a lock file that names who holds it.

Only this user can open the file: whoever can open a file can lock it, and so keep the stack from starting.
"""

import fcntl
import json
import os
import stat
import time
from pathlib import Path
from typing import IO, Any

from face3d.errors import ConfigurationError


class StackRunning(ConfigurationError):
    """A stack runs on this state folder already."""

    def __init__(self, holder: dict[str, Any]) -> None:
        self.url: str = holder.get("url", "")
        self.pid: int = holder.get("pid", 0)
        super().__init__(f"A stack runs already: {self.url} (supervisor's pid {self.pid}).")


def acquire(state_dir: Path) -> IO[str]:
    """Take the lock; it is free again when the returned file is closed or this process ends.

    Raises:
        StackRunning: another process holds it.
        ConfigurationError: it is not this user's own file.
    """
    stream = _open(state_dir / "stack.lock")
    # Tried for a moment: `find_holder` of another process may hold it just now.
    for pause in (0.1, 0.2, 0.3, 0.0):
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            time.sleep(pause)
        else:
            return stream
    stream.seek(0)
    text = stream.read()
    stream.close()
    raise StackRunning(_parse(text))


def describe(stream: IO[str], url: str) -> None:
    """Write into a held lock who holds it and where the page is."""
    stream.seek(0)
    stream.truncate()
    json.dump({"pid": os.getpid(), "url": url}, stream)
    stream.flush()


def find_holder(state_dir: Path) -> StackRunning | None:
    """Return who runs a stack on this folder, None when nobody does."""
    if not (state_dir / "stack.lock").exists():
        return None
    try:
        acquire(state_dir).close()
    except StackRunning as running:
        return running
    return None


def _open(path: Path) -> IO[str]:
    """Open the lock file, made with mode 0600; never through a link, nor a file of somebody else."""
    wrong = ConfigurationError(f"{path} is not a file of this user: look who made it, and remove it.")
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        handle = os.open(path, flags, 0o600)
    except OSError as error:
        raise wrong from error
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_nlink != 1:
        os.close(handle)
        raise wrong
    # One of an earlier version may be open to others.
    os.fchmod(handle, 0o600)
    return os.fdopen(handle, "r+")


def _parse(text: str) -> dict[str, Any]:
    """Return what a holder wrote; nothing when it has not yet."""
    try:
        holder: dict[str, Any] = json.loads(text)
    except ValueError:
        return {}
    return holder

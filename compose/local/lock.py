"""One supervisor a state folder: a lock file that names who holds it."""

import fcntl
import json
import os
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
    """
    stream = (state_dir / "stack.lock").open("a+")
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
    raise StackRunning(json.loads(text or "{}"))


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

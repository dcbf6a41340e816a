"""What a worker's processes tell each other by files: which stages run since when, who is warm, who is unfit.

A thread cannot be killed from outside, so the launcher watches the age of the running stages and kills the
process. Names hold the start by the monotonic clock, which all processes of a machine share: creating a file
is atomic, and nothing needs to be read.
"""

import contextlib
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from face3d.states import StageName

_SUFFIX = ".running"
_WARM = ".warm"
_UNFIT = "unfit"


class RunningStages:
    """The stages that this process works on."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._counts: Counter[StageName] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def note(self, stage: StageName, token: str) -> Iterator[None]:
        """Count a stage while it runs; `token` is unique to the attempt."""
        path = None if self._folder is None else self._folder / f"{time.monotonic():.3f}.{token}{_SUFFIX}"
        with self._lock:
            self._counts[stage] += 1
        # A folder that vanished costs the supervision, not the job.
        with contextlib.suppress(OSError):
            if path is not None:
                path.touch()
        try:
            yield
        finally:
            with self._lock:
                self._counts[stage] -= 1
            if path is not None:
                path.unlink(missing_ok=True)

    def count(self, stage: StageName) -> int:
        """Return how many attempts of a stage run now."""
        with self._lock:
            return self._counts[stage]


def oldest_seconds(folder: Path) -> float | None:
    """Return for how long the oldest running stage runs; None when none runs."""
    starts = []
    for path in folder.glob(f"*{_SUFFIX}"):
        seconds, _, rest = path.name.partition(".")
        with contextlib.suppress(ValueError):
            starts.append(float(f"{seconds}.{rest.partition('.')[0]}"))
    return time.monotonic() - min(starts) if starts else None


def forget_running(folder: Path) -> None:
    """Delete what a process that died left."""
    for path in folder.iterdir():
        path.unlink(missing_ok=True)


def tell_warm(folder: Path | None) -> None:
    """Say that this process has done its warm-up, however that went."""
    if folder is not None:
        with contextlib.suppress(OSError):
            (folder / f"{os.getpid()}{_WARM}").touch()


def count_warm(folder: Path) -> int:
    """Return how many processes of the worker have done their warm-up."""
    return sum(1 for _ in folder.glob(f"*{_WARM}"))


def tell_unfit(folder: Path | None, reason: str) -> None:
    """Say why this worker must take no more work; the first reason stays."""
    if folder is None:
        return
    with contextlib.suppress(OSError), (folder / _UNFIT).open("x") as stream:
        stream.write(reason)


def read_unfit(folder: Path | None) -> str | None:
    """Return why the worker must take no more work, or None."""
    if folder is None:
        return None
    try:
        return (folder / _UNFIT).read_text() or None
    except OSError:
        return None

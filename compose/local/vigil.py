"""A running service that no longer does its work: when to start it anew, and when to leave it alone."""

import shutil
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path

#: Pauses between two questions: while the service works, and while it does not.
ASK_SECONDS, ASK_AGAIN_SECONDS = 30.0, 2.0
#: A service that does no work for so long, though its disk has room, is started anew. SeaweedFS itself looks
#: once a minute whether a disk that was full has room.
IDLE_SECONDS = 65.0
#: After a start for that reason comes no other before these pauses (the last one repeats): it may not help.
RESTART_GAPS = (120.0, 300.0, 900.0)
#: A disk with less than this left is full.
ROOM_BYTES = 64 * 2**20


@dataclass(frozen=True, kw_only=True)
class Work:
    """How to tell whether a service works."""

    #: Returns what is wrong, or None; may take some seconds.
    find_fault: Callable[[], str | None]
    #: Where it writes.
    folder: Path
    #: Its disk is full for it when only this part is left.
    room_part: float = 0.0
    idle_seconds: float = IDLE_SECONDS
    ask_seconds: float = ASK_SECONDS
    ask_again_seconds: float = ASK_AGAIN_SECONDS
    restart_gaps: tuple[float, ...] = RESTART_GAPS


class Vigil:
    """Watches one service; `look` is called often, from one thread, and never waits.

    Args:
        name: of the service, for the report.
        pool: runs the questions.
        report: told one line at each change.
        has_room: whether the disk of the work's folder takes more.
    """

    def __init__(
        self,
        name: str,
        work: Work,
        pool: Executor,
        report: Callable[[str], None],
        has_room: Callable[[Work], bool] | None = None,
    ) -> None:
        self._name, self._work, self._pool, self._report = name, work, pool, report
        self._has_room = has_room or has_room_left
        self._question: Future[str | None] | None = None
        self._ask_at = 0.0
        #: When it was found idle, and since when it is so with room on its disk.
        self._found_idle: float | None = None
        self._idle_since: float | None = None
        self._alone = False
        self._restarts = 0
        self._no_restart_before = 0.0

    def look(self, now: float | None = None) -> bool:
        """Return whether the service is to be started anew now (monotonic seconds)."""
        now = time.monotonic() if now is None else now
        if self._question is None:
            if now >= self._ask_at:
                self._question = self._pool.submit(self._work.find_fault)
        elif self._question.done():
            fault = self._question.exception() or self._question.result()
            self._question = None
            self._note(None if fault is None else str(fault), now)
        if self._idle_since is None or self._alone:
            return False
        if now - self._idle_since < self._work.idle_seconds or now < self._no_restart_before:
            return False
        seconds = now - self._idle_since
        gaps = self._work.restart_gaps
        gap = gaps[min(self._restarts, len(gaps) - 1)]
        self._restarts += 1
        self._no_restart_before = now + gap
        self._idle_since = now
        self._report(
            f"{self._name} has done no work for {seconds:.0f} s: starting it again (number {self._restarts}, "
            f"the next not before {gap:.0f} s)"
        )
        return True

    def _note(self, fault: str | None, now: float) -> None:
        if fault is None:
            if self._found_idle is not None:
                self._report(f"{self._name} works again after {now - self._found_idle:.0f} s")
            self._found_idle = self._idle_since = None
            self._alone = False
            if now >= self._no_restart_before:
                self._restarts = 0
            self._ask_at = now + self._work.ask_seconds
            return
        self._ask_at = now + self._work.ask_again_seconds
        if self._found_idle is None:
            self._found_idle = self._idle_since = now
            self._report(f"{self._name} does not work: {fault}")
        full = not self._has_room(self._work)
        if full and not self._alone:
            self._report(f"{self._name} is left alone until its disk has room again: {self._work.folder}")
        if self._alone and not full:
            self._report(f"{self._name}: its disk has room again")
            self._idle_since, self._restarts, self._no_restart_before = now, 0, 0.0
        self._alone = full


def has_room_left(work: Work) -> bool:
    """Return whether a service's disk takes more; True when it cannot be told."""
    try:
        usage = shutil.disk_usage(work.folder)
    except OSError:
        return True
    return usage.free >= max(ROOM_BYTES, work.room_part * usage.total)

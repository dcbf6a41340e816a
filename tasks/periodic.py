"""Periodic tasks of the leading relay: when each is due, and how it went, written down for monitoring."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import structlog
from sqlalchemy.orm import Session, sessionmaker

from db import relay_health
from face3d.errors import Face3DError
from face3d.outages import Outage

log = structlog.get_logger(__name__)

#: A task that failed is tried again after this, if it is not due earlier.
_AGAIN_SECONDS = 60.0


@dataclass
class PeriodicTask:
    """Work that the leading relay does again and again."""

    # Name, and the word `chore` of its log events and metrics, are known to those who watch.

    name: str
    every_seconds: float
    #: Returns True when there is more to do at once.
    run: Callable[[], bool | None]
    due_at: float = 0.0
    outage: Outage = field(init=False)

    def __post_init__(self) -> None:
        self.outage = Outage(log, "chore", chore=self.name)


def do_due(
    tasks: Iterable[PeriodicTask],
    sessions: sessionmaker[Session],
    relay: str,
    stopping: Callable[[], bool],
) -> None:
    """Do the tasks that are due; one that fails is noted and stops none of the others."""
    for task in tasks:
        now = time.monotonic()
        if now < task.due_at or stopping():
            continue
        task.due_at = now + task.every_seconds
        error: Exception | None = None
        try:
            with sessions.begin() as session:
                relay_health.note_task_started(
                    session, task.name, every_seconds=task.every_seconds, relay=relay
                )
            if task.run():
                task.due_at = now
        except Exception as caught:
            error = caught
            task.due_at = now + min(task.every_seconds, _AGAIN_SECONDS)
            task.outage.failed(error)
        else:
            task.outage.ended()
        try:
            with sessions.begin() as session:
                relay_health.note_task_ended(session, task.name, error=describe(error))
        except Exception as caught:
            # The database is away: the age of the last success tells.
            task.outage.failed(caught)


def describe(error: Exception | None) -> str | None:
    """Return what may be shown of an error: texts of other people's errors may hold a key."""
    if error is None:
        return None
    return error.message if isinstance(error, Face3DError) else type(error).__name__

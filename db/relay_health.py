"""What the relays did last: their rounds, and how each periodic task went; monitoring reads it."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

#: A relay that was silent for so long is not coming back: its row goes.
FORGOTTEN_SECONDS = 3600.0


def note_round(session: Session, name: str, *, leads: bool) -> None:
    """Write that a relay made a round, and whether it leads."""
    session.execute(
        text(
            "INSERT INTO relays (name, leads) VALUES (:name, :leads)"
            " ON CONFLICT (name) DO UPDATE SET leads = excluded.leads, round_at = now()"
        ),
        {"name": name, "leads": leads},
    )


def forget_relay(session: Session, name: str) -> None:
    """Forget a relay that ended in order."""
    session.execute(text("DELETE FROM relays WHERE name = :name"), {"name": name})


def forget_silent_relays(session: Session) -> None:
    """Forget the relays that made no round for an hour."""
    session.execute(
        text("DELETE FROM relays WHERE round_at < now() - make_interval(secs => :age)"),
        {"age": FORGOTTEN_SECONDS},
    )


def note_task_started(session: Session, name: str, *, every_seconds: float, relay: str) -> None:
    """Write that a relay began a periodic task: one that never ends is seen by it."""
    session.execute(
        text(
            "INSERT INTO periodic_tasks (name, every_seconds, relay) VALUES (:name, :every, :relay)"
            " ON CONFLICT (name) DO UPDATE SET every_seconds = excluded.every_seconds,"
            " relay = excluded.relay, started_at = now()"
        ),
        {"name": name, "every": every_seconds, "relay": relay},
    )


def note_task_ended(session: Session, name: str, *, error: str | None) -> None:
    """Write how a periodic task ended.

    Args:
        error: the kind of what went wrong; None: it succeeded.
    """
    outcome = (
        "succeeded_at = now(), failures = 0, last_error = NULL"
        if error is None
        else "failures = failures + 1, failures_total = failures_total + 1, last_error = :error"
    )
    session.execute(
        text(f"UPDATE periodic_tasks SET {outcome} WHERE name = :name"),  # noqa: S608 - constants of ours
        {"name": name, "error": error},
    )


@dataclass(frozen=True, kw_only=True)
class RelayFacts:
    """One relay."""

    name: str
    leads: bool
    #: Seconds since its last round.
    round_age: float


@dataclass(frozen=True, kw_only=True)
class TaskFacts:
    """One periodic task, whichever relay did it."""

    name: str
    every_seconds: float
    #: Seconds since it was begun last.
    started_age: float
    #: Seconds since it last succeeded, and that moment in seconds since 1970; None: it never did.
    success_age: float | None
    success_time: float | None
    #: In a row, up to now.
    failures: int
    failures_total: int
    last_error: str | None


def read_relays(session: Session) -> Sequence[RelayFacts]:
    """Return the relays, the leading one first, then by their last round.

    One that was killed while it led says so for as long as its row stays: of several only the newest leads.
    """
    rows = session.execute(
        text(
            "SELECT name, leads AND round_at = max(round_at) FILTER (WHERE leads) OVER () AS is_leader,"
            " greatest(extract(epoch FROM now() - round_at), 0) FROM relays"
            " ORDER BY is_leader DESC, round_at DESC"
        )
    )
    return [RelayFacts(name=name, leads=leads, round_age=float(age)) for name, leads, age in rows]


def read_tasks(session: Session) -> Sequence[TaskFacts]:
    """Return the periodic tasks by name."""
    rows = session.execute(
        text(
            "SELECT name, every_seconds, extract(epoch FROM now() - started_at),"
            " extract(epoch FROM now() - succeeded_at), extract(epoch FROM succeeded_at),"
            " failures, failures_total, last_error FROM periodic_tasks ORDER BY name"
        )
    )
    return [
        TaskFacts(
            name=name,
            every_seconds=float(every),
            started_age=max(0.0, float(started)),
            success_age=None if age is None else max(0.0, float(age)),
            success_time=None if moment is None else float(moment),
            failures=failures,
            failures_total=total,
            last_error=error,
        )
        for name, every, started, age, moment, failures, total, error in rows
    ]

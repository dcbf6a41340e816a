"""Jobs that the relay must end, erase or collect garbage of, and which of them met an error the last time.

A job that fails waits before it is tried again, so that a few of them never fill the window of a round.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

from face3d.errors import ErrorCode

#: First wait after an error with a job, doubled by each further one up to the longest.
_FIRST_WAIT_SECONDS = 60.0
_LONGEST_WAIT_SECONDS = 3600.0

#: A person's erasure that broke off: whoever began it has given up by then.
_ABANDONED_SECONDS = 120.0

#: Webhook retries take 17 hours by default; erasing a job ends its messages.
_TOLD_SECONDS = 86400.0

_WAITED = "(upkeep_due_at IS NULL OR upkeep_due_at <= now())"

#: What retention may erase; `:age` is the settings' age in seconds, NULL to keep for ever.
_EXPIRED = f"""
    state IN ('ready', 'failed', 'cancelled') AND (
        finished_at < now() - make_interval(secs => CAST(:age AS float8))
        OR CAST(:age AS float8) IS NOT NULL AND error_code = '{ErrorCode.NEVER_FINISHED}'
           AND finished_at < now() - make_interval(secs => {_TOLD_SECONDS})
        OR erasure_asked_at < now() - make_interval(secs => {_ABANDONED_SECONDS}))
"""

#: A job that has not ended still wants to read the photo; that one is ended in its own time.
_VIEWED = """
    EXISTS (SELECT 1 FROM jobs viewer WHERE viewer.state IN ('accepted', 'running')
       AND viewer.bucket = jobs.bucket AND viewer.options->>'view-of' = jobs.key)
"""


def age_seconds(retention_days: float) -> float | None:
    """Return the age at which jobs are erased; None: never."""
    return retention_days * 86400.0 if retention_days > 0 else None


def find_uncollected(session: Session, *, settled_seconds: float, limit: int) -> list[str]:
    """Return ids of ended jobs whose artifacts are to be deleted, oldest first."""
    return _ids(
        session,
        f"SELECT id FROM jobs WHERE tidied_at IS NULL AND {_WAITED}"  # noqa: S608 - constants of ours
        " AND finished_at < now() - make_interval(secs => :settled) ORDER BY finished_at LIMIT :limit",
        settled=settled_seconds,
        limit=limit,
    )


def find_expired(session: Session, *, retention_days: float, limit: int) -> list[str]:
    """Return ids of jobs that are to be erased, oldest first."""
    return _ids(
        session,
        f"SELECT id FROM jobs WHERE {_EXPIRED} AND {_WAITED}"  # noqa: S608 - constants of ours
        f" AND (erasure_asked_at IS NOT NULL OR NOT {_VIEWED}) ORDER BY finished_at LIMIT :limit",
        age=age_seconds(retention_days),
        limit=limit,
    )


def find_endless(session: Session, *, retention_days: float, limit: int) -> list[str]:
    """Return ids of jobs that did not end within the time that photos are kept, oldest first."""
    return _ids(
        session,
        f"SELECT id FROM jobs WHERE state IN ('accepted', 'running') AND {_WAITED}"  # noqa: S608
        " AND coalesce(asked_at, created_at) < now() - make_interval(secs => CAST(:age AS float8))"
        " ORDER BY created_at LIMIT :limit",
        age=age_seconds(retention_days),
        limit=limit,
    )


def note_failure(session: Session, job_id: str) -> None:
    """Let a job wait that met an error: a minute, then twice as long each time, an hour at most."""
    session.execute(
        text(
            "UPDATE jobs SET upkeep_failures = upkeep_failures + 1, upkeep_due_at = now()"
            " + make_interval(secs => least(:first * power(2, least(upkeep_failures, 20)), :longest))"
            " WHERE id = :job_id"
        ),
        {"job_id": job_id, "first": _FIRST_WAIT_SECONDS, "longest": _LONGEST_WAIT_SECONDS},
    )


def note_success(session: Session, job_id: str) -> None:
    """Forget the errors that were met with a job."""
    session.execute(
        text(
            "UPDATE jobs SET upkeep_failures = 0, upkeep_due_at = NULL"
            " WHERE id = :job_id AND (upkeep_failures > 0 OR upkeep_due_at IS NOT NULL)"
        ),
        {"job_id": job_id},
    )


@dataclass(frozen=True, kw_only=True)
class Overdue:
    """How far retention and garbage collection are behind."""

    #: Seconds that the oldest photo lies there longer than the settings say; 0 without any.
    retention_seconds: float
    #: Jobs with which the last try to collect their garbage or to erase them met an error.
    failing_jobs: int


def read_overdue(session: Session, *, retention_days: float) -> Overdue:
    """Return how far retention and garbage collection are behind."""
    age = age_seconds(retention_days)
    late = session.execute(
        text(
            "SELECT greatest("
            " (SELECT extract(epoch FROM now() - min(finished_at)) FROM jobs"
            "   WHERE state IN ('ready', 'failed', 'cancelled')),"
            " (SELECT extract(epoch FROM now() - min(coalesce(asked_at, created_at))) FROM jobs"
            "   WHERE state IN ('accepted', 'running')))"
        )
    ).scalar()
    failing = session.execute(text("SELECT count(*) FROM jobs WHERE upkeep_failures > 0")).scalar_one()
    return Overdue(
        retention_seconds=max(0.0, float(late) - age) if age is not None and late is not None else 0.0,
        failing_jobs=int(failing),
    )


def _ids(session: Session, statement: str, **values: float | None) -> list[str]:
    rows: Sequence[object] = session.scalars(text(statement), values).all()
    return [str(row) for row in rows]

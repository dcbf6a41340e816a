"""Leases taken from workers that do not come back: they died, froze past their time, or were told to end.

Each in a transaction of its own, which locks one job: one that fails holds up no other.
"""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from db.leases import Lease, end_attempt, fence
from db.lifecycle import end_job, redispatch
from db.locks import lock_job, try_lock_job
from face3d.errors import ErrorCode, RefusedError
from face3d.states import StageName

_RUNNING = (
    "SELECT s.job_id, s.name, s.attempt, s.lease, j.dispatch FROM stages s JOIN jobs j ON j.id = s.job_id"
)

_HELD = text(
    _RUNNING + " JOIN attempts a ON a.job_id = s.job_id AND a.stage = s.name AND a.number = s.attempt"
    " WHERE s.state = 'running' AND a.worker = :worker"
)

_EXPIRED = text(
    _RUNNING + " WHERE s.state = 'running' AND s.lease_until < now() ORDER BY s.lease_until LIMIT :limit"
)


def _leases(rows: Iterable[Any]) -> list[Lease]:
    return [
        Lease(
            job_id=str(job_id), stage=StageName(stage), attempt=attempt, token=str(token), dispatch=dispatch
        )
        for job_id, stage, attempt, token, dispatch in rows
    ]


def held_by(session: Session, *, worker: str) -> list[Lease]:
    """Return the leases that a worker holds."""
    return _leases(session.execute(_HELD, {"worker": worker}))


def hand_back(session: Session, lease: Lease) -> bool:
    """Give a lease back whose worker must end now, and dispatch the rest of the chain again.

    Nothing failed and nothing died: neither count rises.

    Returns:
        False: the lease was lost, or the stage ended meanwhile.
    """
    lock_job(session, lease.job_id)
    message = "The worker was told to end before the stage was done."
    if not end_attempt(session, lease, "abandoned", ErrorCode.WORKER_DIED.value, message):
        return False
    redispatch(session, lease.job_id)
    return True


def find_expired(session: Session, *, limit: int = 100) -> list[Lease]:
    """Return the leases that ran out, the oldest first."""
    return _leases(session.execute(_EXPIRED, {"limit": limit}))


def expire(session: Session, lease: Lease, *, poison_limit: int) -> bool:
    """Take a lease that ran out: dispatch the rest of the chain again, or fail a poisonous job.

    Returns:
        False: it was renewed, the stage ended, or somebody is at the job just now.
    """
    if not try_lock_job(session, lease.job_id):
        return False
    # A renewal waits for no job's lock: only this row's own says whether the lease still runs out.
    ran_out = session.execute(
        text(
            "SELECT 1 FROM stages WHERE job_id = :job_id AND name = :stage AND attempt = :attempt"
            " AND lease = :lease AND lease_until < now() FOR UPDATE SKIP LOCKED"
        ),
        fence(lease),
    ).scalar()
    message = "The worker stopped renewing its lease."
    if ran_out is None or not end_attempt(session, lease, "lost", ErrorCode.WORKER_DIED.value, message):
        return False
    deaths = session.execute(
        text(
            "UPDATE stages SET worker_deaths = worker_deaths + 1 WHERE job_id = :job_id AND name = :stage"
            " RETURNING worker_deaths"
        ),
        {"job_id": lease.job_id, "stage": lease.stage.value},
    ).scalar_one()
    if deaths >= poison_limit:
        error = RefusedError(
            ErrorCode.WORKER_DIED,
            f"Stage {lease.stage.value} killed its worker or froze it {deaths} times.",
            value=deaths,
            limit=poison_limit,
        )
        end_job(session, lease.job_id, error)
    else:
        redispatch(session, lease.job_id)
    return True

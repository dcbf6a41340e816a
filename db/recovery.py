"""Stages that must run again: their worker died, froze past its time or was told to end, or a later stage
cannot read what they left.

Each in a transaction of its own, which locks one job: one that fails holds up no other.
"""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from db.leases import Lease, end_attempt, fence
from db.lifecycle import end_job, redispatch
from db.locks import lock_job, try_lock_job
from face3d.errors import ErrorCode, LeaseLost, RefusedError
from face3d.states import AttemptOutcome, StageName

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

#: So often stages of a job run again for this reason. Workers of two versions in one fleet may write what the
#: other does not read: with the waits between, this gives an upgrade about nine minutes to replace them all.
RERUN_LIMIT = 12
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 4.0, 60.0

_COUNT_RERUNS = text("""
    SELECT count(*) FROM attempts a JOIN jobs j ON j.id = a.job_id
     WHERE a.job_id = :job_id AND a.error_code = :code AND a.started_at >= coalesce(j.asked_at, j.created_at)
""")

#: What follows was made from what cannot be read: it would not fit what is made anew.
_FORGET_FROM = text("""
    UPDATE stages SET state = 'waiting', prefix = NULL, finished_at = NULL
     WHERE job_id = :job_id
       AND ordinal >= (SELECT ordinal FROM stages WHERE job_id = :job_id AND name = :stage)
""")


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


def rerun(session: Session, lease: Lease, stage: StageName, *, message: str) -> bool:
    """Give a lease back and dispatch the chain again from an earlier stage on; the caller commits.

    Nothing failed: the stages' counts of failures stay. The first time at once, then after growing waits.

    Args:
        lease: of the stage that could not read.
        stage: the earlier one.
        message: why it could not be read.
    Returns:
        False when it did not help RERUN_LIMIT times; the job is failed then.
    Raises:
        LeaseLost: another attempt owns the stage that could not read.
    """
    lock_job(session, lease.job_id)
    code = ErrorCode.ARTIFACT_UNREADABLE
    if not end_attempt(session, lease, AttemptOutcome.ABANDONED.value, code.value, message):
        raise LeaseLost
    times = session.execute(_COUNT_RERUNS, {"job_id": lease.job_id, "code": code.value}).scalar_one()
    if times > RERUN_LIMIT:
        reason = f"What stage {stage.value} leaves cannot be read by stage {lease.stage.value}: {message}"
        end_job(
            session,
            lease.job_id,
            RefusedError(code, reason, value=f"{times} times", limit=f"{RERUN_LIMIT} times"),
        )
        return False
    session.execute(_FORGET_FROM, {"job_id": lease.job_id, "stage": stage.value})
    wait = 0.0 if times <= 1 else min(_FIRST_WAIT_SECONDS ** (times - 1), _LONGEST_WAIT_SECONDS)
    redispatch(session, lease.job_id, after_seconds=wait)
    return True

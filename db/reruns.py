"""Stages that run again because a later one cannot read what they left: gone, damaged, of another version."""

from sqlalchemy import text
from sqlalchemy.orm import Session

from db.leases import Lease, end_attempt
from db.lifecycle import end_job, redispatch
from db.locks import lock_job
from face3d.errors import ErrorCode, LeaseLost, RefusedError
from face3d.states import AttemptOutcome, StageName

#: So often stages of a job run again for this reason. Workers of two versions in one fleet may write what the
#: other does not read: with the waits between, this gives an upgrade about nine minutes to replace them all.
LIMIT = 12
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 4.0, 60.0

_COUNT = text("""
    SELECT count(*) FROM attempts a JOIN jobs j ON j.id = a.job_id
     WHERE a.job_id = :job_id AND a.error_code = :code AND a.started_at >= coalesce(j.asked_at, j.created_at)
""")

#: What follows was made from what cannot be read: it would not fit what is made anew.
_FORGET = text("""
    UPDATE stages SET state = 'waiting', prefix = NULL, queue = NULL, finished_at = NULL
     WHERE job_id = :job_id
       AND ordinal >= (SELECT ordinal FROM stages WHERE job_id = :job_id AND name = :stage)
""")


def rerun(session: Session, lease: Lease, stage: StageName, *, message: str) -> bool:
    """Give a lease back and dispatch the chain again from an earlier stage on; the caller commits.

    Nothing failed: the stages' counts of failures stay. The first time at once, then after growing waits.

    Args:
        lease: of the stage that could not read.
        stage: the earlier one.
        message: why it could not be read.
    Returns:
        False when it did not help LIMIT times; the job is failed then.
    Raises:
        LeaseLost: another attempt owns the stage that could not read.
    """
    lock_job(session, lease.job_id)
    code = ErrorCode.ARTIFACT_UNREADABLE
    if not end_attempt(session, lease, AttemptOutcome.ABANDONED.value, code.value, message):
        raise LeaseLost
    times = session.execute(_COUNT, {"job_id": lease.job_id, "code": code.value}).scalar_one()
    if times > LIMIT:
        reason = f"What stage {stage.value} leaves cannot be read by stage {lease.stage.value}: {message}"
        end_job(
            session, lease.job_id, RefusedError(code, reason, value=f"{times} times", limit=f"{LIMIT} times")
        )
        return False
    session.execute(_FORGET, {"job_id": lease.job_id, "stage": stage.value})
    wait = 0.0 if times <= 1 else min(_FIRST_WAIT_SECONDS ** (times - 1), _LONGEST_WAIT_SECONDS)
    redispatch(session, lease.job_id, after_seconds=wait)
    return True

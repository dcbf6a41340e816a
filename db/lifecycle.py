"""What happens to a job after its acceptance: dispatched again, cancelled, retried, collected, ended.

Every change of a job or of its stages happens under the job row's lock (db/locks.py); erasing has
db/job_erasure.py.
"""

from sqlalchemy import case, func, insert, select, text, update
from sqlalchemy.orm import Session

from db.locks import lock_job
from db.models import Attempt, Job, OutboxEntry, Stage
from db.notices import notify_relay
from db.queries import JobNotFound
from db.webhooks import insert_deliveries
from face3d.errors import ErrorCode, Face3DError, RefusedError
from face3d.states import TERMINAL_JOB_STATES, AttemptOutcome, JobState, PriorityClass, StageState

#: Of a job, those that say why it failed.
ERROR_COLUMNS = ("error_code", "error_message", "error_value", "error_limit")


class WrongJobState(Face3DError):
    """The job's state does not allow that."""


def error_columns(error: RefusedError | None) -> dict[str, str | None]:
    """Return the values of ERROR_COLUMNS."""
    if error is None:
        return {"error_code": ErrorCode.INTERNAL_ERROR.value, "error_message": "Unknown refusal."}
    return {
        "error_code": error.code.value,
        "error_message": error.message,
        "error_value": None if error.value is None else str(error.value),
        "error_limit": None if error.limit is None else str(error.limit),
    }


def lock(session: Session, job_id: str) -> Job:
    """Lock a job and return it as it is then.

    Raises:
        JobNotFound
    """
    if not lock_job(session, job_id):
        raise JobNotFound
    found = select(Job).where(Job.id == job_id).execution_options(populate_existing=True)
    return session.execute(found).scalar_one()


def end_job(session: Session, job_id: str, error: RefusedError) -> None:
    """Make a job `failed` with an error and insert its deliveries; the caller holds the job's lock."""
    session.execute(
        update(Job)
        .where(Job.id == job_id)
        .values(state=JobState.FAILED, finished_at=func.now(), **error_columns(error))
    )
    insert_deliveries(session, job_id)
    notify_relay(session)


def cancel(session: Session, job_id: str) -> None:
    """Stop a job that has not ended; a worker that is at it loses its lease.

    Raises:
        JobNotFound, WrongJobState
    """
    job = lock(session, job_id)
    if job.state in TERMINAL_JOB_STATES:
        raise WrongJobState(f"The job is {job.state} already.")
    release_stages(session, job_id)
    session.execute(
        update(Job).where(Job.id == job_id).values(state=JobState.CANCELLED, finished_at=func.now())
    )


def release_stages(session: Session, job_id: str) -> None:
    """Take every lease away and forget pending publications."""
    session.execute(
        update(Stage)
        .where(Stage.job_id == job_id, Stage.state.in_([StageState.RUNNING, StageState.DISPATCHED]))
        .values(state=StageState.WAITING, lease=None, lease_until=None, gpu_type=None, priority_class=None)
    )
    session.execute(
        update(Attempt)
        .where(Attempt.job_id == job_id, Attempt.outcome == AttemptOutcome.RUNNING)
        .values(outcome=AttemptOutcome.ABANDONED, finished_at=func.now())
    )
    session.execute(text("DELETE FROM outbox WHERE job_id = :job_id"), {"job_id": job_id})


def retry(session: Session, job_id: str) -> None:
    """Run a failed or cancelled job again from its first stage that is not done.

    Raises:
        JobNotFound, WrongJobState
    """
    job = lock(session, job_id)
    if job.state not in (JobState.FAILED, JobState.CANCELLED):
        raise WrongJobState(f"Only failed or cancelled jobs can be retried; this one is {job.state}.")
    if job.erasure_asked_at is not None:
        raise WrongJobState("The job is being erased.")
    if not job.options:
        raise WrongJobState("The job's options were refused; upload the photo with other options.")
    session.execute(
        update(Job)
        .where(Job.id == job_id)
        .values(
            state=JobState.ACCEPTED,
            run=Job.run + 1,
            dispatch=Job.dispatch + 1,
            finished_at=None,
            tidied_at=None,
            asked_at=func.now(),
            error_code=None,
            error_message=None,
            error_value=None,
            error_limit=None,
        )
    )
    session.execute(
        update(Stage)
        .where(Stage.job_id == job_id, Stage.state != StageState.DONE)
        .values(
            state=StageState.WAITING,
            worker_deaths=0,
            failures=0,
            excluded=[],
            gpu_type=None,
            priority_class=None,
            finished_at=None,
        )
    )
    redispatch(session, job_id, new_number=False)


def redispatch(session: Session, job_id: str, *, new_number: bool = True, after_seconds: float = 0.0) -> None:
    """Queue the rest of a job's chain for publication, under a new dispatch number.

    The caller holds the job's lock. The first stage that is not done becomes `dispatched`.
    """
    if new_number:
        session.execute(update(Job).where(Job.id == job_id).values(dispatch=Job.dispatch + 1))
    next_ordinal = (
        select(func.min(Stage.ordinal))
        .where(Stage.job_id == job_id, Stage.state != StageState.DONE)
        .scalar_subquery()
    )
    due_at = func.now() + func.make_interval(0, 0, 0, 0, 0, 0, after_seconds)
    session.execute(
        update(Stage)
        .where(Stage.job_id == job_id, Stage.ordinal == next_ordinal)
        .values(
            state=StageState.DISPATCHED,
            lease=None,
            lease_until=None,
            gpu_type=None,
            priority_class=None,
            dispatched_at=due_at,
        )
    )
    session.execute(
        insert(OutboxEntry).from_select(
            ["job_id", "dispatch", "priority", "due_at"],
            select(
                Job.id, Job.dispatch, case((Job.tier == PriorityClass.INTERACTIVE, 0), else_=9), due_at
            ).where(Job.id == job_id),
        )
    )
    notify_relay(session)


def begin_collection(session: Session, job_id: str) -> str | None:
    """Lock an ended job whose artifacts are to be deleted.

    Returns:
        The prefix of its asset, empty where it has none; None when nothing is to be collected any more.
    """
    job = lock(session, job_id)
    if job.state not in TERMINAL_JOB_STATES or job.tidied_at is not None:
        return None
    return job.asset_prefix or ""


def end_collection(session: Session, job_id: str, *, work_bucket: str) -> None:
    """Note that a job's artifacts are gone: all stages of one that is not ready begin anew on a retry."""
    session.execute(
        text(
            "UPDATE stages SET state = 'waiting', prefix = NULL WHERE job_id = :job_id AND state = 'done'"
            " AND EXISTS (SELECT 1 FROM jobs WHERE id = :job_id AND state <> 'ready')"
        ),
        {"job_id": job_id},
    )
    session.execute(
        text("DELETE FROM artifacts WHERE job_id = :job_id AND bucket = :bucket"),
        {"job_id": job_id, "bucket": work_bucket},
    )
    session.execute(update(Job).where(Job.id == job_id).values(tidied_at=func.now()))


def end_overdue(session: Session, job_id: str, *, days: float) -> bool:
    """Make a job `failed` that did not end within some days; tell whether it was one.

    Raises:
        JobNotFound
    """
    job = lock(session, job_id)
    if (
        job.state in TERMINAL_JOB_STATES
        or (job.asked_at or job.created_at)
        > session.execute(
            text("SELECT now() - make_interval(secs => :age)"), {"age": days * 86400.0}
        ).scalar_one()
    ):
        return False
    release_stages(session, job_id)
    end_job(
        session,
        job_id,
        RefusedError(ErrorCode.NEVER_FINISHED, "The job did not end within the time that photos are kept."),
    )
    return True

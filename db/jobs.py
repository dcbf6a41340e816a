"""Operations on jobs: accept, look up, cancel, retry, tidy, end; erasing has db/job_erasure.py.

Every change of a job or of its stages happens under the job row's lock (db/locks.py).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import case, func, insert, or_, select, text, update
from sqlalchemy.orm import Session, selectinload

from db import erasures
from db.locks import lock_job
from db.models import Attempt, Job, OutboxEntry, Stage
from db.notices import RELAY_CHANNEL, notify_relay
from db.webhooks import insert_deliveries
from face3d.errors import ErrorCode, Face3DError, RefusedError
from face3d.options import JobOptions
from face3d.states import STAGES, TERMINAL_JOB_STATES, AttemptOutcome, JobState, StageState, Tier

#: Source of a job whose photo came through the API.
API_SOURCE = "api"


class JobNotFound(Face3DError):
    """There is no job of that id."""


class WrongJobState(Face3DError):
    """The job's state does not allow that."""


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """What `accept` found or made."""

    job_id: str
    #: False when the photo with these options was known already.
    created: bool


def accept(
    session: Session,
    *,
    bucket: str,
    key: str,
    etag: str,
    size: int,
    content_type: str | None,
    options: JobOptions | None,
    refusal: RefusedError | None = None,
    source: str,
    modified_at: datetime | None = None,
    name: str | None = None,
) -> Accepted:
    """Write the job and its outbox row, or return the job that exists; the caller commits.

    A photo that was erased makes no new job: its erased one is returned, until it is uploaded anew.

    Args:
        options: None when they were refused; then `refusal` says why and the job ends `failed` at once.
        modified_at: when the object was written, as its storage says; None for one that is new for certain.
        source: `event`, `sweep` or `api`. The storage's event of an upload through the API may come first:
            the job that it made becomes the API's.
        name: the uploaded file's, where the caller knows it.
    """
    digest = options.digest() if options else f"refused:{refusal.value if refusal else ''}"[:64]
    photo = {"bucket": bucket, "key": key, "etag": etag, "options_digest": digest}
    failed = options is None
    job_id = session.execute(
        _ACCEPT,
        {
            **photo,
            **(_error_columns(refusal) if failed else dict.fromkeys(_ERROR_COLUMNS)),
            "id": str(uuid4()),
            "options": options.model_dump_json(by_alias=True) if options else "{}",
            "stated": json.dumps(options.stated() if options else []),
            "ref": options.ref if options else None,
            "tier": (options.tier if options else Tier.BATCH).value,
            "source": source,
            "name": name,
            "size": size,
            "content_type": content_type,
            "failed": failed,
            "photo_digest": erasures.photo_digest(bucket, key, etag),
            "modified_at": modified_at,
        },
    ).scalar()
    if job_id is None:
        existing = session.execute(select(Job.id).filter_by(**photo)).scalar_one_or_none()
        if existing is None:
            erased = erasures.find_erased(session, bucket, key, etag)
            return Accepted(job_id=erased, created=False)
        if source == API_SOURCE:
            session.execute(update(Job).where(Job.id == existing).values(source=source, name=name))
        return Accepted(job_id=existing, created=False)
    if failed:
        insert_deliveries(session, str(job_id))
    return Accepted(job_id=str(job_id), created=True)


_ERROR_COLUMNS = ("error_code", "error_message", "error_value", "error_limit")

#: One round trip: an event costs little else.
_ACCEPT = text(f"""
    WITH made AS (
        INSERT INTO jobs (id, bucket, key, etag, options_digest, options, stated, ref, tier, source, name,
                          size, content_type, state, finished_at,
                          error_code, error_message, error_value, error_limit)
        SELECT CAST(:id AS uuid), :bucket, :key, :etag, :options_digest, CAST(:options AS jsonb),
               CAST(:stated AS jsonb), :ref, :tier, :source, :name, CAST(:size AS bigint), :content_type,
               CASE WHEN :failed THEN 'failed' ELSE 'accepted' END,
               CASE WHEN :failed THEN now() END, :error_code, :error_message, :error_value, :error_limit
         WHERE NOT EXISTS (
               SELECT 1 FROM erased_photos erased WHERE erased.digest = :photo_digest
                  AND CAST(:modified_at AS timestamptz) <= coalesce(erased.modified_at, erased.erased_at))
        ON CONFLICT ON CONSTRAINT uq_jobs_photo_and_options DO NOTHING
     RETURNING id),
    planned AS (
        INSERT INTO stages (job_id, name, ordinal, state, dispatched_at)
        SELECT made.id, stage.name, stage.ordinal - 1,
               CASE WHEN stage.ordinal = 1 AND NOT :failed THEN 'dispatched' ELSE 'waiting' END,
               CASE WHEN stage.ordinal = 1 AND NOT :failed THEN now() END
          FROM made, unnest(ARRAY[{", ".join(f"'{name}'" for name in STAGES)}])
               WITH ORDINALITY AS stage (name, ordinal)),
    queued AS (
        INSERT INTO outbox (job_id, dispatch, priority)
        SELECT id, 1, CASE WHEN CAST(:tier AS text) = 'interactive' THEN 0 ELSE 9 END
          FROM made WHERE NOT :failed)
    SELECT id, pg_notify('{RELAY_CHANNEL}', '') FROM made
""")  # noqa: S608 - names of ours only


def _error_columns(error: RefusedError | None) -> dict[str, str | None]:
    if error is None:
        return {"error_code": ErrorCode.INTERNAL_ERROR.value, "error_message": "Unknown refusal."}
    return {
        "error_code": error.code.value,
        "error_message": error.message,
        "error_value": None if error.value is None else str(error.value),
        "error_limit": None if error.limit is None else str(error.limit),
    }


def check_id(job_id: str) -> None:
    """Raise JobNotFound for what is no job's id."""
    try:
        UUID(job_id)
    except ValueError as error:
        raise JobNotFound from error


def find(session: Session, job_id: str) -> Job:
    """Return the job with its stages and attempts.

    Raises:
        JobNotFound: there is none, or the id is not a UUID.
    """
    check_id(job_id)
    job = session.execute(
        select(Job).where(Job.id == job_id).options(selectinload(Job.stages).selectinload(Stage.attempts))
    ).scalar_one_or_none()
    if job is None:
        raise JobNotFound
    return job


def find_by_photo(session: Session, *, bucket: str, key: str, etag: str | None) -> Job | None:
    """Return the newest job of that upload, or None."""
    query = select(Job).where(Job.bucket == bucket, Job.key == key).options(selectinload(Job.stages))
    if etag:
        query = query.where(Job.etag == etag)
    return session.execute(query.order_by(Job.created_at.desc()).limit(1)).scalar_one_or_none()


def find_hidden_photo(session: Session) -> str | None:
    """Return the id of a job whose photo lies where SeaweedFS lists nothing, or None."""
    hidden = or_(Job.key.like("%.versions/%"), Job.key.like(".uploads/%"))
    return session.execute(select(Job.id).where(hidden).limit(1)).scalar()


def list_jobs(
    session: Session,
    *,
    state: JobState | None = None,
    limit: int = 50,
    before: datetime | None = None,
) -> Sequence[Job]:
    """Return jobs, newest first; `before` pages on by creation time."""
    query = select(Job).options(selectinload(Job.stages)).order_by(Job.created_at.desc()).limit(limit)
    if state is not None:
        query = query.where(Job.state == state)
    if before is not None:
        query = query.where(Job.created_at < before)
    return session.execute(query).scalars().all()


def known_uploads(session: Session, bucket: str, uploads: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return which (key, etag) pairs have a job, whatever its options: what the sweep asks."""
    if not uploads:
        return set()
    rows = session.execute(
        select(Job.key, Job.etag).where(Job.bucket == bucket, Job.key.in_({key for key, _ in uploads}))
    )
    return {(key, etag) for key, etag in rows} & set(uploads)


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
        .values(state=JobState.FAILED, finished_at=func.now(), **_error_columns(error))
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
        .values(state=StageState.WAITING, lease=None, lease_until=None, queue=None)
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
            queue=None,
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
        .values(state=StageState.DISPATCHED, lease=None, lease_until=None, queue=None, dispatched_at=due_at)
    )
    session.execute(
        insert(OutboxEntry).from_select(
            ["job_id", "dispatch", "priority", "due_at"],
            select(Job.id, Job.dispatch, case((Job.tier == Tier.INTERACTIVE, 0), else_=9), due_at).where(
                Job.id == job_id
            ),
        )
    )
    notify_relay(session)


def begin_tidying(session: Session, job_id: str) -> str | None:
    """Lock an ended job whose artifacts are to be deleted.

    Returns:
        The prefix of its asset, empty where it has none; None when it is not to be tidied any more.
    """
    job = lock(session, job_id)
    if job.state not in TERMINAL_JOB_STATES or job.tidied_at is not None:
        return None
    return job.asset_prefix or ""


def end_tidying(session: Session, job_id: str, *, work_bucket: str) -> None:
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

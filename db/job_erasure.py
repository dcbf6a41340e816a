"""Erasing a job: the two steps around the deletion of its objects, and what its row keeps."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, case, func, select, text, update
from sqlalchemy.orm import Session

from db import erasures
from db.deliveries import forget_answers
from db.lifecycle import cancel, lock, release_stages
from db.locks import lock_endpoints
from db.models import Attempt, Delivery, Job
from db.queries import check_id
from face3d.options import FREE_TEXT_OPTIONS, OPTION_NAMES
from face3d.states import TERMINAL_JOB_STATES, JobState


@dataclass(frozen=True, kw_only=True)
class PhotoToErase:
    """Where an erased job's photo lies."""

    bucket: str
    key: str
    etag: str
    #: Another job of the same photo has not ended: the photo goes with that one.
    keep_photo: bool


def begin_erasure(session: Session, job_id: str) -> PhotoToErase:
    """Stop a job that is to be erased, and return what the caller must delete before it calls `erase`.

    From here on nobody makes a new job of the photo. A job that names it in `view-of` does not keep it: if it
    has not read it by then, it ends `view_missing`.

    Raises:
        JobNotFound
    """
    check_id(job_id)
    job = lock(session, job_id)
    photo = {"bucket": job.bucket, "key": job.key, "etag": job.etag}
    unfinished = Job.state.in_([JobState.ACCEPTED, JobState.RUNNING])
    same = and_(Job.bucket == job.bucket, Job.key == job.key, Job.etag == job.etag)
    others = select(Job.id).where(same, Job.id != job_id, unfinished)
    keep_photo = session.execute(others.limit(1)).scalar() is not None
    if job.state not in TERMINAL_JOB_STATES:
        cancel(session, job_id)
    if job.state != JobState.ERASED:
        erasures.remember(session, job_id, **photo)
        session.execute(update(Job).where(Job.id == job_id).values(erasure_asked_at=func.now()))
    return PhotoToErase(**photo, keep_photo=keep_photo)


#: What an erased job's row keeps beside its id; every other column is emptied, those of later versions too.
_KEPT = frozenset(
    {
        "id", "bucket", "key", "etag", "options_digest", "options", "stated", "tier", "source", "size",
        "state", "dispatch", "run", "created_at", "asked_at", "started_at", "finished_at", "upkeep_failures",
    }
)  # fmt: skip

#: Options that are one of a few words of ours; all others hold what the caller wrote.
_KEPT_OPTIONS = tuple(name for name in OPTION_NAMES if name not in FREE_TEXT_OPTIONS)


def erase(session: Session, job_id: str, *, modified_at: datetime | None = None) -> None:
    """Forget a job's personal data, after the caller deleted its objects.

    The row stays with its id, times and stage statistics; key, reference, file names and messages go. A later
    upload of the same photo makes a new job.

    Args:
        modified_at: when the photo's object had been written; None where it was gone already.
    Raises:
        JobNotFound
    """
    job = lock(session, job_id)
    release_stages(session, job_id)
    session.execute(update(Attempt).where(Attempt.job_id == job_id).values(error_message=None))
    if job.state != JobState.ERASED:
        erasures.date(session, job_id, modified_at)
    session.execute(text("DELETE FROM artifacts WHERE job_id = :job_id"), {"job_id": job_id})
    lock_endpoints(session, job_id)
    forget_answers(session, job_id)
    session.execute(
        update(Delivery)
        .where(Delivery.job_id == job_id)
        .values(
            payload={},
            due_at=None,
            last_error=None,
            state=case((Delivery.state == "pending", "failed"), else_=Delivery.state),
        )
    )
    columns = Job.__table__.columns
    emptied = {column.name: None for column in columns if column.name not in _KEPT and column.nullable}
    kept = {name: value for name, value in job.options.items() if name in _KEPT_OPTIONS}
    session.execute(
        update(Job)
        .where(Job.id == job_id)
        .values(
            **emptied,
            state=JobState.ERASED,
            finished_at=func.now(),
            key=f"erased/{job_id}",
            etag="",
            # A refused job's holds what the caller wrote.
            options_digest="",
            options=kept,
            upkeep_failures=0,
        )
    )

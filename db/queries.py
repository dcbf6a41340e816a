"""Looking jobs up."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.orm import Session, selectinload

from db.models import Job, Stage
from face3d.errors import Face3DError
from face3d.states import JobState


class JobNotFound(Face3DError):
    """There is no job of that id."""


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

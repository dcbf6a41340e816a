"""What is deleted: artifacts that no row names, and what the settings or a person say must go."""

import structlog
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from db import jobs
from face3d.settings import Settings
from storage.client import Storage
from storage.erasure import delete_job_objects
from storage.layout import job_prefix

log = structlog.get_logger(__name__)

#: An attempt that ended this long ago writes nothing any more.
_SETTLED_SECONDS = 900


def delete_orphans(
    storage: Storage, sessions: sessionmaker[Session], settings: Settings, *, limit: int = 50
) -> int:
    """Delete the artifacts of jobs that ended, and attempts' prefixes that no row names.

    A ready job keeps its asset; artifacts between its stages are of no more use. Returns how many jobs were
    tidied.
    """
    with sessions() as session:
        rows = session.execute(
            text(
                "SELECT j.id, j.asset_prefix FROM jobs j"
                " WHERE j.state IN ('ready', 'failed', 'cancelled')"
                "   AND j.finished_at < now() - make_interval(secs => :settled)"
                "   AND EXISTS (SELECT 1 FROM artifacts a WHERE a.job_id = j.id AND a.bucket = :work)"
                " ORDER BY j.finished_at LIMIT :limit"
            ),
            {"settled": _SETTLED_SECONDS, "work": settings.bucket_work, "limit": limit},
        ).all()
    for job_id, asset_prefix in rows:
        _delete_artifacts(storage, sessions, settings, str(job_id), asset_prefix)
    if rows:
        log.info("artifacts.deleted", jobs=len(rows))
    return len(rows)


def _delete_artifacts(
    storage: Storage,
    sessions: sessionmaker[Session],
    settings: Settings,
    job_id: str,
    asset_prefix: str | None,
) -> None:
    storage.delete_prefix(settings.bucket_work, job_prefix(job_id))
    for info in list(storage.list(settings.bucket_assets, job_prefix(job_id))):
        if asset_prefix is None or not info.key.startswith(asset_prefix):
            storage.delete(settings.bucket_assets, info.key)
    with sessions.begin() as session:
        session.execute(
            text("DELETE FROM artifacts WHERE job_id = :job_id AND bucket = :work"),
            {"job_id": job_id, "work": settings.bucket_work},
        )


def erase_job(storage: Storage, sessions: sessionmaker[Session], settings: Settings, job_id: str) -> None:
    """Erase a job: photo, artifacts and asset; then what the row tells of the person.

    Objects go first: if that breaks off, the row still knows where they are and erasing again ends it.

    Raises:
        JobNotFound, StorageUnavailable
    """
    with sessions() as session:
        job = jobs.find(session, job_id)
    delete_job_objects(storage, settings, job_id=job_id, bucket=job.bucket, key=job.key, etag=job.etag)
    with sessions.begin() as session:
        jobs.erase(session, job_id)
    log.info("job.erased", job_id=job_id)


def erase_expired(
    storage: Storage, sessions: sessionmaker[Session], settings: Settings, *, limit: int = 100
) -> int:
    """Erase jobs that ended longer ago than the settings keep them; return how many."""
    if settings.retention_days <= 0:
        return 0
    with sessions() as session:
        rows = session.execute(
            text(
                "SELECT id FROM jobs WHERE state IN ('ready', 'failed', 'cancelled')"
                " AND finished_at < now() - make_interval(secs => :age) ORDER BY finished_at LIMIT :limit"
            ),
            {"age": settings.retention_days * 86400.0, "limit": limit},
        ).all()
    for (job_id,) in rows:
        erase_job(storage, sessions, settings, str(job_id))
    return len(rows)

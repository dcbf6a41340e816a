"""What is deleted: artifacts that no row names, and what the settings or a person say must go."""

from dataclasses import asdict

import structlog
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from db import jobs
from face3d.settings import Settings
from storage.client import Storage
from storage.erasure import delete_job_objects
from storage.layout import job_prefix
from tasks.artifacts import HostCache

log = structlog.get_logger(__name__)

#: An attempt that ended this long ago writes nothing any more.
_SETTLED_SECONDS = 900


def tidy_jobs(
    storage: Storage,
    sessions: sessionmaker[Session],
    settings: Settings,
    cache: HostCache,
    *,
    settled_seconds: float = _SETTLED_SECONDS,
    limit: int = 500,
) -> int:
    """Delete what ended jobs no longer need, and what attempts left that no row names.

    A ready job keeps its asset, an erased one nothing. A failed or cancelled job begins anew when it is
    retried. Returns how many jobs were tidied.

    Raises:
        StorageUnavailable: what was tidied before stays so.
    """
    with sessions() as session:
        ids = session.scalars(
            text(
                "SELECT id FROM jobs WHERE tidied_at IS NULL"
                " AND finished_at < now() - make_interval(secs => :settled) ORDER BY finished_at LIMIT :limit"
            ),
            {"settled": settled_seconds, "limit": limit},
        ).all()
    for job_id in map(str, ids):
        # Under the job's lock: a retry must not find its artifacts half gone.
        with sessions.begin() as session:
            asset_prefix = jobs.begin_tidying(session, job_id)
            if asset_prefix is None:
                continue
            storage.delete_prefix(settings.bucket_work, job_prefix(job_id))
            for info in list(storage.list(settings.bucket_assets, job_prefix(job_id))):
                if not asset_prefix or not info.key.startswith(asset_prefix):
                    storage.delete(settings.bucket_assets, info.key)
            cache.forget(job_id)
            jobs.end_tidying(session, job_id, work_bucket=settings.bucket_work)
    if ids:
        log.info("jobs.tidied", count=len(ids))
    return len(ids)


def erase_job(
    storage: Storage, sessions: sessionmaker[Session], settings: Settings, cache: HostCache, job_id: str
) -> None:
    """Stop and erase a job: photo, artifacts and asset; then what the row tells of the person.

    Objects go first: if that breaks off, the row still knows where they are and erasing again ends it.

    Raises:
        JobNotFound, StorageUnavailable
    """
    with sessions.begin() as session:
        photo = jobs.begin_erasure(session, job_id)
    delete_job_objects(storage, settings, job_id=job_id, **asdict(photo))
    cache.forget(job_id)
    with sessions.begin() as session:
        jobs.erase(session, job_id)
    log.info("job.erased", job_id=job_id)


def erase_expired(
    storage: Storage,
    sessions: sessionmaker[Session],
    settings: Settings,
    cache: HostCache,
    *,
    limit: int = 500,
) -> int:
    """Erase jobs that ended longer ago than the settings keep them; return how many."""
    if settings.retention_days <= 0:
        return 0
    with sessions() as session:
        ids = session.scalars(
            text(
                "SELECT id FROM jobs WHERE state IN ('ready', 'failed', 'cancelled')"
                " AND finished_at < now() - make_interval(secs => :age) ORDER BY finished_at LIMIT :limit"
            ),
            {"age": settings.retention_days * 86400.0, "limit": limit},
        ).all()
    for job_id in map(str, ids):
        erase_job(storage, sessions, settings, cache, job_id)
    return len(ids)

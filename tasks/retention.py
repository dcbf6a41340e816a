"""What is deleted: artifacts that no row names, and what the settings or a person say must go.

A job with which something goes wrong is counted, waits, and stops none behind it.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict

import structlog
from sqlalchemy.orm import Session, sessionmaker

from db import erasures, job_erasure, lifecycle, upkeep
from face3d.errors import Face3DError
from face3d.settings import Settings
from storage.client import Storage
from storage.erasure import delete_job_objects
from storage.layout import job_prefix
from tasks.artifacts import HostCache

log = structlog.get_logger(__name__)

#: An attempt that ended this long ago writes nothing any more.
_SETTLED_SECONDS = 900

#: Errors in a row after which a round ends: each may have cost a minute and a half.
_GIVE_UP = 10

#: Jobs of one round; a full round is followed by another at once.
ROUND = 500


def collect_garbage(
    storage: Storage,
    sessions: sessionmaker[Session],
    settings: Settings,
    cache: HostCache,
    *,
    settled_seconds: float = _SETTLED_SECONDS,
    limit: int = ROUND,
) -> int:
    """Delete what ended jobs no longer need, and what attempts left that no row names.

    A ready job keeps its asset, an erased one nothing. A failed or cancelled job begins anew when it is
    retried. Returns how many jobs that was done for.

    Raises:
        StorageUnavailable: the storage answers nobody; what was deleted before stays so.
    """
    with sessions() as session:
        ids = upkeep.find_uncollected(session, settled_seconds=settled_seconds, limit=limit)

    def collect(job_id: str) -> None:
        # Under the job's lock: a retry must not find its artifacts half gone.
        with sessions.begin() as session:
            asset_prefix = lifecycle.begin_collection(session, job_id)
            if asset_prefix is None:
                return
            storage.delete_prefix(settings.bucket_work, job_prefix(job_id))
            storage.delete_prefix(settings.bucket_assets, job_prefix(job_id), keep=asset_prefix or None)
            cache.forget(job_id)
            lifecycle.end_collection(session, job_id, work_bucket=settings.bucket_work)
            upkeep.note_success(session, job_id)

    done = _each("tidying.job_failed", ids, collect, storage, sessions, settings)
    if done:
        log.info("jobs.tidied", count=done)
    return done


def erase_job(
    storage: Storage, sessions: sessionmaker[Session], settings: Settings, cache: HostCache, job_id: str
) -> None:
    """Stop and erase a job: photo, artifacts and asset; then what the row tells of the person.

    Objects go first: if that breaks off, the row still knows where they are and erasing again ends it.

    Raises:
        JobNotFound, StorageUnavailable
    """
    with sessions.begin() as session:
        photo = job_erasure.begin_erasure(session, job_id)
    modified_at = delete_job_objects(storage, settings, job_id=job_id, **asdict(photo))
    cache.forget(job_id)
    with sessions.begin() as session:
        job_erasure.erase(session, job_id, modified_at=modified_at)
    log.info("job.erased", job_id=job_id)


def erase_expired(
    storage: Storage,
    sessions: sessionmaker[Session],
    settings: Settings,
    cache: HostCache,
    *,
    limit: int = ROUND,
) -> int:
    """Erase jobs that ended longer ago than the settings keep them, and those whose erasure broke off.

    Returns how many were erased.

    Raises:
        StorageUnavailable: the storage answers nobody; what was erased before stays so.
    """
    with sessions.begin() as session:
        erasures.forget_old(session)
        ids = upkeep.find_expired(session, retention_days=settings.retention_days, limit=limit)
    return _each(
        "retention.job_failed",
        ids,
        lambda job_id: erase_job(storage, sessions, settings, cache, job_id),
        storage,
        sessions,
        settings,
    )


def end_endless(
    storage: Storage, sessions: sessionmaker[Session], settings: Settings, *, limit: int = ROUND
) -> int:
    """Fail jobs that did not end within the time that photos are kept; return how many.

    Their webhooks go out; they are erased a day later.
    """
    with sessions() as session:
        ids = upkeep.find_endless(session, retention_days=settings.retention_days, limit=limit)

    def end(job_id: str) -> None:
        with sessions.begin() as session:
            if lifecycle.end_overdue(session, job_id, days=settings.retention_days):
                log.warning("job.never_finished", job_id=job_id)

    return _each("retention.job_failed", ids, end, storage, sessions, settings)


def _each(
    event: str,
    ids: Sequence[str],
    work: Callable[[str], None],
    storage: Storage,
    sessions: sessionmaker[Session],
    settings: Settings,
) -> int:
    """Do the work for each job; one that fails is counted and waits. Returns for how many it was done.

    Raises:
        StorageUnavailable: nothing can be done for any job, and none is to blame.
        Exception: ten failed in a row; those wait, so that the next round begins behind them.
    """
    done, in_a_row = 0, 0
    for job_id in ids:
        try:
            work(job_id)
        except Exception as error:
            # Texts of other people's errors may hold a key.
            reason = error.message if isinstance(error, Face3DError) else None
            log.warning(event, job_id=job_id, error=type(error).__name__, reason=reason)
            for bucket in {settings.bucket_inbox, settings.bucket_work, settings.bucket_assets}:
                storage.ping(bucket)
            with sessions.begin() as session:
                upkeep.note_failure(session, job_id)
            in_a_row += 1
            if in_a_row == _GIVE_UP:
                raise
        else:
            done += 1
            in_a_row = 0
    return done

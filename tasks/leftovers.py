"""What lies in the buckets and belongs to no job: it ages too.

Uploads in parts that nobody ended; and in the inbox what intake passes over, what was never made a job, and
old versions of photos.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice

import structlog
from sqlalchemy.orm import Session, sessionmaker

from db import queries
from face3d.errors import StorageUnavailable
from face3d.settings import Settings
from storage.client import Storage
from storage.erasure import drop_bare_markers, erase_object
from storage.versions import ObjectVersion

log = structlog.get_logger(__name__)

#: A photo of 64 MB is sent in minutes; who pauses longer begins again.
UPLOAD_SECONDS = 86400.0

#: Objects that are compared with the jobs table at a time.
_PAGE = 1000


def abort_stale_uploads(
    storage: Storage, settings: Settings, *, older_than_seconds: float = UPLOAD_SECONDS
) -> int:
    """Delete the parts of uploads that were begun long ago and never ended; return how many uploads.

    Raises:
        StorageUnavailable: some could not be listed or deleted, after all others were.
    """
    before = datetime.now(UTC) - timedelta(seconds=older_than_seconds)
    done, failed = 0, 0
    for bucket in {settings.bucket_inbox, settings.bucket_work, settings.bucket_assets}:
        stale = [one for one in storage.unfinished_uploads(bucket) if one.initiated < before]
        for upload in stale:
            try:
                storage.abort_upload(bucket, upload)
                done += 1
            except StorageUnavailable:
                failed += 1
    _report("uploads.aborted", done, failed)
    return done


def age_inbox(
    storage: Storage,
    sessions: sessionmaker[Session],
    settings: Settings,
    *,
    older_than_seconds: float | None = None,
) -> int:
    """Delete what lies in the inbox for longer than photos are kept and belongs to no job; return how much.

    Markers of folders, objects that could not be made a job, versions that a newer upload covered. To be
    called after a sweep: a photo that no relay has seen yet has no job either.

    Raises:
        StorageUnavailable: some could not be deleted, after all others were.
    """
    seconds = settings.retention_days * 86400.0 if older_than_seconds is None else older_than_seconds
    if seconds <= 0 and older_than_seconds is None:
        return 0
    bucket = settings.bucket_inbox
    before = datetime.now(UTC) - timedelta(seconds=seconds)
    old = (one for one in _everything(storage, bucket) if one.last_modified < before)
    done, failed = 0, 0
    markers: set[str] = set()
    while page := list(islice(old, _PAGE)):
        markers |= {one.key for one in page if one.is_marker}
        for one in _unknown(sessions, bucket, [one for one in page if not one.is_marker]):
            try:
                done += _delete(storage, bucket, one)
            except StorageUnavailable:
                failed += 1
    for key in markers:
        try:
            drop_bare_markers(storage, bucket, key)
        except StorageUnavailable:
            failed += 1
    _report("inbox.aged", done, failed)
    return done


def _everything(storage: Storage, bucket: str) -> Iterator[ObjectVersion]:
    if storage.keeps_versions(bucket):
        yield from storage.versions(bucket)
        return
    for info in storage.list(bucket):
        if info.last_modified is not None:
            yield ObjectVersion(
                key=info.key,
                version_id="",
                etag=info.etag,
                is_latest=True,
                is_marker=False,
                last_modified=info.last_modified,
            )


def _unknown(
    sessions: sessionmaker[Session], bucket: str, found: Sequence[ObjectVersion]
) -> list[ObjectVersion]:
    with sessions() as session:
        known = queries.known_uploads(session, bucket, [(one.key, one.etag) for one in found])
    return [one for one in found if (one.key, one.etag) not in known]


def _delete(storage: Storage, bucket: str, one: ObjectVersion) -> bool:
    if one.version_id:
        storage.delete_versions(bucket, [one])
        return True
    # It may have been replaced since it was listed.
    return erase_object(storage, bucket, one.key, one.etag) is not None


def _report(event: str, done: int, failed: int) -> None:
    if done:
        log.info(event, count=done)
    if failed:
        raise StorageUnavailable(f"{failed} objects could not be deleted.")

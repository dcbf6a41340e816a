"""Deleting for good: an object with its versions, and all that the storage holds of one job."""

from datetime import datetime

from face3d.settings import Settings
from storage.client import Storage
from storage.errors import ObjectMissing
from storage.layout import job_prefix


def delete_job_objects(
    storage: Storage,
    settings: Settings,
    *,
    job_id: str,
    bucket: str,
    key: str,
    etag: str,
    keep_photo: bool = False,
) -> datetime | None:
    """Delete a job's photo, artifacts and asset for good, old versions too; what is gone already is no error.

    The photo goes only while it still is the job's: another one may lie under that key by now. It stays
    where the caller knows another job of it that has not ended.

    Returns:
        When the photo's object had been written; None where it was gone, or stays.
    Raises:
        StorageUnavailable: not all objects could be deleted; the same call can be made again.
    """
    storage.delete_prefix(settings.bucket_work, job_prefix(job_id))
    storage.delete_prefix(settings.bucket_assets, job_prefix(job_id))
    if not etag or keep_photo:
        return None
    return erase_object(storage, bucket, key, etag)


def erase_object(storage: Storage, bucket: str, key: str, etag: str) -> datetime | None:
    """Delete an object for good: every version of these bytes; others under the key stay as they are.

    Returns:
        When the newest of them was written; None where there was none.
    """
    if not storage.keeps_versions(bucket):
        try:
            info = storage.head(bucket, key)
        except ObjectMissing:
            return None
        if info.etag != etag:
            return None
        storage.delete(bucket, key)
        return info.last_modified
    mine = [one for one in storage.versions(bucket, key) if one.key == key and one.etag == etag]
    if any(one.is_latest for one in mine):
        # Otherwise the version below would come up, and look like a new upload.
        storage.delete(bucket, key)
    storage.delete_versions(bucket, mine)
    drop_bare_markers(storage, bucket, key)
    return max((one.last_modified for one in mine), default=None)


def drop_bare_markers(storage: Storage, bucket: str, key: str) -> None:
    """Delete the markers of a key under which no version is left: its name stays in them."""
    left = [one for one in storage.versions(bucket, key) if one.key == key]
    if all(one.is_marker for one in left):
        storage.delete_versions(bucket, left)

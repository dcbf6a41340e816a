"""Deleting all that the storage holds of one job."""

from datetime import datetime

from face3d.settings import Settings
from storage.client import Storage
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
    return storage.erase(bucket, key, etag)

"""Deleting all that the storage holds of one job."""

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
) -> None:
    """Delete a job's photo, artifacts and asset; what is gone already is no error.

    The photo goes only while it still is the job's: another one may lie under that key by now. It stays
    where the caller knows another job that needs it.

    Raises:
        StorageUnavailable: not all objects could be deleted; the same call can be made again.
    """
    storage.delete_prefix(settings.bucket_work, job_prefix(job_id))
    storage.delete_prefix(settings.bucket_assets, job_prefix(job_id))
    try:
        if etag and not keep_photo and storage.head(bucket, key).etag == etag:
            storage.delete(bucket, key)
    except ObjectMissing:
        pass

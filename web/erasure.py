"""Erasing a job: its row forgets the person, and the storage its objects."""

from dataclasses import asdict

from db.job_erasure import begin_erasure, erase
from storage.erasure import delete_job_objects
from web.context import Context


def erase_job(context: Context, job_id: str) -> None:
    """Stop a job, delete photo, artifacts and asset, and forget the rest.

    The row forgets last: if the storage fails in between, the same call can be made again. What a worker
    still had in hand is deleted when the relay collects the job's garbage, a quarter of an hour later.

    Raises:
        JobNotFound: there is no such job.
        StorageUnavailable: not all objects could be deleted.
    """
    with context.sessions.begin() as session:
        photo = begin_erasure(session, job_id)
    modified_at = delete_job_objects(context.storage, context.settings, job_id=job_id, **asdict(photo))
    with context.sessions.begin() as session:
        erase(session, job_id, modified_at=modified_at)

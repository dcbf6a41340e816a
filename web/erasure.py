"""Erasing a job: its row forgets the person, and the storage its objects."""

from db.jobs import cancel, erase, find
from face3d.states import TERMINAL_JOB_STATES
from storage.erasure import delete_job_objects
from web.context import Context


def erase_job(context: Context, job_id: str) -> None:
    """Stop a job, delete photo, artifacts and asset, and forget the rest.

    The row forgets last: if the storage fails in between, the same call can be made again.

    Raises:
        JobNotFound: there is no such job.
        StorageUnavailable: not all objects could be deleted.
    """
    with context.sessions.begin() as session:
        job = find(session, job_id)
        if job.state not in TERMINAL_JOB_STATES:
            cancel(session, job_id)
        bucket, key, etag = job.bucket, job.key, job.etag
    delete_job_objects(context.storage, context.settings, job_id=job_id, bucket=bucket, key=key, etag=etag)
    with context.sessions.begin() as session:
        erase(session, job_id)

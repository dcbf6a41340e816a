"""Acceptance: a photo becomes a job, once."""

import json
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from db import erasures
from db.lifecycle import ERROR_COLUMNS, error_columns
from db.models import Job
from db.notices import RELAY_CHANNEL
from db.statements import load_statement
from db.webhooks import insert_deliveries
from face3d.errors import RefusedError
from face3d.options import JobOptions
from face3d.states import STAGES, PriorityClass

#: Source of a job whose photo came through the API.
API_SOURCE = "api"

_ACCEPT = load_statement("accept_job")


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """What `accept` found or made."""

    job_id: str
    #: False when the photo with these options was known already.
    created: bool


def accept(
    session: Session,
    *,
    bucket: str,
    key: str,
    etag: str,
    size: int,
    content_type: str | None,
    options: JobOptions | None,
    refusal: RefusedError | None = None,
    source: str,
    modified_at: datetime | None = None,
    name: str | None = None,
) -> Accepted:
    """Write the job and its outbox row, or return the job that exists; the caller commits.

    A photo that was erased makes no new job: its erased one is returned, until it is uploaded anew.

    Args:
        options: None when they were refused; then `refusal` says why and the job ends `failed` at once.
        modified_at: when the object was written, as its storage says; None for one that is new for certain.
        source: `event`, `sweep` or `api`. The storage's event of an upload through the API may come first:
            the job that it made becomes the API's.
        name: the uploaded file's, where the caller knows it.
    """
    digest = options.digest() if options else f"refused:{refusal.value if refusal else ''}"[:64]
    photo = {"bucket": bucket, "key": key, "etag": etag, "options_digest": digest}
    failed = options is None
    job_id = session.execute(
        _ACCEPT,
        {
            **photo,
            **(error_columns(refusal) if failed else dict.fromkeys(ERROR_COLUMNS)),
            "id": str(uuid4()),
            "options": options.model_dump_json(by_alias=True) if options else "{}",
            "stated": json.dumps(options.stated() if options else []),
            "ref": options.ref if options else None,
            "tier": (options.tier if options else PriorityClass.BATCH).value,
            "source": source,
            "name": name,
            "size": size,
            "content_type": content_type,
            "failed": failed,
            "photo_digest": erasures.photo_digest(bucket, key, etag),
            "modified_at": modified_at,
            "stages": list(STAGES),
            "channel": RELAY_CHANNEL,
        },
    ).scalar()
    if job_id is None:
        existing = session.execute(select(Job.id).filter_by(**photo)).scalar_one_or_none()
        if existing is None:
            erased = erasures.find_erased(session, bucket, key, etag)
            return Accepted(job_id=erased, created=False)
        if source == API_SOURCE:
            session.execute(update(Job).where(Job.id == existing).values(source=source, name=name))
        return Accepted(job_id=existing, created=False)
    if failed:
        insert_deliveries(session, str(job_id))
    return Accepted(job_id=str(job_id), created=True)

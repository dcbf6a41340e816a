"""Upload events: what storages POST when a photo appears."""

from typing import Annotated

import structlog
from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, Field

from db.jobs import accept
from face3d.messages import ObjectCreated
from storage.errors import SubscriptionPending
from storage.events import parse_events
from storage.intake import option_defaults, read_upload
from web.auth import require_events
from web.context import Context, ContextOf

log = structlog.get_logger(__name__)

router = APIRouter(tags=["storage events"], dependencies=[Depends(require_events)])


class EventReport(BaseModel):
    """What became of a notification."""

    events: int = Field(description="Uploads that it announced in the inbox bucket.")
    jobs: list[str] = Field(description="Ids of their jobs, new or known.")
    pending_subscription: str | None = Field(
        default=None, description="ARN of an SNS topic whose subscription a person must confirm."
    )


async def read_body(request: Request) -> bytes:
    """Return the body, whose size `web.limits` limits."""
    return await request.body()


@router.post("/events/storage/{kind}")
def receive_event(
    request: Request,
    context: ContextOf,
    body: Annotated[bytes, Depends(read_body)],
    kind: Annotated[str, Path(description="seaweedfs, minio (RustFS too), s3 (AWS) or ceph")],
) -> EventReport:
    """Take a storage's notification and make jobs of the uploads that it announces.

    Tests, deletes, folders and parts of uploads are answered with 200 and no job. An answer of 503 asks the
    storage to send the notification again; one that does not (SeaweedFS) leaves the photo to the sweep. Needs
    the event token, as Bearer or as the password of Basic.
    """
    try:
        announced = parse_events(kind, body, request.headers)
    except SubscriptionPending as pending:
        log.warning("an SNS subscription waits for confirmation by a person", topic=pending.topic)
        return EventReport(events=0, jobs=[], pending_subscription=pending.topic)
    ours = [event for event in announced if event.bucket == context.settings.bucket_inbox]
    jobs = [job_id for event in ours if (job_id := _accept(context, event))]
    return EventReport(events=len(ours), jobs=jobs)


def _accept(context: Context, event: ObjectCreated) -> str | None:
    upload = read_upload(
        context.storage,
        event,
        defaults=option_defaults(context.settings),
        max_bytes=context.settings.max_bytes,
    )
    if upload is None:
        return None
    with context.sessions.begin() as session:
        return accept(
            session,
            bucket=upload.bucket,
            key=upload.key,
            etag=upload.etag,
            size=upload.size,
            content_type=upload.content_type,
            options=upload.options,
            refusal=upload.refusal,
            source="event",
        ).job_id

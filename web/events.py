"""Upload events: what storages POST when a photo appears."""

from collections import Counter
from typing import Annotated

import structlog
from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, Field
from sqlalchemy.exc import DataError, IntegrityError

from face3d.errors import Face3DError, InvalidEvent
from storage.errors import ObjectRefused
from storage.event_json import SubscriptionRequest
from storage.events import parse_events
from tasks.intake import accept_object
from web.auth import require_events
from web.context import Context, ContextOf
from web.problems import PROBLEMS, Problem
from web.subscriptions import receive_request

log = structlog.get_logger(__name__)

#: So many records after another that database or storage fail mean that the rest would wait in vain.
MAX_FAILURES_IN_A_ROW = 2

#: Why a record makes no job, ever.
INVALID_EVENT, KEY_REFUSED, NOT_STORABLE = "invalid_event", "key_refused", "not_storable"

router = APIRouter(tags=["storage events"], dependencies=[Depends(require_events)], responses=PROBLEMS)


class EventReport(BaseModel):
    """What became of a notification."""

    events: int = Field(description="Uploads that it announced in the inbox bucket.")
    jobs: list[str] = Field(description="Ids of their jobs, new or known.")
    refused: dict[str, int] = Field(
        default_factory=dict,
        description="Records that can make no job, by code: invalid_event, key_refused, not_storable.",
    )
    pending_subscription: str | None = Field(
        default=None,
        description="ARN of an SNS topic whose subscription waits for a person: `face3d events confirm`.",
    )
    confirmed_subscription: str | None = Field(
        default=None, description="ARN of an SNS topic whose subscription is confirmed."
    )


async def read_body(request: Request) -> bytes:
    """Return the body, whose size `web.middleware.limits` limits."""
    return await request.body()


@router.post("/events/storage/{kind}", responses={400: {"model": Problem}, 413: {"model": Problem}})
def receive_event(
    request: Request,
    context: ContextOf,
    body: Annotated[bytes, Depends(read_body)],
    kind: Annotated[str, Path(description="seaweedfs, minio (RustFS too), s3 (AWS) or ceph")],
) -> EventReport:
    """Take a storage's notification and make jobs of the uploads that it announces.

    Tests, deletes, folders and parts of uploads are answered with 200 and no job. Of several records each
    counts for itself: `refused` tells how many can make no job, and why; 400 says that none can. An answer of
    503 asks the storage to send the notification again; one that does not (SeaweedFS) leaves the photo to the
    sweep. Needs the event token, as Bearer or as the password of Basic.
    """
    announced = parse_events(kind, body, request.headers)
    report = EventReport(events=0, jobs=[])
    refused = Counter({INVALID_EVENT: len(announced.refused)})
    reasons: list[Face3DError] = list(announced.refused)
    failures: list[Exception] = []
    in_a_row = 0
    for event in announced.created:
        if event.bucket != context.settings.bucket_inbox:
            continue
        report.events += 1
        try:
            accepted = accept_object(
                context.storage, context.sessions, context.settings, event, source="event"
            )
        except ObjectRefused as error:
            refused[KEY_REFUSED] += 1
            reasons.append(error)
        except (DataError, IntegrityError, ValueError) as error:
            # Of the driver, too: it raises ValueErrors of its own before the server sees a value.
            log.error("event.not_storable", error=type(error).__name__)
            refused[NOT_STORABLE] += 1
            reasons.append(InvalidEvent("The object's description cannot be stored."))
        except Exception as error:
            # Worth another try; what the others made stays, and is found again then.
            failures.append(error)
            in_a_row += 1
            if in_a_row == MAX_FAILURES_IN_A_ROW:
                break
            continue
        else:
            report.jobs += [accepted.job_id] if accepted else []
        in_a_row = 0
    for asked in announced.subscriptions:
        try:
            _take_subscription(context, asked, report)
        except InvalidEvent as error:
            refused[INVALID_EVENT] += 1
            reasons.append(error)
    if failures:
        raise failures[0]
    report.refused = dict(+refused)
    if report.refused:
        log.warning("event.refused", kind=kind, **report.refused)
    if reasons and len(reasons) >= report.events + len(announced.refused) + len(announced.subscriptions):
        raise reasons[0]
    return report


def _take_subscription(context: Context, asked: SubscriptionRequest, report: EventReport) -> None:
    if receive_request(context, asked):
        report.confirmed_subscription = asked.topic
    else:
        report.pending_subscription = asked.topic

"""Webhook messages: what was sent, what was answered, and once more."""

import base64
import binascii
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from db.delivery_list import DeliveryFilter, find_delivery, list_deliveries, redeliver, redeliver_failed
from db.models import Delivery
from web.auth import require_api
from web.context import SessionOf
from web.problems import PROBLEMS, Problem, refuse

router = APIRouter(
    prefix="/v1/webhooks/deliveries",
    tags=["webhooks"],
    dependencies=[Depends(require_api)],
    responses={**PROBLEMS, 404: {"model": Problem}},
)

DeliveryState = Literal["pending", "delivered", "failed"]


class TryView(BaseModel):
    """One request of a message."""

    number: int
    started_at: datetime
    milliseconds: int | None = Field(description="Null while it runs, or when its worker died with it.")
    status: int | None = Field(description="HTTP status; null without an answer.")
    error: str | None
    answer: str | None = Field(description="The beginning of what a refusing receiver said.")


class DeliveryView(BaseModel):
    """One message to one endpoint."""

    id: str = Field(description="The `webhook-id` of all its requests.")
    endpoint_id: str
    job_id: str | None = Field(description="Null for a test message.")
    event_type: str
    state: DeliveryState
    attempts: int = Field(description="Tries since it was made, or sent again by hand.")
    due_at: datetime | None = Field(description="When the next try is due.")
    last_status: int | None
    last_error: str | None
    created_at: datetime
    finished_at: datetime | None
    tries: list[TryView] = Field(description="All requests, oldest first.")


class DeliveryPage(BaseModel):
    """Messages, newest first."""

    deliveries: list[DeliveryView]
    next: str | None = Field(description="Pass it as `before` for older ones.")


class RedeliveryReport(BaseModel):
    """Messages are on their way again."""

    count: int


def _view(delivery: Delivery) -> DeliveryView:
    return DeliveryView.model_validate(delivery, from_attributes=True)


@router.get("")
def get_deliveries(
    session: SessionOf,
    state: DeliveryState | None = None,
    endpoint: Annotated[str | None, Query(description="An endpoint's id.")] = None,
    job: Annotated[str | None, Query(description="A job's id.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    before: Annotated[str | None, Query(description="`next` of the page before.")] = None,
) -> DeliveryPage:
    """List webhook messages with their tries, newest first."""
    wanted = DeliveryFilter(state=state, endpoint_id=endpoint, job_id=job)
    found = list_deliveries(
        session, wanted, limit=limit + 1, before=None if before is None else _read_mark(before)
    )
    shown = found[:limit]
    return DeliveryPage(
        deliveries=[_view(delivery) for delivery in shown],
        next=_mark(shown[-1]) if len(found) > limit else None,
    )


@router.get("/{delivery_id}")
def get_delivery(session: SessionOf, delivery_id: str) -> DeliveryView:
    """Show one message with its tries."""
    return _view(find_delivery(session, delivery_id))


@router.post("/redeliver", status_code=HTTPStatus.ACCEPTED)
def redeliver_all(
    session: SessionOf,
    endpoint: Annotated[str | None, Query(description="An endpoint's id.")] = None,
    job: Annotated[str | None, Query(description="A job's id.")] = None,
) -> RedeliveryReport:
    """Send all failed messages again (of an endpoint, of a job), each under its id."""
    count = redeliver_failed(session, DeliveryFilter(endpoint_id=endpoint, job_id=job))
    session.commit()
    return RedeliveryReport(count=count)


@router.post("/{delivery_id}/redeliver", status_code=HTTPStatus.ACCEPTED, responses={409: {"model": Problem}})
def redeliver_one(session: SessionOf, delivery_id: str) -> DeliveryView:
    """Send a message again at once under its id, whatever became of it, with all tries before it."""
    redeliver(session, delivery_id)
    session.commit()
    return _view(find_delivery(session, delivery_id))


def _mark(delivery: Delivery) -> str:
    text = f"{delivery.created_at.isoformat()} {delivery.id}"
    return base64.urlsafe_b64encode(text.encode()).decode()


def _read_mark(mark: str) -> tuple[datetime, str]:
    try:
        created_at, delivery_id = base64.urlsafe_b64decode(mark).decode().split(" ")
        when = datetime.fromisoformat(created_at)
    except (ValueError, binascii.Error):
        when, delivery_id = None, ""
    if when is None or when.tzinfo is None:
        raise refuse(HTTPStatus.UNPROCESSABLE_ENTITY, "bad_request", "before: not what `next` said.")
    return when, delivery_id

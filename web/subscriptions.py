"""Topics of Amazon SNS that ask to send their events here: kept until a person, or a setting, says yes."""

from datetime import datetime
from http import HTTPStatus

import structlog
from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from db.subscriptions import find_subscription, list_subscriptions, note_confirmed, note_request
from face3d.errors import Face3DError
from storage.event_json import SubscriptionRequest
from storage.sns import read_request
from web.auth import require_api
from web.context import Context, ContextOf, SessionOf
from web.problems import PROBLEMS, Problem

log = structlog.get_logger(__name__)

router = APIRouter(
    prefix="/v1/event-subscriptions",
    tags=["storage events"],
    dependencies=[Depends(require_api)],
    responses=PROBLEMS,
)


class SubscriptionView(BaseModel):
    """A topic that asked."""

    topic: str = Field(description="Its ARN.")
    received_at: datetime = Field(description="When its newest request came.")
    confirmed_at: datetime | None = Field(description="When Amazon took our answer; null: it waits.")


class Confirmation(BaseModel):
    """Which topic may send events here."""

    topic: str = Field(description="Its ARN.", max_length=400, pattern=r"^arn:[!-~]+$")


@router.get("")
def get_subscriptions(session: SessionOf) -> list[SubscriptionView]:
    """List the topics of Amazon SNS that asked to send events here, the newest request first."""
    return [
        SubscriptionView(topic=row.topic, received_at=row.received_at, confirmed_at=row.confirmed_at)
        for row in list_subscriptions(session)
    ]


@router.post(
    "/confirm",
    responses={
        status.value: {"model": Problem}
        for status in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.BAD_GATEWAY)
    },
)
def confirm_subscription(context: ContextOf, wanted: Confirmation) -> SubscriptionView:
    """Tell Amazon that a topic which asked may send events here; once more does no harm."""
    with context.sessions() as session:
        row = find_subscription(session, wanted.topic)
    if row.confirmed_at is None:
        _confirm(context, row.topic, row.token)
    with context.sessions() as session:
        row = find_subscription(session, wanted.topic)
    return SubscriptionView(topic=row.topic, received_at=row.received_at, confirmed_at=row.confirmed_at)


def receive_request(context: Context, asked: SubscriptionRequest) -> bool:
    """Keep a topic's request, and confirm it where the settings name the topic and Amazon signed it.

    Returns:
        Whether it is confirmed; if not, it waits for a person.

    Raises:
        InvalidEvent: Amazon sends no such request.
    """
    request = read_request(asked.message)
    with context.sessions.begin() as session:
        row = note_request(session, topic=request.topic, token=request.token, sent_at=request.sent_at)
    if row.confirmed_at is not None:
        return True
    if request.topic not in context.settings.sns_topics:
        log.warning("events.subscription_waits", topic=request.topic)
        return False
    try:
        context.sns.verify(asked.message)
        _confirm(context, request.topic, request.token)
    except Face3DError as error:
        log.warning("events.subscription_waits", topic=request.topic, error=type(error).__name__)
        return False
    return True


def _confirm(context: Context, topic: str, token: str) -> None:
    context.sns.confirm(topic, token)
    with context.sessions.begin() as session:
        note_confirmed(session, topic, token)
    log.info("events.subscription_confirmed", topic=topic)

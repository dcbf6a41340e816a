"""Topics of Amazon SNS that ask to send their events here."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from db.models import EventSubscription
from face3d.errors import Face3DError

#: How long Amazon takes a token back.
TOKEN_LIFE = timedelta(days=3)


class SubscriptionNotFound(Face3DError):
    """No topic of that ARN has asked to be confirmed."""


def note_request(session: Session, *, topic: str, token: str, sent_at: datetime) -> EventSubscription:
    """Keep a topic's newest request and return it; one that came before changes nothing.

    Requests that nobody confirmed while their token worked are forgotten.
    """
    forgotten = EventSubscription.received_at < func.now() - TOKEN_LIFE
    session.execute(delete(EventSubscription).where(EventSubscription.confirmed_at.is_(None), forgotten))
    made = insert(EventSubscription).values(topic=topic, token=token, sent_at=sent_at)
    session.execute(
        made.on_conflict_do_update(
            index_elements=[EventSubscription.topic],
            set_={
                "token": made.excluded.token,
                "sent_at": made.excluded.sent_at,
                "received_at": func.now(),
                "confirmed_at": None,
            },
            where=(EventSubscription.token != made.excluded.token)
            & (EventSubscription.sent_at < made.excluded.sent_at),
        )
    )
    return find_subscription(session, topic)


def list_subscriptions(session: Session) -> Sequence[EventSubscription]:
    """Return all topics that asked, the newest request first."""
    return session.scalars(select(EventSubscription).order_by(EventSubscription.received_at.desc())).all()


def find_subscription(session: Session, topic: str) -> EventSubscription:
    """Return what a topic asked.

    Raises:
        SubscriptionNotFound: it did not.
    """
    found = session.get(EventSubscription, topic, populate_existing=True)
    if found is None:
        raise SubscriptionNotFound
    return found


def note_confirmed(session: Session, topic: str, token: str) -> None:
    """Note that Amazon took a token back."""
    session.execute(
        update(EventSubscription)
        .where(EventSubscription.topic == topic, EventSubscription.token == token)
        .values(confirmed_at=func.now())
    )

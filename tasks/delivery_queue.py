"""From the table of deliveries to the broker: what is due and has a place, one copy a claim."""

from collections.abc import Sequence

from celery import Celery
from sqlalchemy.orm import Session, sessionmaker

from db.deliveries import claim_due, release
from face3d.settings import Settings

DELIVER_TASK = "face3d.deliver"


def publish_due(
    app: Celery,
    sessions: sessionmaker[Session],
    settings: Settings,
    *,
    endpoints: Sequence[str] | None = None,
) -> int:
    """Claim the webhook messages that are due, publish a copy of each, and return how many.

    A copy that gets lost costs nothing: its claim ends after `delivery_guard_seconds`, and the message is
    claimed anew.

    Args:
        endpoints: only messages to these.
    """
    with sessions.begin() as session:
        claims = claim_due(
            session,
            places=settings.webhook_endpoint_places,
            guard_seconds=settings.delivery_guard_seconds,
            endpoints=endpoints,
        )
    for number, claim in enumerate(claims):
        try:
            app.send_task(DELIVER_TASK, args=(claim.delivery_id, claim.number))
        except Exception:
            # The broker is away: the messages need not wait for their claims' end.
            with sessions.begin() as session:
                release(session, claims[number:])
            raise
    return len(claims)

"""The task behind queue `delivery`: one copy of a webhook message, sent if it is the newest, once."""

import time

import structlog
from sqlalchemy.orm import Session, sessionmaker

from db.deliveries import Claim, Outgoing, begin, finish
from db.session import make_session_factory
from face3d.sealing import SecretBox, SecretUnreadable
from face3d.settings import Settings, get_settings
from tasks.app import app
from tasks.delivery_queue import DELIVER_TASK, publish_due
from tasks.webhook_client import send
from tasks.webhook_network import Deadline

log = structlog.get_logger(__name__)

#: Left of a hold when a request must be over at the latest, seconds.
_MARGIN = 2.0


@app.task(name=DELIVER_TASK)
def deliver(delivery_id: str, claim: int = 0) -> None:
    """Send a webhook message, record how it went, and publish what its endpoint has room for now.

    Args:
        claim: the number of this copy; an older one, and one of before there were numbers, sends nothing.
    """
    settings = get_settings()
    sessions = make_session_factory(settings)
    started = time.monotonic()
    try:
        opened = open_send(sessions, settings, Claim(delivery_id=delivery_id, number=claim))
    except SecretUnreadable as error:
        # Nothing was begun. The message waits until the key is right.
        log.error("webhook.secret_unreadable", delivery=delivery_id, reason=error.message)
        return
    if opened is None:
        log.debug("webhook.stale", delivery=delivery_id, claim=claim)
        return
    outgoing, secrets = opened
    # A process that froze since then must find its time over, not send beside its successor.
    late = started + settings.delivery_hold_seconds - _MARGIN - time.monotonic()
    outcome = send(outgoing, secrets, settings, Deadline(min(settings.webhook_timeout_seconds, late)))
    with sessions.begin() as session:
        disabled = finish(session, outgoing, outcome, waits=settings.webhook_retry_seconds)
    report = log.info if outcome.error is None else log.warning
    report(
        "webhook.sent",
        job_id=outgoing.job_id,
        delivery=outgoing.id,
        endpoint=outgoing.endpoint_id,
        status=outcome.status,
        error=outcome.error,
        tries=outgoing.attempts,
        seconds=round(outcome.seconds, 3),
    )
    if disabled:
        log.warning("endpoint.disabled", endpoint=outgoing.endpoint_id, reason="gone")
    try:
        publish_due(app, sessions, settings, endpoints=[outgoing.endpoint_id])
    except Exception:
        log.warning("webhook.not_published", exc_info=True)


def open_send(
    sessions: sessionmaker[Session], settings: Settings, claim: Claim
) -> tuple[Outgoing, list[str]] | None:
    """Begin a send and return it with the secrets that sign it; undone when they cannot be read.

    Raises:
        SecretUnreadable
    """
    with sessions.begin() as session:
        outgoing = begin(
            session,
            claim,
            waits=settings.webhook_retry_seconds,
            hold_seconds=settings.delivery_hold_seconds,
        )
        if outgoing is None:
            return None
        box = SecretBox.from_settings(settings)
        return outgoing, [box.open(secret) for secret in outgoing.secrets]

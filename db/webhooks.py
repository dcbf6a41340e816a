"""Webhook endpoints and their secrets, and the messages of finished jobs to them."""

import secrets
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy import ColumnElement, delete, func, insert, select
from sqlalchemy.orm import Session

from db.deliveries import end_pending
from db.models import Delivery, Job, WebhookEndpoint
from db.notices import notify_relay
from face3d.errors import Face3DError
from face3d.sealing import SecretBox, SecretUnreadable
from face3d.states import JobState

#: How long a secret that was rotated out still signs beside its successor.
ROTATION_OVERLAP = timedelta(days=1)
#: Rotated again and again within that time, as many old ones are kept: each is a signature in the header.
_PREVIOUS_SECRETS = 4

_UNSEALED = SecretBox()


class EndpointNotFound(Face3DError):
    """There is no webhook endpoint of that id or URL."""


@dataclass(frozen=True, kw_only=True)
class Registration:
    """An endpoint that was added, or was there."""

    endpoint: WebhookEndpoint
    #: The secret that was made or taken now; None when the endpoint keeps the one that it had.
    secret: str | None
    created: bool


def add_endpoint(
    session: Session, url: str, secret: str | None = None, *, box: SecretBox = _UNSEALED
) -> Registration:
    """Add a URL; one that exists is enabled, and gets the secret if the caller brings one.

    The secret is made here unless the caller brings one, and is told this once.

    Args:
        box: seals the secret.
    """
    endpoint = _lock(session, WebhookEndpoint.url == url)
    if endpoint is not None:
        _enable(endpoint)
        if secret is not None:
            _rotate(session, endpoint, secret, box)
        session.flush()
        return Registration(endpoint=endpoint, secret=secret, created=False)
    secret = secret or new_secret()
    endpoint = WebhookEndpoint(id=str(uuid4()), url=url, secret=box.seal(secret))
    session.add(endpoint)
    session.flush()
    return Registration(endpoint=endpoint, secret=secret, created=True)


def new_secret() -> str:
    """Return a new Standard Webhooks secret of 32 bytes."""
    return "whsec_" + b64encode(secrets.token_bytes(32)).decode()


def rotate_secret(
    session: Session, id_or_url: str, secret: str | None = None, *, box: SecretBox = _UNSEALED
) -> Registration:
    """Give an endpoint another secret; for a day its messages carry signatures of both.

    Raises:
        EndpointNotFound
    """
    endpoint = _find(session, id_or_url)
    secret = secret or new_secret()
    _rotate(session, endpoint, secret, box)
    session.flush()
    return Registration(endpoint=endpoint, secret=secret, created=False)


def _rotate(session: Session, endpoint: WebhookEndpoint, secret: str, box: SecretBox) -> None:
    try:
        if box.open(endpoint.secret) == secret:
            return
    except SecretUnreadable:
        # The key is lost: it will not sign, and a new secret is the way out.
        endpoint.previous_secrets = []
        endpoint.secret = box.seal(secret)
        return
    now: datetime = session.execute(select(func.now())).scalar_one()
    before = {"secret": endpoint.secret, "until": (now + ROTATION_OVERLAP).isoformat()}
    endpoint.previous_secrets = [before, *_still_valid(endpoint, now)][:_PREVIOUS_SECRETS]
    endpoint.secret = box.seal(secret)


def _still_valid(endpoint: WebhookEndpoint, now: datetime) -> list[dict[str, str]]:
    return [entry for entry in endpoint.previous_secrets if datetime.fromisoformat(entry["until"]) > now]


def seal_secrets(session: Session, box: SecretBox) -> int:
    """Seal what is not sealed with the present key, and forget secrets that sign no more.

    Returns:
        How many endpoints were changed.
    """
    now: datetime = session.execute(select(func.now())).scalar_one()
    changed = 0
    # Several endpoints in one transaction: by id, as everybody does (db/locks.py).
    for known in sorted(list_endpoints(session), key=lambda one: one.id):
        valid = _still_valid(known, now)
        stored = [known.secret, *(entry["secret"] for entry in valid)]
        if len(valid) == len(known.previous_secrets) and all(box.is_current(secret) for secret in stored):
            continue
        endpoint = _lock(session, WebhookEndpoint.id == known.id)
        if endpoint is None:
            continue
        try:
            endpoint.secret = _sealed_anew(endpoint.secret, box)
            endpoint.previous_secrets = [
                {**entry, "secret": _sealed_anew(entry["secret"], box)}
                for entry in _still_valid(endpoint, now)
            ]
        except SecretUnreadable:
            session.expire(endpoint)
            continue
        changed += 1
    return changed


def _sealed_anew(stored: str, box: SecretBox) -> str:
    return stored if box.is_current(stored) else box.seal(box.open(stored))


def list_endpoints(session: Session) -> Sequence[WebhookEndpoint]:
    """Return all endpoints, oldest first."""
    return session.execute(select(WebhookEndpoint).order_by(WebhookEndpoint.created_at)).scalars().all()


def enable_endpoint(session: Session, id_or_url: str) -> WebhookEndpoint:
    """Send messages to an endpoint again, at once if it had asked for a pause.

    Raises:
        EndpointNotFound
    """
    endpoint = _find(session, id_or_url)
    _enable(endpoint)
    session.flush()
    notify_relay(session)
    return endpoint


def _enable(endpoint: WebhookEndpoint) -> None:
    endpoint.enabled = True
    endpoint.disabled_reason = None
    endpoint.paused_until = None


def disable_endpoint(session: Session, id_or_url: str) -> WebhookEndpoint:
    """Send nothing to an endpoint any more; its pending messages end.

    Raises:
        EndpointNotFound
    """
    endpoint = _find(session, id_or_url)
    if endpoint.enabled:
        endpoint.enabled = False
        endpoint.disabled_reason = "asked"
        session.flush()
        end_pending(session, endpoint.id)
    return endpoint


def remove_endpoint(session: Session, id_or_url: str) -> None:
    """Remove an endpoint with its deliveries.

    Raises:
        EndpointNotFound
    """
    endpoint = _find(session, id_or_url)
    session.execute(delete(WebhookEndpoint).where(WebhookEndpoint.id == endpoint.id))


def test_endpoint(session: Session, id_or_url: str) -> str:
    """Queue a `webhook.test` message to one endpoint, whatever pause it asked for; return the delivery's id.

    Raises:
        EndpointNotFound, EndpointDisabled
    """
    endpoint = _find(session, id_or_url)
    if not endpoint.enabled:
        raise EndpointDisabled
    endpoint.paused_until = None
    delivery_id = _new_delivery_id()
    session.add(
        Delivery(
            id=delivery_id,
            endpoint_id=endpoint.id,
            run=0,
            event_type="webhook.test",
            payload={"type": "webhook.test", "data": {}},
        )
    )
    notify_relay(session)
    return delivery_id


class EndpointDisabled(Face3DError):
    """The webhook endpoint is disabled; enable it first."""


def _find(session: Session, id_or_url: str) -> WebhookEndpoint:
    """Return an endpoint, locked: endpoints come before deliveries."""
    for known in list_endpoints(session):
        if id_or_url in (known.id, known.url):
            endpoint = _lock(session, WebhookEndpoint.id == known.id)
            if endpoint is not None:
                return endpoint
    raise EndpointNotFound


def _lock(session: Session, condition: ColumnElement[bool]) -> WebhookEndpoint | None:
    return session.execute(
        select(WebhookEndpoint)
        .where(condition)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    ).scalar_one_or_none()


def _new_delivery_id() -> str:
    return f"msg_{secrets.token_urlsafe(18)}"


def insert_deliveries(session: Session, job_id: str) -> list[str]:
    """Insert one delivery an enabled endpoint for a job that just ended, in the same transaction.

    Returns:
        The endpoints' ids.
    """
    # Locked: one that is removed meanwhile would take the job's end with it.
    enabled = select(WebhookEndpoint.id).where(WebhookEndpoint.enabled).order_by(WebhookEndpoint.id)
    endpoints = session.execute(enabled.with_for_update(read=True, key_share=True)).scalars().all()
    if not endpoints:
        return []
    job = session.execute(
        select(Job).where(Job.id == job_id).execution_options(populate_existing=True)
    ).scalar_one()
    payload = terminal_payload(job)
    session.execute(
        insert(Delivery),
        [
            {
                "id": _new_delivery_id(),
                "job_id": job_id,
                "run": job.run,
                "endpoint_id": endpoint_id,
                "event_type": payload["type"],
                "payload": payload,
            }
            for endpoint_id in endpoints
        ],
    )
    return list(endpoints)


def terminal_payload(job: Job) -> dict[str, Any]:
    """Return the webhook body of a job that ended (its timestamp is added when it is sent)."""
    finished_at = job.finished_at.isoformat() if job.finished_at else None
    data: dict[str, Any] = {
        "job_id": job.id,
        "state": job.state,
        "bucket": job.bucket,
        "key": job.key,
        "etag": job.etag,
        "ref": job.ref,
        "finished_at": finished_at,
    }
    if job.state == JobState.READY:
        data |= {"quality": job.quality, "asset_prefix": job.asset_prefix}
    else:
        data["error"] = {
            "code": job.error_code,
            "message": job.error_message,
            "value": job.error_value,
            "limit": job.error_limit,
        }
    return {"type": "asset.ready" if job.state == JobState.READY else "asset.failed", "data": data}

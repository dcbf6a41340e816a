"""Webhook endpoints, and the deliveries of finished jobs to them."""

import secrets
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.orm import Session

from db.models import Delivery, Job, WebhookEndpoint
from db.notices import notify_relay
from face3d.errors import Face3DError
from face3d.states import JobState


class EndpointNotFound(Face3DError):
    """There is no webhook endpoint of that id or URL."""


def add_endpoint(session: Session, url: str, secret: str | None = None) -> WebhookEndpoint:
    """Add a URL, or return the one that exists; the secret is made here unless the caller brings one."""
    existing = session.execute(select(WebhookEndpoint).where(WebhookEndpoint.url == url)).scalar_one_or_none()
    if existing is not None:
        return existing
    endpoint = WebhookEndpoint(
        id=str(uuid4()),
        url=url,
        secret=secret or "whsec_" + b64encode(secrets.token_bytes(32)).decode(),
    )
    session.add(endpoint)
    session.flush()
    return endpoint


def list_endpoints(session: Session) -> Sequence[WebhookEndpoint]:
    """Return all endpoints, oldest first."""
    return session.execute(select(WebhookEndpoint).order_by(WebhookEndpoint.created_at)).scalars().all()


def remove_endpoint(session: Session, id_or_url: str) -> None:
    """Remove an endpoint with its deliveries.

    Raises:
        EndpointNotFound
    """
    endpoint = _find(session, id_or_url)
    session.execute(delete(WebhookEndpoint).where(WebhookEndpoint.id == endpoint.id))


def test_endpoint(session: Session, id_or_url: str) -> str:
    """Queue a `webhook.test` message to one endpoint; return the delivery's id.

    Raises:
        EndpointNotFound
    """
    endpoint = _find(session, id_or_url)
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


def _find(session: Session, id_or_url: str) -> WebhookEndpoint:
    for endpoint in list_endpoints(session):
        if id_or_url in (endpoint.id, endpoint.url):
            return endpoint
    raise EndpointNotFound


def _new_delivery_id() -> str:
    return f"msg_{secrets.token_urlsafe(18)}"


def insert_deliveries(session: Session, job_id: str, *, held_seconds: float | None = None) -> list[str]:
    """Insert one delivery an enabled endpoint for a job that just ended, in the same transaction.

    Args:
        held_seconds: the relay leaves them alone for so long, since the caller publishes them itself; it
            sends them at once when omitted.
    Returns:
        Their ids.
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
    ids = [_new_delivery_id() for _ in endpoints]
    statement = insert(Delivery)
    if held_seconds is not None:
        statement = statement.values(due_at=func.now() + func.make_interval(0, 0, 0, 0, 0, 0, held_seconds))
    session.execute(
        statement,
        [
            {
                "id": delivery_id,
                "job_id": job_id,
                "run": job.run,
                "endpoint_id": endpoint_id,
                "event_type": payload["type"],
                "payload": payload,
            }
            for delivery_id, endpoint_id in zip(ids, endpoints, strict=True)
        ],
    )
    return ids


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


@dataclass(frozen=True, kw_only=True)
class Outgoing:
    """A message to send."""

    id: str
    url: str
    secret: str
    payload: dict[str, Any]
    created_at: datetime
    attempts: int


def claim_due_deliveries(session: Session, *, limit: int, guard_seconds: float) -> list[str]:
    """Return ids of deliveries that are due, and push their due time on while they are in flight.

    A worker that dies with one makes it due again after the guard.
    """
    rows = session.execute(
        text(
            "UPDATE deliveries SET due_at = now() + make_interval(secs => :guard) WHERE id IN ("
            " SELECT id FROM deliveries WHERE state = 'pending' AND due_at <= now()"
            " ORDER BY due_at LIMIT :limit FOR UPDATE SKIP LOCKED) RETURNING id"
        ),
        {"guard": guard_seconds, "limit": limit},
    )
    return [row[0] for row in rows]


def load_outgoing(session: Session, delivery_id: str) -> Outgoing | None:
    """Return a pending delivery, or None when it is not pending any more."""
    row = session.execute(
        select(Delivery, WebhookEndpoint)
        .join(WebhookEndpoint, WebhookEndpoint.id == Delivery.endpoint_id)
        .where(Delivery.id == delivery_id, Delivery.state == "pending")
    ).one_or_none()
    if row is None:
        return None
    delivery, endpoint = row
    return Outgoing(
        id=delivery.id,
        url=endpoint.url,
        secret=endpoint.secret,
        payload=delivery.payload,
        created_at=delivery.created_at,
        attempts=delivery.attempts,
    )


def record_delivery(
    session: Session,
    delivery_id: str,
    *,
    status: int | None,
    error: str | None,
    waits: Sequence[float],
) -> None:
    """Record one try: delivered on 2xx, else due again after the next wait, else failed."""
    delivery = session.execute(
        select(Delivery).where(Delivery.id == delivery_id).with_for_update()
    ).scalar_one_or_none()
    if delivery is None or delivery.state != "pending":
        return
    values: dict[str, Any] = {"attempts": delivery.attempts + 1, "last_status": status, "last_error": error}
    if error is None:
        values |= {"state": "delivered", "due_at": None, "finished_at": func.now()}
    elif delivery.attempts < len(waits):
        wait = func.make_interval(0, 0, 0, 0, 0, 0, waits[delivery.attempts])
        values["due_at"] = func.now() + wait
    else:
        values |= {"state": "failed", "due_at": None, "finished_at": func.now()}
    session.execute(update(Delivery).where(Delivery.id == delivery_id).values(**values))

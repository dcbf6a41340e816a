"""Webhook endpoints and their secrets: who hears of finished jobs."""

import base64
from datetime import datetime
from http import HTTPStatus
from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit

import httpx
import structlog
from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, Field

from db.models import WebhookEndpoint
from db.webhooks import (
    Registration,
    add_endpoint,
    disable_endpoint,
    enable_endpoint,
    list_endpoints,
    remove_endpoint,
    rotate_secret,
    test_endpoint,
)
from face3d.networks import is_public
from face3d.sealing import SecretBox
from face3d.settings import Settings
from web.auth import require_api
from web.context import ContextOf, SessionOf
from web.problems import PROBLEMS, ApiError, Problem

log = structlog.get_logger(__name__)

#: Of the key behind `whsec_`, bytes: what Standard Webhooks recommends.
SECRET_BYTES = range(24, 65)

router = APIRouter(
    prefix="/v1/webhooks",
    tags=["webhooks"],
    dependencies=[Depends(require_api)],
    responses={**PROBLEMS, 404: {"model": Problem}},
)


class NewEndpoint(BaseModel):
    """A URL to be told."""

    url: Annotated[str, Field(max_length=2000, examples=["https://example.com/hooks/face3d"])]
    secret: Annotated[
        str | None, Field(description="Standard Webhooks secret `whsec_<base64>`; made here when missing.")
    ] = None


class NewSecret(BaseModel):
    """Another secret of an endpoint."""

    secret: Annotated[
        str | None, Field(description="Standard Webhooks secret `whsec_<base64>`; made here when missing.")
    ] = None


class EndpointView(BaseModel):
    """A webhook endpoint."""

    id: str
    url: str
    enabled: bool
    disabled_reason: str | None = Field(
        default=None, description="`gone`: it answered 410; `asked`: somebody disabled it here."
    )
    paused_until: datetime | None = Field(
        default=None, description="It asked by Retry-After to be left alone until then."
    )
    created_at: datetime


class EndpointWithSecret(EndpointView):
    """A webhook endpoint, and the secret that it just got."""

    secret: str | None = Field(
        description="Keep it: it is shown this once. Null when the URL was there and keeps its secret."
    )


class TestReport(BaseModel):
    """A test message is on its way."""

    delivery_id: str = Field(description="The `webhook-id` of the message.")


def _view(endpoint: WebhookEndpoint) -> EndpointView:
    return EndpointView.model_validate(endpoint, from_attributes=True)


def _view_secret(registration: Registration) -> EndpointWithSecret:
    view = _view(registration.endpoint)
    return EndpointWithSecret(**view.model_dump(), secret=registration.secret)


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    responses={200: {"model": EndpointWithSecret}},
)
def add_webhook(
    context: ContextOf, session: SessionOf, new: NewEndpoint, response: Response
) -> EndpointWithSecret:
    """Tell this URL of every job that ends (`asset.ready`, `asset.failed`), signed by Standard Webhooks.

    Adding a URL again answers 200 and enables it. With a secret it rotates to that one; without, it keeps its
    own, which is not shown again.
    """
    _check_url(new.url, context.settings)
    if new.secret is not None:
        _check_secret(new.secret)
    registration = add_endpoint(session, new.url, new.secret, box=_box(context.settings))
    session.commit()
    session.refresh(registration.endpoint)
    if not registration.created:
        response.status_code = HTTPStatus.OK
    return _view_secret(registration)


@router.get("")
def get_webhooks(session: SessionOf) -> list[EndpointView]:
    """List the endpoints, oldest first."""
    return [_view(endpoint) for endpoint in list_endpoints(session)]


@router.delete("/{endpoint_id}", status_code=HTTPStatus.NO_CONTENT)
def remove_webhook(session: SessionOf, endpoint_id: str) -> None:
    """Remove an endpoint and its messages."""
    remove_endpoint(session, endpoint_id)
    session.commit()


@router.post("/{endpoint_id}/rotate")
def rotate_webhook_secret(
    context: ContextOf, session: SessionOf, endpoint_id: str, new: NewSecret | None = None
) -> EndpointWithSecret:
    """Give an endpoint another secret; for a day messages carry the signatures of both."""
    secret = new.secret if new else None
    if secret is not None:
        _check_secret(secret)
    registration = rotate_secret(session, endpoint_id, secret, box=_box(context.settings))
    session.commit()
    session.refresh(registration.endpoint)
    return _view_secret(registration)


@router.post("/{endpoint_id}/enable")
def enable_webhook(session: SessionOf, endpoint_id: str) -> EndpointView:
    """Send messages to an endpoint again: one that answered 410, was disabled, or asked for a pause."""
    endpoint = enable_endpoint(session, endpoint_id)
    session.commit()
    return _view(endpoint)


@router.post("/{endpoint_id}/disable")
def disable_webhook(session: SessionOf, endpoint_id: str) -> EndpointView:
    """Send nothing to an endpoint any more; what waited for it fails, and can be sent again later."""
    endpoint = disable_endpoint(session, endpoint_id)
    session.commit()
    return _view(endpoint)


@router.post("/{endpoint_id}/test", status_code=HTTPStatus.ACCEPTED, responses={409: {"model": Problem}})
def test_webhook(session: SessionOf, endpoint_id: str) -> TestReport:
    """Send a `webhook.test` message to an endpoint."""
    delivery_id = test_endpoint(session, endpoint_id)
    session.commit()
    return TestReport(delivery_id=delivery_id)


def _box(settings: Settings) -> SecretBox:
    box = SecretBox.from_settings(settings)
    if not box.seals:
        log.warning("webhook.secret_not_sealed", reason="FACE3D_SECRET_KEY is empty")
    return box


def _check_url(url: str, settings: Settings) -> None:
    """Refuse what can never be delivered; names are resolved, and checked again, at every delivery."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        httpx.URL(url).host.encode("idna")
    except (ValueError, httpx.InvalidURL):
        raise _bad("The URL cannot be read.") from None
    if parts.scheme not in ("http", "https") or not host or parts.username or parts.password:
        raise _bad("The URL must be http or https, with a host and without user or password.")
    if settings.webhook_allow_private:
        return
    port = port or (443 if parts.scheme == "https" else 80)
    if port not in settings.webhook_ports:
        allowed = ", ".join(str(number) for number in settings.webhook_ports)
        message = f"Webhooks go to the ports {allowed} only (FACE3D_WEBHOOK_PORTS)."
        raise _bad(message, value=port, limit=allowed)
    try:
        private = not is_public(str(ip_address(host)))
    except ValueError:
        private = host == "localhost" or host.endswith(".localhost")
    if private:
        raise _bad("Webhooks to private addresses are not allowed here.")


def _check_secret(secret: str) -> None:
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except ValueError:
        key = b""
    if not secret.startswith("whsec_") or len(key) not in SECRET_BYTES:
        raise _bad("The secret must be whsec_ and base64 of 24 to 64 bytes.")


def _bad(message: str, *, value: float | None = None, limit: str | None = None) -> ApiError:
    problem = Problem(code="bad_request", message=message, value=value, limit=limit)
    return ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, problem)

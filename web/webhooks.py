"""Webhook endpoints: who hears of finished jobs."""

import base64
import binascii
from datetime import datetime
from http import HTTPStatus
from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit

import httpx
from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from db.models import WebhookEndpoint
from db.webhooks import add_endpoint, list_endpoints, remove_endpoint, test_endpoint
from web.auth import require_api
from web.context import ContextOf, SessionOf
from web.problems import ApiError, Problem

#: Of the key behind `whsec_`, bytes: what Standard Webhooks recommends.
SECRET_BYTES = range(24, 65)

router = APIRouter(
    prefix="/v1/webhooks",
    tags=["webhooks"],
    dependencies=[Depends(require_api)],
    responses={401: {"model": Problem}, 404: {"model": Problem}},
)


class NewEndpoint(BaseModel):
    """A URL to be told."""

    url: Annotated[str, Field(max_length=2000, examples=["https://example.com/hooks/face3d"])]
    secret: Annotated[
        str | None, Field(description="Standard Webhooks secret `whsec_<base64>`; made here when missing.")
    ] = None


class EndpointView(BaseModel):
    """A webhook endpoint."""

    id: str
    url: str
    enabled: bool
    created_at: datetime


class EndpointWithSecret(EndpointView):
    """A webhook endpoint with the secret that signs its messages."""

    secret: str = Field(description="Keep it; it is shown only when the URL is added, or added again.")


class TestReport(BaseModel):
    """A test message is on its way."""

    delivery_id: str = Field(description="The `webhook-id` of the message.")


def _view(endpoint: WebhookEndpoint) -> EndpointView:
    return EndpointView.model_validate(endpoint, from_attributes=True)


@router.post("", status_code=HTTPStatus.CREATED, responses={422: {"model": Problem}})
def add_webhook(context: ContextOf, session: SessionOf, new: NewEndpoint) -> EndpointWithSecret:
    """Tell this URL of every job that ends (`asset.ready`, `asset.failed`), signed by Standard Webhooks.

    Adding a URL again returns the endpoint that exists.
    """
    _check_url(new.url, allow_private=context.settings.webhook_allow_private)
    if new.secret is not None:
        _check_secret(new.secret)
    endpoint = add_endpoint(session, new.url, new.secret)
    session.commit()
    session.refresh(endpoint)
    return EndpointWithSecret.model_validate(endpoint, from_attributes=True)


@router.get("")
def get_webhooks(session: SessionOf) -> list[EndpointView]:
    """List the endpoints, oldest first."""
    return [_view(endpoint) for endpoint in list_endpoints(session)]


@router.delete("/{endpoint_id}", status_code=HTTPStatus.NO_CONTENT)
def remove_webhook(session: SessionOf, endpoint_id: str) -> None:
    """Remove an endpoint and its messages."""
    remove_endpoint(session, endpoint_id)
    session.commit()


@router.post("/{endpoint_id}/test", status_code=HTTPStatus.ACCEPTED)
def test_webhook(session: SessionOf, endpoint_id: str) -> TestReport:
    """Send a `webhook.test` message to an endpoint."""
    delivery_id = test_endpoint(session, endpoint_id)
    session.commit()
    return TestReport(delivery_id=delivery_id)


def _check_url(url: str, *, allow_private: bool) -> None:
    """Refuse what can never be delivered; names are resolved, and checked again, at every delivery."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
        httpx.URL(url).host.encode("idna")
    except (ValueError, httpx.InvalidURL):
        raise _bad("The URL cannot be read.") from None
    if parts.scheme not in ("http", "https") or not host or parts.username or parts.password:
        raise _bad("The URL must be http or https, with a host and without user or password.")
    if allow_private:
        return
    try:
        address = ip_address(host)
    except ValueError:
        private = host == "localhost" or host.endswith(".localhost")
    else:
        private = not address.is_global
    if private:
        raise _bad("Webhooks to private addresses are not allowed here.")


def _check_secret(secret: str) -> None:
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        key = b""
    if not secret.startswith("whsec_") or len(key) not in SECRET_BYTES:
        raise _bad("The secret must be whsec_ and base64 of 24 to 64 bytes.")


def _bad(message: str) -> ApiError:
    return ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, Problem(code="bad_request", message=message))

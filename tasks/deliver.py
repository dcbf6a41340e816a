"""Webhook messages: Standard Webhooks over HTTPS (or HTTP), one id through all retries."""

import ipaddress
import json
import socket
from datetime import UTC, datetime
from urllib.parse import urlsplit

import httpx
import structlog
from standardwebhooks import Webhook

from db.session import make_session_factory
from db.webhooks import Outgoing, load_outgoing, record_delivery
from face3d import __version__
from face3d.settings import Settings, get_settings
from tasks.app import app

log = structlog.get_logger(__name__)


@app.task(name="face3d.deliver")
def deliver(delivery_id: str) -> None:
    """Send one webhook message that is due, and record how it went."""
    settings = get_settings()
    sessions = make_session_factory(settings)
    with sessions() as session:
        outgoing = load_outgoing(session, delivery_id)
    if outgoing is None:
        return
    status, error = send(outgoing, settings)
    with sessions.begin() as session:
        record_delivery(
            session, delivery_id, status=status, error=error, waits=settings.webhook_retry_seconds
        )
    log.info("webhook.sent", delivery=delivery_id, status=status, error=error, tries=outgoing.attempts + 1)


def send(outgoing: Outgoing, settings: Settings) -> tuple[int | None, str | None]:
    """POST a message.

    Returns:
        (HTTP status or None, what went wrong or None).
    """
    address_error = refuse_private_address(outgoing.url, settings)
    if address_error:
        return None, address_error
    sent_at = datetime.now(UTC)
    body = json.dumps(
        {**outgoing.payload, "timestamp": outgoing.created_at.isoformat()}, separators=(",", ":")
    )
    headers = {
        "content-type": "application/json",
        "user-agent": f"Face3D/{__version__}",
        "webhook-id": outgoing.id,
        "webhook-timestamp": str(int(sent_at.timestamp())),
        "webhook-signature": Webhook(outgoing.secret).sign(outgoing.id, sent_at, body),
    }
    try:
        # A redirect could lead anywhere, a private address included: Standard Webhooks says not to follow.
        answer = _client(settings).post(outgoing.url, content=body, headers=headers)
    except httpx.HTTPError as error:
        return None, type(error).__name__
    if answer.is_success:
        return answer.status_code, None
    return answer.status_code, f"HTTP {answer.status_code}"


def refuse_private_address(url: str, settings: Settings) -> str | None:
    """Return why a webhook URL may not be called, or None when it may.

    A customer's URL must not make our network talk to itself.
    """
    if settings.webhook_allow_private:
        return None
    parts = urlsplit(url)
    try:
        infos = socket.getaddrinfo(parts.hostname, parts.port or 443, type=socket.SOCK_STREAM)
    except OSError:
        return "host name not found"
    for info in infos:
        if not ipaddress.ip_address(info[4][0]).is_global:
            return "private address"
    return None


_clients: dict[float, httpx.Client] = {}


def _client(settings: Settings) -> httpx.Client:
    timeout = settings.webhook_timeout_seconds
    if timeout not in _clients:
        _clients[timeout] = httpx.Client(timeout=timeout, follow_redirects=False, trust_env=False)
    return _clients[timeout]

"""Webhook messages: Standard Webhooks over HTTPS (or HTTP), one id through all retries."""

import ipaddress
import json
import socket
from datetime import UTC, datetime

import httpx
import structlog
from standardwebhooks import Webhook

from db.session import make_session_factory
from db.webhooks import Outgoing, load_outgoing, record_delivery
from face3d import __version__
from face3d.errors import Face3DError
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
    """POST a message; the answer's body is never read.

    Returns:
        (HTTP status or None, what went wrong or None).
    """
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
        url = httpx.URL(outgoing.url)
        address = allowed_address(url, settings)
        request = _client(settings).build_request(
            "POST",
            # The address that was examined is the one that is called: a name could resolve anew.
            url.copy_with(host=address),
            content=body,
            headers={**headers, "host": url.netloc.decode("ascii")},
            extensions={"sni_hostname": url.host},
        )
        # A redirect could lead anywhere, a private address included: Standard Webhooks says not to follow.
        answer = _client(settings).send(request, stream=True)
        answer.close()
    except AddressRefused as error:
        return None, error.message
    except Exception as error:
        # Whatever a customer's URL makes a library raise is a failed try, counted like any other.
        return None, type(error).__name__
    if answer.is_success:
        return answer.status_code, None
    return answer.status_code, f"HTTP {answer.status_code}"


class AddressRefused(Face3DError):
    """A webhook must not be sent to a private address."""


def allowed_address(url: httpx.URL, settings: Settings) -> str:
    """Return an address of a URL's host that may be called.

    A customer's URL must not make our network talk to itself.

    Raises:
        AddressRefused: every address is private, or the name has none.
    """
    port = url.port or (443 if url.scheme == "https" else 80)
    try:
        infos = socket.getaddrinfo(url.host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise AddressRefused("The host's name is not known.") from error
    for info in infos:
        address = str(info[4][0])
        if settings.webhook_allow_private or is_public(address):
            return address
    raise AddressRefused


def is_public(address: str) -> bool:
    """Tell whether an IP address is one of the public internet; one that wraps a private IPv4 is not."""
    parsed = ipaddress.ip_address(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        inner = parsed.ipv4_mapped or parsed.sixtofour or (parsed.teredo or (None, None))[1]
        if inner is None and any(parsed in network for network in _WRAPPING_IPV4):
            inner = ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return parsed.is_global and not parsed.is_multicast


#: NAT64 (RFC 6052) and IPv4-compatible addresses (RFC 4291): the last 32 bits are an IPv4 address.
_WRAPPING_IPV4 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("::/96"))


_clients: dict[float, httpx.Client] = {}


def _client(settings: Settings) -> httpx.Client:
    timeout = settings.webhook_timeout_seconds
    if timeout not in _clients:
        _clients[timeout] = httpx.Client(timeout=timeout, follow_redirects=False, trust_env=False)
    return _clients[timeout]

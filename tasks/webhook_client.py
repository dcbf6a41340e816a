"""One webhook request: Standard Webhooks over HTTPS (or HTTP), a connection of its own, one deadline for all.

No redirect is followed, for it could lead anywhere; no cookie is kept; no proxy of the environment is used.
"""

import email.utils
import json
import ssl
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache

import httpcore
import httpx
from standardwebhooks import Webhook

from db.deliveries import Outcome, Outgoing
from face3d import __version__
from face3d.settings import Settings
from tasks.webhook_network import AddressRefused, Deadline, DeadlineExceeded, GuardedNetwork

#: Of a refusing receiver's answer so much is read, bytes, and so much is kept, characters.
_READ_BYTES = 4096
_KEPT_CHARACTERS = 300
#: And for so long, seconds: the status is known already.
_READ_SECONDS = 2.0

#: Answers whose Retry-After counts: the others mean something else by it, or are not to be repeated.
_PAUSING = frozenset({429, 503})


def send(outgoing: Outgoing, secrets: Sequence[str], settings: Settings, deadline: Deadline) -> Outcome:
    """POST a message; whatever a customer's server does is an outcome.

    Args:
        secrets: each signs; the receiver needs one of them.
        deadline: when the request has to be over, the name's look-up and the answer's headers included.
    """
    started = time.monotonic()
    status: int | None = None
    answer: str | None = None
    retry_after: float | None = None
    timed_out = False
    try:
        url = httpx.URL(outgoing.url)
        with httpcore.HTTPConnection(
            origin=httpcore.Origin(url.raw_scheme, url.raw_host, url.port or _default_port(url)),
            ssl_context=_ssl_context(),
            network_backend=GuardedNetwork(settings, deadline),
        ) as connection:
            body, headers = sign(outgoing, secrets, datetime.now(UTC))
            headers["host"] = url.netloc.decode("ascii")
            request = httpcore.Request(
                "POST",
                httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                headers=list(headers.items()),
                content=body,
            )
            response = connection.handle_request(request)
            status = response.status
            if not 200 <= status < 300:
                retry_after = read_retry_after(response) if status in _PAUSING else None
                answer = _read_beginning(response)
        error = None if 200 <= status < 300 else f"HTTP {status}"
    except AddressRefused as refused:
        error = refused.message
    except DeadlineExceeded as late:
        error, timed_out = late.message, True
    except Exception as failure:
        # Whatever a customer's URL makes a library raise is a failed try, counted like any other.
        error = type(failure).__name__ if status is None else f"HTTP {status}"
    return Outcome(
        status=status,
        error=error,
        seconds=time.monotonic() - started,
        answer=answer,
        retry_after=retry_after,
        timed_out=timed_out,
    )


def sign(outgoing: Outgoing, secrets: Sequence[str], sent_at: datetime) -> tuple[bytes, dict[str, str]]:
    """Return body and headers of a message; several secrets sign side by side."""
    body = json.dumps(
        {**outgoing.payload, "timestamp": outgoing.created_at.isoformat()}, separators=(",", ":")
    )
    return body.encode(), {
        "content-type": "application/json",
        "content-length": str(len(body.encode())),
        "user-agent": f"Face3D/{__version__}",
        "accept": "*/*",
        "connection": "close",
        "webhook-id": outgoing.id,
        "webhook-timestamp": str(int(sent_at.timestamp())),
        "webhook-signature": " ".join(Webhook(secret).sign(outgoing.id, sent_at, body) for secret in secrets),
    }


def read_retry_after(response: httpcore.Response) -> float | None:
    """Return the seconds that an answer's Retry-After asks for, by number or date; None without one."""
    for name, value in response.headers:
        if name.lower() != b"retry-after":
            continue
        text = value.decode("ascii", "replace").strip()
        if text.isdecimal():
            return float(text[:9])
        try:
            when = email.utils.parsedate_to_datetime(text)
        except ValueError:
            return None
        # A date without a zone is GMT: HTTP knows no other.
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        return max(0.0, (when - datetime.now(UTC)).total_seconds())
    return None


def _read_beginning(response: httpcore.Response) -> str | None:
    """Return what a receiver says at first, as one line of text, as far as it comes quickly."""
    patience = Deadline(_READ_SECONDS)
    data = b""
    try:
        for chunk in response.iter_stream():
            data += chunk
            if len(data) >= _READ_BYTES:
                break
            patience.remaining()
    except Exception:
        # The status tells enough; what came until then is kept.
        data = data[:_READ_BYTES]
    text = data[:_READ_BYTES].decode("utf-8", "replace")
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(printable.split())[:_KEPT_CHARACTERS] or None


def _default_port(url: httpx.URL) -> int:
    return 443 if url.scheme == "https" else 80


@lru_cache(maxsize=1)
def _ssl_context() -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=False)

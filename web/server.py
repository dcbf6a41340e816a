"""The HTTP server: uvicorn, with an end to slow headers, stalled answers and too many connections.

uvicorn itself waits without a limit for the headers of a request and for a client that reads nothing, and
takes connections until the process has no descriptors left.
"""

import asyncio
import json
import logging
import resource
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any, ClassVar, Self, cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from web.middleware.security import security_headers
from web.problems import RETRY_SECONDS, Problem

#: From the connection, or the first byte of a further request, to the end of the headers.
HEADER_SECONDS = 10.0

#: A client that takes nothing of its answer for this long has left.
STALL_SECONDS = 60.0

#: Connections at once, where there are descriptors for them.
CONNECTIONS = 1000

#: Descriptors beside connections: database, storage, files, logs.
RESERVED_DESCRIPTORS = 96

#: Connections that every process takes.
LEAST_CONNECTIONS = 16

#: Refused connections that wait for their request, and so for their answer.
REFUSED = 16

#: Connections that the system keeps for us until they are accepted.
BACKLOG = 128

#: Long enough for an upload in flight; progress streams end with their client.
SHUTDOWN_SECONDS = 5

#: Complaints of libraries that anybody can cause, and how long one is not repeated in the log.
REPEAT_SECONDS = 10.0
REPEATED = (
    "socket.accept() out of system resource",
    "Invalid HTTP request",
    "Unsupported upgrade",
    # With a trace, of each kind of error; that a request failed is logged every time.
    "Exception in ASGI application",
)


def serve(app: ASGIApp, *, host: str, port: int, over_tls: bool = False, **options: Any) -> None:
    """Serve an app until a signal.

    Args:
        app: what is served.
        host: the address to bind.
        port: its port.
        over_tls: people reach us by https.
        options: further settings of uvicorn.
    """
    server = uvicorn.Server(make_config(app, host=host, port=port, over_tls=over_tls, **options))
    with suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(1)


def make_config(app: ASGIApp, *, over_tls: bool = False, **options: Any) -> uvicorn.Config:
    """Return uvicorn's configuration."""
    for name in ("asyncio", "uvicorn.error"):
        logging.getLogger(name).addFilter(RepeatFilter())
    settings: dict[str, Any] = {
        # Logged by SecurityMiddleware, without queries.
        "access_log": False,
        "server_header": False,
        "timeout_graceful_shutdown": SHUTDOWN_SECONDS,
        "backlog": BACKLOG,
        # No websockets here.
        "ws": "none",
        "http": make_protocol(count_connections(), security_headers(over_tls=over_tls)),
    }
    return uvicorn.Config(app, **{**settings, **options})


def count_connections() -> int:
    """Return how many connections this process can take, whose limit of descriptors is raised as needed."""
    current, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + RESERVED_DESCRIPTORS
    allowed = wanted if most == resource.RLIM_INFINITY else min(most, wanted)
    if current != resource.RLIM_INFINITY and current < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, most))
    return max(allowed - RESERVED_DESCRIPTORS, LEAST_CONNECTIONS)


class PatientProtocol(H11Protocol):
    """One connection."""

    #: Set by `make_protocol`.
    most: ClassVar[int]
    answer_headers: ClassVar[Mapping[str, str]]

    _header_timer: asyncio.TimerHandle | None = None
    _stall_timer: asyncio.TimerHandle | None = None
    _since = 0.0
    _begun = False
    _refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection; where there are too many, the one that waited longest for a request goes."""
        super().connection_made(transport)
        self._since = time.monotonic()
        self._arm()
        if len(self.connections) > self.most:
            self._make_room()

    def data_received(self, data: bytes) -> None:
        """Take bytes."""
        self._begun = True
        if self._refused:
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, "busy", "Too many connections: try again later.")
            return
        super().data_received(data)
        if self._is_idle():
            self._arm()
        else:
            self._disarm()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self._since = time.monotonic()
        self._begun = False
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Stop making an answer that nobody takes, and end it in a while."""
        super().pause_writing()
        if self._stall_timer is None:
            self._stall_timer = self.loop.call_later(STALL_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on."""
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection."""
        self._disarm()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        if self._is_idle():
            self._answer(HTTPStatus.BAD_REQUEST, "bad_request", msg)
        else:
            self.transport.close()

    def _is_idle(self) -> bool:
        cycle = self.cycle
        return cycle is None or cycle.response_complete

    def _arm(self) -> None:
        if self._header_timer is None and not self.transport.is_closing():
            self._header_timer = self.loop.call_later(HEADER_SECONDS, self._give_up)

    def _disarm(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _give_up(self) -> None:
        if self._begun:
            self._answer(
                HTTPStatus.REQUEST_TIMEOUT, "request_timeout", "The request's headers did not come in time."
            )
        else:
            self.transport.close()

    def _make_room(self) -> None:
        others = [cast(Self, one) for one in self.connections if one is not self]
        idle = [one for one in others if one._is_idle() and not one.transport.is_closing()]
        waiting = [one for one in idle if not one._refused]
        if waiting:
            min(waiting, key=lambda one: one._since).transport.abort()
            return
        self._refused = True
        refused = [one for one in idle if one._refused]
        if len(refused) > REFUSED:
            min(refused, key=lambda one: one._since).transport.abort()

    def _answer(self, status: HTTPStatus, code: str, message: str) -> None:
        """Answer without the app, and end the connection."""
        body = json.dumps(Problem(code=code, message=message).model_dump()).encode()
        headers = {
            **self.answer_headers,
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
            "Connection": "close",
        }
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            headers["Retry-After"] = RETRY_SECONDS
        lines = [
            f"HTTP/1.1 {status.value} {status.phrase}",
            *(f"{name}: {headers[name]}" for name in headers),
        ]
        self.transport.write("\r\n".join([*lines, "", ""]).encode() + body)
        self.transport.close()


def make_protocol(connections: int, headers: Mapping[str, str]) -> type[PatientProtocol]:
    """Return the protocol of a server.

    Args:
        connections: how many at once.
        headers: of answers that are given without the app.
    """

    class Protocol(PatientProtocol):
        most = connections
        answer_headers = headers

    return Protocol


class RepeatFilter(logging.Filter):
    """Drops what a library says again and again, as long as somebody floods us."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, type[BaseException] | None], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record is logged."""
        text = record.getMessage()
        prefix = next((prefix for prefix in REPEATED if text.startswith(prefix)), None)
        if prefix is None:
            return True
        kind = record.exc_info[0] if record.exc_info else None
        now = time.monotonic()
        if now - self._said.get((prefix, kind), -REPEAT_SECONDS) < REPEAT_SECONDS:
            return False
        self._said[prefix, kind] = now
        return True

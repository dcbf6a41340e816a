"""Bodies of requests: counted and timed while they come."""

import asyncio
from collections import deque
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope

from web.middleware.limits import Limits
from web.problems import ApiError, Problem, refuse_with

#: Time that a client may take over its body beside what its bytes need at the slowest pace allowed.
BODY_SECONDS = 15.0
PACE_BYTES_PER_SECOND = 16 * 1024

#: After a refusal the rest of a body is read and thrown away for a moment: a connection that is closed with
#: unread data is reset, and the client may lose the answer.
DRAIN_SECONDS = 2.0
DRAIN_PAUSE_SECONDS = 0.3
DRAIN_BYTES = 8 * 2**20


class Held:
    """Bytes of bodies that are held in memory for all requests together."""

    def __init__(self, limit: int) -> None:
        self._limit, self._bytes = limit, 0

    def add(self, count: int) -> None:
        """Take room.

        Raises:
            ApiError: 503, there is none.
        """
        if self._bytes + count > self._limit:
            problem = Problem(code="busy", message="Too many photos are being uploaded: send it again later.")
            raise refuse_with(HTTPStatus.SERVICE_UNAVAILABLE, problem)
        self._bytes += count

    def free(self, count: int) -> None:
        """Give room back."""
        self._bytes -= count


class Body:
    """A request's body.

    Args:
        scope: the request.
        receive: where its messages come from.
        limits: what its route allows.
        held: counts what is in memory.
    """

    def __init__(self, scope: Scope, receive: Receive, limits: Limits, held: Held) -> None:
        self._receive, self._limits, self._held = receive, limits, held
        self._limit = limits.body + limits.frame
        headers = Headers(scope=scope)
        length = headers.get("content-length", "")
        self._announced = int(length) if length.isascii() and length.isdigit() else None
        #: Whether all of it has come.
        self.complete = not self._announced and "transfer-encoding" not in headers
        self._received = 0
        self._counted = 0
        self._waited = 0.0
        self._read: deque[Message] = deque()

    def check_length(self) -> None:
        """Refuse a body that says itself that it is too large.

        Raises:
            ApiError: 413.
        """
        if self._announced is not None and self._announced > self._limit:
            raise self._too_large(self._announced)

    async def read(self) -> None:
        """Read it whole; `receive` hands it out then.

        Raises:
            ApiError: 408 or 413.
            ClientDisconnect: the client has left.
        """
        while not self.complete:
            message = await self.receive()
            if message["type"] != "http.request":
                raise ClientDisconnect
            self._read.append(message)

    async def receive(self) -> Message:
        """Return the next message, as ASGI says.

        Raises:
            ApiError: 408, 413, or 503 when memory for bodies is used up.
        """
        if self._read and self.complete:
            return self._read.popleft()
        if self.complete:
            return await self._receive()
        message = await self._wait()
        if message["type"] == "http.request":
            count = len(message.get("body", b""))
            self._received += count
            if self._received > self._limit:
                raise self._too_large(self._received)
            self._held.add(count)
            self._counted += count
            self.complete = not message.get("more_body", False)
        return message

    def forget(self) -> None:
        """Count it no more."""
        self._held.free(self._counted)
        self._counted = 0

    async def drain(self) -> None:
        """Read what is still on its way, for a moment, and throw it away."""
        left = DRAIN_BYTES + self._limit
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                while not self.complete and left > 0:
                    async with asyncio.timeout(DRAIN_PAUSE_SECONDS):
                        message = await self._receive()
                    left -= len(message.get("body", b""))
                    self.complete = not message.get("more_body", False)
        except TimeoutError:
            pass

    async def _wait(self) -> Message:
        loop = asyncio.get_running_loop()
        started = loop.time()
        allowed = BODY_SECONDS + self._received / PACE_BYTES_PER_SECOND - self._waited
        try:
            async with asyncio.timeout(allowed):
                return await self._receive()
        except TimeoutError:
            problem = Problem(
                code="request_timeout", message="The request's body did not come in time.", limit=BODY_SECONDS
            )
            raise refuse_with(HTTPStatus.REQUEST_TIMEOUT, problem) from None
        finally:
            self._waited += loop.time() - started

    def _too_large(self, size: int) -> ApiError:
        problem = Problem(
            code=self._limits.too_large,
            message=f"{self._limits.body} bytes may be sent here, not more.",
            value=size,
            limit=self._limits.body,
        )
        return refuse_with(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, problem)

"""What a request passes before its route sees it: token, size and pace of its body, a place to work.

An ASGI middleware in front of the whole app, errors included, so that no route can be forgotten.
"""

from collections.abc import Callable, Sequence
from typing import Any

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from web.auth import authorise
from web.middleware.bodies import Body, Held
from web.middleware.lanes import Lanes, Place
from web.middleware.limits import Limits, Rule, find_limits
from web.problems import answer_error


class GuardedApp(FastAPI):
    """An app behind middlewares of ours that stand in front of all of Starlette's.

    Starlette answers unexpected errors outside of the middlewares that one can add.

    Args:
        guard: puts them around an app.
        options: FastAPI's.
    """

    def __init__(self, guard: Callable[[ASGIApp], ASGIApp], **options: Any) -> None:
        self._guard = guard
        super().__init__(**options)

    def build_middleware_stack(self) -> ASGIApp:
        """Return the app as a server calls it."""
        return self._guard(super().build_middleware_stack())


class Gate:
    """Lets requests in.

    Args:
        app: what is guarded.
        rules: limits of the routes.
        lanes: where calls get their places.
        held_bytes: of bodies in memory, of all requests together.
    """

    def __init__(self, app: ASGIApp, rules: Sequence[Rule], lanes: Lanes, *, held_bytes: int) -> None:
        self._app, self._rules, self._lanes = app, rules, lanes
        self._held = Held(held_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limits = find_limits(self._rules, scope["method"], scope["path"])
        body = Body(scope, receive, limits, self._held)
        passage = _Passage(body, send)
        try:
            await self._pass(scope, receive, limits, passage)
        except ClientDisconnect:
            return
        finally:
            passage.end(moved=False)

    async def _pass(self, scope: Scope, receive: Receive, limits: Limits, passage: "_Passage") -> None:
        body = passage.body
        request = Request(scope)
        try:
            if limits.token:
                await authorise(request, limits.token)
            body.check_length()
            if not limits.streamed:
                await body.read()
            if limits.lane and body.complete:
                passage.place = await self._lanes[limits.lane].take()
        except ClientDisconnect:
            raise
        except Exception as error:
            await answer_error(request, error)(scope, receive, passage.send)
            return

        async def receive_body() -> Message:
            before = body.complete
            message = await body.receive()
            if limits.lane and body.complete and not before:
                # A client that sends slowly holds no place meanwhile.
                passage.place = await self._lanes[limits.lane].take()
            return message

        await self._app(scope, receive_body, passage.send)


class _Passage:
    """One request on its way: what it holds until its answer begins, and the end of its connection."""

    def __init__(self, body: Body, send: Send) -> None:
        self.body = body
        self.place: Place | None = None
        self._send = send
        self._closing = False

    async def send(self, message: Message) -> None:
        """Send a part of the answer; where the body was not read to its end, the connection ends too."""
        if message["type"] == "http.response.start":
            self.end(moved=message["status"] < 500)
            if not self.body.complete:
                self._closing = True
                MutableHeaders(scope=message)["Connection"] = "close"
        elif self._closing and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            await self.body.drain()
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        await self._send(message)

    def end(self, *, moved: bool) -> None:
        """Give back what it holds."""
        if self.place is not None:
            self.place.give_back(moved=moved)
        self.body.forget()

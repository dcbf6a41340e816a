"""Who may call a server that asks for no token: programs of this machine, and no page of another site.

A browser on this machine is a program of it, too. A page that it shows can send a photo here (its Origin
tells), and by a name whose address changes to 127.0.0.1 it can read the answer (its Host tells).
"""

from collections.abc import Collection
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from web.problems import answer_error, refuse

#: Names of this machine.
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class HostMiddleware:
    """Refuses requests to other hosts, and those that pages of other origins make.

    Args:
        app: what is guarded.
        hosts: names under which it may be called.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        self._app, self._hosts = app, frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and (why := self._find_fault(Headers(scope=scope))):
            error = refuse(HTTPStatus.FORBIDDEN, "forbidden", why)
            error.headers["Connection"] = "close"
            await answer_error(Request(scope), error)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _find_fault(self, headers: Headers) -> str | None:
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        if len(hosts) != 1 or _name(f"//{hosts[0]}") not in self._hosts:
            return "This server does not answer under that name."
        if any(origin not in (f"http://{hosts[0]}", f"https://{hosts[0]}") for origin in origins):
            return "Pages of other sites may not call this server."
        return None


def _name(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None

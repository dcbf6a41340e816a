"""What every answer carries, and the access log: an ASGI middleware without keys, queries or bodies."""

import time

import structlog
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = structlog.get_logger("web.access")

#: model-viewer makes its textures through blob: URLs and styles its shadow tree inline.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        # model-viewer compiles its mesh decoder when it is loaded.
        "script-src 'self' 'wasm-unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' blob: data:",
        "connect-src 'self' blob: data:",
        "font-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)

HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # With "no-referrer" a form of our own page would say `Origin: null`, as any page could.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "geolocation=(), microphone=()",
}

#: Asked every second or so by probes.
QUIET_ROUTES = frozenset({"/healthz", "/readyz"})


STATIC_PREFIX = "/static/"


#: A year: browsers then never speak plain HTTP with this host.
STRICT_TRANSPORT = "max-age=31536000"


def security_headers(*, over_tls: bool) -> dict[str, str]:
    """Return what every answer carries.

    Args:
        over_tls: people reach us by https.
    """
    return {**HEADERS, **({"Strict-Transport-Security": STRICT_TRANSPORT} if over_tls else {})}


class SecurityMiddleware:
    """Adds the headers and logs method, route template, status and milliseconds.

    The outermost of all, so that errors of other middlewares carry the headers too.
    """

    def __init__(self, app: ASGIApp, *, over_tls: bool = False, access_log: bool = True) -> None:
        self.app = app
        self._headers = security_headers(over_tls=over_tls)
        self._access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.monotonic()
        status = 500

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                if not scope["path"].startswith(STATIC_PREFIX):
                    headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        finally:
            route = getattr(scope.get("route"), "path", "-")
            quiet = route in QUIET_ROUTES or scope["path"].startswith(STATIC_PREFIX)
            if self._access_log and not quiet:
                milliseconds = round((time.monotonic() - started) * 1e3, 1)
                log.info("request", method=scope["method"], route=route, status=status, ms=milliseconds)

"""Who may call: bearer tokens for programs, a signed cookie for the page.

The checks are async, though they wait for nothing: FastAPI sends plain functions to a thread each.

The cookie is an expiry and its HMAC under the API token: no session table, and a new token ends all sessions.
"""

import base64
import binascii
import hashlib
import hmac
import time
from http import HTTPStatus
from urllib.parse import urlsplit

from fastapi import Depends
from fastapi.security import HTTPBearer
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import Response

from face3d.settings import Settings
from web.context import get_context
from web.problems import refuse

COOKIE = "face3d_session"
SESSION_SECONDS = 7 * 24 * 3600
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

#: Only for the OpenAPI document; the check itself is below, because cookies count as well.
_bearer = HTTPBearer(auto_error=False, description="The API token (FACE3D_API_TOKEN).")


def is_token(given: str, token: SecretStr) -> bool:
    """Compare in constant time; an empty setting matches nothing."""
    expected = token.get_secret_value()
    same = hmac.compare_digest(given.encode(), expected.encode())
    return same and bool(expected)


async def require_api(request: Request, _: object = Depends(_bearer)) -> None:
    """Let a request pass that has the API token, or the page's cookie and comes from the page."""
    settings = get_context(request).settings
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and is_token(value.strip(), settings.api_token):
        return
    if has_session(request) and (request.method in SAFE_METHODS or _is_same_origin(request)):
        return
    raise _unauthorized()


async def require_events(request: Request) -> None:
    """Let a storage's notification pass: the event token as Bearer, or as password of Basic.

    SNS and Ceph can only send a user and password that stand in the URL; the user's name is free.
    """
    settings = get_context(request).settings
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    given = value.strip()
    if scheme.lower() == "basic":
        given = _basic_password(given)
    if scheme.lower() not in ("bearer", "basic") or not is_token(given, settings.event_token):
        raise _unauthorized()


def has_session(request: Request) -> bool:
    """Tell whether the request carries a cookie of ours that still holds."""
    expiry, _, signature = request.cookies.get(COOKIE, "").partition(".")
    token = get_context(request).settings.api_token
    if not (expiry.isascii() and expiry.isdigit() and token.get_secret_value()):
        return False
    return (
        hmac.compare_digest(signature.encode(), _sign(expiry, token).encode()) and int(expiry) > time.time()
    )


def start_session(response: Response, settings: Settings) -> None:
    """Give the browser a cookie that scripts cannot read and other sites cannot send."""
    expiry = str(int(time.time()) + SESSION_SECONDS)
    response.set_cookie(
        COOKIE,
        f"{expiry}.{_sign(expiry, settings.api_token)}",
        max_age=SESSION_SECONDS,
        httponly=True,
        samesite="strict",
        secure=settings.public_url.startswith("https:"),
    )


def _sign(expiry: str, token: SecretStr) -> str:
    key = token.get_secret_value().encode()
    return hmac.new(key, f"face3d-session:{expiry}".encode(), hashlib.sha256).hexdigest()


def _is_same_origin(request: Request) -> bool:
    """SameSite knows no ports: a page of another port of this host must not act with our cookie."""
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")


def _basic_password(value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _unauthorized() -> Exception:
    error = refuse(HTTPStatus.UNAUTHORIZED, "unauthorized", "The token is missing or wrong.")
    error.headers["WWW-Authenticate"] = "Bearer"
    return error

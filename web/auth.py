"""Who may call: bearer tokens for programs, a cookie that names a session for the page.

`web.middleware.gate` asks here before a body is read; the routes' dependencies see to it that it did.
"""

import base64
import hmac
from http import HTTPStatus
from urllib.parse import urlsplit

from fastapi import Depends
from fastapi.security import HTTPBearer
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import Response

from db import sign_in
from face3d.settings import Settings
from web.context import get_context
from web.middleware.limits import Token
from web.problems import ApiError, refuse

COOKIE = "face3d_session"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

#: Key of a request's scope that names the token whose rights it was found to have.
_PASSED = "face3d.token"

#: Only for the OpenAPI document: the gate has asked already, and cookies count as well.
_bearer = HTTPBearer(auto_error=False, description="The API token (FACE3D_API_TOKEN).")


def is_token(given: str, token: SecretStr) -> bool:
    """Compare in constant time; an empty setting matches nothing."""
    expected = token.get_secret_value()
    same = hmac.compare_digest(given.encode(), expected.encode())
    return same and bool(expected)


async def authorise(request: Request, token: Token) -> None:
    """Let a request pass that has the rights of a token; nothing of its body is read.

    Raises:
        ApiError: 401.
    """
    may_pass = _has_event_token(request) if token is Token.EVENTS else await _has_api_rights(request)
    if not may_pass:
        raise _unauthorized()
    request.scope[_PASSED] = token


async def require_api(request: Request, _: object = Depends(_bearer)) -> None:
    """Mark a route of the API: it wants the API token, or the page's cookie and to be called by the page."""
    _check_passed(request, Token.API)


async def require_events(request: Request) -> None:
    """Mark a route of storage events: it wants the event token, as Bearer or as the password of Basic.

    SNS and Ceph can only send a user and password that stand in the URL; the user's name is free.
    """
    _check_passed(request, Token.EVENTS)


async def has_session(request: Request) -> bool:
    """Tell whether the request carries the cookie of a session that has not ended."""
    context = get_context(request)
    token = context.settings.api_token
    name = request.cookies.get(cookie_name(context.settings))
    if not name or not token.get_secret_value():
        return False
    return await context.ask_database(lambda session: sign_in.is_open(session, token, name))


async def start_session(request: Request, response: Response) -> None:
    """Open a session and give the browser a cookie that scripts cannot read and other sites cannot send."""
    context = get_context(request)
    token = context.settings.api_token
    response.set_cookie(
        cookie_name(context.settings),
        await context.ask_database(lambda session: sign_in.open_session(session, token)),
        max_age=sign_in.SESSION_SECONDS,
        httponly=True,
        samesite="strict",
        secure=is_over_tls(context.settings),
    )


async def end_session(request: Request, response: Response) -> None:
    """End the request's session, here and in the browser."""
    context = get_context(request)
    token, cookie = context.settings.api_token, cookie_name(context.settings)
    if name := request.cookies.get(cookie):
        await context.ask_database(lambda session: sign_in.end_session(session, token, name))
    secure = is_over_tls(context.settings)
    response.delete_cookie(cookie, httponly=True, samesite="strict", secure=secure)


def cookie_name(settings: Settings) -> str:
    """Return the cookie's name: over TLS one that no other host and no plain HTTP can set."""
    return f"__Host-{COOKIE}" if is_over_tls(settings) else COOKIE


def is_over_tls(settings: Settings) -> bool:
    """Return whether people reach us by https."""
    return settings.public_url.startswith("https:")


def is_same_origin(request: Request) -> bool:
    """SameSite knows no ports: a page of another port of this host must not act with our cookie.

    A proxy may ask us under another name than the page has: `public_url` tells that one.
    """
    origin = request.headers.get("origin")
    own = urlsplit(get_context(request).settings.public_url).netloc
    hosts = (request.headers.get("host", own), own)
    # Compared and not read: anybody may write anything there.
    return origin is None or origin in {
        f"{scheme}://{host}" for scheme in ("http", "https") for host in hosts
    }


async def _has_api_rights(request: Request) -> bool:
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and is_token(value.strip(), get_context(request).settings.api_token):
        return True
    if request.method not in SAFE_METHODS and not is_same_origin(request):
        return False
    return await has_session(request)


def _has_event_token(request: Request) -> bool:
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    given = value.strip()
    if scheme.lower() == "basic":
        given = _basic_password(given)
    token = get_context(request).settings.event_token
    return scheme.lower() in ("bearer", "basic") and is_token(given, token)


def _check_passed(request: Request, token: Token) -> None:
    if request.scope.get(_PASSED) is not token:
        raise _unauthorized()


def _basic_password(value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode().partition(":")[2]
    except ValueError:
        # No Base64, or no text: also a header that is not ASCII.
        return ""


def _unauthorized() -> ApiError:
    error = refuse(HTTPStatus.UNAUTHORIZED, "unauthorized", "The token is missing or wrong.")
    error.headers["WWW-Authenticate"] = "Bearer"
    return error

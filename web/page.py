"""The page: sign-in and the studio, static files without any build step."""

from http import HTTPStatus
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response

from web.auth import COOKIE, has_session, is_token, start_session
from web.context import ContextOf

STATIC = Path(__file__).resolve().parent / "static"

router = APIRouter(include_in_schema=False)


@router.get("/")
def show_page(request: Request, context: ContextOf, token: str | None = None) -> Response:
    """Show the studio to who is signed in, else the sign-in form.

    A link with `?token=` signs in, and is redirected at once so that the token leaves the address bar.
    """
    if token is not None and is_token(token, context.settings.api_token):
        response: Response = RedirectResponse("/", status_code=HTTPStatus.SEE_OTHER)
        start_session(response, context.settings)
        return response
    if has_session(request):
        return FileResponse(STATIC / "index.html")
    return _sign_in_form(wrong=token is not None)


@router.post("/session")
def sign_in(context: ContextOf, token: Annotated[str, Form()] = "") -> Response:
    """Take the token from the form."""
    if not is_token(token.strip(), context.settings.api_token):
        return _sign_in_form(wrong=True)
    response = RedirectResponse("/", status_code=HTTPStatus.SEE_OTHER)
    start_session(response, context.settings)
    return response


@router.post("/session/end")
def sign_out() -> Response:
    """Forget the cookie."""
    response = RedirectResponse("/", status_code=HTTPStatus.SEE_OTHER)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response


def _sign_in_form(*, wrong: bool) -> Response:
    text = (STATIC / "signin.html").read_text()
    if not wrong:
        return HTMLResponse(text)
    text = text.replace('id="wrong" hidden', 'id="wrong"')
    return HTMLResponse(text, status_code=HTTPStatus.UNAUTHORIZED)


@router.get("/favicon.ico")
def show_icon() -> Response:
    """Answer browsers that ask without reading the page."""
    return FileResponse(STATIC / "icon.svg", media_type="image/svg+xml")

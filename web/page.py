"""The page: sign-in and the studio, static files without any build step."""

from http import HTTPStatus
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response

from db.sign_in import spend_code
from web.auth import end_session, has_session, is_same_origin, is_token, start_session
from web.context import ContextOf
from web.problems import refuse

STATIC = Path(__file__).resolve().parent / "static"

_SIGN_IN = (STATIC / "signin.html").read_text()

router = APIRouter(include_in_schema=False)


@router.get("/")
async def show_page(
    request: Request, context: ContextOf, code: str | None = None, token: str | None = None
) -> Response:
    """Show the studio to who is signed in, else the sign-in form.

    A link with `?code=` signs in, once (`face3d link` prints one), and is redirected at once so that the code
    leaves the address bar; `?token=` does the same with the API token.
    """
    api_token = context.settings.api_token
    if token is not None and is_token(token, api_token):
        return await _sign_in(request)
    if code:
        good: bool = await context.ask_database(lambda session: spend_code(session, api_token, code))
        if good:
            return await _sign_in(request)
    if await has_session(request):
        # A link that was opened twice.
        return RedirectResponse("/", status_code=HTTPStatus.SEE_OTHER) if code else _studio()
    return _sign_in_form(wrong=token is not None, spent=code is not None)


@router.post("/session")
async def sign_in(request: Request, context: ContextOf, token: Annotated[str, Form()] = "") -> Response:
    """Take the token from the form."""
    _check_origin(request)
    if not is_token(token.strip(), context.settings.api_token):
        return _sign_in_form(wrong=True)
    return await _sign_in(request)


@router.post("/session/end")
async def sign_out(request: Request) -> Response:
    """End the session."""
    _check_origin(request)
    response = RedirectResponse("/", status_code=HTTPStatus.SEE_OTHER)
    await end_session(request, response)
    return response


@router.get("/favicon.ico")
async def show_icon() -> Response:
    """Answer browsers that ask without reading the page."""
    return FileResponse(STATIC / "icon.svg", media_type="image/svg+xml")


async def _sign_in(request: Request) -> Response:
    response = RedirectResponse("/", status_code=HTTPStatus.SEE_OTHER)
    await start_session(request, response)
    return response


def _studio() -> Response:
    return FileResponse(STATIC / "index.html")


def _sign_in_form(*, wrong: bool = False, spent: bool = False) -> Response:
    text = _SIGN_IN
    for name, shown in (("wrong", wrong), ("spent", spent)):
        if shown:
            text = text.replace(f'id="{name}" hidden', f'id="{name}"')
    return HTMLResponse(text, status_code=HTTPStatus.UNAUTHORIZED if wrong or spent else HTTPStatus.OK)


def _check_origin(request: Request) -> None:
    if not is_same_origin(request):
        raise refuse(HTTPStatus.FORBIDDEN, "forbidden", "The form must be sent from this page.")

"""Signing in to the page: links that work once, sessions that end, a cookie that goes nowhere else."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from db.sign_in import make_code
from face3d.settings import Settings
from tests.web_client import TestClient
from web.app import create_app

STUDIO = "Drop one frontal photo"
FORM = "Enter the API token"

Visit = Callable[..., TestClient]


@pytest.fixture
def token(clean_servers: Settings) -> str:
    return clean_servers.api_token.get_secret_value()


@pytest.fixture
def visit(clean_servers: Settings) -> Iterator[Visit]:
    """Return browsers, each with cookies of its own and, where wanted, with other settings of the server."""
    with ExitStack() as stack:

        def open_browser(base_url: str = "http://face3d", **changes: object) -> TestClient:
            app = create_app(clean_servers.model_copy(update={"public_url": base_url, **changes}))
            return stack.enter_context(TestClient(app, base_url=base_url))

        yield open_browser


def link_code(sessions: sessionmaker[Session], settings: Settings) -> str:
    with sessions.begin() as session:
        return make_code(session, settings.api_token)


def test_a_link_signs_in_once(
    visit: Visit, sessions: sessionmaker[Session], clean_servers: Settings, token: str
) -> None:
    code = link_code(sessions, clean_servers)
    assert token not in code
    browser, other = visit(), visit()
    answer = browser.get("/", params={"code": code}, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert STUDIO in browser.get("/").text
    # Opened again by the same person.
    assert STUDIO in browser.get("/", params={"code": code}).text
    refused = other.get("/", params={"code": code})
    assert refused.status_code == 401
    assert re.search(r'id="spent">[^<]*used already', refused.text)
    assert other.get("/v1/jobs").status_code == 401


def test_a_link_ends_by_itself(
    visit: Visit, sessions: sessionmaker[Session], clean_servers: Settings
) -> None:
    code = link_code(sessions, clean_servers)
    with sessions.begin() as session:
        good = session.execute(
            text("SELECT extract(epoch FROM expires_at - now()) FROM sign_ins")
        ).scalar_one()
        assert 0 < good <= 3600
        session.execute(text("UPDATE sign_ins SET expires_at = now()"))
    assert visit().get("/", params={"code": code}).status_code == 401


def sign_in(browser: TestClient, token: str) -> httpx.Response:
    answer = browser.post("/session", data={"token": f" {token} "}, follow_redirects=False)
    assert answer.status_code == 303
    return answer


def test_signing_out_ends_the_session_on_the_server(visit: Visit, token: str) -> None:
    browser = visit()
    sign_in(browser, token)
    kept = dict(browser.cookies)
    assert browser.get("/v1/jobs").status_code == 200
    browser.post("/session/end")
    assert FORM in browser.get("/").text
    thief = visit()
    thief.cookies.update(kept)
    assert thief.get("/v1/jobs").status_code == 401
    assert FORM in thief.get("/").text


def test_a_session_ends_by_itself_and_with_the_token(
    visit: Visit, sessions: sessionmaker[Session], token: str
) -> None:
    browser, rotated = visit(), visit(api_token=SecretStr("another token"))
    sign_in(browser, token)
    rotated.cookies.update(browser.cookies)
    assert rotated.get("/v1/jobs").status_code == 401
    with sessions.begin() as session:
        session.execute(text("UPDATE sign_ins SET expires_at = now()"))
    assert browser.get("/v1/jobs").status_code == 401


def test_the_database_holds_nothing_that_signs_in(
    visit: Visit, sessions: sessionmaker[Session], clean_servers: Settings, token: str
) -> None:
    browser = visit()
    sign_in(browser, token)
    code = link_code(sessions, clean_servers)
    (cookie,) = browser.cookies.values()
    with sessions() as session:
        rows = session.execute(text("SELECT sign_ins::text FROM sign_ins")).scalars().all()
    assert len(rows) == 2
    for secret in (cookie, code, token):
        assert not any(secret in row for row in rows)
    thief = visit()
    for row in rows:
        thief.cookies.set("face3d_session", row.strip("()").split(",")[0])
        assert thief.get("/v1/jobs").status_code == 401
    # A code is no session.
    thief.cookies.set("face3d_session", code)
    assert thief.get("/v1/jobs").status_code == 401


@pytest.mark.parametrize("change", ["x", "", "0."])
def test_a_forged_session_does_not_count(visit: Visit, token: str, change: str) -> None:
    browser = visit()
    sign_in(browser, token)
    ((name, value),) = browser.cookies.items()
    browser.cookies.clear()
    browser.cookies.set(name, change + value[1:])
    assert browser.get("/v1/webhooks").status_code == 401


def test_the_cookie_over_plain_http(visit: Visit, token: str) -> None:
    answer = sign_in(visit(), token)
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert token not in cookie
    assert "strict-transport-security" not in answer.headers


def test_the_cookie_over_tls_goes_to_this_host_only(visit: Visit, token: str) -> None:
    browser = visit("https://heads.example.org")
    answer = sign_in(browser, token)
    name, _, attributes = answer.headers["set-cookie"].partition("=")
    # What browsers demand of this prefix: no host beside this one, and no page without TLS, can set it.
    assert name.startswith("__Host-")
    words = [word.strip().lower() for word in attributes.split(";")]
    assert "secure" in words
    assert "path=/" in words
    assert not any(word.startswith("domain") for word in words)
    for path in ("/", "/healthz", "/v1/nothing", "/static/app.js"):
        assert "max-age=31536000" in browser.get(path).headers["strict-transport-security"]
    assert STUDIO in browser.get("/").text


@pytest.mark.parametrize("origin", ["http://face3d:9999", "http://evil.example", "null"])
def test_the_cookie_acts_only_for_our_own_page(visit: Visit, token: str, origin: str) -> None:
    browser = visit()
    sign_in(browser, token)
    foreign = {"Origin": origin}
    body = {"url": "ftp://x"}
    assert browser.post("/v1/webhooks", json=body, headers=foreign).status_code == 401
    assert browser.post("/session/end", headers=foreign).status_code == 403
    assert browser.post("/session", data={"token": token}, headers=foreign).status_code == 403
    own = browser.post("/v1/webhooks", json=body, headers={"Origin": "http://face3d"})
    assert own.status_code == 422

"""Webhooks to customers' URLs: signed, never to our own network, and whatever fails is a counted try."""

import email.utils
import json
import socket
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import httpcore
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from db.deliveries import Outcome, Outgoing
from face3d.settings import Settings
from tasks.webhook_client import send
from tasks.webhook_network import Deadline

SECRET = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVowMTIzNDU="
OLD_SECRET = "whsec_" + "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXowMTIzNDU="
NAMES = {
    "example.com": ["93.184.215.14"],
    "inside.example.com": ["10.0.0.7"],
    "both.example.com": ["127.0.0.1", "93.184.215.14"],
}


class Internet:
    """Answers for every address, and keeps what was sent there."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        self.calls: list[tuple[str, int, bytes]] = []

    def connect_tcp(self, host: str, port: int, *_: Any, **__: Any) -> httpcore.NetworkStream:
        answer = self.answers.pop(0) if self.answers else b"HTTP/1.1 204 No Content\r\n\r\n"
        internet = self

        class Stream(httpcore.MockStream):
            def write(self, buffer: bytes, timeout: float | None = None) -> None:
                address, number, sent = internet.calls[-1]
                internet.calls[-1] = address, number, sent + buffer

        self.calls.append((host, port, b""))
        return Stream([answer])

    @property
    def request(self) -> tuple[str, dict[str, str], bytes]:
        """Request line, headers and body of the last call."""
        head, _, body = self.calls[-1][2].partition(b"\r\n\r\n")
        line, *lines = head.decode().split("\r\n")
        pairs = (text.split(": ", 1) for text in lines)
        return line, {name.lower(): value for name, value in pairs}, body


@pytest.fixture
def internet(monkeypatch: pytest.MonkeyPatch) -> Internet:
    made = Internet()
    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", made.connect_tcp)

    def resolve(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        if host not in NAMES:
            raise socket.gaierror
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in NAMES[host]]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return made


def try_url(url: str, settings: Settings | None = None, secrets: tuple[str, ...] = (SECRET,)) -> Outcome:
    outgoing = Outgoing(
        id="msg_1",
        endpoint_id="e",
        job_id="1",
        url=url,
        secrets=secrets,
        payload={"type": "asset.ready", "data": {"job_id": "1"}},
        created_at=datetime(2026, 11, 22, tzinfo=UTC),
        claim=1,
        attempts=1,
        number=1,
    )
    return send(outgoing, secrets, settings or Settings(), Deadline(5.0))


def test_a_message_is_signed_and_sent_to_the_examined_address(internet: Internet) -> None:
    settings = Settings(webhook_ports=(8080,))
    outcome = try_url("http://example.com:8080/hook?a=b", settings)
    assert (outcome.status, outcome.error) == (204, None)
    assert internet.calls[0][:2] == ("93.184.215.14", 8080)
    line, headers, body = internet.request
    assert line == "POST /hook?a=b HTTP/1.1"
    assert headers["host"] == "example.com:8080"
    assert headers["webhook-id"] == "msg_1"
    assert "cookie" not in headers
    assert json.loads(body) == {
        "type": "asset.ready",
        "data": {"job_id": "1"},
        "timestamp": "2026-11-22T00:00:00+00:00",
    }
    assert Webhook(SECRET).verify(body, headers)


def test_two_secrets_sign_side_by_side_and_either_verifies(internet: Internet) -> None:
    try_url("http://example.com/", secrets=(SECRET, OLD_SECRET))
    _, headers, body = internet.request
    assert Webhook(SECRET).verify(body, headers)
    assert Webhook(OLD_SECRET).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + "QUJD" * 10).verify(body, headers)


def test_a_redirect_is_not_followed_and_a_cookie_not_kept(internet: Internet) -> None:
    internet.answers = [b"HTTP/1.1 302 Found\r\nlocation: http://example.com/b\r\nset-cookie: a=1\r\n\r\n"]
    assert try_url("http://example.com/a").error == "HTTP 302"
    assert len(internet.calls) == 1
    try_url("http://example.com/c")
    assert "cookie" not in internet.request[1]


@pytest.mark.parametrize(
    "url",
    [
        "http://inside.example.com/",
        "http://unknown.example.com/",
        "http://10.0.0.7/",
        "http://[::ffff:8.8.8.8]/",
        "http://example.com:22/",
        "http://a..b/x",
        "http://" + "a" * 70 + "/",
    ],
)
def test_what_cannot_or_must_not_be_called_is_a_failed_try(internet: Internet, url: str) -> None:
    NAMES.setdefault("10.0.0.7", ["10.0.0.7"])
    NAMES.setdefault("::ffff:8.8.8.8", ["::ffff:8.8.8.8"])
    outcome = try_url(url)
    assert outcome.status is None
    assert outcome.error
    assert not outcome.timed_out
    assert not internet.calls


def test_of_a_name_with_two_addresses_the_public_one_is_called(internet: Internet) -> None:
    assert try_url("http://both.example.com/").status == 204
    assert [call[0] for call in internet.calls] == ["93.184.215.14"]


@pytest.mark.parametrize(
    ("status", "header", "seconds"),
    [
        (429, "120", 120),
        (503, "7", 7),
        (503, timedelta(hours=1), 3600),
        (429, timedelta(hours=-1), 0),
        (429, "soon", None),
        (429, "-5", None),
        (500, "120", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(
    internet: Internet, status: int, header: str | timedelta, seconds: float | None
) -> None:
    if isinstance(header, timedelta):
        header = email.utils.format_datetime(datetime.now(UTC) + header, usegmt=True)
    internet.answers = [
        f"HTTP/1.1 {status} No\r\nRetry-After: {header}\r\ncontent-length: 0\r\n\r\n".encode()
    ]
    outcome = try_url("http://example.com/")
    assert outcome.error == f"HTTP {status}"
    assert outcome.retry_after == (None if seconds is None else pytest.approx(seconds, abs=60))


def test_of_a_refusing_receivers_answer_a_line_is_kept(internet: Internet) -> None:
    body = b"no\x00 such\n hook " + b"x" * 100_000
    internet.answers = [b"HTTP/1.1 404 Not Found\r\ncontent-length: %d\r\n\r\n" % len(body) + body]
    outcome = try_url("http://example.com/")
    assert outcome.answer is not None
    assert outcome.answer.startswith("no such hook xxx")
    assert len(outcome.answer) == 300


def test_a_resolver_that_hangs_does_not_outlast_the_deadline(
    internet: Internet, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [answered.wait(10)][:0])
    outgoing = Outgoing(
        id="msg_1", endpoint_id="e", job_id=None, url="http://example.com/", secrets=(), payload={},
        created_at=datetime.now(UTC), claim=1, attempts=1, number=1,
    )  # fmt: skip
    outcome = send(outgoing, (SECRET,), Settings(), Deadline(0.2))
    answered.set()
    assert outcome.timed_out
    assert outcome.seconds < 1.0
    assert not internet.calls

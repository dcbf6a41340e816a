"""Webhooks to customers' URLs: signed, never to our own network, and whatever fails is a counted try."""

import json
import socket
from datetime import UTC, datetime

import httpx
import pytest
from standardwebhooks import Webhook

from db.webhooks import Outgoing
from face3d.settings import Settings
from tasks import deliver

SECRET = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVowMTIzNDU="


def outgoing(url: str) -> Outgoing:
    return Outgoing(
        id="msg_1",
        url=url,
        secret=SECRET,
        payload={"type": "asset.ready", "data": {"job_id": "1"}},
        created_at=datetime(2026, 11, 22, tzinfo=UTC),
        attempts=0,
    )


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[httpx.Request]:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(302 if request.url.path == "/elsewhere" else 204, headers={"location": "/"})

    client = httpx.Client(transport=httpx.MockTransport(answer))
    monkeypatch.setattr(deliver, "_client", lambda settings: client)
    names = {"example.com": "93.184.215.14", "inside.example.com": "10.0.0.7"}

    def resolve(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        if host not in names:
            raise socket.gaierror
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (names[host], port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return seen


def test_a_message_is_signed_and_sent_to_the_examined_address(requests: list[httpx.Request]) -> None:
    assert deliver.send(outgoing("https://example.com:8443/hook"), Settings()) == (204, None)
    (request,) = requests
    assert request.url.host == "93.184.215.14"
    assert request.headers["host"] == "example.com:8443"
    assert request.extensions["sni_hostname"] == "example.com"
    Webhook(SECRET).sign("msg_1", datetime.now(UTC), request.content.decode())
    assert json.loads(request.content)["data"] == {"job_id": "1"}
    assert request.headers["webhook-id"] == "msg_1"
    assert request.headers["webhook-signature"].startswith("v1,")


def test_a_redirect_is_not_followed(requests: list[httpx.Request]) -> None:
    assert deliver.send(outgoing("https://example.com/elsewhere"), Settings()) == (302, "HTTP 302")
    assert len(requests) == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://inside.example.com/",
        "http://unknown.example.com/",
        "http://a..b/x",
        "http://" + "a" * 70 + "/",
    ],
)
def test_what_cannot_or_must_not_be_called_is_a_failed_try(requests: list[httpx.Request], url: str) -> None:
    status, error = deliver.send(outgoing(url), Settings())
    assert status is None
    assert error
    assert not requests


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "169.254.169.254", "192.168.0.1", "224.0.0.1", "::1", "fe80::1", "fd00::1",
        "::ffff:10.0.0.1", "64:ff9b::7f00:1", "::127.0.0.1", "2002:7f00:1::", "0.0.0.0",
    ],
)  # fmt: skip
def test_private_addresses_and_their_wrappings_are_not_public(address: str) -> None:
    assert not deliver.is_public(address)


@pytest.mark.parametrize(
    "address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "64:ff9b::5db8:d70e"]
)
def test_public_addresses_are(address: str) -> None:
    assert deliver.is_public(address)

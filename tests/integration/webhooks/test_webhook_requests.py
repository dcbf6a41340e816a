"""One request to real servers that hang, trickle or speak TLS: a deadline for all of it, nothing kept."""

import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from standardwebhooks import Webhook

from db.deliveries import Outcome, Outgoing
from face3d.settings import Settings
from tasks import webhook_client
from tasks.webhook_client import send
from tasks.webhook_network import Deadline
from tests.integration.receivers import (
    Behaviour,
    Server,
    answer_ok,
    hang,
    trickle_headers,
    trickle_refusal,
)

SECRET = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVowMTIzNDU="
SETTINGS = Settings(webhook_allow_private=True)


def try_url(url: str, seconds: float = 1.0, settings: Settings = SETTINGS) -> Outcome:
    outgoing = Outgoing(
        id="msg_1",
        endpoint_id="e",
        job_id=None,
        url=url,
        secrets=(SECRET,),
        payload={"type": "webhook.test", "data": {}},
        created_at=datetime.now(UTC),
        claim=1,
        attempts=1,
        number=1,
    )
    return send(outgoing, [SECRET], settings, Deadline(seconds))


@pytest.mark.parametrize("behaviour", [hang, trickle_headers])
def test_the_whole_request_has_one_deadline(behaviour: Behaviour) -> None:
    server = Server(behaviour)
    started = time.monotonic()
    outcome = try_url(server.url)
    assert time.monotonic() - started < 3
    assert outcome.timed_out
    assert (outcome.status, outcome.error) == (None, "The receiver did not answer in time.")
    server.close()


def test_a_refusal_that_trickles_is_a_refusal_within_the_deadline() -> None:
    server = Server(trickle_refusal)
    started = time.monotonic()
    outcome = try_url(server.url)
    assert time.monotonic() - started < 3
    assert (outcome.status, outcome.error, outcome.timed_out) == (500, "HTTP 500", False)
    assert set(outcome.answer or "") == {"a"}
    server.close()


def test_a_port_where_nobody_listens_is_a_failed_try_at_once() -> None:
    server = Server()
    server.close()
    time.sleep(0.1)
    outcome = try_url(f"http://127.0.0.1:{server.port}/")
    assert outcome.error == "ConnectError"
    assert not outcome.timed_out
    assert outcome.seconds < 0.5


def test_no_cookie_of_one_receiver_goes_to_another_on_the_same_address() -> None:
    one, other = Server(answer_ok), Server(answer_ok)
    for url in (one.url, one.url, other.url):
        assert try_url(url).status == 204
    for request in (*one.requests, *other.requests):
        assert "cookie" not in request.headers
        assert Webhook(SECRET).verify(request.body, request.headers)
    one.close()
    other.close()


def test_an_address_of_our_own_network_is_refused_when_it_is_dialled() -> None:
    server = Server()
    strict = Settings(webhook_ports=(server.port,))
    for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433"):
        outcome = try_url(f"http://{host}:{server.port}/", settings=strict)
        assert outcome.status is None
        assert outcome.error in ("A webhook must not be sent to a private address.", "InvalidURL")
    assert not server.requests
    server.close()


@pytest.fixture
def tls_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server whose certificate is for the name `localhost` alone, which our client trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "server.pem"
    pem = serialization.Encoding.PEM
    file.write_bytes(
        certificate.public_bytes(pem)
        + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    trusting = ssl.create_default_context(cafile=str(file))
    monkeypatch.setattr(webhook_client, "_ssl_context", lambda: trusting)
    server = Server(answer_ok, context)
    yield server
    server.close()


def test_tls_is_for_the_name_in_the_url_and_not_for_the_address(tls_server: Server) -> None:
    assert try_url(f"https://localhost:{tls_server.port}/").status == 204
    wrong = try_url(tls_server.url)
    assert (wrong.status, wrong.error) == (None, "ConnectError")
    tls_server.behaviour = trickle_headers
    late = try_url(f"https://localhost:{tls_server.port}/")
    assert late.timed_out
    assert late.seconds < 1.5

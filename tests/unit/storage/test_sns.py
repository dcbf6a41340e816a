"""Confirming topics of Amazon SNS: what is asked of which host, and what is believed."""

from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from face3d.errors import InvalidEvent
from storage.sns import (
    AmazonUnavailable,
    ForgedRequest,
    NotConfirmed,
    SnsClient,
    is_certificate_url,
    read_request,
)

TOPIC = "arn:aws:sns:eu-central-1:123456789012:photos"
CERTIFICATE_URL = "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-0123abcd.pem"
KEY = generate_private_key(65537, 2048)


def certificate(*, days: int = 30) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sns.amazonaws.com")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(KEY.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=60))
        .not_valid_after(now + timedelta(days=days))
    )
    return made.sign(KEY, SHA256()).public_bytes(Encoding.PEM)


def message(key: RSAPrivateKey = KEY, version: str = "1", **changes: Any) -> dict[str, Any]:
    """Return a SubscriptionConfirmation as Amazon signs it."""
    document = {
        "Type": "SubscriptionConfirmation",
        "MessageId": "165545c9-2a5c-472c-8df2-7ff2be2b3b1b",
        "Token": "2336412f37fb687f5d51e6e241d09c805a5a57b30d712f794cc5f6a988666d92",
        "TopicArn": TOPIC,
        "Message": "You have chosen to subscribe to the topic.",
        "SubscribeURL": "https://example.org/?Action=ConfirmSubscription",
        "Timestamp": "2026-04-26T20:45:04.751Z",
        "SignatureVersion": version,
        "SigningCertURL": CERTIFICATE_URL,
    }
    names = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
    signed = "".join(f"{name}\n{document[name]}\n" for name in names)
    kind = SHA1() if version == "1" else SHA256()
    document["Signature"] = b64encode(key.sign(signed.encode(), PKCS1v15(), kind)).decode()
    return {**document, **changes}


class Amazon:
    """Answers requests, and remembers where they went."""

    def __init__(self, answer: Callable[[httpx.Request], httpx.Response] | None = None) -> None:
        self.asked: list[httpx.URL] = []
        self._answer = answer or self._as_amazon
        self.client = SnsClient(httpx.MockTransport(self._take))

    def _take(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url)
        return self._answer(request)

    @staticmethod
    def _as_amazon(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=certificate() if request.url.path.endswith(".pem") else b"<ok/>")


@pytest.mark.parametrize(
    ("topic", "host"),
    [
        (TOPIC, "sns.eu-central-1.amazonaws.com"),
        ("arn:aws-cn:sns:cn-north-1:123456789012:p", "sns.cn-north-1.amazonaws.com.cn"),
        ("arn:aws-us-gov:sns:us-gov-west-1:123456789012:p.fifo", "sns.us-gov-west-1.amazonaws.com"),
    ],
)
def test_the_token_goes_to_the_topics_own_region_and_never_to_the_link(topic: str, host: str) -> None:
    amazon = Amazon()
    amazon.client.confirm(topic, "abc123")
    (url,) = amazon.asked
    assert (url.scheme, url.netloc.decode(), url.path) == ("https", host, "/")
    assert dict(url.params) == {"Action": "ConfirmSubscription", "TopicArn": topic, "Token": "abc123"}


@pytest.mark.parametrize(
    "topic",
    [
        "arn:aws:sns:example.org/:123456789012:p",
        "arn:aws:sns:eu-central-1@example.org:123456789012:p",
        "arn:aws:sns:eu-central-1.example.org:123456789012:p",
        "arn:other:sns:eu-central-1:123456789012:p",
        "arn:aws:sqs:eu-central-1:123456789012:p",
        TOPIC + "\n",
        "x" + TOPIC,
        "",
    ],
)
def test_no_topic_leads_to_another_host(topic: str) -> None:
    amazon = Amazon()
    with pytest.raises(NotConfirmed):
        amazon.client.confirm(topic, "abc")
    with pytest.raises(InvalidEvent):
        read_request(message(TopicArn=topic))
    assert not amazon.asked


@given(st.text(max_size=40), st.text(max_size=20))
def test_whatever_a_message_says_only_amazons_hosts_are_asked(text: str, token: str) -> None:
    amazon = Amazon()
    for topic in (text, TOPIC + text, f"arn:aws:sns:{text}:123456789012:p"):
        for call in (
            lambda topic=topic: amazon.client.confirm(topic, token),
            lambda: amazon.client.verify(message(SigningCertURL=text)),
            lambda: amazon.client.verify(message(SigningCertURL=CERTIFICATE_URL + text)),
        ):
            try:
                call()
            except (NotConfirmed, ForgedRequest, InvalidEvent):
                continue
    assert {url.host for url in amazon.asked} <= {"sns.eu-central-1.amazonaws.com"}


@pytest.mark.parametrize("version", ["1", "2"])
def test_amazons_signature_is_believed(version: str) -> None:
    amazon = Amazon()
    amazon.client.verify(message(version=version))
    assert [str(url) for url in amazon.asked] == [CERTIFICATE_URL]


@pytest.mark.parametrize(
    "changes",
    [
        {"Token": "0123"},
        {"TopicArn": TOPIC + "2"},
        {"SubscribeURL": "https://example.org/other"},
        {"Signature": "AAAA"},
        {"Signature": "é"},
        {"SignatureVersion": "2"},
        {"SignatureVersion": "3"},
    ],
)
def test_a_changed_message_is_forged(changes: dict[str, str]) -> None:
    with pytest.raises(ForgedRequest):
        Amazon().client.verify(message(**changes))


def test_a_message_signed_by_somebody_else_is_forged() -> None:
    with pytest.raises(ForgedRequest):
        Amazon().client.verify(message(generate_private_key(65537, 2048)))


@pytest.mark.parametrize("content", [b"", b"no certificate", b"\xff"])
def test_what_is_no_certificate_proves_nothing(content: bytes) -> None:
    with pytest.raises(ForgedRequest):
        Amazon(lambda _: httpx.Response(200, content=content)).client.verify(message())


def test_a_certificate_that_has_ended_proves_nothing() -> None:
    with pytest.raises(ForgedRequest):
        Amazon(lambda _: httpx.Response(200, content=certificate(days=-1))).client.verify(message())


@pytest.mark.parametrize(
    "url",
    [
        "http://sns.eu-central-1.amazonaws.com/SimpleNotificationService-0123abcd.pem",
        "https://sns.eu-central-1.amazonaws.com.example.org/SimpleNotificationService-0123abcd.pem",
        "https://sns.eu-central-1.amazonaws.com:8443/SimpleNotificationService-0123abcd.pem",
        "https://user@sns.eu-central-1.amazonaws.com/SimpleNotificationService-0123abcd.pem",
        "https://s3.eu-central-1.amazonaws.com/SimpleNotificationService-0123abcd.pem",
        "https://snsxeu-central-1.amazonaws.com/SimpleNotificationService-0123abcd.pem",
        "https://sns.eu-central-1.amazonaws.com/bucket/SimpleNotificationService-0123abcd.pem",
        "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-0123abcd.pem?x=1",
        "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-0123abcd.pem#x",
        "https://sns.eu-central-1.amazonaws.com\\@example.org/SimpleNotificationService-0123abcd.pem",
        "https://[::1/SimpleNotificationService-0123abcd.pem",
        "",
    ],
)
def test_a_certificate_from_elsewhere_is_not_fetched(url: str) -> None:
    assert is_certificate_url(CERTIFICATE_URL)
    assert not is_certificate_url(url)
    amazon = Amazon()
    with pytest.raises((ForgedRequest, InvalidEvent)):
        amazon.client.verify(message(SigningCertURL=url))
    assert not amazon.asked


def test_a_redirect_is_not_followed() -> None:
    amazon = Amazon(lambda _: httpx.Response(302, headers={"location": "https://example.org/"}))
    with pytest.raises(AmazonUnavailable):
        amazon.client.confirm(TOPIC, "abc")
    with pytest.raises(AmazonUnavailable):
        amazon.client.verify(message())
    assert {url.host for url in amazon.asked} == {"sns.eu-central-1.amazonaws.com"}


def test_a_refusal_and_an_outage_are_told_apart_and_tell_no_token() -> None:
    with pytest.raises(NotConfirmed):
        Amazon(lambda _: httpx.Response(403)).client.confirm(TOPIC, "secret1")

    def fail(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError(f"no way to {request.url}")

    for answer in (fail, lambda _: httpx.Response(500), lambda _: httpx.Response(200, content=b"x" * 70_000)):
        with pytest.raises(AmazonUnavailable) as caught:
            Amazon(answer).client.confirm(TOPIC, "secret1")
        assert "secret1" not in str(caught.value)
        assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "changes",
    [
        {"Token": "a b"},
        {"Token": ""},
        {"Token": 5},
        {"Timestamp": "soon"},
        {"Timestamp": "2026-04-26T20:45:04"},
    ],
)
def test_a_request_of_another_form_is_an_invalid_event(changes: dict[str, Any]) -> None:
    assert read_request(message()).topic == TOPIC
    with pytest.raises(InvalidEvent):
        read_request(message(**changes))

"""Confirming that a topic of Amazon SNS may send its events here.

SNS sends nothing to an HTTPS endpoint before the endpoint has given a token back. The message names a link
for that, which is never followed: the address is made of the topic's ARN, so that no message, forged or not,
makes us ask a host that is not Amazon's. Source: the developer guide of Amazon SNS, "Sending messages to
HTTP/HTTPS endpoints" and "Verifying the signatures of messages".
"""

import re
from base64 import b64decode
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import urlsplit

import httpx
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256

from face3d.errors import Face3DError, InvalidEvent, RetryableError
from storage.event_json import JsonObject, text

#: Amazon's domain by partition. Partitions that are closed to the internet are left out.
_DOMAINS = {"aws": "amazonaws.com", "aws-us-gov": "amazonaws.com", "aws-cn": "amazonaws.com.cn"}

_REGION = r"[a-z]{2}(?:-[a-z]{2,12}){1,3}-\d{1,2}"
_ARN = re.compile(rf"arn:({'|'.join(_DOMAINS)}):sns:({_REGION}):\d{{12}}:[A-Za-z0-9_.-]{{1,256}}", re.ASCII)
_CERTIFICATE_HOST = re.compile(rf"sns\.{_REGION}\.amazonaws\.com(?:\.cn)?", re.ASCII)
_CERTIFICATE_PATH = re.compile(r"/SimpleNotificationService-[A-Za-z0-9]{1,80}\.pem", re.ASCII)
_TOKEN = re.compile(r"[A-Za-z0-9]{1,1024}", re.ASCII)

#: What is signed of a SubscriptionConfirmation, in this order.
_SIGNED = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")

#: SignatureVersion to hash: Amazon signs with the first unless a topic asks for the second.
_HASHES = {"1": SHA1, "2": SHA256}

_TIMEOUT_SECONDS = 5.0
_MAX_CERTIFICATE_BYTES = 64 * 1024


class NotConfirmed(Face3DError):
    """Amazon refuses the token: it works for three days. Subscribe the endpoint to the topic again."""


class ForgedRequest(Face3DError):
    """The request to subscribe does not carry Amazon's signature."""


class AmazonUnavailable(RetryableError):
    """Amazon SNS did not answer as it should."""


@dataclass(frozen=True, kw_only=True)
class ConfirmationRequest:
    """What a topic asks, checked for its form."""

    topic: str
    token: str = field(repr=False)
    sent_at: datetime


def read_request(message: JsonObject) -> ConfirmationRequest:
    """Return what a SubscriptionConfirmation asks.

    Raises:
        InvalidEvent: Amazon sends no such message.
    """
    topic, token = text(message, "TopicArn"), text(message, "Token")
    if not _ARN.fullmatch(topic):
        raise InvalidEvent("The topic's ARN is none of Amazon SNS.")
    if not _TOKEN.fullmatch(token):
        raise InvalidEvent("The token is none of Amazon SNS.")
    return ConfirmationRequest(topic=topic, token=token, sent_at=_sent_at(message))


def _sent_at(message: JsonObject) -> datetime:
    try:
        sent_at = datetime.fromisoformat(text(message, "Timestamp"))
    except ValueError as error:
        raise InvalidEvent("The message's time is no time.") from error
    if sent_at.tzinfo is None:
        raise InvalidEvent("The message's time has no zone.")
    # What comes from the future would stand above every later request.
    return min(sent_at, datetime.now(UTC))


class SnsClient:
    """Speaks to Amazon SNS, and to no other host.

    Args:
        transport: what carries the requests; the network, with verified certificates, by default.
    """

    def __init__(self, transport: httpx.BaseTransport | None = None) -> None:
        self._transport = transport

    def confirm(self, topic: str, token: str) -> None:
        """Give a token back; doing so twice does no harm.

        Raises:
            NotConfirmed: Amazon refuses the token.
            AmazonUnavailable: there was no answer, or one of a fault.
        """
        arn = _ARN.fullmatch(topic)
        if not arn or not _TOKEN.fullmatch(token):
            raise NotConfirmed
        query = {"Action": "ConfirmSubscription", "TopicArn": topic, "Token": token}
        answer = self._get(f"https://sns.{arn[2]}.{_DOMAINS[arn[1]]}/", query)
        if 400 <= answer.status_code < 500:
            raise NotConfirmed
        if answer.status_code != httpx.codes.OK:
            raise AmazonUnavailable(f"Amazon SNS answered {answer.status_code}.")

    def verify(self, message: JsonObject) -> None:
        """Check that Amazon signed a SubscriptionConfirmation.

        Raises:
            ForgedRequest: it did not.
            InvalidEvent: the message lacks what is signed.
            AmazonUnavailable: the certificate cannot be had.
        """
        url = text(message, "SigningCertURL")
        if not is_certificate_url(url):
            raise ForgedRequest
        kind = _HASHES.get(text(message, "SignatureVersion"))
        if kind is None:
            raise ForgedRequest
        signed = "".join(f"{name}\n{text(message, name)}\n" for name in _SIGNED)
        try:
            signature = b64decode(text(message, "Signature"), validate=True)
            self._fetch_key(url).verify(signature, signed.encode(), PKCS1v15(), kind())
        except (InvalidSignature, ValueError) as error:
            raise ForgedRequest from error

    def _fetch_key(self, url: str) -> RSAPublicKey:
        """Return the key of a certificate that is valid now.

        Raises:
            ValueError: it is no such certificate.
        """
        answer = self._get(url)
        if answer.status_code != httpx.codes.OK:
            raise AmazonUnavailable(f"Amazon SNS answered {answer.status_code}.")
        certificate = x509.load_pem_x509_certificate(answer.content)
        key = certificate.public_key()
        now = datetime.now(UTC)
        if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
            raise ValueError("the certificate is not valid now")
        if not isinstance(key, RSAPublicKey):
            raise ValueError("the certificate's key is not RSA's")
        return key

    def _get(self, url: str, query: dict[str, str] | None = None) -> httpx.Response:
        try:
            # Certificates are verified, redirects are not followed, and no proxy of the environment is used.
            with (
                httpx.Client(transport=self._transport, timeout=_TIMEOUT_SECONDS, trust_env=False) as client,
                client.stream("GET", url, params=query) as answer,
            ):
                body = b""
                for chunk in answer.iter_bytes():
                    body += chunk
                    if len(body) > _MAX_CERTIFICATE_BYTES:
                        raise AmazonUnavailable("Amazon SNS answered more than a certificate.")
                return httpx.Response(answer.status_code, content=body)
        except httpx.HTTPError as error:
            # Its text may hold the address, and so the token.
            raise AmazonUnavailable(f"Amazon SNS cannot be reached: {type(error).__name__}.") from None


def is_certificate_url(url: str) -> bool:
    """Tell whether an address is one where Amazon keeps its signing certificates, exactly."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return (
        parts.scheme == "https"
        and _CERTIFICATE_HOST.fullmatch(parts.netloc) is not None
        and _CERTIFICATE_PATH.fullmatch(parts.path) is not None
        and url == f"https://{parts.netloc}{parts.path}"
    )

"""How we reach an S3 store: configuration, a lean botocore client, and botocore's errors as ours."""

import http.client
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import urlsplit

import boto3
import botocore.loaders
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.handlers import add_expect_header
from botocore.utils import parse_timestamp

from face3d.errors import ConfigurationError, StorageUnavailable
from face3d.settings import Settings
from storage.errors import ObjectExists, ObjectMissing, ObjectRefused, ObjectReplaced, ObjectUnreadable

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, kw_only=True)
class StorageConfig:
    """Where the object store is; an empty access key means boto3's own credential chain."""

    endpoint: str | None
    public_endpoint: str | None
    region: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    connect_timeout: float = 3.0
    read_timeout: float = 30.0
    attempts: int = 3
    pool: int = 16
    #: After this long no further attempt of a call begins, seconds; None: all attempts are made.
    call_seconds: float | None = None

    @classmethod
    def from_settings(cls, settings: Settings, **limits: Any) -> Self:
        """Return what the settings name.

        Args:
            settings: name the store.
            limits: of time, attempts and connections, where the usual ones do not suit.
        """
        return cls(
            endpoint=settings.s3_endpoint,
            public_endpoint=settings.s3_public_endpoint,
            region=settings.s3_region,
            access_key=settings.s3_access_key.get_secret_value(),
            secret_key=settings.s3_secret_key.get_secret_value(),
            **limits,
        )


#: Limits under which the longest call, one that hangs in its first or last attempt, takes less than 10 s.
QUICK: Mapping[str, Any] = {"connect_timeout": 2.0, "read_timeout": 7.0, "attempts": 2, "call_seconds": 1.5}


def connect(config: StorageConfig, endpoint: str | None) -> Any:
    """Return a botocore S3 client for an endpoint (None: AWS itself), made to cost little CPU a call.

    Raises:
        ConfigurationError: the endpoint, the region or the keys are not usable.
    """
    options = Config(
        # A fixed text: botocore spends a tenth of a call on composing its own.
        user_agent="face3d",
        # Stores other than AWS seldom have a DNS name a bucket.
        s3={
            "addressing_style": "path" if endpoint else "auto",
            "payload_signing_enabled": not (endpoint and _is_safe_way(endpoint)),
        },
        signature_version="s3v4",
        connect_timeout=config.connect_timeout,
        read_timeout=config.read_timeout,
        retries={"mode": "standard", "total_max_attempts": config.attempts},
        max_pool_connections=config.pool,
        tcp_keepalive=True,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    session = botocore.session.get_session()
    session.register_component("data_loader", _loader(session.get_config_variable("data_path")))
    parsers = session.get_component("response_parser_factory")
    parsers.set_parser_defaults(timestamp_parser=_parse_timestamp)
    try:
        client = boto3.session.Session(botocore_session=session).client(
            "s3",
            region_name=config.region,
            endpoint_url=endpoint or None,
            aws_access_key_id=config.access_key or None,
            aws_secret_access_key=config.secret_key or None,
            config=options,
        )
    except (BotoCoreError, ValueError) as error:
        raise ConfigurationError("The S3 settings (endpoint, region or keys) are not usable.") from error
    client.meta.events.unregister("before-call.s3", add_expect_header)
    if config.call_seconds is not None:
        _limit_calls(client, config.call_seconds)
    return client


@lru_cache
def _loader(data_path: str | None) -> Any:
    """Return what reads botocore's descriptions of S3, once a process: most of a client's making is that."""
    return botocore.loaders.create_loader(data_path)


def _limit_calls(client: Any, seconds: float) -> None:
    """Let no attempt of a call begin later than this: an error is tried again, a store that hangs is not."""
    begun = threading.local()

    def begin(**_: object) -> None:
        begun.at = time.monotonic()

    def check(**_: object) -> None:
        if time.monotonic() - begun.at > seconds:
            raise StorageUnavailable("The object store did not answer in time.")

    client.meta.events.register("before-call.s3", begin)
    client.meta.events.register("before-send.s3", check)


def _is_safe_way(endpoint: str) -> bool:
    """Tell whether nobody can change bytes on the way: to sign them too would cost a SHA-256 of each PUT."""
    url = urlsplit(endpoint)
    return url.scheme == "https" or url.hostname in _LOOPBACK


def _parse_timestamp(value: str | float) -> datetime:
    """Return a time in one of S3's two forms, many times faster than botocore's own guessing parser.

    That one gets what has neither form: `Expires` is the uploader's text, and often `0`.
    """
    text = str(value)
    try:
        return datetime.fromisoformat(text) if text[:1].isdigit() else parsedate_to_datetime(text)
    except ValueError:
        parsed: datetime = parse_timestamp(value)
        return parsed


@contextmanager
def translate_errors(
    *,
    precondition: type[ObjectReplaced] | type[ObjectExists] = ObjectReplaced,
    refusals: bool = False,
    tolerate: Sequence[str] = (),
) -> Iterator[None]:
    """Turn botocore's errors into ours; the cause is dropped, since it may hold the URL and so the key.

    Args:
        precondition: what an answer of 412 means.
        tolerate: codes that are no error.
        refusals: whether an answer of 400 means that the key is refused.
    """
    try:
        yield
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in tolerate:
            return
        if status == HTTPStatus.NOT_FOUND:
            raise ObjectMissing from None
        if status == HTTPStatus.PRECONDITION_FAILED:
            raise precondition from None
        if status == HTTPStatus.BAD_REQUEST and refusals:
            raise ObjectRefused from None
        raise StorageUnavailable(
            f"The object store answered {status} to {error.operation_name}{f' ({code})' if code else ''}."
        ) from None
    except BotoCoreError as error:
        if _is_too_much_header(error):
            raise ObjectUnreadable from None
        raise StorageUnavailable(f"The object store could not be used: {type(error).__name__}.") from None
    except ValueError:
        # botocore's parsers; their texts hold what they read.
        raise StorageUnavailable("The object store's answer cannot be understood.") from None


def _is_too_much_header(error: BaseException | None) -> bool:
    """Tell whether Python's HTTP client gave up on an answer's headers: over 100, or a line over 64 KiB.

    It says so inside botocore's and urllib3's errors of a connection that was closed, which would be retried
    in vain: the object's user metadata are at fault, and stay so.
    """
    for _ in range(5):
        if isinstance(error, http.client.LineTooLong):
            return True
        if isinstance(error, http.client.HTTPException) and "headers" in str(error):
            return True
        inner = getattr(error, "kwargs", {}).get("error") or next(
            (part for part in getattr(error, "args", ()) if isinstance(part, BaseException)), None
        )
        if inner is None:
            return False
        error = inner
    return False

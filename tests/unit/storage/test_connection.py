"""The S3 client: what it signs, and what it makes of odd answers."""

import pytest
from botocore.loaders import JSONFileLoader

from face3d.errors import StorageUnavailable
from storage.client import Storage
from storage.connection import StorageConfig, connect
from storage.objects import ObjectInfo


@pytest.mark.parametrize(
    ("endpoint", "signs"),
    [
        ("http://127.0.0.1:8333", False),
        ("http://localhost:8333", False),
        ("https://storage.example.com", False),
        ("http://storage.example.com", True),
        ("http://127.0.0.1.example.com", True),
        # Whichever it is, botocore finds it out by itself.
        (None, True),
    ],
)
def test_bytes_are_signed_where_somebody_could_change_them(endpoint: str | None, signs: bool) -> None:
    config = StorageConfig(
        endpoint=endpoint, public_endpoint=None, region="us-east-1", access_key="key", secret_key="secret"
    )
    assert connect(config, endpoint).meta.config.s3["payload_signing_enabled"] is signs


def test_another_client_reads_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    config = StorageConfig(
        endpoint="http://127.0.0.1:9",
        public_endpoint=None,
        region="us-east-1",
        access_key="k",
        secret_key="s",
    )
    connect(config, config.endpoint)
    monkeypatch.setattr(JSONFileLoader, "load_file", lambda _self, path: pytest.fail(f"{path} is read again"))
    assert connect(config, config.endpoint).meta.service_model.service_name == "s3"


class Answer:
    """What an HTTP library hands to botocore."""

    status_code = 200
    content = b""
    raw = None

    def __init__(self, headers: dict[str, str]) -> None:
        self.headers = headers


def head_answered_with(headers: dict[str, str]) -> ObjectInfo:
    """Return what a HEAD finds where the store answers with these headers."""
    config = StorageConfig(
        endpoint="http://127.0.0.1:9",
        public_endpoint=None,
        region="us-east-1",
        access_key="k",
        secret_key="s",
    )
    storage = Storage(config)
    usual = {"ETag": '"ab"', "Content-Length": "3", "Last-Modified": "Tue, 01 Dec 2026 11:31:35 GMT"}

    def answer(**_: object) -> Answer:
        return Answer(usual | headers)

    storage._client().meta.events.register("before-send.s3.HeadObject", answer)
    return storage.head("bucket", "key")


@pytest.mark.parametrize(
    "expires", ["0", "-1", "tomorrow", "9" * 40, "2026-13-45", "Thu, 99 Foo 2026 99:99:99 GMT"]
)
def test_an_uploaders_expires_is_any_text(expires: str) -> None:
    assert head_answered_with({"Expires": expires}).etag == "ab"


@pytest.mark.parametrize("headers", [{"Last-Modified": "x"}, {"ETag": ""}, {"x-amz-missing-meta": "some"}])
def test_an_answer_that_cannot_be_understood_is_the_stores_fault(headers: dict[str, str]) -> None:
    with pytest.raises(StorageUnavailable):
        head_answered_with(headers)

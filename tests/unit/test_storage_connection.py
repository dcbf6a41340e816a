"""The S3 client: what it signs."""

import pytest

from storage.connection import StorageConfig, connect


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

"""PUT objects as clients do that send bytes beyond ASCII in headers, which botocore refuses to sign."""

import hashlib
import hmac
import http.client
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

from face3d.settings import Settings


def put_raw(settings: Settings, key: str, data: bytes, headers: Mapping[str, bytes]) -> int:
    """PUT an object into the inbox, key and headers exactly as given, and return the HTTP status.

    Args:
        headers: names in lower case to the bytes that go over the wire.
    """
    host = urlsplit(settings.s3_endpoint or "").netloc
    path = f"/{settings.bucket_inbox}/{quote(key, safe='/')}"
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    digest = hashlib.sha256(data).hexdigest()
    sent = {
        "host": host.encode(),
        "x-amz-content-sha256": digest.encode(),
        "x-amz-date": now.encode(),
        **headers,
    }
    sent["authorization"] = _authorization(settings, path, now, digest, sent).encode()
    connection = http.client.HTTPConnection(host, timeout=20)
    try:
        connection.putrequest("PUT", path, skip_host=True, skip_accept_encoding=True)
        for name, value in {**sent, "content-length": str(len(data)).encode()}.items():
            connection.putheader(name, value)
        connection.endheaders(data)
        return connection.getresponse().status
    finally:
        connection.close()


def _authorization(settings: Settings, path: str, now: str, digest: str, headers: Mapping[str, bytes]) -> str:
    """Return AWS Signature Version 4 over bytes."""
    names = sorted(headers)
    signed = ";".join(names)
    lines = b"".join(name.encode() + b":" + headers[name].strip(b" ") + b"\n" for name in names)
    request = b"\n".join([b"PUT", path.encode(), b"", lines, signed.encode(), digest.encode()])
    scope = f"{now[:8]}/us-east-1/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(request).hexdigest()}"
    key = f"AWS4{settings.s3_secret_key.get_secret_value()}".encode()
    for part in (*scope.split("/"), text):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    credential = f"{settings.s3_access_key.get_secret_value()}/{scope}"
    return f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={signed}, Signature={key.hex()}"

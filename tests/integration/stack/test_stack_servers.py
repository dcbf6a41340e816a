"""The three servers of the local stack, as the rest of the project meets them."""

import socket
import ssl
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import boto3
import httpx
import psycopg
import pytest
import redis

from compose.local import Stack
from compose.local.lock import StackRunning
from compose.local.ports import GRPC_OFFSET
from face3d.settings import Settings


def test_database_speaks_tcp_with_a_password(servers: Settings) -> None:
    url = servers.database_url.get_secret_value().replace("+psycopg", "")
    with psycopg.connect(url) as connection:
        row = connection.execute("SHOW server_version_num").fetchone()
    assert row is not None
    assert row[0].startswith("18")
    password = url.split(":")[2].split("@")[0]
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(url.replace(password, "wrong"))


def test_broker_refuses_a_client_without_password(servers: Settings) -> None:
    with redis.Redis.from_url(servers.broker_url.get_secret_value()) as client:
        assert client.ping()
    port = urlsplit(servers.broker_url.get_secret_value()).port
    with redis.Redis(port=port or 0) as client, pytest.raises(redis.AuthenticationError):
        client.ping()


def test_a_second_stack_on_the_same_folder_says_where_the_first_is(server_stack: Stack) -> None:
    with pytest.raises(StackRunning, match=str(server_stack.settings.web_port)):
        Stack(server_stack.layout.state_dir).start()


@pytest.fixture
def s3(servers: Settings) -> Iterator[Any]:
    """A client of the S3 gateway with its keys."""
    client = boto3.client(
        "s3",
        endpoint_url=servers.s3_endpoint,
        region_name=servers.s3_region,
        aws_access_key_id=servers.s3_access_key.get_secret_value(),
        aws_secret_access_key=servers.s3_secret_key.get_secret_value(),
    )
    yield client
    client.close()


PHOTO = b"a photo" * 1_000_000


def test_s3_does_all_that_clients_use(servers: Settings, s3: Any) -> None:
    inbox = servers.bucket_inbox
    s3.put_object(Bucket=inbox, Key="whole.jpg", Body=PHOTO)
    upload = s3.create_multipart_upload(Bucket=inbox, Key="parts.jpg")["UploadId"]
    parts = []
    for number, body in enumerate((PHOTO[:6_000_000], PHOTO[6_000_000:]), 1):
        at = {"Bucket": inbox, "Key": "parts.jpg", "UploadId": upload, "PartNumber": number}
        parts.append({"PartNumber": number, "ETag": s3.upload_part(**at, Body=body)["ETag"]})
    s3.complete_multipart_upload(
        Bucket=inbox, Key="parts.jpg", UploadId=upload, MultipartUpload={"Parts": parts}
    )
    s3.copy_object(Bucket=inbox, Key="copy.jpg", CopySource={"Bucket": inbox, "Key": "parts.jpg"})
    for key in ("whole.jpg", "parts.jpg", "copy.jpg"):
        assert s3.get_object(Bucket=inbox, Key=key)["Body"].read() == PHOTO
        link = s3.generate_presigned_url("get_object", Params={"Bucket": inbox, "Key": key})
        assert httpx.get(link).content == PHOTO
        s3.delete_object(Bucket=inbox, Key=key)


def test_nobody_reads_or_writes_photos_past_s3(server_stack: Stack, servers: Settings, s3: Any) -> None:
    key = "private/photo.jpg"
    s3.put_object(Bucket=servers.bucket_inbox, Key=key, Body=PHOTO)
    ports = server_stack.layout.ports
    folder = f"http://127.0.0.1:{ports['weed_filer']}/buckets/{servers.bucket_inbox}"
    master = f"http://127.0.0.1:{ports['weed_master']}"
    volume = f"http://127.0.0.1:{ports['weed_volume']}"
    answers = [
        httpx.get(f"{folder}/"),
        httpx.get(f"{folder}/{key}"),
        httpx.head(f"{folder}/{key}"),
        httpx.post(f"{folder}/evil.jpg", files={"file": b"x"}),
        httpx.put(f"{folder}/evil.jpg", content=b"x"),
        httpx.delete(f"{folder}/{key}"),
        # A file's number, and the token to read or write it.
        httpx.get(f"{master}/dir/assign"),
        httpx.get(f"{master}/dir/lookup", params={"fileId": "1,01637037d6", "read": "yes"}),
        httpx.post(f"{master}/submit", files={"file": b"x"}),
        httpx.get(f"{volume}/1,01637037d6"),
        httpx.post(f"{volume}/1,01637037d6", files={"file": b"x"}),
        httpx.get(f"{servers.s3_endpoint}/{servers.bucket_inbox}/{key}"),
    ]
    assert {answer.status_code for answer in answers} <= {401, 403, 404}
    listed = s3.list_objects_v2(Bucket=servers.bucket_inbox, Prefix="")["Contents"]
    assert "evil.jpg" not in {item["Key"] for item in listed}
    assert s3.get_object(Bucket=servers.bucket_inbox, Key=key)["Body"].read() == PHOTO
    s3.delete_object(Bucket=servers.bucket_inbox, Key=key)


@pytest.mark.parametrize("part", ["weed_master", "weed_volume", "weed_filer", "s3"])
def test_nobody_without_the_certificate_speaks_grpc(server_stack: Stack, part: str) -> None:
    port = server_stack.layout.ports[part] + GRPC_OFFSET
    with socket.create_connection(("127.0.0.1", port), timeout=5) as plain:
        # The fourth byte of a server's first frame: SETTINGS.
        assert _greet(plain)[3:4] != b"\4"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        pytest.raises(ssl.SSLError, match=r"(?i)certificate"),
    ):
        _greet(context.wrap_socket(plain))


def _greet(connection: socket.socket) -> bytes:
    """Return what a server says to the opening of HTTP/2."""
    with connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
        try:
            return connection.recv(64)
        except ConnectionError:
            return b""


def test_cleaning_leaves_empty_buckets(servers: Settings, s3: Any, request: pytest.FixtureRequest) -> None:
    s3.put_object(Bucket=servers.bucket_inbox, Key="a b/ü+.jpg", Body=b"x")
    request.getfixturevalue("clean_servers")
    assert s3.list_objects_v2(Bucket=servers.bucket_inbox)["KeyCount"] == 0

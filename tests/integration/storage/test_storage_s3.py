"""The S3 client against the real SeaweedFS."""

import multiprocessing
import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from face3d.errors import StorageUnavailable
from face3d.messages import ObjectCreated
from face3d.settings import Settings
from storage.client import Storage
from storage.connection import StorageConfig
from storage.errors import ObjectExists, ObjectMissing, ObjectReplaced
from storage.intake import option_defaults, read_upload
from storage.sweep import find_unknown
from tasks.artifacts import ArtifactStore, HostCache


@pytest.fixture(scope="module")
def storage(servers: Settings) -> Storage:
    return Storage.from_settings(servers)


@pytest.fixture(scope="module")
def bucket(storage: Storage, servers: Settings) -> Iterator[str]:
    yield servers.bucket_work
    for info in list(storage.list(servers.bucket_work)):
        storage.delete(servers.bucket_work, info.key)


def test_a_large_result_lies_in_parts_and_comes_back_as_it_was_on_another_host(
    storage: Storage, bucket: str, tmp_path: Path
) -> None:
    data, prefix = secrets.token_bytes(3_500_000), "parts/geometry/1/"

    def open_store(host: str) -> ArtifactStore:
        return ArtifactStore(storage, HostCache(tmp_path / host, max_bytes=2**30))

    (stored,) = open_store("here").write_result(bucket, prefix, "result.safetensors", data)
    assert stored.size == len(data)
    assert len(list(storage.list(bucket, prefix))) == 4
    assert open_store("there").read(bucket, prefix + "result.safetensors") == data
    assert storage.delete_prefix(bucket, prefix) == 4


def test_a_bucket_that_holds_a_photo_cannot_be_deleted(
    storage: Storage, bucket: str, servers: Settings
) -> None:
    storage.put(bucket, "kept.jpg", b"photo", content_type="image/jpeg")
    client = boto3.client(
        "s3",
        endpoint_url=servers.s3_endpoint,
        region_name=servers.s3_region,
        aws_access_key_id=servers.s3_access_key.get_secret_value(),
        aws_secret_access_key=servers.s3_secret_key.get_secret_value(),
        config=Config(s3={"addressing_style": "path"}),
    )
    with pytest.raises(ClientError, match="BucketNotEmpty"):
        client.delete_bucket(Bucket=bucket)
    assert storage.get(bucket, "kept.jpg") == b"photo"


@pytest.mark.parametrize("key", ["a.jpg", "in/José photo+1 %2F 100%.png", "深い/空 .jpg", "a&b=c?d#e.png"])
def test_an_object_comes_back_as_it_was(storage: Storage, bucket: str, key: str) -> None:
    data = secrets.token_bytes(70_000)
    etag = storage.put(bucket, key, data, content_type="image/jpeg", metadata={"face3d-ref": "é 深 =?"})
    info = storage.head(bucket, key)
    assert (info.key, info.etag, info.size, info.content_type) == (key, etag, len(data), "image/jpeg")
    assert info.metadata == {"face3d-ref": "é 深 =?"}
    assert storage.get(bucket, key, if_match=etag) == data
    assert key in [entry.key for entry in storage.list(bucket)]
    described, chunks = storage.stream(bucket, key)
    assert b"".join(chunks) == data
    assert described.etag == etag
    storage.delete(bucket, key)
    with pytest.raises(ObjectMissing):
        storage.head(bucket, key)


def test_a_replaced_object_is_not_read(storage: Storage, bucket: str) -> None:
    etag = storage.put(bucket, "photo", b"one", content_type="image/png")
    storage.put(bucket, "photo", b"two", content_type="image/png")
    with pytest.raises(ObjectReplaced):
        storage.get(bucket, "photo", if_match=etag)


def test_no_overwriting_where_none_is_wanted(storage: Storage, bucket: str) -> None:
    storage.put(bucket, "once", b"one", content_type="text/plain", if_none_match=True)
    with pytest.raises(ObjectExists):
        storage.put(bucket, "once", b"two", content_type="text/plain", if_none_match=True)
    assert storage.get(bucket, "once") == b"one"


def test_copy_and_its_missing_source(storage: Storage, bucket: str, servers: Settings) -> None:
    storage.put(bucket, "a+b ü", b"bytes", content_type="text/plain")
    storage.copy(bucket, "a+b ü", servers.bucket_assets, "copy", content_type="model/gltf-binary")
    assert storage.get(servers.bucket_assets, "copy") == b"bytes"
    assert storage.head(servers.bucket_assets, "copy").content_type == "model/gltf-binary"
    storage.delete(servers.bucket_assets, "copy")
    with pytest.raises(ObjectMissing):
        storage.copy(bucket, "nothing", servers.bucket_assets, "copy", content_type="text/plain")


def test_a_prefix_is_deleted_and_its_neighbour_stays(storage: Storage, bucket: str) -> None:
    for key in ("job-1/a", "job-1/b/c", "job-10/a"):
        storage.put(bucket, key, b"x", content_type="text/plain")
    assert storage.delete_prefix(bucket, "job-1/") == 2
    assert [info.key for info in storage.list(bucket, "job-1")] == ["job-10/a"]
    assert storage.delete_prefix(bucket, "job-1/") == 0


def test_a_listing_goes_on_after_a_key(storage: Storage, bucket: str) -> None:
    for key in ("list/a", "list/b", "list/c"):
        storage.put(bucket, key, b"x", content_type="text/plain")
    assert [info.key for info in storage.list(bucket, "list/", start_after="list/a")] == ["list/b", "list/c"]
    storage.delete_prefix(bucket, "list/")


def test_a_link_works_without_keys_and_names_the_download(storage: Storage, bucket: str) -> None:
    storage.put(bucket, "j/head.glb", b"glTF", content_type="model/gltf-binary")
    link = storage.presign_get(bucket, "j/head.glb", seconds=60, filename="head.glb")
    answer = httpx.get(link)
    assert (answer.status_code, answer.content) == (200, b"glTF")
    assert 'filename="head.glb"' in answer.headers["content-disposition"]
    forged = link.replace("head.glb?", "other.glb?")
    assert httpx.get(forged).status_code in (403, 404)


def test_links_name_the_public_endpoint(servers: Settings) -> None:
    settings = servers.model_copy(update={"s3_public_endpoint": "https://photos.example.org"})
    link = Storage.from_settings(settings).presign_get("b", "k", seconds=60)
    assert urlsplit(link).netloc == "photos.example.org"


def test_buckets_are_made_once(storage: Storage) -> None:
    name = f"fresh-{secrets.token_hex(4)}"
    with pytest.raises(ObjectMissing):
        storage.ping(name)
    storage.ensure_bucket(name)
    storage.ensure_bucket(name)
    storage.ping(name)


def test_an_absent_server_is_unavailable_and_no_key_leaks() -> None:
    config = StorageConfig(
        endpoint="http://127.0.0.1:9",
        public_endpoint=None,
        region="us-east-1",
        access_key="a",
        secret_key="b",
    )
    with pytest.raises(StorageUnavailable) as caught:
        Storage(replace(config, attempts=1)).get("inbox", "private-name.jpg")
    assert "private-name" not in str(caught.value)
    assert "127.0.0.1" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_wrong_keys_are_unavailable_not_missing(servers: Settings, bucket: str) -> None:
    storage = Storage(
        StorageConfig(
            endpoint=servers.s3_endpoint,
            public_endpoint=None,
            region="us-east-1",
            access_key="nobody",
            secret_key="nothing",
        )
    )
    with pytest.raises(StorageUnavailable, match="403"):
        storage.head(bucket, "a")


def test_a_storage_used_before_a_fork_works_after_it(storage: Storage, bucket: str) -> None:
    storage.put(bucket, "fork", b"parent", content_type="text/plain")
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    child = context.Process(target=lambda: results.put(storage.get(bucket, "fork")))
    child.start()
    assert results.get(timeout=20) == b"parent"
    child.join(timeout=20)
    assert storage.get(bucket, "fork") == b"parent"


@hypothesis_settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    name=st.text(
        st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\\/"), min_size=1, max_size=40
    )
)
def test_any_key_can_be_put_and_found(storage: Storage, bucket: str, name: str) -> None:
    key = f"any/x{name}x"
    etag = storage.put(bucket, key, b"x", content_type="text/plain")
    assert storage.head(bucket, key).etag == etag
    assert [info.key for info in storage.list(bucket, key)] == [key]
    storage.delete(bucket, key)


def test_an_upload_in_parts_is_one_photo_to_event_and_sweep(
    storage: Storage, clean_servers: Settings
) -> None:
    """HEAD (which the event asks) and the listing (which the sweep asks) must agree on the ETag."""
    servers = clean_servers
    inbox, key = servers.bucket_inbox, "big photo.jpg"
    client = storage._client()
    upload = client.create_multipart_upload(Bucket=inbox, Key=key, Metadata={"face3d-engine": "null"})[
        "UploadId"
    ]
    parts = []
    for number, size in ((1, 5 * 2**20), (2, 1000)):
        part = client.upload_part(
            Bucket=inbox, Key=key, UploadId=upload, PartNumber=number, Body=secrets.token_bytes(size)
        )
        parts.append({"PartNumber": number, "ETag": part["ETag"]})
    client.complete_multipart_upload(Bucket=inbox, Key=key, UploadId=upload, MultipartUpload={"Parts": parts})
    found = read_upload(
        storage,
        ObjectCreated(bucket=inbox, key=key),
        defaults=option_defaults(servers),
        max_bytes=servers.max_bytes,
    )
    assert found is not None
    assert found.size == 5 * 2**20 + 1000
    assert found.options is not None
    assert found.options.engine == "null"

    unknown = list(find_unknown(storage, inbox, lambda _pairs: set()))
    assert [event.key for event in unknown] == [key]
    assert list(find_unknown(storage, inbox, lambda _pairs: {(key, found.etag)})) == []
    storage.delete(inbox, key)

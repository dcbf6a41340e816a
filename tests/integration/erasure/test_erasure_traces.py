"""After an erasure nothing that a client wrote is left: not in any table, queue, object, version or log."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from sqlalchemy import text

from compose.local import Stack
from face3d.settings import Settings
from storage.client import Storage
from tasks.artifacts import open_cache
from tasks.retention import collect_garbage, erase_job
from tests.integration.pipeline import Pipeline, open_pipeline, until
from tests.web_client import TestClient
from web.app import create_app

pytestmark = pytest.mark.slow

#: One in each field that a client can write, found wherever it ends up before the erasure.
KEPT_UNTIL_THEN = {
    field: f"zq{field}marker"
    for field in (
        *("key", "ref", "type", "meta", "viewof", "missing", "option"),
        *("apiref", "apitype", "filename", "pixels"),
    )
}
#: What the client states and we may or may not keep.
OTHERS = {field: f"zq{field}marker" for field in ("metaname",)}
MARKERS = {**KEPT_UNTIL_THEN, **OTHERS}


@pytest.fixture
def pipeline(server_stack: Stack, clean_servers: Settings, tmp_path: Path) -> Iterator[Pipeline]:
    with open_pipeline(
        clean_servers, server_stack.layout.env_file, tmp_path, FACE3D_SWEEP_SECONDS="0.5"
    ) as opened:
        yield opened


def test_no_marker_is_left_anywhere(pipeline: Pipeline) -> None:
    settings, storage = pipeline.settings, pipeline.storage
    pipeline.start_worker("plain")
    upload(settings, storage)
    until(
        lambda: (
            len(ids(pipeline)) == 5 and not pipeline.query("SELECT 1 FROM jobs WHERE finished_at IS NULL")
        ),
        "five jobs end",
        seconds=60,
    )
    until(lambda: len(pipeline.receiver.received) >= 5, "their webhooks arrive", seconds=20)
    assert {field for field in KEPT_UNTIL_THEN if MARKERS[field] in everything(pipeline)} == set(
        KEPT_UNTIL_THEN
    )
    cache = open_cache(settings)
    for job_id in ids(pipeline):
        erase_job(storage, pipeline.sessions, settings, cache, job_id)
    assert collect_garbage(storage, pipeline.sessions, settings, cache, settled_seconds=-1) == 5
    left = everything(pipeline)
    assert {field for field, marker in MARKERS.items() if marker in left} == set()
    assert len(ids(pipeline)) == 5
    logs = "".join(file.read_text(errors="replace") for file in pipeline.logs.glob("*.log"))
    assert {field for field, marker in MARKERS.items() if marker in logs} == set()


def ids(pipeline: Pipeline) -> list[str]:
    return [str(row[0]) for row in pipeline.query("SELECT id FROM jobs ORDER BY created_at")]


def upload(settings: Settings, storage: Storage) -> None:
    """Write a marker into every field: by S3, found by the sweep, and by the API."""
    inbox = settings.bucket_inbox
    storage.put(inbox, f"{MARKERS['viewof']}/front.jpg", b"x" * 1000, content_type="image/jpeg")
    storage.put(
        inbox,
        f"{MARKERS['key']}/photo.jpg",
        MARKERS["pixels"].encode() * 100,
        content_type=f"image/{MARKERS['type']}",
        metadata={
            "face3d-ref": MARKERS["ref"],
            "face3d-view-of": f"{MARKERS['viewof']}/front.jpg",
            "face3d-engine": "null",
            "camera-owner": MARKERS["meta"],
            MARKERS["metaname"]: "x",
        },
    )
    storage.put(
        inbox, "refused.jpg", b"x" * 1000, content_type="a/b", metadata={"face3d-engine": MARKERS["option"]}
    )
    missing = {"face3d-view-of": f"{MARKERS['missing']}.jpg", "face3d-engine": "null"}
    storage.put(inbox, "lonely.jpg", b"x" * 1000, content_type="image/jpeg", metadata=missing)
    headers = {"Authorization": f"Bearer {settings.api_token.get_secret_value()}"}
    with TestClient(create_app(settings), headers=headers) as client:
        photo = (f"{MARKERS['filename']}.jpg", b"y" * 1000, f"image/{MARKERS['apitype']}")
        answer = client.post(
            "/v1/jobs", files={"photo": photo}, data={"ref": MARKERS["apiref"], "engine": "null"}
        )
        assert answer.status_code == 202, answer.text


def everything(pipeline: Pipeline) -> str:
    """Return all that our servers hold, as one text."""
    return "\n".join([*rows(pipeline), *messages(pipeline.settings), *objects(pipeline)])


def rows(pipeline: Pipeline) -> Iterator[str]:
    """Yield every row of every table."""
    for (table,) in pipeline.query("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
        with pipeline.sessions() as session:
            yield from session.scalars(text(f'SELECT t::text FROM "{table}" t'))


def messages(settings: Settings) -> Iterator[str]:
    """Yield every key of the broker and what it holds, bodies decoded."""
    client = redis.Redis.from_url(settings.broker_url.get_secret_value())
    try:
        for key in client.scan_iter():
            yield key.decode(errors="replace")
            kind = client.type(key)
            values: list[bytes] = []
            if kind == b"list":
                values = client.lrange(key, 0, -1)
            elif kind == b"hash":
                values = list(client.hgetall(key).values())
            elif kind == b"string":
                values = [client.get(key)]
            elif kind in (b"set", b"zset"):
                values = [member for member, *_ in map(as_tuple, scan(client, key, kind))]
            for value in values:
                yield value.decode(errors="replace")
                yield from bodies(value)
    finally:
        client.close()


def scan(client: redis.Redis, key: bytes, kind: bytes) -> list[object]:
    return list(client.zscan_iter(key) if kind == b"zset" else client.sscan_iter(key))


def as_tuple(member: object) -> tuple[bytes, ...]:
    return member if isinstance(member, tuple) else (member,)  # type: ignore[return-value]


def bodies(value: bytes) -> Iterator[str]:
    """Yield the decoded bodies of a message, or of a message that waits to be acknowledged."""
    try:
        document = json.loads(value)
    except ValueError:
        return
    for part in document if isinstance(document, list) else [document]:
        if isinstance(part, dict) and isinstance(part.get("body"), str):
            yield base64.b64decode(part["body"]).decode(errors="replace")


def objects(pipeline: Pipeline) -> Iterator[str]:
    """Yield every object of every bucket: key, headers and bytes."""
    client = pipeline.storage._client()
    for bucket in [entry["Name"] for entry in client.list_buckets()["Buckets"]]:
        for one in pipeline.storage.versions(bucket):
            yield one.key
            if one.is_marker:
                continue
            answer = client.get_object(Bucket=bucket, Key=one.key, VersionId=one.version_id)
            yield f"{answer['ContentType']} {answer['Metadata']}"
            yield answer["Body"].read().decode("latin-1")
        for unfinished in pipeline.storage.unfinished_uploads(bucket):
            yield unfinished.key

"""Upload events of every storage, from samples written after real ones."""

import base64
import json
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from face3d.errors import InvalidEvent
from storage.errors import SubscriptionPending
from storage.events import parse_events

SAMPLES = sorted((Path(__file__).parent / "samples").glob("*.json"))

#: Keys that a client can PUT: any text but lone surrogates and NUL, and no directory's marker.
KEYS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=60
).filter(lambda key: not key.endswith(("/", "_$folder$")) and len(key.encode()) <= 1024)


def read(
    kind: str, event: object, headers: dict[str, str] | None = None
) -> list[tuple[str, str, str | None]]:
    found = parse_events(kind, json.dumps(event).encode(), headers or {})
    return [(event.bucket, event.key, event.sequencer) for event in found]


def record(key: str, **changes: object) -> dict[str, object]:
    return {
        "eventVersion": "2.1",
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": "inbox"}, "object": {"key": key}},
        **changes,
    }


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_sample(path: Path) -> None:
    sample = json.loads(path.read_text())
    assert read(sample["kind"], sample["event"]) == [tuple(item) for item in sample["expected"]]


@given(KEYS)
def test_any_key_comes_through_every_storage(key: str) -> None:
    assert read("s3", {"Records": [record(quote_plus(key, safe="/"))]}) == [("inbox", key, None)]
    assert read("minio", {"Records": [record(quote_plus(key))]}) == [("inbox", key, None)]
    assert read("minio", {"Records": [record(quote(key, safe=""))]}) == [("inbox", key, None)]
    assert read("ceph", {"Records": [record(key)]}) == [("inbox", key, None)]
    bridge = {
        "source": "aws.s3",
        "detail-type": "Object Created",
        "detail": {"bucket": {"name": "inbox"}, "object": {"key": key}},
    }
    assert read("s3", bridge) == [("inbox", key, None)]


@given(KEYS.filter(lambda key: not key.startswith(".uploads")))
def test_any_key_comes_through_seaweedfs(key: str) -> None:
    event = {"event_type": "create", "key": f"/buckets/inbox/{key}", "message": {"new_entry": {"name": "x"}}}
    assert read("seaweedfs", event) == [("inbox", key, None)]


@given(st.binary(max_size=200), st.sampled_from(["seaweedfs", "minio", "s3", "ceph"]))
def test_rubbish_is_an_invalid_event(body: bytes, kind: str) -> None:
    with pytest.raises(InvalidEvent):
        parse_events(kind, body, {})


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"Records": {}},
        {"Records": ["x"]},
        {"Records": [record("a", eventVersion="3.0")]},
        {"Records": [record("a", eventVersion=2)]},
        {"Records": [record("a", s3=None)]},
        {"Records": [record("")]},
        {"Records": [record("%ff%fe")]},
        {"Records": [record("x" * 1025)]},
        {"Type": "Notification", "Message": "hello"},
        {"source": "aws.ec2", "detail-type": "Object Created"},
    ],
)
def test_wrong_shapes_are_invalid_events(event: object) -> None:
    with pytest.raises(InvalidEvent):
        read("s3", event)


def test_unknown_kind_names_the_known_ones() -> None:
    with pytest.raises(InvalidEvent, match="seaweedfs, minio, s3, ceph"):
        read("gcs", {})


def test_endless_wrapping_is_refused() -> None:
    event: object = {"Records": [record("a")]}
    for _ in range(9):
        event = {"Type": "Notification", "Message": json.dumps(event)}
    with pytest.raises(InvalidEvent, match="wrapped"):
        read("s3", event)


@pytest.mark.parametrize("in_body", [True, False])
def test_subscription_is_reported_not_confirmed(in_body: bool) -> None:
    event = {"TopicArn": "arn:aws:sns:us-east-1:1:photos", "SubscribeURL": "https://example.org/confirm"}
    headers = {"x-amz-sns-message-type": "SubscriptionConfirmation"}
    if in_body:
        event["Type"], headers = "SubscriptionConfirmation", {}
    with pytest.raises(SubscriptionPending) as caught:
        read("s3", event, headers)
    assert caught.value.topic == "arn:aws:sns:us-east-1:1:photos"
    assert "example.org" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "acted"), [("aa", "aa", False), ("aa", "bb", True), (None, "aa", True)]
)
def test_seaweedfs_update_counts_when_the_bytes_changed(old: str | None, new: str, acted: bool) -> None:
    def entry(md5: str) -> dict[str, object]:
        return {"name": "a.png", "attributes": {"md5": base64.b64encode(bytes.fromhex(md5)).decode()}}

    message = {"new_entry": entry(new), "new_parent_path": "/buckets/inbox"}
    if old:
        message["old_entry"] = entry(old)
    event = {"event_type": "update", "key": "/buckets/inbox/a.png", "message": message}
    assert bool(read("seaweedfs", event)) is acted

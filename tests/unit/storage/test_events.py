"""Upload events of every storage, from samples written after real ones."""

import base64
import json
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from face3d.errors import InvalidEvent
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
    return [(event.bucket, event.key, event.sequencer) for event in found.created]


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
        {"Records": [record("a%00b")]},
        {"Records": [record("\ud800")]},
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
def test_a_subscription_is_told_with_its_message(in_body: bool) -> None:
    event = {"TopicArn": "arn:aws:sns:us-east-1:1:photos", "Token": "abc"}
    headers = {"x-amz-sns-message-type": "SubscriptionConfirmation"}
    if in_body:
        event["Type"], headers = "SubscriptionConfirmation", {}
    (asked,) = parse_events("s3", json.dumps(event).encode(), headers).subscriptions
    assert (asked.topic, asked.message["Token"]) == ("arn:aws:sns:us-east-1:1:photos", "abc")
    assert "abc" not in repr(asked)


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


def test_records_that_are_not_understood_drop_only_themselves() -> None:
    bad = (
        record("x" * 1025),
        record("a%00b"),
        record("b", eventVersion="9"),
        "no record",
        None,
        record("%ff"),
    )
    for kind in ("s3", "minio"):
        found = parse_events(kind, json.dumps({"Records": [*bad, record("good.jpg")]}).encode(), {})
        assert [event.key for event in found.created] == ["good.jpg"]
        assert len(found.refused) == len(bad)


def test_of_messages_in_a_batch_one_that_is_not_understood_drops_only_itself() -> None:
    good = json.dumps({"Records": [record("good.jpg")]})
    bodies = ["no JSON", "[]", "{}", good, json.dumps({"Type": "Notification", "Message": good})]
    lambda_form = [{"eventSource": "aws:sqs", "body": body} for body in bodies]
    for batch in (
        {"Messages": [{"Body": body} for body in bodies]},
        {"Records": [*lambda_form, 5]},
        {"Records": [5, *lambda_form]},
    ):
        found = parse_events("s3", json.dumps(batch).encode(), {})
        assert [event.key for event in found.created] == ["good.jpg", "good.jpg"]
        assert len(found.refused) >= 3


def test_a_body_nested_deep_is_an_invalid_event() -> None:
    for body in (b"[" * 100_000, b'{"Records":' * 20_000 + b"1" + b"}" * 20_000):
        with pytest.raises(InvalidEvent):
            parse_events("s3", body, {})


@pytest.mark.parametrize("etag", ["é", "a", "/w==", 5, None, ["x"], ""])
def test_an_etag_that_is_none_is_no_crash(etag: object) -> None:
    entry = {"name": "a.png", "extended": {"Seaweed-X-Amz-ETag": etag}, "attributes": {"md5": etag}}
    message = {"new_entry": entry, "old_entry": entry}
    event = {"event_type": "update", "key": "/buckets/inbox/a.png", "message": message}
    assert read("seaweedfs", event) in ([], [("inbox", "a.png", None)])


def test_a_file_that_only_looks_like_a_version_keeps_its_own_key() -> None:
    for extended in ({}, {"Seaweed-X-Amz-Version-Id": base64.b64encode(b"other").decode()}):
        event = {
            "event_type": "create",
            "key": "/buckets/inbox/in/a.jpg.versions/v_mine",
            "message": {"new_entry": {"name": "v_mine", "extended": extended}},
        }
        assert read("seaweedfs", event) == [("inbox", "in/a.jpg.versions/v_mine", None)]


#: Names and values that the parsers look at, so that random documents come close to real ones.
NAMES = st.sampled_from(
    """
    Records Messages Body body Type Message MessageId TopicArn eventSource EventSource Sns eventVersion
    eventName s3 bucket object name key Event sequencer detail-type detail source event_type message
    new_entry old_entry extended attributes file_mode md5 is_directory new_parent_path Token
    Seaweed-X-Amz-Version-Id Seaweed-X-Amz-ETag Seaweed-X-Amz-Latest-Version-Id
    """.split()  # noqa: SIM905
)
WORDS = st.sampled_from(
    """
    create update rename delete 2.1 ObjectCreated:Put aws:sqs aws:sns aws.s3 Notification {} YQ== inbox %00
    %ff SubscriptionConfirmation /buckets/inbox/a.jpg /buckets/inbox/a.jpg.versions
    /buckets/inbox/a.jpg.versions/v_a
    """.split()  # noqa: SIM905
) | st.sampled_from(["Object Created", '{"Records": []}', "\x00", "\ud800", "", "a" * 1100])
DOCUMENTS = st.recursive(
    WORDS | st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=6),
    max_leaves=24,
)


def mutated(draw: st.DrawFn, value: object) -> object:
    """Return a real event in which some values are replaced or left out."""
    change = draw(st.integers(0, 12))
    if change == 0:
        return draw(DOCUMENTS)
    if isinstance(value, dict):
        return {name: mutated(draw, item) for name, item in value.items() if draw(st.integers(0, 20))}
    if isinstance(value, list):
        return [mutated(draw, item) for item in value]
    return value


@st.composite
def nearly_real(draw: st.DrawFn) -> tuple[str, object]:
    sample = json.loads(draw(st.sampled_from(SAMPLES)).read_text())
    return sample["kind"], mutated(draw, sample["event"])


def assert_parsed_or_refused(kind: str, body: bytes) -> None:
    try:
        found = parse_events(kind, body, {})
    except InvalidEvent:
        return
    for event in found.created:
        assert 0 < len(event.key.encode()) <= 1024
        assert "\0" not in event.key
    assert all(isinstance(error, InvalidEvent) for error in found.refused)


@pytest.mark.heavy
@given(st.dictionaries(NAMES, DOCUMENTS, max_size=6), st.sampled_from(["seaweedfs", "minio", "s3", "ceph"]))
def test_any_json_is_an_event_or_an_invalid_one(document: object, kind: str) -> None:
    assert_parsed_or_refused(kind, json.dumps(document).encode())


@given(nearly_real())
def test_a_real_event_with_anything_changed_is_an_event_or_an_invalid_one(case: tuple[str, object]) -> None:
    kind, document = case
    assert_parsed_or_refused(kind, json.dumps(document).encode())


@given(st.sampled_from(SAMPLES), st.data())
def test_a_real_event_with_any_byte_changed_is_an_event_or_an_invalid_one(
    path: Path, data: st.DataObject
) -> None:
    sample = json.loads(path.read_text())
    body = bytearray(json.dumps(sample["event"]).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    assert_parsed_or_refused(sample["kind"], bytes(body))

"""Intake, sweep, key layout and metadata, without a server."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from face3d.errors import ErrorCode
from face3d.messages import ObjectCreated
from face3d.options import METADATA_PREFIX, OPTION_NAMES
from face3d.states import PriorityClass, StageName
from storage import layout
from storage.client import Storage
from storage.connection import StorageConfig
from storage.errors import ObjectMissing
from storage.intake import read_upload
from storage.metadata import content_disposition, decode_metadata, encode_metadata
from storage.objects import ObjectInfo
from storage.sweep import SWEEP_PAGE, find_unknown


class FakeStorage(Storage):
    """Objects in a dictionary."""

    def __init__(self, objects: Mapping[str, ObjectInfo]) -> None:
        super().__init__(
            StorageConfig(endpoint=None, public_endpoint=None, region="r", access_key="", secret_key="")
        )
        self.objects = objects

    def head(self, bucket: str, key: str) -> ObjectInfo:
        try:
            return self.objects[key]
        except KeyError:
            raise ObjectMissing from None

    def list(self, bucket: str, prefix: str = "", start_after: str | None = None) -> Iterator[ObjectInfo]:
        return iter(self.objects.values())


def info(key: str, *, content_type: str = "image/png", **metadata: str) -> ObjectInfo:
    return ObjectInfo(
        bucket="inbox",
        key=key,
        etag=f"etag-{key}",
        size=3,
        content_type=content_type,
        metadata={f"face3d-{name.replace('_', '-')}": value for name, value in metadata.items()},
    )


def upload(entry: ObjectInfo, defaults: Mapping[str, str] | None = None):
    event = ObjectCreated(bucket="inbox", key=entry.key)
    return read_upload(FakeStorage({entry.key: entry}), event, defaults=defaults or {}, max_bytes=1000)


def test_options_ride_as_metadata_over_the_defaults() -> None:
    found = upload(info("a", texture_size="1024", ref="me"), {"texture-size": "2048", "engine": "null"})
    assert found is not None
    assert found.options is not None
    assert (found.options.texture_size, found.options.engine, found.options.ref) == (1024, "null", "me")
    assert found.options.tier is PriorityClass.BATCH
    assert found.raw_options == {"texture-size": "1024", "ref": "me"}
    assert (found.etag, found.size, found.refusal) == ("etag-a", 3, None)


def test_a_bad_option_is_a_refusal_not_a_crash() -> None:
    found = upload(info("a", texture_size="4097"))
    assert found is not None
    assert found.options is None
    assert found.refusal is not None
    assert found.refusal.code is ErrorCode.BAD_OPTION
    assert found.refusal.value == "4097"
    assert "4096" in str(found.refusal.limit)


@pytest.mark.parametrize(
    "entry", [info("in/"), info("in_$folder$"), info("in", content_type="application/x-directory")]
)
def test_markers_of_directories_are_no_uploads(entry: ObjectInfo) -> None:
    assert upload(entry) is None


def test_an_object_that_is_gone_is_no_upload() -> None:
    assert (
        read_upload(FakeStorage({}), ObjectCreated(bucket="inbox", key="a"), defaults={}, max_bytes=1) is None
    )


def test_sweep_finds_exactly_what_has_no_job() -> None:
    objects = {key: info(key) for key in (f"{number:05}" for number in range(2 * SWEEP_PAGE + 7))}
    objects["folder/"] = info("folder/")
    replaced = "00001"
    asked: list[int] = []

    def known(pairs: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        asked.append(len(pairs))
        return {pair for pair in pairs if pair[0] not in ("00000", replaced, "02001")} | {(replaced, "older")}

    found = [event.key for event in find_unknown(FakeStorage(objects), "inbox", known)]
    assert found == ["00000", replaced, "02001"]
    assert max(asked) <= SWEEP_PAGE


def test_a_key_that_no_database_holds_costs_its_page_nothing() -> None:
    objects = {key: info(key) for key in ("a", "b\x00", "\ud800", "k" * 1025, "z")}
    asked: list[str] = []

    def known(pairs: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        asked.extend(key for key, _ in pairs)
        return set()

    found = [event.key for event in find_unknown(FakeStorage(objects), "inbox", known)]
    assert (found, asked) == (list(objects), ["a", "z"])


@pytest.mark.parametrize("content_type", ["image/\x00", "\ud800", "x" * 5000, "image/é"])
def test_any_content_type_is_one_that_a_row_can_hold(content_type: str) -> None:
    found = upload(info("a", content_type=content_type))
    assert found is not None
    assert found.options is not None
    assert len(found.content_type) <= 255
    assert "\x00" not in found.content_type
    found.content_type.encode()


def test_metadata_that_cannot_be_read_are_a_refusal() -> None:
    found = upload(replace(info("a"), unreadable=True))
    assert found is not None
    assert found.options is None
    assert found.refusal is not None
    assert found.refusal.code is ErrorCode.BAD_OPTION


@given(
    st.dictionaries(
        st.sampled_from([f"x-amz-meta-{METADATA_PREFIX}{name}" for name in OPTION_NAMES])
        | st.text(max_size=30),
        st.binary(max_size=60) | st.sampled_from([b"1024", b"on", b"glb,obj", b"anny", b"batch", b""]),
        max_size=5,
    ),
    st.binary(max_size=40),
)
def test_whatever_a_client_sends_is_an_upload_that_the_database_holds(
    headers: dict[str, bytes], content_type: bytes
) -> None:
    metadata = decode_metadata(
        {name.removeprefix("x-amz-meta-"): value.decode("latin-1") for name, value in headers.items()}
    )
    found = upload(replace(info("a"), metadata=metadata, content_type=f"x/{content_type.decode('latin-1')}"))
    assert found is not None
    assert (found.options is None) is (found.refusal is not None)
    told = [found.content_type]
    if found.options is not None:
        told += [found.options.model_dump_json(by_alias=True), found.options.digest()]
    if found.refusal is not None:
        assert found.refusal.code is ErrorCode.BAD_OPTION
        told += [found.refusal.message, str(found.refusal.value), str(found.refusal.limit)]
    for text in told:
        text.encode()
        assert "\x00" not in text


@pytest.mark.parametrize("key", ["a.versions/b", "in/a.versions/b/c", ".uploads/a", ".versions/a"])
def test_hidden_keys_are_told_from_others(key: str) -> None:
    assert layout.is_hidden_key(key)
    assert not layout.is_hidden_key(key.replace("/", "-"))
    assert not layout.is_hidden_key(f"in{key.replace('.', '')}")


@given(st.text(max_size=30))
def test_a_key_as_a_path_has_no_empty_names_and_stays_as_it_is(key: str) -> None:
    path = layout.as_path(key)
    assert layout.as_path(path) == path
    assert "//" not in path
    assert not path.startswith("/")


def test_keys_of_the_layout() -> None:
    assert layout.artifact_key("j", StageName.TEXTURE, 2, "uv.png") == "j/texture/2/uv.png"
    assert layout.asset_key("j", 1, "head.glb") == "j/1/head.glb"
    assert layout.asset_key("j", 1, "head.glb").startswith(layout.asset_prefix("j", 1))
    assert layout.artifact_key("j", "texture", 2, "x").startswith(layout.job_prefix("j"))
    assert layout.upload_key() != layout.upload_key()


@pytest.mark.parametrize("name", ["", "..", "a/b", "a.versions", ".uploads"])
def test_a_name_cannot_leave_its_prefix(name: str) -> None:
    with pytest.raises(ValueError, match="segment"):
        layout.asset_key("j", 1, name)


@pytest.mark.parametrize("prefix", ["", "/", "job"])
def test_no_prefix_is_deleted_that_reaches_its_neighbours(prefix: str) -> None:
    with pytest.raises(ValueError, match="prefix"):
        FakeStorage({}).delete_prefix("work", prefix)


@given(st.text(max_size=80).map(str.strip))
def test_any_metadata_survives_an_ascii_header(value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        return
    sent = encode_metadata({"face3d-ref": value})
    assert sent["face3d-ref"].isascii()
    assert "\n" not in sent["face3d-ref"]
    assert decode_metadata({"Face3D-Ref": sent["face3d-ref"]}) == {"face3d-ref": value}


def test_downloads_keep_their_names() -> None:
    assert content_disposition("head.glb") == "attachment; filename=\"head.glb\"; filename*=UTF-8''head.glb"
    hostile = content_disposition('a"\r\nX: é')
    assert "\r" not in hostile
    assert hostile.startswith('attachment; filename="a___X___"')

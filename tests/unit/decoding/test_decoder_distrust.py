"""A worker believes nothing of its decoder that cannot be: the photo ends with a code, the next one works."""

import io
import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from face3d.errors import EngineUnavailable, ErrorCode, RefusedError
from gpu_workers.decoding import child as child_module
from gpu_workers.decoding import client as photo_module
from gpu_workers.decoding.client import Pixels, decode_photo, plain_memory
from gpu_workers.photo_limits import PhotoLimits
from tests.unit.decoding.colour_support import portrait
from tests.unit.decoding.decoder_stand_in import WRONG_BYTES, WRONG_FIELDS

LIMITS = PhotoLimits(decode_seconds=0.3)
PICTURE = portrait()
#: More than a pipe holds.
LARGE = bytes(3 * 2**20)


def photo() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PICTURE).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch):
    """Return a function that puts a stand-in in the decoder's place."""

    def start(kind: str) -> None:
        photo_module._children.finish()
        monkeypatch.setattr(child_module, "PROGRAM", ("-m", "tests.unit.decoding.decoder_stand_in", kind))

    yield start
    monkeypatch.undo()
    photo_module._children.finish()


def small_memory(size: int) -> Pixels:
    assert size <= 3 * PICTURE.shape[0] * PICTURE.shape[1], "memory for pixels that cannot be"
    return plain_memory(size)


@pytest.mark.heavy
def test_the_stand_in_can_be_honest(stand_in) -> None:
    stand_in("honest")
    decoded = decode_photo(photo(), LIMITS)
    assert (decoded.rgb.shape, decoded.format, decoded.focal_35mm) == ((2, 4, 3), "PNG", None)


@pytest.mark.heavy
@pytest.mark.parametrize("kind", [*WRONG_FIELDS, *WRONG_BYTES, "dies", "half a reply"])
def test_what_cannot_be_is_refused(kind: str, stand_in) -> None:
    stand_in(kind)
    with pytest.raises(RefusedError) as caught:
        decode_photo(photo(), LIMITS, 200, small_memory)
    assert caught.value.code is ErrorCode.NOT_AN_IMAGE
    assert "forged" not in f"{caught.value} {caught.value.value} {caught.value.limit}"
    assert photo_module._children._idle == []


def test_a_photo_that_uses_all_its_time_is_told_so(stand_in) -> None:
    stand_in("uses all its time")
    with pytest.raises(RefusedError, match="takes too long") as caught:
        decode_photo(photo(), LIMITS)
    assert (caught.value.code, caught.value.limit) == (ErrorCode.IMAGE_TOO_LARGE, "0.3 s")


@pytest.mark.heavy
@pytest.mark.parametrize("kind", ["324 megapixels", "a header of 4 GB", "dies"])
def test_the_next_photo_works(kind: str, stand_in, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(kind)
    with pytest.raises(RefusedError):
        decode_photo(photo(), LIMITS)
    monkeypatch.undo()
    assert np.array_equal(decode_photo(photo(), LIMITS).rgb, PICTURE)


@pytest.mark.heavy
@pytest.mark.parametrize(("kind", "data"), [("silence", LARGE), ("half a reply and silence", photo())])
def test_silence_ends(kind: str, data: bytes, stand_in) -> None:
    stand_in(kind)
    start = time.monotonic()
    # It used no time of a processor: the machine may be at fault, so the photo is tried again later.
    with pytest.raises(EngineUnavailable):
        decode_photo(data, LIMITS)
    assert time.monotonic() - start < 10
    assert photo_module._children._idle == []


def test_a_second_reply_does_not_reach_the_next_photo(stand_in) -> None:
    stand_in("two replies")
    decode_photo(photo(), LIMITS)
    (kept,) = photo_module._children._idle
    decode_photo(photo(), LIMITS)
    assert photo_module._children._idle[0].process_id != kept.process_id


@pytest.mark.parametrize("kind", ["dies before it starts", "a wrong hello"])
def test_a_decoder_that_does_not_start_is_no_fault_of_the_photo(kind: str, stand_in) -> None:
    stand_in(kind)
    with pytest.raises(EngineUnavailable, match="does not start"):
        decode_photo(photo(), LIMITS)


def test_the_pixels_of_a_photo_are_wiped() -> None:
    photo_module._children.finish()
    for data in (photo(), jpeg()):
        decode_photo(data, PhotoLimits())
        (child,) = photo_module._children._idle
        for _ in range(100):
            left = os.pread(child._shared, 3 * PICTURE.size, 0)
            if not any(left):
                break
            time.sleep(0.02)
        assert not any(left)


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PICTURE).save(buffer, "JPEG")
    return buffer.getvalue()


def test_the_shared_file_cannot_change_its_size() -> None:
    decode_photo(photo(), PhotoLimits())
    shared = photo_module._children._idle[0]._shared
    for size in (0, 10**9):
        with pytest.raises(PermissionError):
            os.ftruncate(shared, size)


def test_a_decoder_retires(monkeypatch: pytest.MonkeyPatch) -> None:
    photo_module._children.finish()
    monkeypatch.setattr(child_module, "PHOTOS_PER_CHILD", 3)
    used = []
    for _ in range(7):
        decode_photo(photo(), PhotoLimits())
        used.append(photo_module._children._idle[0].process_id)
    # After the third photo its successor already starts.
    assert used[0] == used[1] != used[2] == used[3] == used[4] != used[5]
    assert not Path(f"/proc/{used[0]}").exists()
    assert len(photo_module._children._idle) == 1

"""The band encoder against Pillow's decoder, and against a plain twin."""

import io
import struct
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from assets.png import ImageShapeError, combine_adler32, encode_png, stream_filtered_png


def plain_png(image: np.ndarray) -> bytes:
    """The slow twin: no filter, one zlib stream."""
    rows = b"".join(b"\0" + row.tobytes() for row in image)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = image.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if image.ndim == 3 else 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def decode(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return np.asarray(image)


@pytest.mark.parametrize(
    "shape",
    [(1, 1, 3), (1, 7, 3), (7, 1, 3), (31, 5, 3), (64, 64, 3), (65, 33, 3), (517, 211, 3), (1023, 129, 3),
     (1, 1), (3, 9), (512, 512), (601, 77)],
)  # fmt: skip
@pytest.mark.parametrize("bands", [1, 3, 16])
def test_decodes_to_the_same_pixels(shape: tuple[int, ...], bands: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    with ThreadPoolExecutor(2) as pool:
        data = encode_png(image, bands=bands, pool=pool)
    decoded = decode(data)
    np.testing.assert_array_equal(decoded, image)
    np.testing.assert_array_equal(decoded, decode(plain_png(image)))


@pytest.mark.parametrize("shape", [(1, 1), (3, 9), (257, 130)])
def test_sixteen_bits_survive(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(1).integers(0, 65536, shape, np.uint16)
    data = encode_png(image, bands=3)
    np.testing.assert_array_equal(decode(data).astype(np.uint16), image)
    assert b"sRGB" not in data, "depths are linear"


def test_smooth_image_becomes_small() -> None:
    ramp = np.broadcast_to(np.arange(512, dtype=np.uint8)[None, :, None] // 2, (512, 512, 3))
    data = encode_png(ramp)
    np.testing.assert_array_equal(decode(data), ramp)
    assert len(data) < ramp.size / 50


def test_the_zlib_stream_is_whole() -> None:
    """A wrong Adler-32 passes lenient decoders, so the stream is inflated by zlib itself."""
    image = np.random.default_rng(1).integers(0, 4, (300, 50, 3), np.uint8)
    data = encode_png(image, bands=5)
    stream, place = b"", 8
    while place < len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        kind, content = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        (crc,) = struct.unpack(">I", data[place + 8 + length : place + 12 + length])
        assert crc == zlib.crc32(kind + content)
        stream += content if kind == b"IDAT" else b""
        place += 12 + length
    assert len(zlib.decompress(stream)) == 300 * (1 + 150)


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_adler_of_joined_strings(first: bytes, second: bytes) -> None:
    assert combine_adler32(zlib.adler32(first), zlib.adler32(second), len(second)) == zlib.adler32(
        first + second
    )


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)]
)
def test_refuses_what_is_no_8_bit_image(image: np.ndarray) -> None:
    with pytest.raises(ImageShapeError):
        encode_png(image)


def test_the_first_piece_is_there_before_the_last_band_and_who_stops_stops_the_rest() -> None:
    arrived, asked = threading.Event(), []

    def band(number: int) -> np.ndarray:
        asked.append(number)
        if number:
            arrived.wait(10)
        return np.zeros((32, 1 + 3 * 32), np.uint8)

    with ThreadPoolExecutor(1) as pool:
        pieces = stream_filtered_png(32, 32 * 16, [partial(band, number) for number in range(16)], pool)
        assert b"".join(next(pieces)).startswith(b"\x89PNG")
        pieces.close()
        arrived.set()
    assert len(asked) <= 2


@pytest.mark.parametrize("end", ["closed", "dropped"])
def test_a_stream_that_is_never_begun_gives_up_its_bands(end: str) -> None:
    arrived, asked = threading.Event(), []

    def band(number: int) -> np.ndarray:
        asked.append(number)
        arrived.wait(10)
        return np.zeros((32, 1 + 3 * 32), np.uint8)

    with ThreadPoolExecutor(1) as pool:
        pieces = stream_filtered_png(32, 32 * 16, [partial(band, number) for number in range(16)], pool)
        if end == "closed":
            pieces.close()
            assert next(pieces, None) is None
        del pieces
        arrived.set()
    assert len(asked) <= 1

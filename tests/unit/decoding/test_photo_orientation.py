"""A photo stands upright, and is no mirror image, whatever its format and however it states its turn."""

import io

import numpy as np
import pytest
from PIL import Image

from gpu_workers.decoding.client import decode_photo
from gpu_workers.photo_limits import PhotoLimits
from tests.unit.decoding.colour_support import difference, portrait, turned
from tests.unit.decoding.heic_support import coded, compose, exif_item, grid_item, size_box, turn_boxes

LIMITS = PhotoLimits()
#: Not square: a turn that is forgotten shows in the size as well.
PICTURE = portrait()[:, 20:110]
SAVED = {
    "JPEG": {"quality": 95},
    "TIFF": {},
    "PNG": {},
    "WEBP": {"lossless": True},
    "AVIF": {"quality": 95},
}
#: Mean difference that lossy coding explains; any turn that is wrong makes it over 40.
CLOSE = 4.0


def exif_bytes(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def saved(kind: str, orientation: int, **options) -> bytes:
    buffer = io.BytesIO()
    picture = Image.fromarray(turned(PICTURE, orientation))
    picture.save(buffer, kind, exif=exif_bytes(orientation), **SAVED[kind], **options)
    return buffer.getvalue()


def assert_upright(data: bytes, expected: np.ndarray = PICTURE, longest_side: int | None = None) -> None:
    decoded = decode_photo(data, LIMITS, longest_side)
    height, width = expected.shape[:2]
    assert decoded.original_size == (width, height)
    if longest_side is None:
        assert decoded.rgb.shape == expected.shape
    else:
        scale = longest_side / max(width, height)
        assert decoded.rgb.shape[:2] == (round(height * scale), round(width * scale))
        small = Image.fromarray(expected).resize(decoded.rgb.shape[1::-1], Image.Resampling.LANCZOS)
        expected = np.array(small)
    assert difference(decoded.rgb, expected) < CLOSE


@pytest.mark.heavy
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", SAVED)
def test_upright_by_exif(kind: str, orientation: int) -> None:
    assert_upright(saved(kind, orientation))
    assert_upright(saved(kind, orientation), longest_side=64)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_with_a_compressed_tiff(orientation: int) -> None:
    assert_upright(saved("TIFF", orientation, compression="tiff_lzw"))


@pytest.mark.parametrize("orientation", [3, 6])
def test_upright_by_exif_behind_the_pixels_of_a_png(orientation: int) -> None:
    plain, stated = (io.BytesIO(), saved("PNG", orientation))
    Image.fromarray(turned(PICTURE, orientation)).save(plain, "PNG")
    start = stated.index(b"eXIf") - 4
    size = 12 + int.from_bytes(stated[start : start + 4], "big")
    data = plain.getvalue()
    assert_upright(data[:-12] + stated[start : start + size] + data[-12:])


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_turn_in_xmp_alone_counts_once(orientation: int) -> None:
    xmp = f'<x:xmpmeta><rdf:Description tiff:Orientation="{orientation}"/></x:xmpmeta>'.encode()
    for kind in ("JPEG", "TIFF"):
        buffer = io.BytesIO()
        options = {"xmp": xmp} if kind == "JPEG" else {"tiffinfo": {700: xmp}}
        Image.fromarray(turned(PICTURE, orientation)).save(buffer, kind, **SAVED[kind], **options)
        assert_upright(buffer.getvalue())


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_a_turn_that_does_not_exist_is_none(value: int) -> None:
    buffer = io.BytesIO()
    Image.fromarray(PICTURE).save(buffer, "JPEG", quality=95, exif=exif_bytes(value))
    assert_upright(buffer.getvalue())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_heic_upright_by_its_own_transformations(orientation: int) -> None:
    upright = portrait()
    photo = coded("plain", 128, 128)
    photo.properties += turn_boxes(orientation)
    decoded = decode_photo(compose([photo]), LIMITS).rgb
    # The file's picture is the upright one as a camera would store it turned.
    assert difference(turned(decoded, orientation), upright) < CLOSE


@pytest.mark.parametrize("orientation", range(1, 9))
def test_heic_and_its_exif_count_once(orientation: int) -> None:
    # What iPhones write: the transformation for readers of HEIC, the same turn once more in EXIF.
    photo = coded("plain", 128, 128)
    photo.properties += turn_boxes(orientation)
    decoded = decode_photo(compose([photo, exif_item(exif_bytes(orientation)[6:], 1)]), LIMITS).rgb
    assert difference(turned(decoded, orientation), portrait()) < CLOSE


@pytest.mark.parametrize("orientation", [3, 6])
def test_exif_alone_turns_no_heic_and_no_avif(orientation: int) -> None:
    # ISO/IEC 23000-22, section 7.3.10.1: the file's transformations count, and EXIF's never.
    exif = exif_bytes(orientation)
    heic = compose([coded("plain", 128, 128), exif_item(exif[6:], 1)])
    assert difference(decode_photo(heic, LIMITS).rgb, portrait()) < CLOSE
    buffer = io.BytesIO()
    # Pillow takes the orientation out of what it saves: another tag becomes it afterwards.
    other = exif.replace(b"\x01\x12", b"\x01\x28")
    Image.fromarray(PICTURE).save(buffer, "AVIF", quality=95, exif=other)
    marked = buffer.getvalue().replace(other[6:], exif[6:])
    assert exif[6:] in marked
    assert_upright(marked)


@pytest.mark.parametrize("orientation", [2, 6])
def test_a_turned_grid(orientation: int) -> None:
    tiles = [coded(f"tile{k}", 64, 64, hidden=True) for k in range(4)]
    grid = grid_item(2, 2, 128, 120, [1, 2, 3, 4])
    grid.properties += turn_boxes(orientation)
    decoded = decode_photo(compose([*tiles, grid], primary=5), LIMITS)
    upright = turned(decoded.rgb, orientation)
    assert upright.shape == (120, 128, 3)
    assert decoded.original_size == decoded.rgb.shape[1::-1]
    assert difference(upright, portrait()[:120]) < CLOSE
    assert size_box(128, 120) in compose([*tiles, grid], primary=5)

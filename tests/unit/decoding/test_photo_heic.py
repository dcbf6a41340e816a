"""HEIC, every iPhone's default: the right picture of the file, or a refusal that says why."""

import struct

import numpy as np
import pytest

from face3d.errors import ErrorCode, RefusedError
from gpu_workers.decoding.client import decode_photo
from gpu_workers.photo_limits import PhotoLimits
from tests.unit.decoding.colour_support import difference, portrait
from tests.unit.decoding.heic_support import (
    Item,
    box,
    coded,
    compose,
    exif_item,
    full_box,
    grid_item,
    size_box,
)

LIMITS = PhotoLimits()
CLOSE = 4.0


def refusal(data: bytes, limits: PhotoLimits = LIMITS) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        decode_photo(data, limits)
    return caught.value


def shows(data: bytes, picture: np.ndarray) -> bool:
    decoded = decode_photo(data, LIMITS)
    assert decoded.format == "HEIC"
    assert decoded.original_size == picture.shape[1::-1]
    return decoded.rgb.shape == picture.shape and difference(decoded.rgb, picture) < CLOSE


def tiles() -> list[Item]:
    return [coded(f"tile{k}", 64, 64, hidden=True) for k in range(4)]


@pytest.mark.parametrize(
    "brands",
    [
        (b"heic", b"mif1", b"heic"),
        (b"mif1", b"mif1", b"heic"),
        (b"mif1", b"mif1", b"miaf"),
        (b"heix", b"mif1", b"heix"),
        (b"msf1", b"mif1", b"heic", b"hevc"),
    ],
)
def test_brands(brands: tuple[bytes, ...]) -> None:
    assert shows(compose([coded("plain", 128, 128)], brands=brands), portrait())


def test_ten_bits() -> None:
    assert shows(compose([coded("ten_bits", 128, 128)]), portrait())


def test_grey() -> None:
    assert shows(compose([coded("grey", 128, 128)]), np.repeat(portrait()[..., 1:2], 3, axis=2))


def test_tiles_as_phones_store_them() -> None:
    data = compose([*tiles(), grid_item(2, 2, 128, 128, [1, 2, 3, 4])], primary=5)
    assert shows(data, portrait())


def test_tiles_that_reach_over_the_edge() -> None:
    data = compose([*tiles(), grid_item(2, 2, 100, 90, [1, 2, 3, 4])], primary=5)
    assert shows(data, portrait()[:90, :100])


@pytest.mark.parametrize("primary", [1, 2])
def test_the_primary_picture_of_several(primary: int) -> None:
    data = compose([coded("plain", 128, 128), coded("other", 128, 128)], primary=primary)
    assert shows(data, portrait() if primary == 1 else 255 - portrait())


@pytest.mark.parametrize(
    "kind",
    [
        "urn:mpeg:hevc:2015:auxid:2",
        "urn:com:apple:photo:2020:aux:hdrgainmap",
        "urn:com:apple:photo:2018:aux:portraiteffectsmatte",
    ],
)
def test_depth_and_gain_maps_are_no_photos(kind: str) -> None:
    extra = coded("grey", 128, 128, refers=(b"auxl", [1]), hidden=True)
    extra.properties.append((full_box(b"auxC", kind.encode() + b"\0"), True))
    assert shows(compose([coded("plain", 128, 128), extra]), portrait())


def test_what_is_transparent_is_white() -> None:
    layer = coded("grey", 128, 128, refers=(b"auxl", [1]), hidden=True)
    kind = b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0"
    layer.properties.append((full_box(b"auxC", kind), True))
    rgb = decode_photo(compose([coded("plain", 128, 128), layer]), LIMITS).rgb.astype(int)
    alpha = portrait()[..., 1:2] / 255
    assert difference(rgb, portrait() * alpha + 255 * (1 - alpha)) < CLOSE


def test_what_lies_outside_the_clean_aperture_is_no_part_of_the_photo() -> None:
    photo = coded("plain", 128, 128)
    # Width 96 and height 80, in the middle.
    photo.properties.append((box(b"clap", struct.pack(">8I", 96, 1, 80, 1, 0, 1, 0, 1)), True))
    assert shows(compose([photo]), portrait()[24:104, 16:112])


def test_a_thumbnail_is_no_photo() -> None:
    small = coded("tile0", 64, 64, refers=(b"thmb", [1]))
    assert shows(compose([coded("plain", 128, 128), small]), portrait())


def test_the_focal_length_is_read() -> None:
    # TIFF of one entry, the EXIF folder; of that one entry, FocalLengthIn35mmFilm 26.
    tiff = b"MM\0*\0\0\0\x08\0\x01\x87\x69\0\x04\0\0\0\x01\0\0\0\x1a\0\0\0\0"
    tiff += b"\0\x01\xa4\x05\0\x03\0\0\0\x01\0\x1a\0\0\0\0\0\0"
    data = compose([coded("plain", 128, 128), exif_item(tiff, 1)])
    assert decode_photo(data, LIMITS).focal_35mm == 26
    assert shows(compose([coded("plain", 128, 128), exif_item(b"nonsense", 1)]), portrait())


def test_shrinking() -> None:
    decoded = decode_photo(compose([coded("plain", 128, 128)]), LIMITS, longest_side=50)
    assert decoded.rgb.shape == (50, 50, 3)
    assert decoded.original_size == (128, 128)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_cut_short(share: float) -> None:
    data = compose([coded("plain", 128, 128)])
    assert refusal(data[: int(share * len(data))]).code is ErrorCode.TRUNCATED_IMAGE


def test_too_large_by_its_header() -> None:
    photo = coded("plain", 128, 128)
    photo.properties = [photo.properties[0], (size_box(12000, 9000), False)]
    error = refusal(compose([photo]))
    assert error.code is ErrorCode.IMAGE_TOO_LARGE
    assert error.value == "12000 x 9000"
    assert error.limit == "64 megapixels"


@pytest.mark.parametrize(
    "data",
    [
        box(b"ftyp", b"heic\0\0\0\0heicmif1"),
        box(b"ftyp", b"isom\0\0\0\0isommp42") + box(b"moov", bytes(40)),
        struct.pack(">I", 24) + b"ftypheic",
        compose([Item(b"Exif", b"\0\0\0\0")]),
        compose([Item(b"av01", b"\0" * 40, [(size_box(128, 128), False)])]),
    ],
    ids=["only-a-name", "a-film", "cut-in-the-name", "no-picture", "no-hevc"],
)
def test_what_holds_no_photo(data: bytes) -> None:
    assert refusal(data).code in (ErrorCode.NOT_AN_IMAGE, ErrorCode.TRUNCATED_IMAGE)


def test_the_refusal_of_others_names_heic() -> None:
    assert "HEIC" in str(refusal(b"<html>no photo</html>").limit)

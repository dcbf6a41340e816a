"""TIFFs of more than eight bits, as scientific and scanning programs write them."""

import io

import numpy as np
import pytest
import tifffile

from face3d.errors import ErrorCode, RefusedError
from gpu_workers.decoding.client import decode_photo
from gpu_workers.photo_limits import PhotoLimits
from tests.unit.decoding.colour_support import difference, portrait

LIMITS = PhotoLimits()
PICTURE = portrait()
GREY = PICTURE[..., 1]
DEEP = GREY.astype(np.uint16) * 257


def written(pixels: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("pixels", "photometric"),
    [
        (GREY, "minisblack"),
        (255 - GREY, "miniswhite"),
        (DEEP, "minisblack"),
        (65535 - DEEP, "miniswhite"),
        (GREY.astype(np.uint32) * 0x01010101, "minisblack"),
        ((GREY // 4).astype(np.uint32) * 0x04000000, "minisblack"),
        (GREY.astype(np.int32) * 0x00808080, "minisblack"),
        ((GREY / 255).astype(np.float32), "minisblack"),
    ],
    ids=["8", "8 white", "16", "16 white", "32", "32, coarse", "31", "float"],
)
def test_grey(pixels: np.ndarray, photometric: str) -> None:
    rgb = decode_photo(written(pixels, photometric=photometric), LIMITS).rgb
    assert difference(rgb, np.repeat(GREY[..., None], 3, axis=2)) < 2


@pytest.mark.parametrize("order", ["<", ">"])
def test_colours_of_16_bits(order: str) -> None:
    data = written(PICTURE.astype(f"{order}u2") * 257, photometric="rgb", byteorder=order)
    assert difference(decode_photo(data, LIMITS).rgb, PICTURE) < 1


def test_planes_apart() -> None:
    planes = PICTURE.transpose(2, 0, 1)
    data = written(planes, photometric="rgb", planarconfig="separate")
    assert np.array_equal(decode_photo(data, LIMITS).rgb, PICTURE)
    deep = written(planes.astype(np.uint16) * 257, photometric="rgb", planarconfig="separate")
    with pytest.raises(RefusedError) as caught:
        decode_photo(deep, LIMITS)
    assert caught.value.code is ErrorCode.NOT_AN_IMAGE

"""Lossy forms of a texture map: JPEG without chroma subsampling, and WebP."""

import io

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image


def encode_jpeg(image: NDArray[np.uint8], *, quality: int = 95) -> bytes:
    """Return the 4:4:4 JPEG of an (H, W, 3) uint8 sRGB image: subsampled chroma bleeds across UV seams."""
    return bytes(
        simplejpeg.encode_jpeg(
            np.ascontiguousarray(image), quality=quality, colorspace="RGB", colorsubsampling="444"
        )
    )


def decode_jpeg(data: bytes, *, min_side: int = 0) -> NDArray[np.uint8]:
    """Return a JPEG's pixels, (H, W, 3) uint8.

    Args:
        min_side: if positive, decode at the smallest of the scales 1/8..1 whose sides are at least this
            long, which costs a fraction of the time.
    """
    if min_side <= 0:
        return np.asarray(simplejpeg.decode_jpeg(data, colorspace="RGB"))
    return np.asarray(
        simplejpeg.decode_jpeg(data, colorspace="RGB", min_height=min_side, min_width=min_side, min_factor=1)
    )


def encode_webp(image: NDArray[np.uint8], *, quality: int = 95) -> bytes:
    """Return the lossy WebP of an (H, W, 3) uint8 sRGB image, at the encoder's fast setting."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "WEBP", quality=quality, method=1)
    return stream.getvalue()

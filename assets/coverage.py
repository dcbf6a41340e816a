"""The pictures of a material with coverage, apart: what colour it has, and where it is."""

import io
from functools import lru_cache

import numpy as np
from PIL import Image

from assets.png import encode_png


@lru_cache(maxsize=2)
def split_coverage(picture: bytes) -> tuple[bytes, bytes]:
    """Return a PNG of colour and a PNG of coverage, made of a PNG of both.

    Coverage stands in all four channels: of a file that is to say where a surface is, some readers take the
    fourth channel and some the second. Lashes are the same for every person, so they are split once.

    Args:
        picture: RGBA PNG, not premultiplied.
    """
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGBA"))
    covered = io.BytesIO()
    Image.fromarray(np.repeat(pixels[..., 3:], 4, axis=-1)).save(covered, "PNG")
    return encode_png(np.ascontiguousarray(pixels[..., :3])), covered.getvalue()

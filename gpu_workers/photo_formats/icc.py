"""ICC profiles: made from primaries and tone curves, and applied with LittleCMS; colours.py reads a photo's.

Colours that a file states by other means than a profile become a profile first, so that one library converts
them all.
"""

import io
import struct
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

Array = NDArray[np.float64]
#: White, red, green and blue as CIE 1931 (x, y).
Primaries = tuple[tuple[float, float], tuple[float, float], tuple[float, float], tuple[float, float]]

#: The connection space's white, ICC.1:2022 section 7.2.16.
_D50 = np.array([0.9642, 1.0, 0.8249])
#: Bradford's cone responses, ICC.1:2022 annex E.
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
#: Steps of a tone curve in a profile.
_CURVE_STEPS = 1024
#: ICC colour space signatures to the mode whose pixels they describe.
_SPACES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}


def rgb_to_xyz(primaries: Primaries) -> Array:
    """Return the (3, 3) matrix from linear RGB to CIE XYZ; white has Y = 1.

    Raises:
        ValueError: the primaries span no colour space.
    """
    if any(y <= 1e-4 or not 0 <= x <= 1 or y > 1 for x, y in primaries[:1]):
        raise ValueError("the white has no luminance")
    columns = np.array([(x, y, 1 - x - y) for x, y in primaries[1:]], dtype=np.float64).T
    x, y = primaries[0]
    white = np.array([x / y, 1.0, (1 - x - y) / y])
    if abs(np.linalg.det(columns)) < 1e-4:
        raise ValueError("the primaries lie on one line")
    result: Array = columns * np.linalg.solve(columns, white)
    return result


@lru_cache(maxsize=16)
def make_profile(primaries: Primaries, to_linear: Callable[[Array], Array]) -> bytes:
    """Return an ICC version 2 display profile.

    Args:
        to_linear: tone curve, from code values in 0..1 to linear light in 0..1; a function that is kept,
            since profiles are.
    Raises:
        ValueError: the primaries span no colour space.
    """
    curve = to_linear(np.linspace(0, 1, _CURVE_STEPS))
    return profile_from_curves(primaries, (curve, curve, curve))


def profile_from_curves(primaries: Primaries, curves: tuple[Array, Array, Array]) -> bytes:
    """Return an ICC version 2 display profile with a tone curve for red, green and blue, each in 0..1.

    Raises:
        ValueError: the primaries span no colour space.
    """
    matrix = rgb_to_xyz(primaries)
    white = matrix.sum(axis=1)
    scale = np.diag(_BRADFORD @ _D50 / (_BRADFORD @ white))
    adapted = np.linalg.inv(_BRADFORD) @ scale @ _BRADFORD @ matrix
    text = b"Stated by the photo\0"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78),
        b"cprt": b"text\0\0\0\0none\0",
        b"wtpt": _xyz(_D50),
        **{name: _xyz(adapted[:, k]) for k, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))},
        **{name: _curve(curves[k]) for k, name in enumerate((b"rTRC", b"gTRC", b"bTRC"))},
    }
    offset = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        padded = data + bytes(-len(data) % 4)
        table += name + struct.pack(">II", offset + len(body), len(data))
        body += padded
    size = offset + len(body)
    head = struct.pack(">I4sI4s4s4s", size, b"\0" * 4, 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    head += struct.pack(">3i", *(round(65536 * value) for value in _D50))
    return head.ljust(128, b"\0") + table + body


def to_srgb(picture: Image.Image, profile: bytes) -> Image.Image | None:
    """Return the picture (mode RGB, L, CMYK or LAB) in sRGB; None where the profile cannot be used on it."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = _SPACES.get(source.profile.xcolor_space.strip())
        if mode is None or (mode != picture.mode and not {mode, picture.mode} <= {"RGB", "L"}):
            return None
        # A grey photo often carries an RGB profile, and a grey profile RGB pixels that came from alpha.
        return ImageCms.profileToProfile(
            picture if picture.mode == mode else picture.convert(mode),
            source,
            ImageCms.createProfile("sRGB"),
            outputMode="RGB",
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, AttributeError):
        return None


def _xyz(values: Array) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(65536 * float(value)) for value in values))


def _curve(values: Array) -> bytes:
    steps = np.round(np.clip(values, 0, 1) * 65535).astype(">u2")
    return b"curv\0\0\0\0" + struct.pack(">I", len(steps)) + steps.tobytes()

"""Loaded pixels of any mode to upright 8-bit sRGB.

What is transparent is laid on white. CMYK without a profile is turned by the plain formula, for no profile of
ours may be shipped with it. Grey of 16 bits and floats is scaled to eight.
"""

import numpy as np
from PIL import Image, ImageCms

from gpu_workers.photo_formats import code_points
from gpu_workers.photo_formats.brightness import bend_to_srgb
from gpu_workers.photo_formats.colours import Colours
from gpu_workers.photo_formats.icc import to_srgb
from gpu_workers.photo_formats.opened import Deep

_WHITE = (255, 255, 255)
#: Modes that LittleCMS takes, and that are resized as they are.
_PLAIN = ("RGB", "L", "CMYK", "LAB")


def make_upright(
    pixels: Image.Image | Deep,
    longest_side: int | None,
    colours: Colours | None,
    turn: Image.Transpose | None,
) -> Image.Image:
    """Return mode RGB, sRGB, upright.

    Args:
        pixels: as an opened photo's `load` returns them.
        longest_side: shrink to this at most; None keeps the size.
        colours: what the pixels mean; None: sRGB.
    """
    bright = colours is not None and colours.transfer in (code_points.PQ, code_points.HLG)
    if isinstance(pixels, np.ndarray):
        if bright and colours is not None and pixels.shape[2] >= 3:
            pixels = Image.fromarray(bend_to_srgb(pixels[..., :3], colours.transfer, colours.primaries))
            bright, colours = False, None
        else:
            pixels = _from_deep_array(pixels)
    picture = _shrink(_flatten(pixels), longest_side)
    if colours is not None and bright:
        values = np.asarray(picture.convert("RGB"))
        picture = Image.fromarray(bend_to_srgb(values, colours.transfer, colours.primaries))
    elif colours is not None and colours.profile:
        picture = to_srgb(picture, colours.profile) or picture
    if picture.mode == "LAB":
        picture = _from_lab(picture)
    picture = picture.convert("RGB")
    return picture.transpose(turn) if turn is not None else picture


def _flatten(picture: Image.Image) -> Image.Image:
    """Return a mode of _PLAIN: deep pixels scaled, palettes looked up, what is transparent laid on white."""
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        return _from_deep(picture)
    if picture.mode in ("RGBA", "LA", "La", "RGBa", "PA") or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        picture = Image.new("RGB", picture.size, _WHITE)
        picture.paste(layer, mask=layer.getchannel("A"))
    if picture.mode == "1":
        return picture.convert("L")
    return picture if picture.mode in _PLAIN else picture.convert("RGB")


def _shrink(picture: Image.Image, longest_side: int | None) -> Image.Image:
    if not longest_side or max(picture.size) <= longest_side:
        return picture
    ratio = longest_side / max(picture.size)
    size = (max(1, round(picture.width * ratio)), max(1, round(picture.height * ratio)))
    return picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)


def _from_deep(picture: Image.Image) -> Image.Image:
    values = np.asarray(picture, dtype=np.float32)
    is_tiff = getattr(picture, "format", None) == "TIFF"
    largest = float(values.max(initial=0))
    if picture.mode.startswith("I;16"):
        scale = 1 / 257
    elif picture.mode == "F":
        scale = 255.0 if largest <= 1 else 1.0
    else:
        # Whole numbers: of 16 bits in a PPM, in a TIFF of 32 of which the upper ones are not used.
        scale = 1.0 if largest <= 255 and is_tiff else 1 / 257
    return Image.fromarray(np.clip(values * scale + 0.5, 0, 255).astype(np.uint8))


def _from_deep_array(pixels: Deep) -> Image.Image:
    eight = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return Image.fromarray(eight[..., 0] if eight.shape[2] == 1 else eight)


def _from_lab(picture: Image.Image) -> Image.Image:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(picture, lab, srgb, outputMode="RGB")
    return converted if converted is not None else picture

"""How a photo's file says what its colours mean.

| file | first that is there |
|---|---|
| PNG | `cICP`, `iCCP`, `sRGB`, `gAMA` with `cHRM` (PNG third edition, section 4.3), EXIF |
| HEIC, AVIF | ICC profile, `nclx`, EXIF |
| TIFF | ICC profile, `PrimaryChromaticities`, `WhitePoint` and `TransferFunction`, EXIF |
| JPEG, WebP, JPEG 2000, BMP | ICC profile, EXIF |

EXIF says Adobe RGB by ColorSpace 2, or by ColorSpace "uncalibrated" with Interoperability index R03 (DCF 2.0,
section 5.5) or with chromaticities. What says nothing is sRGB.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from face3d import srgb
from gpu_workers.photo_formats import code_points, containers
from gpu_workers.photo_formats.code_points import ADOBE_GAMMA, ADOBE_PRIMARIES, SRGB_PRIMARIES
from gpu_workers.photo_formats.containers import CodePoints
from gpu_workers.photo_formats.icc import Primaries, make_profile, profile_from_curves

#: PNG's gAMA that writers give to sRGB beside its chromaticities (section 11.3.2.5); libpng and ImageMagick
#: take it as such, too. And how far rounding puts these off.
_SRGB_GAMMA, _GAMMA_TOLERANCE, _PRIMARY_TOLERANCE = 0.45455, 0.00005, 0.002
#: Gammas outside this range are wrong entries.
_GAMMA_RANGE = (0.1, 10.0)
#: EXIF's ColorSpace.
_ADOBE_RGB, _UNCALIBRATED = 2, 65535
_EXIF_GAMMA = 0xA500
#: Entries that a TIFF's tone curves may have: of 8 and of 16 bits.
_CURVE_SIZES = (256, 65536)


@dataclass(frozen=True)
class Colours:
    """Colours other than sRGB: an ICC profile, or brightness beyond a screen's white."""

    profile: bytes | None = None
    #: PQ or HLG of code_points.py, with the primaries.
    transfer: int = code_points.SRGB_TRANSFER
    primaries: Primaries = SRGB_PRIMARIES


def read_colours(kind: str, data: bytes, info: dict[Any, Any], exif: Image.Exif) -> Colours | None:
    """Return what a file states; None for sRGB, which is also what broken statements count as.

    Args:
        kind: the format's name.
        info: what Pillow or pi-heif read from the header.
    """
    try:
        if kind == "PNG":
            return _from_png(data, info, exif)
        profile = info.get("icc_profile")
        if kind == "JPEG2000":
            profile = profile or containers.jpeg2000_profile(data)
        if kind == "BMP":
            profile = profile or containers.bmp_profile(data)
        if profile:
            return Colours(profile=profile)
        if kind in ("AVIF", "HEIC"):
            stated = containers.avif_code_points(data) if kind == "AVIF" else _heic_code_points(info)
            if stated is not None:
                return _from_code_points(stated)
        return _from_exif(exif, tiff=kind == "TIFF")
    except (ValueError, TypeError, KeyError, ZeroDivisionError, OverflowError, np.linalg.LinAlgError):
        return None


def _from_png(data: bytes, info: dict[Any, Any], exif: Image.Exif) -> Colours | None:
    stated = containers.png_code_points(data)
    if stated is not None:
        return _from_code_points(stated)
    if info.get("icc_profile"):
        return Colours(profile=info["icc_profile"])
    if "srgb" in info:
        return None
    gamma, white_and_rgb = info.get("gamma"), info.get("chromaticity")
    if gamma is None and white_and_rgb is None:
        return _from_exif(exif, tiff=False)
    primaries = SRGB_PRIMARIES if white_and_rgb is None else _pairs(white_and_rgb)
    if gamma is None or not _GAMMA_RANGE[0] <= 1 / gamma <= _GAMMA_RANGE[1]:
        return Colours(profile=make_profile(primaries, srgb.decode))
    if abs(gamma - _SRGB_GAMMA) < _GAMMA_TOLERANCE and np.allclose(
        primaries, SRGB_PRIMARIES, atol=_PRIMARY_TOLERANCE, rtol=0
    ):
        return None
    return Colours(profile=make_profile(primaries, code_points.gamma_curve(1 / gamma)))


def _from_code_points(stated: CodePoints) -> Colours | None:
    primaries = code_points.find_primaries(stated.primaries)
    if stated.transfer in (code_points.PQ, code_points.HLG):
        return Colours(transfer=stated.transfer, primaries=primaries)
    curve = code_points.find_curve(stated.transfer)
    if primaries == SRGB_PRIMARIES and curve is srgb.decode:
        return None
    return Colours(profile=make_profile(primaries, curve))


def _heic_code_points(info: dict[Any, Any]) -> CodePoints | None:
    stated = info.get("nclx_profile")
    if not stated:
        return None
    return CodePoints(int(stated["color_primaries"]), int(stated["transfer_characteristics"]))


def _from_exif(exif: Image.Exif, *, tiff: bool) -> Colours | None:
    chromaticities = exif.get(ExifTags.Base.PrimaryChromaticities)
    white = exif.get(ExifTags.Base.WhitePoint)
    if tiff and chromaticities and white:
        return _from_tiff(_pairs((*white, *chromaticities)), exif.get(ExifTags.Base.TransferFunction))
    details = exif.get_ifd(ExifTags.IFD.Exif)
    space = details.get(ExifTags.Base.ColorSpace)
    if space == _ADOBE_RGB:
        return _adobe_rgb()
    if space != _UNCALIBRATED:
        return None
    index = exif.get_ifd(ExifTags.IFD.Interop).get(ExifTags.Interop.InteropIndex)
    if str(index or "").strip("\0 ") == "R03":
        return _adobe_rgb()
    if chromaticities and white:
        gamma = float(details.get(_EXIF_GAMMA) or ADOBE_GAMMA)
        if _GAMMA_RANGE[0] <= gamma <= _GAMMA_RANGE[1]:
            primaries = _pairs((*white, *chromaticities))
            return Colours(profile=make_profile(primaries, code_points.gamma_curve(round(gamma, 4))))
    return None


def _from_tiff(primaries: Primaries, function: Any) -> Colours:
    if function is not None and len(function) in (*_CURVE_SIZES, *(3 * size for size in _CURVE_SIZES)):
        values = np.asarray(function, np.float64) / 65535
        parts = np.split(values, 3) if len(values) % 3 == 0 else [values] * 3
        red, green, blue = (part[:: max(1, len(part) // 4096)] for part in parts)
        return Colours(profile=profile_from_curves(primaries, (red, green, blue)))
    return Colours(profile=make_profile(primaries, srgb.decode))


def _adobe_rgb() -> Colours:
    return Colours(profile=make_profile(ADOBE_PRIMARIES, code_points.gamma_curve(ADOBE_GAMMA)))


def _pairs(values: Any) -> Primaries:
    """Return white, red, green and blue of eight numbers, rounded so that equal ones share a profile."""
    numbers = [round(float(value), 4) for value in values]
    white, red, green, blue = zip(numbers[0:8:2], numbers[1:8:2], strict=True)
    return white, red, green, blue

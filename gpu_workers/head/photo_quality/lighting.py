"""Light and colour of a face: blown out, dark, flat, tinted, black and white, cut off, under a hat."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpu_workers.head.photo_quality.face_patch import CLIPPED, PATCH_SIDE, FacePatch, draw_polygon

#: Every N pixels are looked at.
_STEP = 3
#: Side of the blocks whose colours are compared, pixels: a JPEG's colours are coarser than its light. A tint
#: is a curve over lightness of this degree. Clipped blocks are left out where this number of others remains.
_BLOCK, _DEGREE, _LEAST_BLOCKS = 6, 3, 40
#: Shares of the pixels that are darker than the dark parts and than the light ones.
_DARK_PART, _LIGHT_PART = 0.02, 0.98
_LIGHTEST = 0.95
#: CIELAB a and b of skin in plain light: 3 to 25 and 4 to 24 were measured on portraits and renders.
_SKIN_HUES = ((1.5, 28.0), (2.5, 32.0))
#: Landmarks round the forehead, and how far from skin (CIELAB, lightness counts less) hair and hats begin.
_FOREHEAD = (109, 10, 338, 337, 9, 108)
_NOT_SKIN, _LIGHTNESS_WEIGHT = 20.0, 0.6


@dataclass(frozen=True)
class FaceLight:
    """Measurements; the limits are those of face3d/quality.py."""

    #: Share of the skin's colour values that are clipped.
    clipped: float
    #: 0..255: of the lightest twentieth of the face and what is round it.
    lightest: float
    #: 0..255: from dark to light parts.
    contrast: float
    #: CIELAB: of the skin's hue from hues of skin.
    cast: float
    #: CIELAB: spread of the colours beyond what lightness tells; black and white has none, whatever its tint.
    colours: float
    #: Share of the forehead that has another colour than the face's skin.
    forehead_covered: float
    #: Share of the face beyond the photo's edge.
    cut_off: float


def measure_light(patch: FacePatch) -> FaceLight:
    """Measure light and colour of a face."""
    thin = np.s_[::_STEP, ::_STEP]
    # What lies beyond the photo's edge repeats the edge.
    inside, oval = _inside_photo(patch)[thin], patch.oval[thin]
    seen = oval & inside & ~patch.features[thin]
    dark, lightest, light = np.quantile(patch.luma[thin][inside], (_DARK_PART, _LIGHTEST, _LIGHT_PART))
    return FaceLight(
        clipped=float((patch.pixels[thin][seen] >= CLIPPED).mean()) if seen.any() else 0.0,
        lightest=float(lightest),
        contrast=float(light - dark),
        cast=_beyond(patch.skin[1:]),
        colours=_colours(patch),
        forehead_covered=_forehead_covered(patch),
        cut_off=1.0 - float((oval & inside).sum() / max(oval.sum(), 1)),
    )


def _inside_photo(patch: FacePatch) -> NDArray[np.bool_]:
    left, top, right, bottom = patch.photo
    place = np.arange(PATCH_SIDE) + 0.5
    across, down = (place > left) & (place < right), (place > top) & (place < bottom)
    inside = down[:, None] & across
    return np.asarray(inside if inside.any() else ~inside)


def _beyond(hue: NDArray[np.floating]) -> float:
    """Return how far a colour (2,) lies outside of those of skin."""
    (a_low, a_high), (b_low, b_high) = _SKIN_HUES
    low, high = np.array([a_low, b_low]), np.array([a_high, b_high])
    return float(np.linalg.norm(np.maximum(low - hue, 0) + np.maximum(hue - high, 0)))


def _colours(patch: FacePatch) -> float:
    """Return how far colours lie from the curve over lightness that fits them best."""
    lab, brightest = patch.lab[patch.box], patch.pixels[patch.box].max(2)
    rows, columns = (length // _BLOCK for length in brightest.shape)
    cut = np.s_[: rows * _BLOCK, : columns * _BLOCK]
    shape = (rows, _BLOCK, columns, _BLOCK)
    blocks = lab[cut].reshape(*shape, 3).mean(axis=(1, 3)).reshape(-1, 3)
    whole = brightest[cut].reshape(shape).max(axis=(1, 3)).ravel() < CLIPPED
    # Clipped channels leave the curve.
    if whole.sum() >= _LEAST_BLOCKS:
        blocks = blocks[whole]
    curve = np.vander(blocks[:, 0] / 100, _DEGREE + 1).astype(np.float64)
    told = curve @ np.linalg.lstsq(curve, blocks[:, 1:], rcond=None)[0]
    return float(np.hypot(*(blocks[:, 1:] - told).std(axis=0)))


def _forehead_covered(patch: FacePatch) -> float:
    outline = patch.points[list(_FOREHEAD)]
    rows, columns = patch.window(outline, 0)
    shape = (rows.stop - rows.start, columns.stop - columns.start)
    inside = draw_polygon(outline - [columns.start, rows.start], shape)
    if not inside.any():
        return 0.0
    nose = np.concatenate(
        [patch.sample_square(x, y).reshape(-1, 3) for x, y in patch.points[[6, 195, 50, 280]]]
    )
    moved = (patch.lab[rows, columns][inside] - np.median(nose, axis=0)) * [_LIGHTNESS_WEIGHT, 1, 1]
    # A forehead is often lighter than the nose, and paler: that is the light on it.
    moved[:, 0] = np.minimum(moved[:, 0], 0)
    return float((np.linalg.norm(moved, axis=1) > _NOT_SKIN).mean())

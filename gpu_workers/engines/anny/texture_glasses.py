"""Spectacle frames in a reduced photo: thin dark lines over the nose's bridge and under both eyes."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import binary_dilation, grey_closing

from face3d.messages import Array
from gpu_workers.engines.anny.correspondence import (
    INNER_EYE_CORNERS,
    LEFT_BROW,
    LEFT_LIDS,
    RIGHT_BROW,
    RIGHT_LIDS,
)

_LOWER_LIDS = (RIGHT_LIDS[:9], LEFT_LIDS[:9])
_EYES = (RIGHT_LIDS, LEFT_LIDS)
#: Brows are dark lines too.
_BROWS = (RIGHT_BROW, LEFT_BROW)
#: MediaPipe's landmarks of the bridge of the nose, from the brows down.
_BRIDGE_TOP, _BRIDGE_END = 9, 197
#: All below are shares of the outer-eye distance: the thickest frame, where frames are looked for from the
#: lower lid down, and how far round a frame's pixel nothing is skin.
_THICKEST, _UNDER_LID, _REACH = 0.11, (0.07, 0.50), 0.035
#: A frame is so much darker than the skin beside it, CIELAB; wrinkles reach 12, thin grey frames 16. At so
#: large a share of the columns it is, and where there is one, so little belongs to it.
_CONTRAST, _COLUMNS, _EDGE_CONTRAST = 14.0, 0.85, 9.0


def find_frames(lightness: Array, points: Array, eye_distance: float) -> NDArray[np.bool_] | None:
    """Return the (h, w) pixels of a spectacle frame, None where nobody wears one.

    Args:
        lightness: (h, w) CIELAB.
        points: (478, 2) landmarks, pixels.
    """
    size = max(3, round(_THICKEST * eye_distance) | 1)
    lines = grey_closing(lightness, size=(size, size)) - lightness
    if _share(lines, _bridge(points)) < _COLUMNS:
        return None
    if min(_share(lines, _under(points, chain, eye_distance)) for chain in _LOWER_LIDS) < _COLUMNS:
        return None
    zone = np.zeros(lightness.shape, bool)
    top = int(min(points[_BRIDGE_TOP, 1], points[list(_EYES[0]), 1].min() - 0.1 * eye_distance))
    bottom = int(points[list(_LOWER_LIDS[0] + _LOWER_LIDS[1]), 1].max() + _UNDER_LID[1] * eye_distance)
    zone[max(0, top) : max(0, bottom)] = True
    own = np.zeros_like(zone)
    for chain, margin in ((_EYES, 0.04), (_BROWS, 0.02)):
        canvas = Image.new("1", lightness.shape[::-1])
        for feature in chain:
            outline = [(float(x), float(y)) for x, y in points[list(feature)]]
            ImageDraw.Draw(canvas).polygon(outline, fill=1)
        own |= binary_dilation(np.asarray(canvas), iterations=max(1, round(margin * eye_distance)))
    frames = zone & ~own & (lines > _EDGE_CONTRAST)
    return np.asarray(binary_dilation(frames, iterations=max(1, round(_REACH * eye_distance))) & ~own)


def _bridge(points: Array) -> list[tuple[float, float, float]]:
    """Return (column, first row, last row) of the strips over the nose's bridge."""
    inner = np.sort(points[list(INNER_EYE_CORNERS), 0])
    middle, half = inner.mean(), 0.2 * (inner[1] - inner[0])
    top, bottom = points[_BRIDGE_TOP, 1], points[_BRIDGE_END, 1]
    return [(x, top, bottom) for x in np.linspace(middle - half, middle + half, 7)]


def _under(points: Array, chain: tuple[int, ...], eye_distance: float) -> list[tuple[float, float, float]]:
    """Return the strips under an eye."""
    lid = points[list(chain)]
    order = np.argsort(lid[:, 0])
    low, high = lid[:, 0].min(), lid[:, 0].max()
    columns = np.linspace(low + 0.15 * (high - low), high - 0.15 * (high - low), 11)
    rows = np.interp(columns, lid[order, 0], lid[order, 1])
    first, last = (share * eye_distance for share in _UNDER_LID)
    return [(x, y + first, y + last) for x, y in zip(columns, rows, strict=True)]


def _share(lines: Array, strips: list[tuple[float, float, float]]) -> float:
    """Return the share of the strips that a dark line crosses."""
    height, width = lines.shape
    crossed = 0
    for x, top, bottom in strips:
        column = int(np.clip(x, 0, width - 1))
        rows = lines[int(np.clip(top, 0, height - 1)) : int(np.clip(bottom, 1, height)), column]
        crossed += bool(len(rows) and rows.max() > _CONTRAST)
    return crossed / max(1, len(strips))

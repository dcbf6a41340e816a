"""Spectacles of any frame: a line over the nose's bridge, and lines under both eyes or on both temples.

A frame is dark, light or coloured: each is a line of its own kind, and one kind has to be found in both
places. glasses.py finds the pixels of dark ones, which the map then leaves out.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from gpu_workers.head.model.mediapipe_landmarks import (
    INNER_EYE_CORNERS,
    LEFT_BROW,
    LEFT_LIDS,
    OUTER_EYE_CORNERS,
    RIGHT_BROW,
    RIGHT_LIDS,
)
from gpu_workers.head.photo_quality.face_patch import PATCH_EYES, PATCH_SIDE, FacePatch

#: What lines of no spectacles reach on bare faces, CIELAB: dark ones (wrinkles), light ones (gloss), coloured
#: ones.
_BARE = np.array([10.0, 6.0, 6.0])
#: All below in pixels of the patch. The thickest frame.
_THICKEST = 11
#: Half the width of the bridge that is looked at; columns there, under either eye, on either temple.
_BRIDGE_HALF, _COLUMNS = 3.4, (7, 11, 11, 8, 8)
#: A line crosses all of these columns but so large a share.
_GAPS = (0.3, 0.25, 0.25, 0.3, 0.3)
#: Landmarks between the brows and down the nose.
_BRIDGE_TOP, _BRIDGE_END = 9, 197
#: From the lower lid down; from the outer corner outwards, and above and below it; in eye distances.
_UNDER, _ASIDE, _TEMPLE = (0.07, 0.40), (0.13, 0.24), (-0.22, 0.15)
#: Share of the width of an eye left out at either end.
_ENDS = 0.15
#: Dark lines so strong are what glasses.py looks for.
_DARK_ENOUGH = 1.4
#: A frame lies on a brow that is as dark as it, but for this share of its contrast with skin, along this
#: share of the brow; so far round the brow's outline, of the eye distance.
_AS_DARK, _ALONG_BROW, _BROW_REACH = 0.25, 0.5, 0.03


@dataclass(frozen=True)
class Spectacles:
    """What was found: contrasts, 1 is what bare faces reach."""

    #: Of the frame.
    frame: float
    #: Of a part that the texture cannot leave out: on the brows, or not darker than skin; else 0.
    remaining: float


@dataclass(frozen=True)
class _Strips:
    """(N,) columns, and the rows between which each is looked at."""

    columns: NDArray[np.floating]
    first: NDArray[np.floating]
    last: NDArray[np.floating]


def find_spectacles(patch: FacePatch) -> Spectacles:
    """Return the contrast of a spectacle frame, about 0.6 on a bare face, and of what of it stays."""
    places = [
        _bridge(patch.points),
        *(_under(patch.points, lids) for lids in (RIGHT_LIDS, LEFT_LIDS)),
        *(_temple(patch.points, side) for side in (0, 1)),
    ]
    lines = _lines(patch, places)
    parts = np.split(lines, np.cumsum(_COLUMNS)[:-1], axis=1)
    bridge, *others = (_crossing(part, gaps) for part, gaps in zip(parts, _GAPS, strict=True))
    under, temples = np.minimum(others[0], others[1]), np.minimum(others[2], others[3])
    # (3,) dark, light and coloured.
    kinds = np.minimum(bridge, np.maximum(under, temples)) / _BARE
    frame = float(kinds.max())
    stays = frame > 0 and (kinds[0] < _DARK_ENOUGH or _on_brows(patch, places[0]))
    return Spectacles(frame=frame, remaining=frame if stays else 0.0)


def _lines(patch: FacePatch, places: list[_Strips]) -> NDArray[np.floating]:
    """Return (3, N): how strong the dark, the light and the coloured line is that crosses each column."""
    columns, first, last = (
        np.concatenate([getattr(place, name) for place in places]) for name in ("columns", "first", "last")
    )
    across = patch.box[1]
    x = np.clip(columns.astype(int), across.start + 1, max(across.stop - 2, across.start + 1))
    x = np.clip(x, 1, PATCH_SIDE - 2)
    height = int(np.ceil((last - first).max())) + 1
    rows = np.arange(-_THICKEST, height + _THICKEST)[:, None] + np.floor(first).astype(int)
    y = np.clip(rows, patch.box[0].start, patch.box[0].stop - 1)
    strips = 0.5 * patch.lab[y, x] + 0.25 * (patch.lab[y, x - 1] + patch.lab[y, x + 1])
    strips[1:-1] = 0.5 * strips[1:-1] + 0.25 * (strips[:-2] + strips[2:])
    high = ndimage.maximum_filter1d(strips, _THICKEST, axis=0)
    low = ndimage.minimum_filter1d(strips, _THICKEST, axis=0)
    dark = ndimage.minimum_filter1d(high, _THICKEST, axis=0) - strips
    light = strips - ndimage.maximum_filter1d(low, _THICKEST, axis=0)
    coloured = np.maximum(dark, light)[..., 1:].max(2)
    looked_at = (rows >= first) & (rows < last)
    kinds = np.stack([dark[..., 0], light[..., 0], coloured])
    return np.asarray(np.where(looked_at, kinds, 0).max(axis=1))


def _crossing(lines: NDArray[np.floating], gaps: float) -> NDArray[np.floating]:
    """Return the quantile (3,) of lines (3, N); NumPy's own takes a hundred times as long for so few."""
    ordered = np.sort(lines, axis=1)
    place = gaps * (lines.shape[1] - 1)
    share = place - int(place)
    return np.asarray((1 - share) * ordered[:, int(place)] + share * ordered[:, int(place) + 1])


def _on_brows(patch: FacePatch, bridge: _Strips) -> bool:
    """Return whether one of the brows is as dark as a frame is on the bridge, along most of its length."""
    lightness = patch.lab[..., 0]
    ends = np.stack([bridge.columns[[0, -1]], [bridge.first[0], bridge.last[0]]], axis=1)
    frame = float(np.median(lightness[patch.window(ends, 0)].min(0)))
    limit = frame + _AS_DARK * (float(patch.skin[0]) - frame)
    for brow in (RIGHT_BROW, LEFT_BROW):
        darkest = lightness[patch.window(patch.points[list(brow)], _BROW_REACH * PATCH_EYES)].min(0)
        if (darkest < limit).mean() > _ALONG_BROW:
            return True
    return False


def _bridge(points: NDArray[np.floating]) -> _Strips:
    middle = points[list(INNER_EYE_CORNERS), 0].mean()
    columns = np.linspace(middle - _BRIDGE_HALF, middle + _BRIDGE_HALF, _COLUMNS[0])
    return _level(columns, float(points[_BRIDGE_TOP, 1]), float(points[_BRIDGE_END, 1]))


def _under(points: NDArray[np.floating], lids: tuple[int, ...]) -> _Strips:
    lower = points[list(lids[:9])]
    lower = lower[np.argsort(lower[:, 0])]
    low, high = lower[0, 0], lower[-1, 0]
    ends = _ENDS * (high - low)
    columns = np.linspace(low + ends, high - ends, _COLUMNS[1])
    rows = np.interp(columns, lower[:, 0], lower[:, 1])
    return _Strips(columns, rows + _UNDER[0] * PATCH_EYES, rows + _UNDER[1] * PATCH_EYES)


def _temple(points: NDArray[np.floating], side: int) -> _Strips:
    corner = points[OUTER_EYE_CORNERS[side]]
    outwards = np.sign(corner[0] - points[OUTER_EYE_CORNERS[1 - side], 0])
    columns = corner[0] + outwards * np.linspace(*_ASIDE, _COLUMNS[3]) * PATCH_EYES
    first, last = (float(corner[1] + share * PATCH_EYES) for share in _TEMPLE)
    return _level(columns, first, last)


def _level(columns: NDArray[np.floating], first: float, last: float) -> _Strips:
    return _Strips(columns, np.full(len(columns), first), np.full(len(columns), max(last, first + 1)))

"""Whether a photo shows a mouth: the line between the lips, or what is between them; and a tongue put out."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from gpu_workers.head.model.mediapipe_landmarks import INNER_LIPS, MOUTH_EDGES, OUTER_LIPS
from gpu_workers.head.photo_quality.face_patch import PATCH_EYES, FacePatch, draw_polygon

#: The line is looked for in this number of columns; it is as deep as in the shallowest fifth of them.
_COLUMNS, _SHARE = 11, 0.2
#: Rows beyond the inner lips where the line may lie, and where lips are, pixels of the patch.
_LINE, _LIPS = 2, 8
#: Round the lips lies a ring of skin, from the first to the second number of pixels.
_RING = (4, 10)
#: Lips of another colour than that ring count this number of times as much as the line between them.
_LIP_COLOUR_WEIGHT = 1.6
#: An open mouth covers this share of the square of the eye distance.
_OPEN = 0.03
#: A tongue is redder than the face's skin by this, in CIELAB's a, and not as dark as a mouth's hole: this
#: share of the skin's lightness.
_TONGUE_RED, _TONGUE_LIGHT = 10.0, 0.35
#: Where a tongue hangs below the lower lip: half its width in mouth widths, and how far it is from there to
#: the chin; so large a share of it has the tongue's colour at least.
_HANGS_HALF, _HANGS_DOWN, _HANGS_SHARE = 0.28, 0.55, 0.05
_MOUTH_CORNERS, _LOWER_LIP, _CHIN = (61, 291), 17, 152


def see_mouth(patch: FacePatch, *, colours: bool) -> float:
    """Return how clearly a mouth is seen: the less of its line's depth and its lips' colour.

    Args:
        colours: whether the photo's colours can be believed.
    """
    line = lip_line(patch)
    return min(line, _LIP_COLOUR_WEIGHT * lip_colour(patch)) if colours else line


def lip_colour(patch: FacePatch) -> float:
    """Return the distance in CIELAB of the lips' colour from that of the skin round them, of the contrast."""
    outline = patch.points[list(OUTER_LIPS)]
    rows, columns = patch.window(outline, _RING[1] + 1)
    origin, shape = [columns.start, rows.start], _shape(rows, columns)
    mouth = draw_polygon(outline - origin, shape)
    lips = mouth & ~draw_polygon(patch.points[list(INNER_LIPS)] - origin, shape)
    distance = ndimage.distance_transform_cdt(~mouth, "taxicab")
    ring = (distance > _RING[0]) & (distance <= _RING[1])
    lab = patch.lab[rows, columns]
    if not lips.any() or not ring.any():
        return 0.0
    moved = np.median(lab[lips], axis=0) - np.median(lab[ring], axis=0)
    return float(np.linalg.norm(moved)) / patch.contrast


def lip_line(patch: FacePatch) -> float:
    """Return how deep the dark line between the lips is, or what shows between them, of the face's contrast.

    Along a face's vertical; none where a hand, a mask or a microphone hides it.
    """
    upper, lower = (patch.points[list(edge)] for edge in MOUTH_EDGES)
    ends = np.sort(upper[[0, -1], 0])
    columns = np.linspace(ends[0], ends[1], _COLUMNS + 4)[2:-2]
    top, bottom = (_heights(edge, columns) for edge in (upper, lower))
    low, high = np.minimum(top, bottom) - _LINE, np.maximum(top, bottom) + _LINE + 1
    depths = [
        _depth(patch.lab[:, int(np.clip(x, 0, patch.lab.shape[1] - 1)), 0], int(a), int(b))
        for x, a, b in zip(columns, low, high, strict=True)
    ]
    return float(np.quantile(depths, _SHARE)) / patch.contrast


def tongue_share(patch: FacePatch) -> float:
    """Return the share of an open mouth that has a tongue's colour, 0 where none hangs out of it."""
    outline = patch.points[list(INNER_LIPS)]
    rows, columns = patch.window(outline, 1)
    inside = draw_polygon(outline - [columns.start, rows.start], _shape(rows, columns))
    if inside.sum() < _OPEN * PATCH_EYES**2:
        return 0.0
    (right, left), lip, chin = (
        patch.points[list(_MOUTH_CORNERS), 0],
        patch.points[_LOWER_LIP],
        patch.points[_CHIN],
    )
    half = _HANGS_HALF * abs(left - right)
    middle = 0.5 * (left + right)
    ends = np.array([[middle - half, lip[1] + 1], [middle + half, lip[1] + _HANGS_DOWN * (chin[1] - lip[1])]])
    if _red(patch, patch.lab[patch.window(ends, 0)]).mean() < _HANGS_SHARE:
        return 0.0
    return float(_red(patch, patch.lab[rows, columns][inside]).mean())


def _red(patch: FacePatch, lab: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.asarray(
        (lab[..., 1] - patch.skin[1] > _TONGUE_RED) & (lab[..., 0] > _TONGUE_LIGHT * patch.skin[0])
    )


def _shape(rows: slice, columns: slice) -> tuple[int, int]:
    return rows.stop - rows.start, columns.stop - columns.start


def _heights(edge: NDArray[np.floating], columns: NDArray[np.floating]) -> NDArray[np.floating]:
    order = np.argsort(edge[:, 0])
    return np.asarray(np.interp(columns, edge[order, 0], edge[order, 1]))


def _depth(column: NDArray[np.float32], low: int, high: int) -> float:
    """Return how much darker the darkest of the rows is than the lips above and below."""
    low, high = max(low, _LIPS), min(max(high, low + 1), len(column) - _LIPS)
    if high <= low:
        return 0.0
    above, below = column[low - _LIPS : low + 1], column[high - 1 : high + _LIPS]
    return min(_middle(above), _middle(below)) - float(column[low:high].min())


def _middle(values: NDArray[np.float32]) -> float:
    """Return the median of an odd number of values; NumPy's own takes ten times as long for so few."""
    return float(np.sort(values)[len(values) // 2])

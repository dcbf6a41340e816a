"""Whether a photo shows an eye: open, shut, or hidden by a lens, a patch, a hand, hair.

The landmark model draws two open eyes on whatever lies there: behind sunglasses, under a patch. So the
picture is asked too.
"""

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from gpu_workers.head.model.mediapipe_landmarks import LEFT_LIDS, RIGHT_LIDS
from gpu_workers.head.photo_quality.face_patch import FacePatch, draw_polygon

#: Below this height of the opening, of its width, or above this score of `eyeBlink`, an eye is shut.
SHUT_OPENING, SHUT_SCORE = 0.19, 0.33
#: Skin under the eye that is darker than this share of the face's skin lies behind a lens or a patch.
LENS_DARKNESS = 0.45
#: Less contrast between the lids, of the face's, shows no eye: a mirror, a light patch, a wall.
FLAT_CONTRAST = 0.22
#: An eye has something darker than the skin below it (of the face's contrast), or at least as much contrast
#: as the whole face: light eyes in dark skin.
DARK_PART, PLAIN_CONTRAST = 0.40, 0.75

#: Pixels of the patch round the opening that belong to the eye: lashes.
_LASHES = 2
#: Rows below the lower lid where skin is looked at, pixels of the patch, and the share of the eye's width
#: left out at either end.
_BELOW, _ENDS = (5, 13), 0.15
_UPPER, _LOWER = slice(11, 14), slice(3, 6)
_CORNERS = (0, 8)


class EyeState(StrEnum):
    """What a photo shows of an eye."""

    OPEN = "open"
    SHUT = "shut"
    HIDDEN = "hidden"


def see_eyes(patch: FacePatch, blinks: tuple[float, float]) -> tuple[EyeState, EyeState]:
    """Return the state of the right and the left eye; `blinks` are the scores of eyeBlinkRight and -Left."""
    right, left = (
        _see_eye(patch, patch.points[list(lids)], blink)
        for lids, blink in zip((RIGHT_LIDS, LEFT_LIDS), blinks, strict=True)
    )
    return right, left


def _see_eye(patch: FacePatch, lids: NDArray[np.floating], blink: float) -> EyeState:
    across = lids[_CORNERS[1]] - lids[_CORNERS[0]]
    width = max(float(np.linalg.norm(across)), 1e-6)
    opening = float(np.linalg.norm(lids[_UPPER].mean(0) - lids[_LOWER].mean(0))) / width
    rows, columns = patch.window(lids, _LASHES + 1)
    shape = (rows.stop - rows.start, columns.stop - columns.start)
    inside = draw_polygon(lids - [columns.start, rows.start], shape)
    inside = ndimage.binary_dilation(inside, iterations=_LASHES)
    lightness = patch.lab[rows, columns, 0][inside]
    below = _skin_below(patch, lids)
    if below < LENS_DARKNESS * patch.skin[0]:
        return EyeState.HIDDEN
    low, dark, high = np.quantile(lightness, (0.05, 0.15, 0.95))
    contrast = (high - low) / patch.contrast
    if contrast < FLAT_CONTRAST:
        return EyeState.HIDDEN
    if opening < SHUT_OPENING or blink > SHUT_SCORE:
        return EyeState.SHUT
    if below - dark < DARK_PART * patch.contrast and contrast < PLAIN_CONTRAST:
        return EyeState.HIDDEN
    return EyeState.OPEN


def _skin_below(patch: FacePatch, lids: NDArray[np.floating]) -> float:
    """Return the lightness of the skin below an eye."""
    low, high = sorted(float(lids[corner, 0]) for corner in _CORNERS)
    ends = _ENDS * (high - low)
    row = float(lids[_LOWER, 1].mean())
    area = np.array([[low + ends, row + _BELOW[0]], [high - ends, row + _BELOW[1]]])
    return float(np.median(patch.lab[(*patch.window(area, 0), 0)]))

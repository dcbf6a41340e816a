"""Where a photo shows skin of the face: made once a photo on a reduced picture, on the CPU."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import (
    binary_closing,
    binary_fill_holes,
    distance_transform_edt,
    label,
    minimum_filter,
)

from face3d.messages import Array
from gpu_workers.engines.anny.array_math import smoothstep_array
from gpu_workers.engines.anny.correspondence import (
    FACE_OVAL,
    LEFT_BROW,
    LEFT_LIDS,
    OUTER_EYE_CORNERS,
    OUTER_LIPS,
    RIGHT_BROW,
    RIGHT_LIDS,
)
from gpu_workers.engines.anny.texture_glasses import find_frames
from gpu_workers.engines.anny.texture_openings import find_skin_round_openings
from gpu_workers.engines.anny.texture_skin_model import rate_skin

#: MediaPipe's landmarks (478), patches that show bare skin on nearly every face: both cheeks, bridge and tip
#: of the nose.
_SKIN_PATCHES = ((50, 101, 118, 117), (280, 330, 347, 346), (9, 8, 168, 6), (4, 5, 195, 197))
_UPPER_BROWS = RIGHT_BROW[:5] + LEFT_BROW[4::-1]
#: From the outer end of a brow over it, and back along the lower lid.
_EYE_REGIONS = (RIGHT_BROW[:5] + RIGHT_LIDS[8::-1], LEFT_BROW[:5] + LEFT_LIDS[8::-1])
_CHIN = 152
_NOSE_BASE = 2
#: Outer-eye distance of the reduced photo on which the masks are made, about, in pixels; photos are reduced
#: by powers of a ratio, so that pictures of few sizes come up.
MASK_EYE_DISTANCE = 72.0
_REDUCTION_RATIO = 1.25
#: Round the contour of the face this much is looked at, in outer-eye distances.
_MARGIN = 0.5
#: All below are shares of the outer-eye distance: the feather inside the contour, and the middle of the face
#: where everything is trusted.
_FEATHER = (0.02, 0.15)
_TRUSTED_INSET = 0.30
_REJECTION_FEATHER = 0.11
#: Half the width of what is too narrow to be a part of the face.
_STRIP = 0.13
_FRAME_FEATHER = 0.03
_CENTRE_WIDTH = (0.36, 0.54)
#: MediaPipe's contour crosses the forehead well below the hairline; above the brows it is stretched by this.
_FOREHEAD_STRETCH = 1.45
#: Spread of skin in CIELAB's two hues, and where another hue begins, in spreads.
_HUE_SPREAD = (7.5, 9.0)
_HUE_LIMITS = (1.3, 2.1)
#: So many pixels are needed to know a skin.
_FEWEST_SEEDS = 60
#: In CIELAB's lightness.
_HOLE_DARKNESS = 12.0
#: sRGB codes to linear light (IEC 61966-2-1), and linear sRGB to XYZ as shares of the white point.
_CODES = np.arange(256) / 255
_LINEAR = np.where(_CODES <= 0.04045, _CODES / 12.92, ((_CODES + 0.055) / 1.055) ** 2.4).astype(np.float32)
_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_WHITE_RELATIVE = (_TO_XYZ.T / _TO_XYZ.sum(1)).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class FaceMasks:
    """Masks of a photo, each a reduced picture of all of it."""

    #: (h, w) float32 in 0..1: how far a pixel may be painted on the face.
    confidence: NDArray[np.float32]
    #: (h, w) float32 in 0..1: how much a pixel's colour is skin.
    skin: NDArray[np.float32]
    #: Pixels of the photo to one of the masks, a power of a fixed ratio.
    reduction: float
    #: Whether a spectacle frame was found; it is no part of the skin then.
    glasses: bool
    #: Share of the face, without eyes, brows and lips, that hair, glasses or something else hides.
    covered: float


def find_masks(photo: Array, landmarks: Array) -> FaceMasks:
    """Return the masks of a photo.

    Args:
        photo: (H, W, 3) uint8 sRGB.
        landmarks: (478, 2 or 3) pixels of the photo; MediaPipe's numbering.
    """
    points = np.asarray(landmarks[:, :2], np.float64)
    eye_distance = float(np.linalg.norm(points[OUTER_EYE_CORNERS[0]] - points[OUTER_EYE_CORNERS[1]]))
    step = round(math.log(max(eye_distance, 1.0) / MASK_EYE_DISTANCE) / math.log(_REDUCTION_RATIO))
    reduction = _REDUCTION_RATIO ** max(0, step)
    height, width = (max(2, round(side / reduction)) for side in photo.shape[:2])
    small = np.asarray(Image.fromarray(photo).resize((width, height), Image.Resampling.BOX, reducing_gap=1.0))
    scale = (width / photo.shape[1], height / photo.shape[0])
    scaled, distance = points * scale, eye_distance * scale[0]
    lab = _to_lab(small)
    skin, darker, foreign = _find_skin(lab, scaled, distance)
    confidence = np.zeros((height, width), np.float32)
    window = _face_window(scaled, distance, height, width)
    offset = (window[1].start, window[0].start)
    confidence[window] = _find_confidence(
        skin[window], darker[window], foreign[window], scaled - offset, distance
    )
    frames = find_frames(lab[0], scaled, distance)
    if frames is not None:
        skin = skin * ~frames
        confidence *= smoothstep_array(_distance_inside(~frames, _FRAME_FEATHER * distance))
    covered = _covered_share(confidence, scaled, distance)
    around = find_skin_round_openings(scaled, distance, (height, width))
    return FaceMasks(
        confidence=confidence * around,
        skin=skin * around,
        reduction=reduction,
        glasses=frames is not None,
        covered=covered,
    )


def _covered_share(confidence: Array, points: Array, eye_distance: float) -> float:
    """Return `FaceMasks.covered`."""
    height, width = confidence.shape
    face = _distance_inside(_fill_polygon(points[list(FACE_OVAL)], height, width), eye_distance) > _FEATHER[1]
    for chain in (*_EYE_REGIONS, OUTER_LIPS):
        face &= ~_fill_polygon(points[list(chain)], height, width)
    return float((confidence[face] < 0.5).mean()) if face.any() else 1.0


def _face_window(points: Array, eye_distance: float, height: int, width: int) -> tuple[slice, slice]:
    """Return rows and columns that hold the contour of the face with a margin."""
    contour = points[list(FACE_OVAL)]
    margin = _MARGIN * eye_distance
    rise = (_FOREHEAD_STRETCH - 1) * float(np.ptp(contour[:, 1])) / 2
    low, high = contour.min(0) - [margin, margin + rise], contour.max(0) + margin
    top, left = max(0, math.floor(low[1])), max(0, math.floor(low[0]))
    bottom, right = min(height, math.ceil(high[1])), min(width, math.ceil(high[0]))
    return slice(top, max(bottom, top + 1)), slice(left, max(right, left + 1))


def _find_confidence(
    skin: Array, darker: Array, foreign: Array, points: Array, eye_distance: float
) -> NDArray[np.float32]:
    """Return (h, w) confidence from what `_find_skin` says of a cut of the photo."""
    height, width = skin.shape
    points = points.astype(np.float32)
    row = np.arange(height, dtype=np.float32)[:, None] + np.float32(0.5)
    column = np.arange(width, dtype=np.float32)[None] + np.float32(0.5)
    brows = points[list(_UPPER_BROWS)]
    order = np.argsort(brows[:, 0])
    brow_row = np.interp(column[0], brows[order, 0], brows[order, 1]).astype(np.float32)[None]
    depth = _distance_inside(_fill_polygon(_stretch_forehead(points), height, width), eye_distance)
    feather = smoothstep_array((depth - _FEATHER[0]) / (_FEATHER[1] - _FEATHER[0]))
    # The colour decides at the sides and on the forehead, where hair and background are; brows, eyes and a
    # beard are as dark as hair and belong to the face.
    middle = smoothstep_array((depth - 0.6 * _TRUSTED_INSET) / (0.4 * _TRUSTED_INSET))
    below_brows = smoothstep_array((row - (brow_row - 0.04 * eye_distance)) / (0.06 * eye_distance))
    below_nose = smoothstep_array((row - points[_NOSE_BASE, 1]) / (0.3 * eye_distance))
    along = np.clip((row - points[_NOSE_BASE, 1]) / (points[_CHIN, 1] - points[_NOSE_BASE, 1] + 1e-6), 0, 1)
    axis = points[_NOSE_BASE, 0] + along * (points[_CHIN, 0] - points[_NOSE_BASE, 0])
    low, high = _CENTRE_WIDTH
    central = smoothstep_array((high - np.abs(column - axis) / eye_distance) / (high - low))
    # A lock of hair is of another hue than the skin; so are lips.
    hair = foreign * (1 - skin)
    trusted = np.maximum(middle * below_brows * (1 - hair), below_nose * central)
    for region in _EYE_REGIONS:
        around = _around(points[list(region)], 0.04 * eye_distance + 2, height, width)
        polygon = _fill_polygon(points[list(region)], height, width)[around]
        if not polygon.any():
            continue
        near = smoothstep_array(1 - _distance_inside(~polygon, 0.04 * eye_distance))
        trusted[around] = np.maximum(trusted[around], near * (1 - hair[around]))
    # Highlights are holes in the skin's colour; a fringe amid highlights is one too, but a dark one.
    filled = binary_fill_holes(binary_closing(skin > 0.5, iterations=2)) & ~darker
    whole = np.maximum(skin, filled)
    # A hair's blurred edge carries the hair's colour: erosion. Skin-coloured strands are no part of the face.
    eroded = minimum_filter(whole, size=max(3, round(0.08 * eye_distance) | 1))
    islands, _ = label(np.maximum(eroded, trusted) > 0.5)
    middle_islands = np.unique(islands[(trusted > 0.5) & (islands > 0)])
    eroded = eroded * np.isin(islands, middle_islands)
    # Erosion opened gaps round the brows: closed again. A fringe shades the skin beside it: a wide feather,
    # inwards only.
    accepted = binary_closing(
        np.maximum(eroded, trusted) > 0.5, iterations=max(1, round(0.07 * eye_distance))
    )
    # A strip beyond a lock of hair, and what hangs on it by a thread, shows more hair than face.
    accepted &= feather > 0
    accepted = _distance_inside(_distance_inside(accepted, eye_distance) <= _STRIP, eye_distance) <= _STRIP
    away = _distance_inside(accepted, eye_distance * _REJECTION_FEATHER)
    return np.asarray(feather * smoothstep_array(away), np.float32)


def _distance_inside(mask: Array, unit: float) -> NDArray[np.float32]:
    """Return (h, w) each true pixel's distance from the nearest false one, in units of so many pixels."""
    distance: NDArray[np.float32] = distance_transform_edt(mask).astype(np.float32) / np.float32(unit)
    return distance


def _around(points: Array, margin: float, height: int, width: int) -> tuple[slice, slice]:
    """Return rows and columns that hold the points with a margin, inside a picture."""
    left, top = np.clip(np.floor(points.min(0) - margin), 0, [width - 1, height - 1]).astype(int)
    right, bottom = np.clip(np.ceil(points.max(0) + margin), 1, [width, height]).astype(int)
    return slice(top, max(bottom, top + 1)), slice(left, max(right, left + 1))


def _find_skin(lab: Array, points: Array, eye_distance: float) -> tuple[Array, Array, Array]:
    """Return (h, w) each: likelihood of skin; clearly darker than it; 0..1 as bright, but of another hue.

    A lock of hair over a brow and the white of an eye are of another hue; brows and lashes are dark.
    """
    height, width = lab.shape[1:]
    patches = np.zeros((height, width), bool)
    for patch in _SKIN_PATCHES:
        patches |= _fill_polygon(points[list(patch)], height, width)
    reference = [float(np.median(plane[patches])) for plane in lab] if patches.any() else [65.0, 14.0, 16.0]
    skin = _rate_skin(lab, points, eye_distance)
    red, yellow = (
        (plane - np.float32(middle)) / np.float32(spread)
        for plane, middle, spread in zip(lab[1:], reference[1:], _HUE_SPREAD, strict=True)
    )
    hue = np.sqrt(red * red + yellow * yellow)
    low, high = _HUE_LIMITS
    bright = smoothstep_array(
        (lab[0] / np.float32(max(reference[0], 1.0)) - np.float32(0.5)) / np.float32(0.15)
    )
    return (
        skin,
        lab[0] < reference[0] - _HOLE_DARKNESS,
        bright * smoothstep_array((hue - low) / (high - low)),
    )


def _rate_skin(lab: Array, points: Array, eye_distance: float) -> NDArray[np.float32]:
    """Return (h, w) in 0..1: how much a pixel's colour is the skin's that the middle of the face shows."""
    height, width = lab.shape[1:]
    contour = points[list(FACE_OVAL)]
    face = _fill_polygon(contour, height, width)
    depth = _distance_inside(face, eye_distance)
    features = np.zeros_like(face)
    for chain in (*_EYE_REGIONS, OUTER_LIPS):
        features |= _fill_polygon(points[list(chain)], height, width)
    row = np.arange(height, dtype=np.float32)[:, None] + np.float32(0.5)
    inside = (depth > 0.14) & ~features & (row < points[_NOSE_BASE, 1])
    if inside.sum() < _FEWEST_SEEDS:
        inside = face
    far = _distance_inside(~face, eye_distance)
    prior = np.float32(0.1) + np.float32(0.8) * smoothstep_array(
        (depth - far + np.float32(0.25)) / np.float32(0.5)
    )
    # Above the eyes, beside and over the forehead, is hair or background; below lies the neck.
    brow = _fill_polygon(_stretch_forehead(points), height, width)
    around = (far < 1.0) & (_distance_inside(~brow, eye_distance) > 0.06)
    upper = row < points[list(OUTER_EYE_CORNERS), 1].mean()
    return rate_skin(lab, inside, around & upper, around & ~upper, prior)


def _stretch_forehead(points: Array) -> Array:
    """Return the contour of the face with the forehead up to about the hairline."""
    contour = points[list(FACE_OVAL)].copy()
    above = np.minimum(contour[:, 1] - points[list(_UPPER_BROWS), 1].mean(), 0)
    contour[:, 1] += (_FOREHEAD_STRETCH - 1) * above
    return contour


def _fill_polygon(points: Array, height: int, width: int) -> Array:
    canvas = Image.new("1", (width, height))
    ImageDraw.Draw(canvas).polygon([(float(x), float(y)) for x, y in points], fill=1)
    return np.asarray(canvas)


def _to_lab(photo: Array) -> NDArray[np.float32]:
    """Return (3, h, w) CIELAB of an sRGB photo (h, w, 3) (D65)."""
    linear = _LINEAR[photo.reshape(-1, 3).T]
    xyz = _WHITE_RELATIVE.T @ linear
    x, y, z = np.where(
        xyz > np.float32(216 / 24389), np.cbrt(xyz), (np.float32(24389 / 27) * xyz + 16) / np.float32(116)
    )
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)]).reshape(3, *photo.shape[:2])

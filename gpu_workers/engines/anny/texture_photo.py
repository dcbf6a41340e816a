"""The photo as the bake uses it: linear light, mild sharpening, and where it shows skin of the face."""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw
from scipy.ndimage import (
    binary_closing,
    binary_fill_holes,
    distance_transform_edt,
    label,
    minimum_filter,
)
from torch import Tensor
from torch.nn import functional

from face3d.messages import Array

#: MediaPipe's landmarks (478): the contour of the face, clockwise from the forehead.
_OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176,
    149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
#: Patches that show bare skin on nearly every face: both cheeks, bridge and tip of the nose.
_SKIN_PATCHES = ((50, 101, 118, 117), (280, 330, 347, 346), (9, 8, 168, 6), (4, 5, 195, 197))
_UPPER_BROWS = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300)
#: From the outer end of a brow over it, and back along the lower lid.
_EYE_REGIONS = (
    (70, 63, 105, 66, 107, 133, 155, 154, 153, 145, 144, 163, 7, 33),
    (300, 293, 334, 296, 336, 362, 382, 381, 380, 374, 373, 390, 249, 263),
)
_CHIN = 152
_OUTER_EYES = (33, 263)
_NOSE_BASE = 2
#: Outer-eye distance of the reduced photo on which the masks are made, pixels.
_MASK_EYE_DISTANCE = 96
#: All below are shares of the outer-eye distance: the feather inside the contour, and the middle of the face
#: where everything is trusted.
_FEATHER = (0.02, 0.15)
_TRUSTED_INSET = 0.30
_REJECTION_FEATHER = 0.11
_CENTRE_WIDTH = (0.36, 0.54)
#: MediaPipe's contour crosses the forehead well below the hairline; above the brows it is stretched by this.
_FOREHEAD_STRETCH = 1.45
#: Spread of skin in CIELAB; brighter than the reference counts as skin.
_SKIN_SPREAD = (30.0, 7.5, 9.0)
_SKIN_LIMITS = (1.3, 2.1)
#: In CIELAB's lightness.
_HOLE_DARKNESS = 12.0


@dataclass(frozen=True, kw_only=True)
class FacePhoto:
    """A photo prepared for projection."""

    #: (3, H, W) float32 linear light.
    linear: Tensor
    #: (1, h, w) float32 in 0..1: how far a pixel may be painted on the face; a reduced picture of all of it.
    confidence: Tensor
    #: (1, h, w) float32 in 0..1: how much a pixel's colour is skin.
    skin: Tensor
    #: Outer-eye distance, pixels of the full photo.
    eye_distance: float


def prepare_photo(photo: Array, landmarks: Array, *, sharpen: bool, device: torch.device) -> FacePhoto:
    """Return the photo in linear light with its masks.

    Args:
        photo: (H, W, 3) uint8 sRGB.
        landmarks: (478, 2 or 3) pixels of the photo; MediaPipe's numbering.
        sharpen: unsharp masking, mild, with a radius that follows the size of the face.
    """
    points = np.asarray(landmarks[:, :2], np.float64)
    eye_distance = float(np.linalg.norm(points[_OUTER_EYES[0]] - points[_OUTER_EYES[1]]))
    linear = decode_srgb(torch.tensor(photo, device=device)).permute(2, 0, 1).contiguous()
    if sharpen:
        linear = _sharpen(linear, sigma=max(0.7, 0.008 * eye_distance), amount=0.6)
    scale = min(1.0, _MASK_EYE_DISTANCE / eye_distance)
    height, width = (max(2, round(side * scale)) for side in photo.shape[:2])
    small = np.asarray(Image.fromarray(photo).resize((width, height), Image.Resampling.BOX))
    scaled = points * (width / photo.shape[1], height / photo.shape[0])
    confidence, skin = _find_masks(small, scaled, eye_distance * scale)
    return FacePhoto(
        linear=linear,
        confidence=torch.from_numpy(confidence)[None].to(device),
        skin=torch.from_numpy(skin)[None].to(device),
        eye_distance=eye_distance,
    )


def decode_srgb(image: Tensor) -> Tensor:
    """Return a uint8 sRGB image of any shape as linear float32 (IEC 61966-2-1)."""
    steps = torch.arange(256, dtype=torch.float32, device=image.device) / 255
    table = torch.where(steps <= 0.04045, steps / 12.92, ((steps + 0.055) / 1.055) ** 2.4)
    return table[image.long()] if image.is_cuda else table[image.int()]


def sample_picture(picture: Tensor, coordinates: Tensor, *, mode: str = "bilinear") -> Tensor:
    """Return (C, H, W) samples of a (C, h, w) picture.

    Args:
        coordinates: (2, H, W) x and y as shares of the width and the height, 0..1; clamped to the border.
    """
    grid = (coordinates * 2 - 1).permute(1, 2, 0)[None]
    return functional.grid_sample(picture[None], grid, mode=mode, padding_mode="border", align_corners=False)[
        0
    ]


def blur(picture: Tensor, sigma: float) -> Tensor:
    """Return a (C, H, W) picture blurred by a Gaussian, borders replicated; wide ones at a quarter's size."""
    if sigma >= 8 and picture.shape[-1] % 4 == 0 and picture.shape[-2] % 4 == 0:
        small = blur(functional.avg_pool2d(picture, 4), sigma / 4)
        return functional.interpolate(small[None], scale_factor=4, mode="bilinear", align_corners=False)[0]
    radius = max(1, round(3 * sigma))
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float32, device=picture.device)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = (kernel / kernel.sum()).view(1, 1, 1, -1)
    rows = functional.pad(picture[:, None], (radius, radius, 0, 0), mode="replicate")
    rows = functional.conv2d(rows, kernel)
    columns = functional.pad(rows, (0, 0, radius, radius), mode="replicate")
    return functional.conv2d(columns, kernel.transpose(2, 3))[:, 0]


def _sharpen(linear: Tensor, *, sigma: float, amount: float) -> Tensor:
    # In a roughly perceptual scale, so that dark and bright edges overshoot alike.
    root = linear.sqrt()
    detail = (root - blur(root, sigma)).clamp(-0.06, 0.06)
    return (root + amount * detail).clamp(0, 1) ** 2


def _find_masks(photo: Array, points: Array, eye_distance: float) -> tuple[Array, Array]:
    """Return confidence and skin likelihood, (h, w) float32 each, of a reduced photo."""
    height, width = photo.shape[:2]
    row, column = np.mgrid[0:height, 0:width] + 0.5
    brows = points[list(_UPPER_BROWS)]
    order = np.argsort(brows[:, 0])
    brow_row = np.interp(column[0], brows[order, 0], brows[order, 1])[None, :]
    contour = points[list(_OVAL)].copy()
    above = np.minimum(contour[:, 1] - brows[:, 1].mean(), 0)
    contour[:, 1] += (_FOREHEAD_STRETCH - 1) * above
    depth = distance_transform_edt(_fill_polygon(contour, height, width)) / eye_distance
    feather = _smooth((depth - _FEATHER[0]) / (_FEATHER[1] - _FEATHER[0]))
    skin, darker, foreign = _find_skin(photo, points)
    # The colour decides at the sides and on the forehead, where hair and background are; brows, eyes and a
    # beard are as dark as hair and belong to the face.
    middle = _smooth((depth - 0.6 * _TRUSTED_INSET) / (0.4 * _TRUSTED_INSET))
    below_brows = _smooth((row - (brow_row - 0.04 * eye_distance)) / (0.06 * eye_distance))
    below_nose = _smooth((row - points[_NOSE_BASE, 1]) / (0.3 * eye_distance))
    along = np.clip((row - points[_NOSE_BASE, 1]) / (points[_CHIN, 1] - points[_NOSE_BASE, 1] + 1e-6), 0, 1)
    axis = points[_NOSE_BASE, 0] + along * (points[_CHIN, 0] - points[_NOSE_BASE, 0])
    low, high = _CENTRE_WIDTH
    central = _smooth((high - np.abs(column - axis) / eye_distance) / (high - low))
    trusted = np.maximum(middle * below_brows, below_nose * central)
    for region in _EYE_REGIONS:
        away = distance_transform_edt(~_fill_polygon(points[list(region)], height, width))
        trusted = np.maximum(trusted, _smooth(1 - away / (0.04 * eye_distance)) * (1 - foreign))
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
    away = distance_transform_edt(accepted) / eye_distance
    confidence = feather * _smooth(away / _REJECTION_FEATHER)
    return confidence.astype(np.float32), skin.astype(np.float32)


def _find_skin(photo: Array, points: Array) -> tuple[Array, Array, Array]:
    """Return (h, w) each: likelihood of skin; clearly darker than it; 0..1 as bright, but of another hue.

    A lock of hair over a brow and the white of an eye are of another hue; brows and lashes are dark.
    """
    height, width = photo.shape[:2]
    lab = _to_lab(photo)
    patches = np.zeros((height, width), bool)
    for patch in _SKIN_PATCHES:
        patches |= _fill_polygon(points[list(patch)], height, width)
    reference = np.median(lab[patches], axis=0) if patches.any() else np.array([65.0, 14.0, 16.0])
    difference = (lab - reference) / _SKIN_SPREAD
    hue = np.sqrt((difference[..., 1:] ** 2).sum(-1))
    distance = np.sqrt(np.minimum(difference[..., 0], 0) ** 2 + hue**2)
    low, high = _SKIN_LIMITS
    bright = _smooth((lab[..., 0] / max(reference[0], 1.0) - 0.5) / 0.15)
    return (
        _smooth((high - distance) / (high - low)),
        lab[..., 0] < reference[0] - _HOLE_DARKNESS,
        bright * _smooth((hue - low) / (high - low)),
    )


def _fill_polygon(points: Array, height: int, width: int) -> Array:
    canvas = Image.new("1", (width, height))
    ImageDraw.Draw(canvas).polygon([(float(x), float(y)) for x, y in points], fill=1)
    return np.asarray(canvas)


def _smooth(ramp: Array) -> Array:
    clipped = np.clip(ramp, 0, 1)
    return np.asarray(clipped * clipped * (3 - 2 * clipped))


def _to_lab(photo: Array) -> Array:
    """Return CIELAB of an sRGB photo (D65)."""
    scaled = photo.astype(np.float64) / 255
    linear = np.where(scaled <= 0.04045, scaled / 12.92, ((scaled + 0.055) / 1.055) ** 2.4)
    matrix = np.array(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ]
    )
    xyz = linear @ matrix.T / matrix.sum(1)
    root = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    lightness = 116 * root[..., 1] - 16
    return np.stack(
        [lightness, 500 * (root[..., 0] - root[..., 1]), 200 * (root[..., 1] - root[..., 2])], axis=-1
    )

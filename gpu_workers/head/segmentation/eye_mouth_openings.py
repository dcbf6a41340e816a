"""Where a photo shows eyes, lashes and teeth: what lies there is painted on no skin.

A lid's edge is a few pixels high in a photo and a centimetre on the map once the eye shuts: lashes, liner and
the white of the eye would become streaks. Teeth beside the lip line would become white corners of the lips.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional

from face3d.messages import Array
from gpu_workers.head.model.mediapipe_landmarks import LEFT_EYE_EDGES, MOUTH_EDGES, RIGHT_EYE_EDGES

#: How far each opening reaches over its upper edge, under its lower one and past its corners, shares of the
#: outer-eye distance: the visible lid with its lashes; the lips' wet side.
_EYE_REACH = (0.065, 0.020, 0.024)
_MOUTH_REACH = (0.014, 0.022, 0.020)
#: Drawn so much finer than a pixel.
_FINER = 4
#: Standard deviation of the blurred edge: a share of the outer-eye distance, and the least in pixels.
_FEATHER, _LEAST_FEATHER = 0.006, 0.3
#: Pixels that the blur reaches.
_BLUR_RADIUS = 2


def draw_openings(points: Array, eye_distance: float, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Return (h, w): 0 where a picture shows the openings of eyes and mouth, 255 elsewhere, shares between.

    Args:
        points: (478, 2) pixels of the picture.
        eye_distance: between the outer corners of the eyes, pixels.
        shape: height, width.
    """
    openings = ((RIGHT_EYE_EDGES, _EYE_REACH), (LEFT_EYE_EDGES, _EYE_REACH), (MOUTH_EDGES, _MOUTH_REACH))
    outlines = [_widen(points, edges, eye_distance * np.array(reach)) for edges, reach in openings]
    corners = np.concatenate(outlines)
    size = np.array(shape[::-1])
    low = np.clip(np.floor(corners.min(0)) - 1, 0, size).astype(int)
    high = np.clip(np.ceil(corners.max(0)) + 1, low, size).astype(int)
    around = np.full(shape, 255, np.uint8)
    width, height = (high - low).tolist()
    if width and height:
        sheet = Image.new("L", (width * _FINER, height * _FINER), 255)
        draw = ImageDraw.Draw(sheet)
        for outline in outlines:
            draw.polygon([(x, y) for x, y in ((outline - low) * _FINER).tolist()], fill=0)
        around[low[1] : high[1], low[0] : high[0]] = np.asarray(sheet.reduce(_FINER))
    return around


def soften_openings(drawn: Tensor, eye_distance: Tensor) -> Tensor:
    """Return (h, w) in 0..1: what `draw_openings` returned, its edges blurred.

    Args:
        drawn: (h, w) uint8.
        eye_distance: (), as there.
    """
    sigma = (_FEATHER * eye_distance).clamp(min=_LEAST_FEATHER)
    offsets = torch.arange(-_BLUR_RADIUS, _BLUR_RADIUS + 1, device=drawn.device)
    weights = (-0.5 * (offsets / sigma).square()).exp()
    weights = weights / weights.sum()
    picture = functional.pad(drawn[None, None].float() / 255, (_BLUR_RADIUS,) * 4, mode="replicate")[0, 0]
    for axis in (-1, -2):
        length = picture.shape[axis] - 2 * _BLUR_RADIUS
        blurred = torch.zeros_like(picture.narrow(axis, 0, length))
        for start, weight in enumerate(weights):
            blurred.addcmul_(picture.narrow(axis, start, length), weight)
        picture = blurred
    return picture


def _widen(points: Array, edges: tuple[tuple[int, ...], tuple[int, ...]], reach: Array) -> Array:
    """Return the outline (N, 2) of an opening whose upper and lower edge and corners are moved outwards."""
    upper, lower = (np.asarray(points, np.float64)[list(edge)] for edge in edges)
    along = upper[-1] - upper[0]
    along /= max(float(np.linalg.norm(along)), 1e-6)
    down = np.array([-along[1], along[0]])
    place = np.linspace(0, np.pi, len(upper))[:, None]
    # A little less at the corners.
    swell = 0.7 + 0.3 * np.sin(place)
    aside = -np.cos(place) * reach[2] * along
    return np.concatenate(
        [upper - swell * reach[0] * down + aside, (lower + swell * reach[1] * down + aside)[::-1]]
    )

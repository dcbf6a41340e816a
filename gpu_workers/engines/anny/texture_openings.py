"""Where a photo shows eyes, lashes and teeth: what lies there is painted on no skin.

A lid's edge is a few pixels high in a photo and a centimetre on the map once the eye shuts: lashes, liner and
the white of the eye would become streaks. Teeth beside the lip line would become white corners of the lips.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

from face3d.messages import Array
from gpu_workers.engines.anny.correspondence import LEFT_EYE_EDGES, MOUTH_EDGES, RIGHT_EYE_EDGES

#: How far each opening reaches over its upper edge, under its lower one and past its corners, shares of the
#: outer-eye distance: the visible lid with its lashes; the lips' wet side.
_EYE_REACH = (0.065, 0.020, 0.024)
_MOUTH_REACH = (0.014, 0.022, 0.020)
#: Drawn so much finer than a pixel.
_FINER = 4
_FEATHER = 0.006


def find_skin_round_openings(
    points: Array, eye_distance: float, shape: tuple[int, int]
) -> NDArray[np.float32]:
    """Return (h, w) in 0..1, 0 where a picture shows the openings of eyes and mouth.

    Args:
        points: (478, 2) pixels of the picture.
        eye_distance: between the outer corners of the eyes, pixels.
        shape: height, width.
    """
    height, width = shape
    sheet = Image.new("L", (width * _FINER, height * _FINER), 255)
    draw = ImageDraw.Draw(sheet)
    for opening, reach in (
        (RIGHT_EYE_EDGES, _EYE_REACH),
        (LEFT_EYE_EDGES, _EYE_REACH),
        (MOUTH_EDGES, _MOUTH_REACH),
    ):
        outline = _widen(points, opening, eye_distance * np.array(reach)) * _FINER
        draw.polygon([(float(x), float(y)) for x, y in outline], fill=0)
    small = np.asarray(sheet.resize((width, height), Image.Resampling.BOX), np.float32) / 255
    return np.asarray(gaussian_filter(small, max(_FEATHER * eye_distance, 0.3)), np.float32)


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

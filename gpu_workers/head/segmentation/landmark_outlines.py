"""What a photo's landmarks say to its masks: outlines drawn by Pillow, and numbers, sent in two pieces."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from face3d.messages import Array
from gpu_workers.head.model.mediapipe_landmarks import (
    FACE_OVAL,
    LEFT_BROW,
    LEFT_LIDS,
    OUTER_EYE_CORNERS,
    OUTER_LIPS,
    RIGHT_BROW,
    RIGHT_LIDS,
)
from gpu_workers.head.ops.image import MASK_EYE_DISTANCE
from gpu_workers.head.runtime import cuda_graphs
from gpu_workers.head.segmentation.eye_mouth_openings import draw_openings, soften_openings
from gpu_workers.head.segmentation.glasses import FrameSearch, plan_search, unpack_search

#: MediaPipe's landmarks (478), patches that show bare skin on nearly every face: both cheeks, bridge and tip
#: of the nose.
SKIN_PATCHES = ((50, 101, 118, 117), (280, 330, 347, 346), (9, 8, 168, 6), (4, 5, 195, 197))
UPPER_BROWS = RIGHT_BROW[:5] + LEFT_BROW[4::-1]
#: From the outer end of a brow over it, and back along the lower lid.
_EYE_REGIONS = (RIGHT_BROW[:5] + RIGHT_LIDS[8::-1], LEFT_BROW[:5] + LEFT_LIDS[8::-1])
_CHIN = 152
_NOSE_BASE = 2
#: Round the contour of the face this much is looked at, in outer-eye distances.
_MARGIN = 0.5
#: MediaPipe's contour crosses the forehead well below the hairline; above the brows it is stretched by this.
_FOREHEAD_STRETCH = 1.45
#: What a hair's blurred edge takes from the skin, and gaps round the brows: shares of the outer-eye distance.
_EROSION, _GAPS = 0.08, 0.07


#: Photos are reduced by powers of this, so that pictures of few sizes come up.
REDUCTION_RATIO = 1.25
_LARGEST_EYE_DISTANCE = math.ceil(MASK_EYE_DISTANCE * math.sqrt(REDUCTION_RATIO)) + 1


def most_pixels(share: float) -> int:
    """Return how many pixels of a reduced photo a share of the outer-eye distance is at most."""
    return math.ceil(share * _LARGEST_EYE_DISTANCE)


@dataclass(frozen=True, kw_only=True)
class MaskPlan:
    """Outlines (h, w) bool and numbers on a device, in pixels of the reduced photo."""

    #: Within MediaPipe's contour; the same with the forehead up to about the hairline.
    face: Tensor
    stretched: Tensor
    #: Eyes with their brows; the lips.
    eye_regions: Tensor
    lips: Tensor
    #: Patches of bare skin.
    patches: Tensor
    eyes: Tensor
    brows: Tensor
    #: (h, w) float32 in 0..1: 0 at the openings of eyes and mouth.
    around_openings: Tensor
    #: The contour of the face with a margin.
    window: Tensor
    #: () between the outer corners of the eyes, pixels.
    eye_distance: Tensor
    #: (2,) x and y of the base of the nose, and of the chin.
    nose: Tensor
    chin: Tensor
    #: () row of the outer corners of the eyes.
    eye_row: Tensor
    #: () half the side of the square that erodes, and steps that close gaps.
    erosion: Tensor
    gaps: Tensor
    #: (w,) row of the upper edge of the brows in each column.
    brow_rows: Tensor
    frames: FrameSearch

    def cut(self) -> tuple["MaskPlan", tuple[slice, slice]]:
        """Return the plan of the window alone, but for `frames`, and its rows and columns.

        A GPU's is the whole picture: there shapes do not depend on the face.
        """
        if cuda_graphs.waits_for_values(self.window):
            return self, (slice(None), slice(None))
        across, down = self.window.any(0).nonzero(), self.window.any(1).nonzero()
        if not len(across):
            return self, (slice(None), slice(None))
        (top, bottom), (left, right) = ((int(line[0]), int(line[-1]) + 1) for line in (down, across))
        place = (slice(top, bottom), slice(left, right))
        pictures: dict[str, Any] = {
            name: value[place] for name, value in vars(self).items() if getattr(value, "ndim", 0) == 2
        }
        origin = self.nose.new_tensor([left, top])
        moved: dict[str, Any] = {
            "nose": self.nose - origin,
            "chin": self.chin - origin,
            "eye_row": self.eye_row - top,
            "brow_rows": self.brow_rows[place[1]] - top,
        }
        return replace(self, **pictures, **moved), place


@dataclass(frozen=True)
class PlanArrays:
    """A plan on the host; its shapes follow from the picture's."""

    #: (2, h, w) uint8: a bit each for the outlines, and the openings.
    sheets: NDArray[np.uint8]
    #: (N,) float32
    numbers: NDArray[np.float32]


def draw_plan(points: Array, eye_distance: float, shape: tuple[int, int]) -> PlanArrays:
    """Return the plan of a face.

    Args:
        points: (478, 2) landmarks, pixels of a picture.
        eye_distance: between the outer corners of the eyes, pixels.
        shape: height, width of the picture.
    """
    width = shape[1]
    outlines = [[points[list(FACE_OVAL)]], [_stretch_forehead(points)]]
    eyes, brows = (RIGHT_LIDS, LEFT_LIDS), (RIGHT_BROW, LEFT_BROW)
    for chains in (_EYE_REGIONS, (OUTER_LIPS,), SKIN_PATCHES, eyes, brows):
        outlines.append([points[list(chain)] for chain in chains])
    sheet = np.zeros(shape, np.uint8)
    for bit, polygons in enumerate(outlines):
        _draw(sheet, polygons, 1 << bit)
    upper_brows = points[list(UPPER_BROWS)]
    upper_brows = upper_brows[np.argsort(upper_brows[:, 0])]
    eye_row = points[list(OUTER_EYE_CORNERS), 1].mean()
    erosion = max(3, round(_EROSION * eye_distance) | 1) // 2
    gaps = max(1, round(_GAPS * eye_distance))
    numbers = [
        *_face_window(points, eye_distance, shape),
        *(eye_distance, *points[_NOSE_BASE], *points[_CHIN], eye_row, erosion, gaps),
        *np.interp(np.arange(width) + 0.5, *upper_brows.T),
        *plan_search(points, eye_distance, shape),
    ]
    openings = draw_openings(points, eye_distance, shape)
    return PlanArrays(np.stack([sheet, openings]), np.array(numbers, np.float32))


def unpack_plan(sheets: Tensor, numbers: Tensor) -> MaskPlan:
    """Return the plan that `draw_plan` made, of its arrays on a device."""
    height, width = sheets.shape[1:]
    bits = torch.arange(7, dtype=torch.uint8, device=sheets.device)[:, None, None]
    face, stretched, eye_regions, lips, patches, eyes, brows = (
        sheets[0].bitwise_right_shift(bits).bitwise_and(1).bool()
    )
    window, scalars, brow_rows, frames = torch.split(numbers, [4, 8, width, len(numbers) - 12 - width])
    top, left, bottom, right = window
    row = torch.arange(height, device=sheets.device)[:, None]
    column = torch.arange(width, device=sheets.device)
    return MaskPlan(
        face=face,
        stretched=stretched,
        eye_regions=eye_regions,
        lips=lips,
        patches=patches,
        eyes=eyes,
        brows=brows,
        around_openings=soften_openings(sheets[1], scalars[0]),
        window=((row >= top) & (row < bottom)) & ((column >= left) & (column < right)),
        eye_distance=scalars[0],
        nose=scalars[1:3],
        chin=scalars[3:5],
        eye_row=scalars[5],
        erosion=scalars[6],
        gaps=scalars[7],
        brow_rows=brow_rows,
        frames=unpack_search(frames),
    )


def _draw(sheet: NDArray[np.uint8], polygons: list[Array], bit: int) -> None:
    """Set a bit of a sheet (h, w) inside polygons (N, 2)."""
    for polygon in polygons:
        size = sheet.shape[::-1]
        low = np.clip(np.floor(polygon.min(0)) - 1, 0, size).astype(int)
        width, height = (np.clip(np.ceil(polygon.max(0)) + 2, low, size).astype(int) - low).tolist()
        if width and height:
            canvas = Image.new("L", (width, height))
            ImageDraw.Draw(canvas).polygon([(x, y) for x, y in (polygon - low).tolist()], fill=bit)
            sheet[low[1] : low[1] + height, low[0] : low[0] + width] |= np.asarray(canvas)


def _face_window(points: Array, eye_distance: float, shape: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return top, left, bottom and right of what holds the contour of the face with a margin."""
    contour, (height, width) = points[list(FACE_OVAL)], shape
    margin = _MARGIN * eye_distance
    rise = (_FOREHEAD_STRETCH - 1) * float(np.ptp(contour[:, 1])) / 2
    low, high = contour.min(0) - [margin, margin + rise], contour.max(0) + margin
    top, left = max(0, math.floor(low[1])), max(0, math.floor(low[0]))
    return top, left, min(height, math.ceil(high[1])), min(width, math.ceil(high[0]))


def _stretch_forehead(points: Array) -> Array:
    """Return the contour of the face with the forehead up to about the hairline."""
    contour = points[list(FACE_OVAL)].copy()
    above = np.minimum(contour[:, 1] - points[list(UPPER_BROWS), 1].mean(), 0)
    contour[:, 1] += (_FOREHEAD_STRETCH - 1) * above
    return contour

"""The small picture of a face on which a photo is judged: of one size, whatever the photo's."""

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageDraw
from torch import Tensor

from gpu_workers.head.landmarks.crops import Photo
from gpu_workers.head.landmarks.face_detection import MeasuredFace, cut_square
from gpu_workers.head.model.mediapipe_landmarks import (
    FACE_OVAL,
    LEFT_BROW,
    LEFT_LIDS,
    OUTER_LIPS,
    RIGHT_BROW,
    RIGHT_LIDS,
    SKIN_LANDMARKS,
)

#: Eye distance of the patch, and its side, pixels.
PATCH_EYES = 96.0
PATCH_SIDE = 224
#: A colour value from here on is clipped, of 255.
CLIPPED = 253
#: Luminance of sRGB codes, as Pillow weighs them.
LUMA = (0.299, 0.587, 0.114)
#: Landmarks whose surroundings are skin on every face, seldom hidden by beard or fringe: the bridge of the
#: nose, its ridge, the forehead's middle, the cheeks under the eyes.
_SKIN_POINTS = (6, 195, 151, 50, 280)
#: Pixels round the face that are looked at.
_BOX_MARGIN = 8
#: Half the side of such a square, pixels.
_HALF_SIDE = 4

#: Every N pixels tell the contrast.
_STEP = 3
#: Shares of the face that are darker than its dark parts, and than its light ones.
_CONTRAST = (0.05, 0.95)
#: Most of it as a share of the skin's lightness; least, in units of lightness.
_MOST_CONTRAST, _LEAST_CONTRAST = 0.6, 0.5
_FEATURES = (RIGHT_LIDS, LEFT_LIDS, RIGHT_BROW, LEFT_BROW, OUTER_LIPS)

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class FacePatch:
    """A face cut out of a photo, its eyes `PATCH_EYES` apart; leaning as in the photo."""

    #: (S, S, 3) uint8 sRGB.
    pixels: NDArray[np.uint8]
    #: The same where it was cut.
    on_device: Tensor
    #: (478, 2) landmarks, pixels of the patch.
    points: NDArray[np.floating]
    #: Left, top, right, bottom of the photo, pixels of the patch.
    photo: tuple[float, float, float, float]

    @cached_property
    def oval(self) -> BoolArray:
        """(S, S) the face within its contour."""
        return draw_polygon(self.points[list(FACE_OVAL)], (PATCH_SIDE, PATCH_SIDE))

    @cached_property
    def box(self) -> tuple[slice, slice]:
        """The rows and columns of the face and a little more: what lies outside is not looked at."""
        return self.window(self.points[list(FACE_OVAL)], _BOX_MARGIN)

    @cached_property
    def lab(self) -> FloatArray:
        """(S, S, 3) CIELAB in the box, of a profile connection space (D50); 0 outside."""
        picture = Image.fromarray(np.ascontiguousarray(self.pixels[self.box]))
        converted = np.asarray(ImageCms.applyTransform(picture, _lab_transform()))
        found = np.zeros((PATCH_SIDE, PATCH_SIDE, 3), np.float32)
        inside = found[self.box]
        np.multiply(converted[..., 0], np.float32(100 / 255), out=inside[..., 0])
        # Two signed bytes.
        inside[..., 1:] = converted[..., 1:].view(np.int8)
        return found

    @cached_property
    def features(self) -> BoolArray:
        """(S, S) eyes, brows and lips."""
        found = np.zeros((PATCH_SIDE, PATCH_SIDE), bool)
        for chain in _FEATURES:
            found |= draw_polygon(self.points[list(chain)], found.shape)
        return found

    @cached_property
    def luma(self) -> NDArray[np.uint8]:
        """(S, S) uint8, as Pillow weighs the channels; NumPy's product would wake threads that spin."""
        return np.asarray(Image.fromarray(self.pixels).convert("L"))

    @cached_property
    def skin(self) -> FloatArray:
        """(3,) CIELAB of skin: the median of points that are seldom hidden."""
        found = [self.sample_square(x, y).reshape(-1, 3) for x, y in self.points[list(_SKIN_POINTS)]]
        return np.asarray(np.median(np.concatenate(found), axis=0))

    @cached_property
    def contrast(self) -> float:
        """Lightness from the face's dark to its light parts; a black thing before it counts as brows do."""
        lightness = self.lab[::_STEP, ::_STEP, 0][self.oval[::_STEP, ::_STEP]]
        if not lightness.size:
            return 1.0
        low, high = np.quantile(lightness, _CONTRAST)
        return float(max(min(high - low, _MOST_CONTRAST * self.skin[0]), _LEAST_CONTRAST))

    def sample_square(self, x: float, y: float) -> FloatArray:
        """Return the CIELAB pixels (h, w, 3) round a place."""
        column, row = (int(np.clip(place, _HALF_SIDE, PATCH_SIDE - _HALF_SIDE - 1)) for place in (x, y))
        return self.lab[
            row - _HALF_SIDE : row + _HALF_SIDE + 1, column - _HALF_SIDE : column + _HALF_SIDE + 1
        ]

    def window(self, points: NDArray[np.floating], margin: float) -> tuple[slice, slice]:
        """Return the rows and columns about points (N, 2), inside the patch; never empty."""
        low = np.clip(np.floor(points.min(0) - margin), 0, PATCH_SIDE - 2).astype(int)
        high = np.clip(np.ceil(points.max(0) + margin), low + 2, PATCH_SIDE).astype(int)
        return slice(low[1], high[1]), slice(low[0], high[0])


def cut_patch(photo: Photo, face: MeasuredFace) -> FacePatch:
    """Return the patch of a face of a photo (H, W, 3); the border's colours go on outside."""
    half = 0.5 * PATCH_SIDE / PATCH_EYES * face.eye_distance
    centre = face.points[:SKIN_LANDMARKS, :2].mean(0).astype(np.float64)
    cut = cut_square(photo, centre, half, PATCH_SIDE)
    on_device = cut if isinstance(cut, Tensor) else torch.from_numpy(np.array(cut))
    scale = PATCH_SIDE / (2 * half)
    (left, top), (height, width) = (half - centre) * scale, photo.shape[:2]
    return FacePatch(
        pixels=on_device.cpu().numpy(),
        on_device=on_device,
        points=(face.points[:, :2] - (centre - half)) * scale,
        photo=(left, top, left + width * scale, top + height * scale),
    )


def draw_polygon(points: NDArray[np.floating], shape: tuple[int, int]) -> BoolArray:
    """Return (h, w): the area within points (N, 2)."""
    picture = Image.new("1", (shape[1], shape[0]))
    ImageDraw.Draw(picture).polygon([(float(x), float(y)) for x, y in points], fill=1)
    return np.asarray(picture)


@cache
def _lab_transform() -> ImageCms.ImageCmsTransform:
    # Pillow's own conversion makes it anew for every picture, which takes longer than its use.
    return ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )

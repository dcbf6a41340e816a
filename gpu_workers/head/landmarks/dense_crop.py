"""The square of a photo that the face network looks at, and the way back from its points to the photo."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from gpu_workers.head.model.mediapipe_landmarks import SKIN_LANDMARKS, eye_axis

FloatArray = NDArray[np.floating]

#: Side of the square in sizes of the landmarks' box: that of the training (random_heads.CROP_MARGIN).
_MARGIN = 1.35
#: A photo is averaged over at most this number of samples a pixel and axis.
_MOST_SAMPLES = 16


@dataclass(frozen=True, kw_only=True)
class FaceSquare:
    """An upright square about a face, in pixels of the photo; the first pixel's centre is (0.5, 0.5)."""

    x: float
    y: float
    #: Half a side.
    half: float
    #: Radians, clockwise on the screen: how far the face leans.
    angle: float

    @property
    def axes(self) -> NDArray[np.float64]:
        """(2, 2) pixels of the photo: rows are half a side to the right and half a side down."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        return self.half * np.array([[cos, sin], [-sin, cos]])

    def to_photo(self, points: FloatArray) -> NDArray[np.float64]:
        """Return points (K, 2 or 3) of the network in pixels of the photo; depth in the same unit."""
        placed = np.array(points, dtype=np.float64) * self.half
        placed[:, :2] = points[:, :2] @ self.axes + [self.x, self.y]
        return placed


def face_square(landmarks: FloatArray) -> FaceSquare:
    """Return the square of a face by its detected landmarks (478, 2 or 3), pixels of the photo."""
    x, y = eye_axis(landmarks[:, :2].astype(np.float64))
    angle = math.atan2(y, x)
    cos, sin = math.cos(angle), math.sin(angle)
    upright = np.array([[cos, sin], [-sin, cos]])
    turned = landmarks[:SKIN_LANDMARKS, :2].astype(np.float64) @ upright.T
    low, high = turned.min(0), turned.max(0)
    middle = 0.5 * (low + high) @ upright
    half = 0.5 * float((high - low).max()) * _MARGIN
    return FaceSquare(x=float(middle[0]), y=float(middle[1]), half=half, angle=angle)


def cut_face(photo: Tensor, square: FaceSquare, size: int) -> Tensor:
    """Return the square (size, size, 3) uint8 of a photo (H, W, 3) uint8, averaged over its pixels.

    Outside the photo its border goes on.
    """
    height, width = photo.shape[:2]
    samples = max(1, min(_MOST_SAMPLES, math.ceil(2 * square.half / size)))
    count = size * samples
    steps = (torch.arange(count, device=photo.device, dtype=torch.float64) + 0.5) / count * 2 - 1
    (xx, xy), (yx, yy) = square.axes.tolist()
    x = steps[None, :] * xx + steps[:, None] * yx + square.x
    y = steps[None, :] * xy + steps[:, None] * yy + square.y
    grid = torch.stack([x / width, y / height], -1)[None].float() * 2 - 1
    planes = photo.permute(2, 0, 1)[None].float()
    cut = functional.grid_sample(planes, grid, mode="bilinear", padding_mode="border", align_corners=False)
    mean = functional.avg_pool2d(cut, samples)[0]
    return mean.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous()

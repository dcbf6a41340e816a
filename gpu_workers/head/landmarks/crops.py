"""Rotated regions of a photo: cut out as a model's input, and mapped back."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
#: (H, W, 3) uint8 sRGB, as an array or on a GPU.
Photo = NDArray[np.uint8] | torch.Tensor


@dataclass(frozen=True)
class Region:
    """A rotated rectangle of a photo: centre, size in pixels, angle in radians (clockwise on the screen)."""

    x: float
    y: float
    width: float
    height: float
    angle: float = 0.0

    def to_photo(self, points: FloatArray) -> FloatArray:
        """Map points (N, 2), 0..1 in the region, to pixels of the photo."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        x = (points[:, 0] - 0.5) * self.width
        y = (points[:, 1] - 0.5) * self.height
        return np.stack([self.x + cos * x - sin * y, self.y + sin * x + cos * y], axis=1)


def crop_region(
    photo: NDArray[np.uint8], region: Region, size: int, *, replicate: bool
) -> NDArray[np.float32]:
    """Return the region (size, size, 3), 0..255, sampled bilinearly.

    As MediaPipe's ImageToTensorCalculator does it with OpenCV's warpPerspective: no antialiasing, the
    region's corners on the corner pixels' indices (not on their outer edges), positions rounded to 1/32
    pixel, samples to integers.

    Args:
        replicate: outside the photo the border's colour, else black.
    """
    steps = np.arange(size) / size
    grid = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    points = np.round(region.to_photo(grid) * 32) / 32
    return np.round(_sample(photo, points, replicate=replicate)).reshape(size, size, 3)


def _sample(photo: NDArray[np.uint8], points: FloatArray, *, replicate: bool) -> NDArray[np.float32]:
    """Return bilinear samples (N, 3) at (x, y) pixel indices (N, 2)."""
    height, width = photo.shape[:2]
    x, y = points[:, 0], points[:, 1]
    left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    flat = photo.reshape(-1, 3)
    fx, fy = (x - left).astype(np.float32)[:, None], (y - top).astype(np.float32)[:, None]

    def pick(row: NDArray[np.int64], column: NDArray[np.int64]) -> NDArray[np.float32]:
        index = np.clip(row, 0, height - 1) * width + np.clip(column, 0, width - 1)
        # One index a pixel is three times as fast as an index of two axes.
        values: NDArray[np.float32] = flat.take(index, axis=0).astype(np.float32)
        if not replicate:
            values[(row < 0) | (row >= height) | (column < 0) | (column >= width)] = 0
        return values

    upper = pick(top, left) * (1 - fx) + pick(top, left + 1) * fx
    lower = pick(top + 1, left) * (1 - fx) + pick(top + 1, left + 1) * fx
    return np.asarray(upper * (1 - fy) + lower * fy, dtype=np.float32)

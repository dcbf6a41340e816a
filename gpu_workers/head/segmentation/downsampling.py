"""A photo made small, and its CIELAB: the colours that the masks are made from."""

import math

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from gpu_workers.head.ops.image import decode_srgb
from gpu_workers.head.ops.masked_statistics import constant
from gpu_workers.head.runtime import cuda_graphs
from gpu_workers.head.runtime.cuda_graphs import graph_constant

#: Pillow's whole-number reductions multiply by an inverse of N bits, rounded down.
_REDUCTION_BITS = 24
#: Linear sRGB to XYZ as shares of the white point (IEC 61966-2-1, D65).
_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_TO_XYZ_RELATIVE = tuple((_TO_XYZ / _TO_XYZ.sum(1, keepdims=True)).ravel().tolist())
#: From XYZ's cube roots to lightness, red against green, yellow against blue.
_TO_LAB = (0.0, 116.0, 0.0, 500.0, -500.0, 0.0, 0.0, 200.0, -200.0)


def reduce_photo(photo: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return a photo (H, W, 3) uint8 as (h, w, 3) uint8: each pixel the mean of those it covers.

    A CPU has Pillow for it (BOX, after a reduction by a whole number); a GPU does its arithmetic, rounding
    between the passes included, to a level of 255, so that masks do not depend on where the photo lies.
    """
    if cuda_graphs.waits_for_values(photo):
        return average_boxes(photo, shape)
    if photo.shape[:2] == shape:
        return photo
    image = Image.fromarray(photo.numpy())
    small = image.resize(shape[::-1], Image.Resampling.BOX, reducing_gap=1.0)
    return torch.from_numpy(np.array(small))


def average_boxes(photo: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return what `reduce_photo` does, on any device."""
    if photo.shape[:2] == shape:
        return photo
    sides = (photo.shape[0], photo.shape[1])
    factors = (max(1, sides[0] // shape[0]), max(1, sides[1] // shape[1]))
    half, multiplier = _reduction(sides, factors, photo.device)
    planes = photo.permute(2, 0, 1).float()
    sums = functional.avg_pool2d(planes, factors, ceil_mode=True, divisor_override=1)
    planes = (((sums.long() + half) * multiplier) >> _REDUCTION_BITS).float()
    down, across = (
        _box_weights(side, factor, small, photo.device)
        for side, factor, small in zip(sides, factors, shape, strict=True)
    )
    return _round(down @ _round(planes @ across.T)).to(torch.uint8).permute(1, 2, 0)


def to_lab(photo: Tensor) -> Tensor:
    """Return (3, h, w) CIELAB (D65) of a photo (h, w, 3) uint8 sRGB."""
    linear = decode_srgb(photo).view(-1, 3).T
    xyz = constant(_TO_XYZ_RELATIVE, photo.device).view(3, 3) @ linear
    root = torch.where(xyz > 216 / 24389, xyz.pow(1 / 3), (24389 / 27 / 116) * xyz + 16 / 116)
    lab = constant(_TO_LAB, photo.device).view(3, 3) @ root
    lab[0] -= 16
    return lab.view(3, *photo.shape[:2])


def _round(values: Tensor) -> Tensor:
    return (values + 0.5).floor()


@graph_constant(maxsize=64)
def _reduction(sides: tuple[int, int], factors: tuple[int, int], device: torch.device) -> Tensor:
    """Return what is added to the sum of each pixel's box, and its inverse: (2, h, w) int64."""
    counts = [
        np.minimum(factor, side - np.arange(0, side, factor))
        for side, factor in zip(sides, factors, strict=True)
    ]
    boxes = np.outer(*counts).astype(np.int64)
    return torch.from_numpy(np.stack([boxes // 2, (1 << _REDUCTION_BITS) // boxes])).to(device)


@graph_constant(maxsize=64)
def _box_weights(side: int, factor: int, small: int, device: torch.device) -> Tensor:
    """Return Pillow's box weights (small, ceil(side / factor)) of a side that was reduced by a factor."""
    # Pillow keeps the length in single precision, and goes on from it in double.
    count, scale = math.ceil(side / factor), max(float(np.float32(side / factor)) / small, 1.0)
    pixels, centre = np.arange(count), ((np.arange(small) + 0.5) * scale)[:, None]
    first, last = ((centre + way * 0.5 * scale + 0.5).astype(int) for way in (-1, 1))
    offset = (pixels - centre + 0.5) * (1 / scale)
    weights = ((offset > -0.5) & (offset <= 0.5) & (pixels >= first) & (pixels < last)).astype(np.float64)
    return torch.from_numpy(weights / weights.sum(1, keepdims=True)).float().to(device)

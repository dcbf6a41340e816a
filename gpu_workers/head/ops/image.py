"""The photo as the bake uses it: linear light, mild sharpening, and where it shows skin of the face."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from gpu_workers.head.ops.masked_statistics import constant
from gpu_workers.head.runtime.cuda_graphs import graph_constant

#: Luminance of linear red, green and blue (ITU-R BT.709).
LUMA = (0.2126, 0.7152, 0.0722)
#: Outer-eye distance of the reduced photo on which the masks are made, about, in pixels.
MASK_EYE_DISTANCE = 72.0
#: Radius of the sharpening as a share of the outer-eye distance, its least value in pixels, its strength.
_SHARPEN_RADIUS, _SHARPEN_LEAST, _SHARPEN_AMOUNT = 0.008, 0.7, 0.6
_SRGB_TABLE = tuple(
    v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (step / 255 for step in range(256))
)


@dataclass(frozen=True, kw_only=True)
class FacePhoto:
    """A photo prepared for projection."""

    #: (3, H, W) float32 linear light.
    linear: Tensor
    #: (1, h, w) float32 in 0..1: how far a pixel may be painted on the face; a reduced picture of all of it.
    confidence: Tensor
    #: (1, h, w) float32 in 0..1: how much a pixel's colour is skin.
    skin: Tensor
    #: Pixels of the photo to one of the masks; see face_masks.py.
    reduction: float


def linearise(photo: Tensor, reduction: float, *, sharpen: bool) -> Tensor:
    """Return a photo (H, W, 3) uint8 sRGB as (3, H, W) float32 linear light.

    Args:
        reduction: tells the size of the face, as in `FacePhoto`.
        sharpen: unsharp masking, mild, with a radius that follows the size of the face.
    """
    linear = decode_srgb(photo).permute(2, 0, 1).contiguous()
    if not sharpen:
        return linear
    sigma = max(_SHARPEN_LEAST, _SHARPEN_RADIUS * MASK_EYE_DISTANCE * reduction)
    return _sharpen(linear, sigma=sigma, amount=_SHARPEN_AMOUNT)


def decode_srgb(image: Tensor) -> Tensor:
    """Return a uint8 sRGB image of any shape as linear float32 (IEC 61966-2-1)."""
    if image.is_cuda:
        # Arithmetic costs a GPU less than a table's eight-byte indices.
        value = image.float() / 255
        return torch.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    # One index a row is several times as fast as an index of several axes.
    return constant(_SRGB_TABLE, image.device).index_select(0, image.reshape(-1).int()).view(image.shape)


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
    if picture.is_cuda:
        height, width = picture.shape[-2:]
        down, across = (_blur_matrix(side, sigma, picture.device) for side in (height, width))
        return down @ picture @ across.T
    radius = max(1, round(3 * sigma))
    kernel = constant(_gaussian(sigma, radius), picture.device).view(1, 1, 1, -1)
    rows = functional.pad(picture[:, None], (radius, radius, 0, 0), mode="replicate")
    rows = functional.conv2d(rows, kernel)
    columns = functional.pad(rows, (0, 0, radius, radius), mode="replicate")
    return functional.conv2d(columns, kernel.transpose(2, 3))[:, 0]


def halve(picture: Tensor) -> Tensor:
    """Return a (C, H, W) picture at half its size, both sides even."""
    return functional.avg_pool2d(picture[None], 2)[0]


def double(picture: Tensor) -> Tensor:
    """Return a (C, H, W) picture at twice its size."""
    return functional.interpolate(picture[None], scale_factor=2, mode="bilinear", align_corners=False)[0]


def smoothstep(ramp: Tensor) -> Tensor:
    """Return 0 below 0, 1 above 1, and a smooth rise between."""
    clipped = ramp.clamp(0, 1)
    return clipped * clipped * (3 - 2 * clipped)


def _gaussian(sigma: float, radius: int) -> tuple[float, ...]:
    weights = [math.exp(-0.5 * (offset / sigma) ** 2) for offset in range(-radius, radius + 1)]
    return tuple(weight / sum(weights) for weight in weights)


@graph_constant(maxsize=64)
def _blur_matrix(size: int, sigma: float, device: torch.device) -> Tensor:
    """Return the blur of `size` pixels as a matrix: a GPU multiplies faster than it convolves."""
    radius = max(1, round(3 * sigma))
    kernel = torch.tensor(_gaussian(sigma, radius), dtype=torch.float64)
    place = torch.arange(size)[:, None] + torch.arange(-radius, radius + 1)
    matrix = torch.zeros(size, size, dtype=torch.float64)
    matrix.scatter_add_(1, place.clamp(0, size - 1), kernel.expand(size, -1))
    return matrix.float().to(device)


def _sharpen(linear: Tensor, *, sigma: float, amount: float) -> Tensor:
    # In a roughly perceptual scale, so that dark and bright edges overshoot alike.
    root = linear.sqrt()
    detail = (root - blur(root, sigma)).clamp(-0.06, 0.06)
    return (root + amount * detail).clamp(0, 1) ** 2

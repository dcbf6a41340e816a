"""Cuts of a photo that lies on a GPU: the twins of `crop_region` and `cut_square`, to a level of 255.

Both do the arithmetic of the plain ones, Pillow's rounding between the two passes included, so that landmarks
do not depend on where the photo lies.
"""

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: Pillow's Lanczos window: pixels of the coarser picture on each side.
_LOBES = 3.0


def sample_region(
    photo: Tensor, centre: tuple[float, float], axes: NDArray[np.float64], size: int, *, replicate: bool
) -> NDArray[np.float32]:
    """Return (size, size, 3) bilinear samples, 0..255, of a (H, W, 3) uint8 photo.

    Args:
        axes: (2, 2) the region's sides in pixels: column 0 along its width, column 1 along its height.
        replicate: outside the photo the border's colour, else black.
    """
    height, width = photo.shape[:2]
    across, down = _steps(size, str(photo.device))
    (xx, xy), (yx, yy) = axes.tolist()
    x = torch.round((across * xx + down * xy + centre[0]) * 32) / 32
    y = torch.round((across * yx + down * yy + centre[1]) * 32) / 32
    left, top = x.floor(), y.floor()
    fx, fy = (x - left).float()[..., None], (y - top).float()[..., None]
    columns = torch.stack([left, left + 1]).long()
    rows = torch.stack([top, top + 1]).long()
    places = rows.clamp(0, height - 1)[:, None] * width + columns.clamp(0, width - 1)[None]
    values = photo.reshape(-1, 3)[places].float()
    if not replicate:
        inside_row = (rows >= 0) & (rows < height)
        inside_column = (columns >= 0) & (columns < width)
        values *= (inside_row[:, None] & inside_column[None])[..., None]
    upper = values[0, 0] * (1 - fx) + values[0, 1] * fx
    lower = values[1, 0] * (1 - fx) + values[1, 1] * fx
    result: NDArray[np.float32] = torch.round(upper * (1 - fy) + lower * fy).cpu().numpy()
    return result


def resample_square(photo: Tensor, left: float, top: float, side: float, size: int) -> Tensor:
    """Return the square (size, size, 3) uint8 of a (H, W, 3) uint8 photo; the border goes on outside."""
    height, width = photo.shape[:2]
    padded = min(left, top, width - left - side, height - top - side) < 0
    across = _lanczos(left, side, size, width, padded=padded, device=photo.device)
    down = _lanczos(top, side, size, height, padded=padded, device=photo.device)
    planes = photo.permute(2, 0, 1).float()
    narrow = torch.round(planes @ across.T).clamp_(0, 255)
    return torch.round(down @ narrow).clamp_(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous()


def _lanczos(
    start: float, length: float, size: int, limit: int, *, padded: bool, device: torch.device
) -> Tensor:
    """Return (size, limit) weights of Pillow's Lanczos resampling of [start, start + length) to `size`.

    Pixels outside 0..limit count for the border's; Pillow sees them only where the photo was padded.
    """
    scale = length / size
    reach = _LOBES * max(scale, 1.0)
    first, last = (int(np.floor(start - reach)) - 1, int(np.ceil(start + length + reach)) + 1)
    if not padded:
        first, last = max(0, first), min(limit, last)
    source = torch.arange(first, last, device=device, dtype=torch.float64) + 0.5
    target = start + (torch.arange(size, device=device, dtype=torch.float64) + 0.5) * scale
    offset = (source - target[:, None]) / max(scale, 1.0)
    weights = torch.sinc(offset) * torch.sinc(offset / _LOBES) * (offset.abs() < _LOBES)
    weights = weights / weights.sum(1, keepdim=True)
    column = torch.arange(first, last, device=device).clamp_(0, limit - 1)
    folded = torch.zeros(size, limit, device=device, dtype=torch.float64)
    return folded.index_add_(1, column, weights).float()


@lru_cache(maxsize=8)
def _steps(size: int, device: str) -> tuple[Tensor, Tensor]:
    """Return (1, size) and (size, 1) shares of a region, from -0.5."""
    steps = torch.arange(size, device=device, dtype=torch.float64) / size - 0.5
    return steps[None], steps[:, None]

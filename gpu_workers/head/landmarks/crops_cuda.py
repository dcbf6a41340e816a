"""Cuts of a photo that lies on a GPU: `crop_region` and `cut_square` are their references, to a level of 255.

Both do the arithmetic of the plain ones, Pillow's rounding between the two passes included, so that landmarks
do not depend on where the photo lies.
"""

import numpy as np
import torch
from torch import Tensor

from gpu_workers.head.runtime.cuda_graphs import graph_constant

#: Pillow's Lanczos window: pixels of the coarser picture on each side.
_LOBES = 3.0


def sample_regions(photos: Tensor, places: Tensor, size: int, *, replicate: bool) -> Tensor:
    """Return (B, size, size, 3) bilinear samples, 0..255, float32, of a region of each photo.

    Args:
        photos: (B, P, 3) uint8, a photo's pixels row after row; P may be more than there are.
        places: (B, 8) float64: the region's centre x and y; how far x, then y, moves along its width and
            along its height (xx, xy, yx, yy), pixels; the photo's height and width.
        replicate: outside the photo the border's colour, else black.
    """
    across, down = _steps(size, photos.device)
    cx, cy, xx, xy, yx, yy, height, width = places[..., None, None].unbind(1)
    x = torch.round((across * xx + down * xy + cx) * 32) / 32
    y = torch.round((across * yx + down * yy + cy) * 32) / 32
    left, top = x.floor(), y.floor()
    fx, fy = (x - left).float()[..., None], (y - top).float()[..., None]

    def pick(row: Tensor, column: Tensor) -> Tensor:
        inner_row, inner_column = (
            torch.minimum(index.clamp(min=0), count - 1) for index, count in ((row, height), (column, width))
        )
        index = (inner_row * width + inner_column).long().flatten(1)[..., None].expand(-1, -1, 3)
        values = photos.gather(1, index).view(*row.shape, 3).float()
        return values if replicate else values * ((inner_row == row) & (inner_column == column))[..., None]

    upper = pick(top, left) * (1 - fx) + pick(top, left + 1) * fx
    lower = pick(top + 1, left) * (1 - fx) + pick(top + 1, left + 1) * fx
    return torch.round(upper * (1 - fy) + lower * fy)


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


@graph_constant(maxsize=8)
def _steps(size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return (1, size) and (size, 1) shares of a region, from -0.5."""
    steps = torch.arange(size, device=device, dtype=torch.float64) / size - 0.5
    return steps[None], steps[:, None]

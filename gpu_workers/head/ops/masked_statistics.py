"""Measures of parts of pictures in fixed shapes, so that a GPU never waits to learn how many pixels."""

import torch
from torch import Tensor

from gpu_workers.head.runtime.cuda_graphs import graph_constant

#: Pixels a side of the grid that is measured: colours and light vary slowly.
_GRID = 256


def thin_out(picture: Tensor) -> Tensor:
    """Return a regular choice of the pixels of (..., H, W) as (..., N)."""
    step = max(1, picture.shape[-1] // _GRID)
    chosen = picture[..., ::step, ::step]
    return chosen.reshape(*chosen.shape[:-2], -1)


def scale_count(count: int, size: int) -> int:
    """Return how many pixels of a thinned picture stand for `count` of the whole one, `size` a side."""
    step = max(1, size // _GRID)
    return max(1, count // step**2)


def masked_quantile(values: Tensor, where: Tensor, share: float = 0.5) -> Tensor:
    """Return the value (C,) below which a share of the chosen values lies; infinite if none is chosen.

    Args:
        values: (C, N).
        where: (N,) bool.
    """
    ordered = torch.where(where, values, torch.inf).sort(dim=1).values
    place = ((where.sum() - 1) * share).long().clamp(min=0)
    return ordered.gather(1, place.expand(len(values), 1))[:, 0]


def masked_mean(values: Tensor, where: Tensor) -> Tensor:
    """Return the mean of the chosen values of (N,), 0 if none is chosen."""
    return (values * where).sum() / where.sum().clamp(min=1)


@graph_constant(maxsize=256)
def constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Return (N,) float32 on a device, copied there once a process."""
    return torch.tensor(values, device=device)

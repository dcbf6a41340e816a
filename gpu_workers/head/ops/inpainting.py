"""Filling of what no photo shows: push-pull of known texels (Gortler et al., "The lumigraph", 1996)."""

import torch
from torch import Tensor
from torch.nn import functional


def push_pull(values: Tensor, weight: Tensor) -> Tensor:
    """Return values everywhere: the known where weight is 1, smooth continuation where it is 0.

    Args:
        values: (C, S, S), S a power of two.
        weight: (1, S, S) in 0..1.
    """
    levels = [(values * weight, weight)]
    while levels[-1][0].shape[-1] > 1:
        known, amount = levels[-1]
        levels.append((functional.avg_pool2d(known[None], 2)[0], functional.avg_pool2d(amount[None], 2)[0]))
    known, amount = levels[-1]
    result = known / amount.clamp(min=1e-6)
    for known, amount in reversed(levels[:-1]):
        size = known.shape[-1]
        coarse = functional.interpolate(result[None], size=size, mode="bilinear", align_corners=False)[0]
        own = known / amount.clamp(min=1e-6)
        # A coarse level's pixel that is known at all is trusted: its average is of known texels only.
        trust = (amount * 4).clamp(max=1)
        result = own * trust + coarse * (1 - trust)
    return result


def make_noise(size: int, sigma: float, *, stretch: float = 1.0, seed: int = 0) -> Tensor:
    """Return a tileable (size, size) noise of zero mean and unit deviation.

    Args:
        sigma: radius of its grains, pixels.
        stretch: how much longer grains are down the picture than across it.
    """
    generator = torch.Generator().manual_seed(seed)
    white = torch.fft.rfft2(torch.randn(size, size, generator=generator))
    rows = torch.fft.fftfreq(size)[:, None] * stretch
    columns = torch.fft.rfftfreq(size)[None, :]
    window = torch.exp(-2 * (torch.pi * sigma) ** 2 * (rows**2 + columns**2))
    window[0, 0] = 0
    noise: Tensor = torch.fft.irfft2(white * window, s=(size, size))
    return noise / noise.std()

"""Comparisons that say how far two ways are apart, and where."""

import math

import numpy as np
from torch import Tensor

Values = Tensor | np.ndarray


def assert_near(
    name: str, found: Values, expected: Values, *, most: float, mean: float | None = None
) -> None:
    """Compare two arrays by their largest and mean difference; both are printed.

    Args:
        most: largest difference allowed.
        mean: mean difference allowed; a tenth of `most` where it is not stated.
    """
    first, second = _as_array(found), _as_array(expected)
    assert first.shape == second.shape, f"{name}: {first.shape} against {second.shape}"
    assert np.isfinite(first).all(), f"{name}: {np.count_nonzero(~np.isfinite(first))} values are not finite"
    apart = np.abs(first - second)
    if not apart.size:
        return
    where = tuple(int(k) for k in np.unravel_index(apart.argmax(), apart.shape))
    told = (
        f"{name} {first.shape}: largest difference {apart.max():.3g} at {where} "
        f"({first[where]:.6g} against {second[where]:.6g}), mean {apart.mean():.3g}, "
        f"over the limit {np.mean(apart > most):.2%}"
    )
    print(told)
    allowed = most / 10 if mean is None else mean
    assert apart.max() <= most, f"{told}; allowed {most:g}"
    assert apart.mean() <= allowed, f"{told}; allowed in the mean {allowed:g}"


def assert_like(name: str, found: Values, expected: Values, *, decibels: float, peak: float = 255) -> None:
    """Compare two images by their PSNR, which is printed."""
    first, second = _as_array(found), _as_array(expected)
    assert first.shape == second.shape, f"{name}: {first.shape} against {second.shape}"
    error = float(np.mean((first - second) ** 2))
    ratio = 10 * math.log10(peak**2 / error) if error else math.inf
    apart = np.abs(first - second)
    told = (
        f"{name} {first.shape}: PSNR {ratio:.1f} dB, largest difference {apart.max():.3g} at "
        f"{tuple(int(k) for k in np.unravel_index(apart.argmax(), apart.shape))}"
    )
    print(told)
    assert ratio >= decibels, f"{told}; asked {decibels:g} dB"


def _as_array(values: Values) -> np.ndarray:
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    return values.astype(np.float64)

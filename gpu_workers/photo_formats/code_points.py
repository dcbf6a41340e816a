"""Colour primaries and transfer characteristics by their code points: ITU-T H.273 (07/2024), tables 2 and 3.

PNG's `cICP` chunk and the `nclx` colour box of HEIC and AVIF state colours by them.
"""

from collections.abc import Callable
from functools import lru_cache, partial

import numpy as np

from face3d import srgb
from gpu_workers.photo_formats.icc import Array, Primaries

_D65 = (0.3127, 0.329)
SRGB_PRIMARIES: Primaries = (_D65, (0.64, 0.33), (0.3, 0.6), (0.15, 0.06))
#: Adobe RGB (1998), section 4.3.1.
ADOBE_PRIMARIES: Primaries = (_D65, (0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
#: Its gamma, section 4.3.1.2: 2 and 51/256.
ADOBE_GAMMA = 2 + 51 / 256

UNSPECIFIED, SRGB_TRANSFER, PQ, HLG = 2, 13, 16, 18

#: Table 2.
_PRIMARIES: dict[int, Primaries] = {
    1: SRGB_PRIMARIES,
    4: ((0.310, 0.316), (0.67, 0.33), (0.21, 0.71), (0.14, 0.08)),
    5: (_D65, (0.64, 0.33), (0.29, 0.60), (0.15, 0.06)),
    6: (_D65, (0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    7: (_D65, (0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    8: ((0.310, 0.316), (0.681, 0.319), (0.243, 0.692), (0.145, 0.049)),
    9: (_D65, (0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    11: ((0.314, 0.351), (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    12: (_D65, (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    22: (_D65, (0.630, 0.340), (0.295, 0.605), (0.155, 0.077)),
}


def find_primaries(code: int) -> Primaries:
    """Return the primaries of a code point; sRGB's where it says nothing that we know."""
    return _PRIMARIES.get(code, SRGB_PRIMARIES)


def find_curve(code: int) -> Callable[[Array], Array]:
    """Return the tone curve of a code point, to linear light; sRGB's where it says nothing that we know.

    PQ and HLG have none here: they hold more than a screen's white, see brightness.py.
    """
    return _CURVES.get(code, srgb.decode)


@lru_cache(maxsize=16)
def gamma_curve(gamma: float) -> Callable[[Array], Array]:
    """Return the curve of a pure power."""
    return partial(_power, gamma)


def _power(gamma: float, values: Array) -> Array:
    result: Array = np.maximum(values, 0) ** gamma
    return result


def _bt709_curve(values: Array) -> Array:
    alpha, beta = 1.09929682680944, 0.018053968510807
    return np.where(
        values < 4.5 * beta, values / 4.5, ((np.maximum(values, 0) + alpha - 1) / alpha) ** (1 / 0.45)
    )


def _smpte240_curve(values: Array) -> Array:
    return np.where(
        values < 4 * 0.0228, values / 4, ((np.maximum(values, 0) + 0.1115) / 1.1115) ** (1 / 0.45)
    )


def _smpte428_curve(values: Array) -> Array:
    return np.minimum(np.maximum(values, 0) ** 2.6 * 52.37 / 48, 1)


#: Table 3.
_CURVES: dict[int, Callable[[Array], Array]] = {
    1: _bt709_curve,
    4: gamma_curve(2.2),
    5: gamma_curve(2.8),
    6: _bt709_curve,
    7: _smpte240_curve,
    8: gamma_curve(1.0),
    11: _bt709_curve,
    12: _bt709_curve,
    SRGB_TRANSFER: srgb.decode,
    14: _bt709_curve,
    15: _bt709_curve,
    17: _smpte428_curve,
}

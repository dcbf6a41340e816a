"""sRGB's curve (IEC 61966-2-1) between code values and linear light, both 0..1.

For arrays of numpy and tensors of torch alike: operators that both have, in place where they can be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Values = TypeVar("Values", NDArray[Any], "Tensor")

#: The straight part's slope; code value and linear light where it ends (the standard's own, rounded).
SLOPE = 12.92
CODE_CUT, LIGHT_CUT = 0.04045, 0.0031308
#: The curved part: `((code + OFFSET) / SCALE) ** GAMMA`.
OFFSET, SCALE, GAMMA = 0.055, 1.055, 2.4


def decode(code: Values) -> Values:
    """Return the linear light of code values."""
    curve = code + OFFSET
    curve /= SCALE
    curve **= GAMMA
    return _join(code <= CODE_CUT, code / SLOPE, curve)


def encode(light: Values) -> Values:
    """Return the code values of linear light."""
    curve = light ** (1 / GAMMA)
    curve *= SCALE
    curve -= OFFSET
    return _join(light <= LIGHT_CUT, light * SLOPE, curve)


def _join(where: Any, straight: Values, curve: Values) -> Values:
    if isinstance(straight, np.ndarray | np.generic):
        return np.where(where, straight, curve)
    return straight.where(where, curve)

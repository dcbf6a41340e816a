"""Multi-band blending (Burt and Adelson, "A multiresolution spline with application to image mosaics", 1983).

Each band of detail crosses from one picture to the other over its own width: tone over centimetres, pores
over a millimetre, so that no line shows where they meet.
"""

import torch
from torch import Tensor

from gpu_workers.head.ops.image import double, halve

#: Pixels a side of the coarsest band: on a skin map about two centimetres each.
_COARSEST = 16
_LEAST = 1e-3


def blend_bands(front: Tensor, back: Tensor, weight: Tensor) -> Tensor:
    """Return `front` where the weight is 1, `back` where it is 0, (C, S, S).

    Colours are blended as ratios (logarithms), so that a dark picture and a light one meet half-way.

    Args:
        front: (C, S, S) positive, S a power of two; continued smoothly to where its weight is 0.
        back: (C, S, S) positive.
        weight: (1, S, S) in 0..1.
    """
    first, second = (picture.clamp(min=_LEAST).log() for picture in (front, back))
    levels = [(first - second, weight)]
    while levels[-1][0].shape[-1] > _COARSEST:
        difference, share = levels[-1]
        levels.append((halve(difference), halve(share)))
    coarse, share = levels[-1]
    result = coarse * share
    for (difference, share), (coarse, _) in zip(levels[-2::-1], levels[:0:-1], strict=True):
        result = double(result) + (difference - double(coarse)) * share
    return torch.exp(second + result)

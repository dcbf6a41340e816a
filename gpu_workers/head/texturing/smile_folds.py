"""What a smile does to the skin's colour, taken out where the head does not smile: folds, shine on cheeks.

A fold is dark along a line. A mole is as dark, but round: closing along segments longer than a mole, in every
direction, fills it and leaves the fold. Skin lights skin within a fold, so a fold is warmer than what lies
beside it; hair is not, and stays.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from gpu_workers.head.ops.image import LUMA, blur, smoothstep
from gpu_workers.head.ops.masked_statistics import constant

#: Directions in which lines are looked for, and the steps whose sum is a segment's length: 15 texels are
#: 5 mm of cheek.
_DIRECTIONS, _STEPS = 8, (1, 2, 4, 8)
#: Blur, in texels, of the skin that a fold is compared with: about 8 mm. Trust at which there is some.
_BESIDE, _LEAST_TRUST = 24.0, 1e-3
#: Texels to a side of the patches in which gaps in it are looked for, and the widest in patches; odd.
_GAP_PATCH, _GAP = 4, 5
#: Texels by which a line that was found is followed to where it ends.
_FOLLOWED = 2
#: Darkness, as a logarithm, below which there is no line.
_FAINT = 0.02
#: Texels to a side of the patches that tell how hairy skin is, and a line's hue.
_HAIR_PATCH, _FINE_PATCH, _HUE_PATCH = 8, 4, 2
#: The same for shine on a cheek; blur, in such patches, of the skin that it is compared with: 2 cm; the
#: excess, a logarithm, from which it counts in full, and the share of it that goes.
_SHINE_PATCH, _SHINE_BLUR, _SHINE_RANGE, _SHINE_REMOVED = 8, 7.0, 0.1, 0.7
#: Darkness of a fold's darkest channel, a logarithm, from which noise takes the place of colour, and by how
#: much more until it has.
_DEEP, _DEEP_RANGE = 0.5, 0.7
#: Mean change of brightness from texel to texel, a logarithm, from which skin is hairy, and by how much more
#: until it surely is.
_HAIRY, _HAIRY_RANGE = 0.06, 0.07
#: Logarithm of red over blue, less the skin's, at which it surely is stubble.
_STUBBLE_HUE = -0.30
#: The same of a dark line, by its darkness: from here on it is a fold, and by how much more until it surely
#: is; the least darkness to divide by.
_WARM, _WARM_RANGE, _LEAST_DARKNESS = 0.15, 0.2, 0.05


def fade_smile(even: Tensor, base: Tensor, bare: Tensor, amount: Tensor) -> tuple[Tensor, Tensor]:
    """Return a factor, (3, H, W), that lifts a smile's folds to the skin beside them and dims its shine; and
    (1, H, W) in 0..1 how little of the skin's own colour is left in a fold, so that it is to be made anew.

    They are 1 and 0 where `amount` is 0.

    Args:
        even: (3, H, W) linear light, sides multiples of 8.
        base: (3,) the skin's own colour.
        bare: (1, H, W) trust in a texel being bare skin.
        amount: (1, H, W) in 0..1: how much of the smile goes.
    """
    light = even.clamp(min=1e-3).log()
    trust = blur(torch.cat([light * bare, bare]), _BESIDE)
    deviation = (light - trust[:3] / trust[3:].clamp(min=_LEAST_TRUST)) * _close_gaps(bare)
    level = torch.tensordot(constant(LUMA, even.device), deviation, dims=1)[None]
    smooth = _soften(_soften(_soften(level)))
    line = _soften(_find_lines(smooth))
    share = (line / smooth.clamp(max=-_FAINT)).clamp(0, 1)
    hair = torch.maximum(_find_hair(level, bare), _find_stubble(light, base, bare))
    share = share * (1 - hair * (1 - _find_warmth(deviation, level)))
    # Folds darken the skin that they are compared with, too.
    lack = blur(share * level * bare, _BESIDE) / trust[3:].clamp(min=_LEAST_TRUST)
    fold = amount * share * (deviation + lack)
    lost = smoothstep((-fold.amin(0, keepdim=True) - _DEEP) / _DEEP_RANGE)
    return torch.exp(-fold - amount * _find_shine(light, bare)), _soften(_grow(lost, torch.maximum))


def _close_gaps(bare: Tensor) -> Tensor:
    """Return (1, H, W) the trust, and as much in narrow gaps: the depth of a fold hardly passes for skin."""
    small = functional.avg_pool2d(bare[None], _GAP_PATCH)
    grown = functional.max_pool2d(small, _GAP, stride=1, padding=_GAP // 2)
    closed = -functional.max_pool2d(-grown, _GAP, stride=1, padding=_GAP // 2)
    return functional.interpolate(closed, scale_factor=_GAP_PATCH, mode="bilinear", align_corners=False)[0]


def _find_lines(level: Tensor) -> Tensor:
    """Return (1, H, W), 0 or less: what of the level is dark along a line."""
    dark = level.clamp(max=0)
    line = torch.full_like(dark, -torch.inf).clamp(max=0)
    for index in range(_DIRECTIONS):
        turn = math.pi * index / _DIRECTIONS
        closed = _along(_along(dark, turn, torch.maximum, 1), turn, torch.minimum, -1)
        line = closed if index == 0 else torch.minimum(line, closed)
    for _ in range(_FOLLOWED):
        # Where a line bends or ends, a segment does not fit into it.
        line = torch.maximum(_grow(line, torch.minimum), dark)
    return line


def _grow(picture: Tensor, pick: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Return the largest or smallest value of each texel and its eight neighbours."""
    for axis in (-2, -1):
        picture = pick(picture, pick(picture.roll(1, axis), picture.roll(-1, axis)))
    return picture


def _find_shine(light: Tensor, bare: Tensor) -> Tensor:
    """Return (3, H, W), as a logarithm, what is to go of the light on a cheek that a smile has raised."""
    patches = functional.avg_pool2d(torch.cat([light * bare, bare])[None], _SHINE_PATCH)[0]
    broad = blur(patches, _SHINE_BLUR)
    excess = (patches[:3] - broad[:3] / broad[3:].clamp(min=_LEAST_TRUST) * patches[3:]) * patches[3:]
    bright = smoothstep(torch.tensordot(constant(LUMA, light.device), excess, dims=1) / _SHINE_RANGE)
    found = (_SHINE_REMOVED * bright * excess)[None]
    return functional.interpolate(found, scale_factor=_SHINE_PATCH, mode="bilinear", align_corners=False)[0]


def _along(level: Tensor, turn: float, pick: Callable[[Tensor, Tensor], Tensor], sign: int) -> Tensor:
    """Return the largest or smallest value on a segment that begins at each texel, towards `turn`.

    Segments that leave the picture go on at its other side: nothing is to be found near its borders.
    """
    for step in _STEPS:
        shift = sign * round(step * math.sin(turn)), sign * round(step * math.cos(turn))
        level = pick(level, level.roll(shift, (-2, -1)))
    return level


def _find_hair(level: Tensor, bare: Tensor) -> Tensor:
    """Return (1, H, W) in 0..1: folds are single lines, hairs are many."""
    fine = (level - _spread(level, _FINE_PATCH)).abs()
    busy = _spread(fine, _HAIR_PATCH) / _spread(bare, _HAIR_PATCH).clamp(min=0.05)
    return smoothstep((busy - _HAIRY) / _HAIRY_RANGE)


def _find_stubble(light: Tensor, base: Tensor, bare: Tensor) -> Tensor:
    """Return (1, H, W) in 0..1: a beard is the less coloured the darker."""
    hue = (light[:1] - light[2:] - (base[0] / base[2]).log()) * bare
    dull = _spread(hue, _HAIR_PATCH).clamp(max=0)
    return 1 - torch.exp(-((dull / _STUBBLE_HUE) ** 2))


def _find_warmth(deviation: Tensor, level: Tensor) -> Tensor:
    """Return (1, H, W) in 0..1: where it is the warmer the darker."""
    hue = _spread(deviation[:1] - deviation[2:], _HUE_PATCH)
    darkness = _spread(-level, _HUE_PATCH).clamp(min=_LEAST_DARKNESS)
    return smoothstep((hue / darkness - _WARM) / _WARM_RANGE)


def _soften(picture: Tensor) -> Tensor:
    """Return a picture blurred by the binomial 1 2 1, a texel's deviation, both ways."""
    for axis in (-2, -1):
        picture = (picture.roll(1, axis) + picture.roll(-1, axis)) / 4 + picture / 2
    return picture


def _spread(picture: Tensor, patch: int) -> Tensor:
    """Return a picture's means over overlapping patches, smooth."""
    small = functional.avg_pool2d(picture[None], patch)
    return functional.interpolate(small, scale_factor=patch, mode="bilinear", align_corners=False)[0]

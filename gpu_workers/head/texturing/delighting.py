"""Gentle removal of a photo's light: second-order spherical harmonics of the skin's luminance, and what
casts or mirrors light on a small part of the face.

Ramamoorthi and Hanrahan, "An efficient representation for irradiance environment maps", 2001: nine numbers
describe diffuse light. They are fitted to the logarithm, so that light is a factor and outliers weigh less.
"""

import torch
from torch import Tensor

from gpu_workers.head.ops.image import LUMA, blur, double, halve, smoothstep
from gpu_workers.head.ops.masked_statistics import constant, masked_quantile, scale_count, thin_out

#: Share of the fitted light that is removed: all of it would also flatten what is the person's own.
_STRENGTH = 0.75
#: Largest factor of the correction, as a logarithm.
_LARGEST = 0.55
_RIDGE = 0.03
_ROUNDS = 5
#: Fewer pixels of skin than this tell nothing of the light.
_FEWEST = 500
#: A highlight begins so far above the base tone's luminance; so much of the excess is taken away.
_HIGHLIGHT, _HIGHLIGHT_REMOVED = 1.20, 0.5
#: The same below the base tone: where shadow begins, and the exponent of its removal.
_SHADOW, _SHADOW_REMOVED = 0.80, 0.65
#: Logarithms of red over blue, less the skin's: what a beard has, how warm a shadow may stay, and how much
#: of what is above goes.
_BEARD_HUE, _WARMTH, _WARMTH_REMOVED = -0.30, 0.15, 0.8
#: Residual, as a logarithm, that halves a pixel's weight in the fit of the light.
_HALVING = 0.12
#: Blurs of highlights, and of shadows and hues, in half the small map's pixels; share of skin within the
#: latter from which it counts in full; least that remains of a highlight, largest factor on a shadow.
_HIGHLIGHT_BLUR, _SHADOW_BLUR, _ENOUGH_SKIN = 1.5, 4.0, 0.1
_DIMMED, _BRIGHTENED = 0.5, 3


def find_light_gain(colour: Tensor, normals: Tensor, weight: Tensor) -> Tensor:
    """Return the factor that evens the light, (1, H, W).

    Args:
        colour: (3, H, W) linear light as the photo has it.
        normals: (3, H, W) unit normals in any fixed frame.
        weight: (1, H, W) trust in `colour` being bare skin; nothing is fitted where it is under one half.
    """
    height, width = colour.shape[1:]
    trust = thin_out(weight)[0]
    chosen = trust > 0.5
    trust = trust * chosen
    count = chosen.sum()
    level = (constant(LUMA, colour.device) @ thin_out(colour)).clamp(min=1e-3).log()
    basis = _harmonics(thin_out(normals)).T
    level = level - masked_quantile(level[None], chosen)
    ridge = torch.diag(constant((0.0, *[_RIDGE] * 8), colour.device)) * count
    own = trust
    for _ in range(_ROUNDS):
        left = basis.T @ (own[:, None] * basis) + ridge
        right = basis.T @ (own * level)
        factor = torch.linalg.cholesky_ex(left, check_errors=False).L
        fit = torch.cholesky_solve(right[:, None], factor)[:, 0]
        residual = (level - basis @ fit).abs()
        # Brows, beard, moles and highlights are no light: their weight falls with their residual.
        own = trust / (1 + (residual / _HALVING) ** 2)
    shade = fit @ _harmonics(normals.reshape(3, -1)) - masked_quantile((basis @ fit)[None], chosen)
    gain = torch.exp(-_STRENGTH * _LARGEST * torch.tanh(shade / _LARGEST)).view(1, height, width)
    return torch.where(count >= scale_count(_FEWEST, width), gain, 1.0)


def even_locally(even: Tensor, base: Tensor, bare: Tensor, plain: Tensor) -> Tensor:
    """Return a factor, (3, S, S), against highlights and cast shadows; fine detail keeps its contrast.

    A highlight is the light's own colour laid over the skin's, so it is subtracted. Skin in shadow is lit by
    skin and warmer than in light: it is brightened and cooled; a beard is the less coloured the darker.

    Args:
        bare: (1, S, S) trust in a texel being bare skin.
        plain: (S, S) 0 on lips and brows, which keep their colour.
    """
    luma = constant(LUMA, even.device)
    base_level = luma @ base
    # All of it is smooth: half the size is enough.
    even, bare, plain = halve(even), halve(bare), halve(plain[None])
    low = blur(even, _HIGHLIGHT_BLUR).clamp(min=1e-3)
    excess = (torch.tensordot(luma, low, dims=1)[None] - _HIGHLIGHT * base_level).clamp(min=0)
    dimmed = ((low - _HIGHLIGHT_REMOVED * excess) / low).clamp(_DIMMED, 1)
    amount = blur(bare, _SHADOW_BLUR).clamp(min=1e-4)
    wide = (blur(even * bare, _SHADOW_BLUR) / amount).clamp(min=1e-3)
    plain = plain * smoothstep(amount / _ENOUGH_SKIN)
    level = torch.tensordot(luma, wide, dims=1)[None]
    hue = (wide / level).log() - (base / base_level).log()[:, None, None]
    warmth = hue[:1] - hue[2:]
    lack = (_SHADOW * base_level / level).clamp(1, _BRIGHTENED)
    brightened = lack ** (_SHADOW_REMOVED * torch.exp(-((warmth.clamp(max=0) / _BEARD_HUE) ** 2)))
    excess = (warmth - _WARMTH).clamp(min=0) / warmth.clamp(min=_WARMTH)
    cooled = torch.exp(-_WARMTH_REMOVED * excess * hue)
    return double(dimmed * (brightened * cooled) ** plain)


def _harmonics(normal: Tensor) -> Tensor:
    """Return (9, N) real harmonics up to order two, without their constants, of (3, N) normals."""
    x, y, z = normal
    return torch.stack([torch.ones_like(x), x, y, z, x * y, x * z, y * z, x * x - y * y, 3 * z * z - 1])

"""Gentle removal of a photo's light: second-order spherical harmonics of the skin's luminance.

Ramamoorthi and Hanrahan, "An efficient representation for irradiance environment maps", 2001: nine numbers
describe diffuse light. They are fitted to the logarithm, so that light is a factor and outliers weigh less.
"""

import torch
from torch import Tensor

#: Share of the fitted light that is removed: all of it would also flatten what is the person's own.
_STRENGTH = 0.75
#: Largest factor of the correction, as a logarithm.
_LARGEST = 0.55
_RIDGE = 0.03
_ROUNDS = 5
_LUMA = (0.2126, 0.7152, 0.0722)


def find_light_gain(colour: Tensor, normals: Tensor, weight: Tensor) -> Tensor:
    """Return the factor that evens the light, (1, H, W).

    Args:
        colour: (3, H, W) linear light as the photo has it.
        normals: (3, H, W) unit normals in any fixed frame.
        weight: (1, H, W) trust in `colour` being bare skin; nothing is fitted where it is under one half.
    """
    height, width = colour.shape[1:]
    harmonics = _harmonics(normals.reshape(3, -1))
    chosen = (weight.reshape(-1) > 0.5).nonzero()[:, 0]
    if len(chosen) < 500:
        return torch.ones(1, height, width, device=colour.device)
    chosen = chosen[:: max(1, len(chosen) // 20000)]
    luma = torch.tensor(_LUMA, device=colour.device)
    level = (colour.reshape(3, -1)[:, chosen].T @ luma).clamp(min=1e-3).log()
    basis = harmonics[:, chosen].T
    trust = weight.reshape(-1)[chosen]
    level = level - level.median()
    ridge = torch.eye(9, device=colour.device) * _RIDGE * len(chosen)
    ridge[0, 0] = 0
    own = trust
    for _ in range(_ROUNDS):
        left = basis.T @ (own[:, None] * basis) + ridge
        fit = torch.linalg.solve(left, basis.T @ (own * level))
        residual = (level - basis @ fit).abs()
        # Brows, beard, moles and highlights are no light: their weight falls with their residual.
        own = trust / (1 + (residual / 0.12) ** 2)
    shade = fit @ harmonics
    shade = shade - (basis @ fit).median()
    gain = torch.exp(-_STRENGTH * _LARGEST * torch.tanh(shade / _LARGEST))
    return gain.view(1, height, width)


def _harmonics(normal: Tensor) -> Tensor:
    """Return (9, N) real harmonics up to order two, without their constants, of (3, N) normals."""
    x, y, z = normal
    return torch.stack([torch.ones_like(x), x, y, z, x * y, x * z, y * z, x * x - y * y, 3 * z * z - 1])

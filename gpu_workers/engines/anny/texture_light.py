"""Gentle removal of a photo's light: second-order spherical harmonics of the skin's luminance.

Ramamoorthi and Hanrahan, "An efficient representation for irradiance environment maps", 2001: nine numbers
describe diffuse light. They are fitted to the logarithm, so that light is a factor and outliers weigh less.
"""

import torch
from torch import Tensor

from gpu_workers.engines.anny.texture_statistics import constant, masked_quantile, scale_count, thin_out

#: Share of the fitted light that is removed: all of it would also flatten what is the person's own.
_STRENGTH = 0.75
#: Largest factor of the correction, as a logarithm.
_LARGEST = 0.55
_RIDGE = 0.03
_ROUNDS = 5
#: Fewer pixels of skin than this tell nothing of the light.
_FEWEST = 500
_LUMA = (0.2126, 0.7152, 0.0722)


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
    level = (constant(_LUMA, colour.device) @ thin_out(colour)).clamp(min=1e-3).log()
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
        own = trust / (1 + (residual / 0.12) ** 2)
    shade = fit @ _harmonics(normals.reshape(3, -1)) - masked_quantile((basis @ fit)[None], chosen)
    gain = torch.exp(-_STRENGTH * _LARGEST * torch.tanh(shade / _LARGEST)).view(1, height, width)
    return torch.where(count >= scale_count(_FEWEST, width), gain, 1.0)


def _harmonics(normal: Tensor) -> Tensor:
    """Return (9, N) real harmonics up to order two, without their constants, of (3, N) normals."""
    x, y, z = normal
    return torch.stack([torch.ones_like(x), x, y, z, x * y, x * z, y * z, x * x - y * y, 3 * z * z - 1])

"""What a camera and its file do to a picture: tone, blur, noise, JPEG-like quantisation."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from gpu_workers.training.synthetic_photos.random_appearance import CameraLook

_TAPS = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
_BLOCK = 8
#: Quantisation step of the lowest frequency, of sRGB in 0..1; it grows with frequency.
_STEP = 0.006


class Grain(NamedTuple):
    """Noise of standard deviation 1: of single pixels (B, 3, S, S), and of pairs (B, 3, S / 2, S / 2)."""

    fine: Tensor
    coarse: Tensor


def draw_grain(batch: int, size: int, generator: torch.Generator) -> Grain:
    """Return a generator's next grain, on its device; size in pixels."""
    fine, coarse = (
        torch.randn(batch, 3, side, side, generator=generator, device=generator.device)
        for side in (size, size // 2)
    )
    return Grain(fine, coarse)


def apply_camera(picture: Tensor, look: CameraLook, grain: Grain) -> Tensor:
    """Return pictures (B, 3, S, S), sRGB 0..1, as a file would show them.

    Args:
        picture: (B, 3, S, S) sRGB 0..1; S divisible by 8.
        grain: of the same size.
    """
    picture = _tone(picture, look)
    picture = _blur(picture, look.blur)
    picture = _noise(picture, look, grain)
    return _quantise(picture, look.quantisation).clamp(0, 1)


def _wide(values: Tensor) -> Tensor:
    wide: Tensor = values.view(len(values), -1, 1, 1)
    return wide


def _tone(picture: Tensor, look: CameraLook) -> Tensor:
    picture = picture.clamp(0, 1) ** _wide(look.gamma)
    mean = picture.mean((1, 2, 3), keepdim=True)
    picture = (picture - mean) * _wide(look.contrast) + mean + _wide(look.brightness)
    grey = picture.mean(1, keepdim=True)
    return (grey + (picture - grey) * _wide(look.saturation)) * _wide(look.balance)


def _blur(picture: Tensor, deviation: Tensor) -> Tensor:
    """Blur each picture by its own standard deviation: a mixture of three fixed amounts."""
    once = _smooth(picture, 1)
    twice = _smooth(once, 2)
    # Mixtures of Gaussians add their variances by their shares: 0, 1 and 1 + 4 square pixels.
    variance = deviation**2
    second = ((variance - 1) / 4).clamp(0, 1)
    first = torch.minimum(variance, 1 - second)
    return picture * _wide(1 - first - second) + once * _wide(first) + twice * _wide(second)


def _smooth(picture: Tensor, step: int) -> Tensor:
    """Return the picture under a binomial kernel of five taps `step` apart: standard deviation `step`."""
    reach = 2 * step
    height, width = picture.shape[-2:]
    padded = functional.pad(picture, (reach, reach, reach, reach), mode="replicate")
    rows = torch.zeros_like(padded[..., :height, :])
    for number, weight in enumerate(_TAPS):
        rows += weight * padded[..., number * step : number * step + height, :]
    smooth = torch.zeros_like(picture)
    for number, weight in enumerate(_TAPS):
        smooth += weight * rows[..., number * step : number * step + width]
    return smooth


def _noise(picture: Tensor, look: CameraLook, grain: Grain) -> Tensor:
    size = picture.shape[-2:]
    coarse = functional.interpolate(grain.coarse, size=size, mode="bilinear", align_corners=False)
    return picture + grain.fine * _wide(look.noise) + coarse * _wide(look.coarse_noise)


def _quantise(picture: Tensor, strength: Tensor) -> Tensor:
    """Round the cosine coefficients of 8 x 8 blocks to steps that grow with frequency."""
    batch, channels, height, width = picture.shape
    device = picture.device
    index = torch.arange(_BLOCK, device=device)
    basis = torch.cos((2 * index + 1) * index[:, None] * (math.pi / (2 * _BLOCK))) * math.sqrt(2 / _BLOCK)
    basis[0] *= math.sqrt(0.5)
    both = torch.kron(basis, basis)
    steps = ((1 + index[:, None] + index) * _STEP).flatten() * strength[:, None].clamp(min=1e-6)
    steps = steps.view(batch, 1, 1, 1, -1)
    rows, columns = height // _BLOCK, width // _BLOCK
    blocks = picture.reshape(batch, channels, rows, _BLOCK, columns, _BLOCK).transpose(3, 4)
    flat = blocks.reshape(batch, channels, rows, columns, -1)
    rounded = (torch.round(flat @ both.T / steps) * steps) @ both
    flat = torch.where((strength > 0).view(-1, 1, 1, 1, 1), rounded, flat)
    blocks = flat.view(batch, channels, rows, columns, _BLOCK, _BLOCK).transpose(3, 4)
    return blocks.reshape(picture.shape)

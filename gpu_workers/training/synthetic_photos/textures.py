"""The painted material: face textures in the skin's atlas, background photos, and noise."""

import io
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from face3d.errors import ConfigurationError

#: How much of a texture's own light and shade is divided out (0..1), and on what share of the atlas it counts
#: as light: broader than lips and brows, narrower than a face.
_FLATTEN = 0.3
_FLATTEN_CELLS = 10
_NOISE_SIZE = 256


@dataclass(frozen=True, kw_only=True)
class Material:
    """What all heads share."""

    #: (T, S, S, 3) uint8 sRGB in the skin's atlas, row 0 at v = 1; T may be 0.
    textures: Tensor
    #: (N, 64, 64, 3) uint8 sRGB; N may be 0.
    backgrounds: Tensor
    #: (4, 256, 256) about 0, standard deviation 1: two of many octaves, two fine ones.
    noise: Tensor


def load_material(path: Path | None, device: torch.device, *, limit: int | None = None) -> Material:
    """Return the material in a texture file, or only noise without one.

    Args:
        path: an .npz file with `data`, uint8, JPEG pictures one after the other; `off` (T + 1,), where each
            begins; optionally `bg` (N, h, w, 3) uint8 backgrounds.
        device: where the tensors go.
        limit: read only so many textures.
    Raises:
        ConfigurationError: the file is missing or holds something else.
    """
    noise = _make_noise().to(device)
    empty = torch.zeros(0, 8, 8, 3, dtype=torch.uint8, device=device)
    if path is None:
        return Material(textures=empty, backgrounds=empty, noise=noise)
    try:
        with np.load(path, allow_pickle=False) as file:
            data, starts = file["data"], file["off"]
            backgrounds = torch.from_numpy(file["bg"]).to(device) if "bg" in file.files else empty
    except (OSError, KeyError, ValueError) as error:
        raise ConfigurationError(f"{path.name} is no file of face textures") from error
    count = min(len(starts) - 1, limit or len(starts))
    pictures = []
    for begin, end in pairwise(starts[: count + 1]):
        with Image.open(io.BytesIO(data[begin:end].tobytes())) as picture:
            pictures.append(_flatten(torch.from_numpy(np.array(picture.convert("RGB")))))
    return Material(textures=torch.stack(pictures).to(device), backgrounds=backgrounds, noise=noise)


def _flatten(picture: Tensor) -> Tensor:
    """Return a texture (S, S, 3) uint8 with most of its own light divided out, so that ours tells depth."""
    linear = (picture.float() / 255) ** 2.2
    grey = linear.mean(-1)[None, None] + 0.01
    coarse = functional.adaptive_avg_pool2d(grey, _FLATTEN_CELLS)
    light = functional.interpolate(coarse, size=picture.shape[:2], mode="bicubic", align_corners=False)
    ratio = (light.clamp(min=0.01) / grey.mean()).clamp(0.35, 2.5) ** -_FLATTEN
    return ((linear * ratio[0, 0, :, :, None]).clamp(0, 1) ** (1 / 2.2) * 255).round().to(torch.uint8)


def _make_noise() -> Tensor:
    generator = torch.Generator().manual_seed(7)

    def octaves(first: int, count: int) -> Tensor:
        total = torch.zeros(1, 1, _NOISE_SIZE, _NOISE_SIZE)
        for octave in range(count):
            cells = first * 2**octave
            grid = torch.randn(1, 1, cells, cells, generator=generator) * 0.6**octave
            total += functional.interpolate(grid, size=(_NOISE_SIZE,) * 2, mode="bicubic")
        return total[0, 0] / total.std()

    return torch.stack([octaves(8, 5), octaves(8, 5), octaves(64, 3), octaves(64, 3)])


def sample_noise(noise: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return (C, B, H, W): noise (C, S, S) at places x, y (B, H, W), whose unit is the noise's side.

    The noise goes on for ever as its own mirror images, so that it has no seams.
    """
    grid = torch.stack([x, y], -1).view(1, -1, x.shape[-1], 2) * 2 - 1
    sampled = functional.grid_sample(
        noise[None], grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    return sampled[0].view(len(noise), *x.shape)

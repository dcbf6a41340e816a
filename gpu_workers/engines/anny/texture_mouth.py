"""The mouth's own map: crowns that yellow towards the gum, gums and tongue; darker where no light comes."""

import numpy as np
import torch
from torch import Tensor

from gpu_workers.engines.anny.head_data import HeadData, PartData
from gpu_workers.engines.anny.texture_fill import make_noise
from gpu_workers.engines.anny.uv_raster import interpolate, rasterise_atlas

#: Pixels a side.
MOUTH_SIZE = 1024
#: Linear light.
_TOOTH = (0.66, 0.61, 0.52)
_TOOTH_EDGE = (0.58, 0.575, 0.54)
_TOOTH_NECK = (0.54, 0.45, 0.33)
_GUM = (0.36, 0.13, 0.125)
_TONGUE = (0.36, 0.125, 0.12)
#: Millimetres from the biting edge: where it stops being translucent, where the neck begins and is reached.
_EDGE_END = 2.2
_NECK = (4.5, 9.5)
#: Light at the back of the mouth, of that in front.
_BACK_LIGHT = 0.18


def paint_mouth(data: HeadData, device: torch.device, size: int = MOUTH_SIZE) -> Tensor:
    """Return the mouth's albedo, (3, size, size) linear light; the same for every person."""
    parts = [part for part in data.parts if part.material == "mouth"]
    result = torch.tensor(_GUM, device=device)[:, None, None].expand(3, size, size).clone()
    first_uv = np.cumsum([0] + [len(part.uvs) for part in parts])
    uvs = torch.from_numpy(np.concatenate([part.uvs for part in parts])).to(device)
    triangles = [part.uv_triangles + start for part, start in zip(parts, first_uv, strict=False)]
    corner = torch.from_numpy(np.concatenate(triangles)).long().to(device)
    raster, _ = rasterise_atlas(uvs, corner, size)
    owner = torch.from_numpy(np.repeat(np.arange(len(parts)), [len(t) for t in triangles])).to(device)
    owner = owner[raster.triangle]
    for index, part in enumerate(parts):
        values = np.zeros((len(uvs), 2), np.float32)
        span = slice(int(first_uv[index]), int(first_uv[index + 1]))
        values[span] = _measure(part, data.positions[part.vertices])
        height, forward = interpolate(torch.from_numpy(values).to(device), corner, raster).permute(2, 0, 1)
        if part.name == "tongue":
            colour = _paint_tongue(forward, size)
        elif part.name.startswith("teeth"):
            colour = _paint_teeth(height, size) * _light(forward)
        else:
            colour = _paint_gum(height, size) * _light(forward)
        result = torch.where(owner == index, colour, result)
    return result


def _measure(part: PartData, positions: np.ndarray) -> np.ndarray:
    """Return (T, 2) for each uv: millimetres from the biting edge, and place from the back (0) to the front.

    Of a gum the millimetres are from its margin, of the tongue they mean nothing.
    """
    towards_gum = -1 if part.name.endswith("lower") else 1
    height = towards_gum * positions[:, 1] * 1000
    values = np.zeros((len(part.uvs), 2), np.float32)
    back, front = positions[:, 2].min(), positions[:, 2].max()
    forward = (positions[:, 2] - back) / max(front - back, 1e-6)
    values[part.uv_triangles] = np.stack([height, forward], 1)[part.triangles]
    # Each tooth is an island of its own.
    for island in range(int(part.uv_islands.max()) + 1):
        own = part.uv_islands == island
        values[own, 0] -= values[own, 0].min()
    return values


def _light(forward: Tensor) -> Tensor:
    ramp = ((forward - 0.25) / 0.6).clamp(0, 1)
    return _BACK_LIGHT + (1 - _BACK_LIGHT) * ramp * ramp * (3 - 2 * ramp)


def _tint(colour: tuple[float, float, float], device: torch.device) -> Tensor:
    return torch.tensor(colour, device=device)[:, None, None]


def _paint_teeth(height: Tensor, size: int) -> Tensor:
    device = height.device
    edge = (1 - height / _EDGE_END).clamp(0, 1)
    neck = ((height - _NECK[0]) / (_NECK[1] - _NECK[0])).clamp(0, 1)
    tooth = _tint(_TOOTH, device)
    colour = tooth + (_tint(_TOOTH_EDGE, device) - tooth) * edge
    colour = colour + (_tint(_TOOTH_NECK, device) - colour) * neck * neck
    return colour * (1 + 0.025 * make_noise(size, 10.0, seed=31).to(device))


def _paint_gum(height: Tensor, size: int) -> Tensor:
    device = height.device
    blotches = make_noise(size, 7.0, seed=32).to(device)
    # The margin is paler than the mucosa further from the teeth, which is red with vessels.
    deep = ((height - 4) / 9).clamp(0, 1)
    return _tint(_GUM, device) * (1 - deep * _tint((0.15, 0.4, 0.36), device)) * (1 + 0.05 * blotches)


def _paint_tongue(forward: Tensor, size: int) -> Tensor:
    """Args: forward: 0 in the throat, where no light comes, 1 at the tip."""
    bumps = (make_noise(size, 2.0, seed=21) * 0.7 + make_noise(size, 9.0, seed=22) * 0.5).to(forward.device)
    shade = 0.25 + 0.75 * forward.clamp(0, 1) + 0.04 * bumps
    return torch.tensor(_TONGUE, device=forward.device)[:, None, None] * shade

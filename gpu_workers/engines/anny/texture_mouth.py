"""The mouth's own map: teeth, off-white with gaps and a gum line, and a pink tongue."""

import numpy as np
import torch
from torch import Tensor

from gpu_workers.engines.anny.head_data import HeadData, PartData
from gpu_workers.engines.anny.texture_fill import make_noise
from gpu_workers.engines.anny.uv_raster import interpolate, rasterise_atlas

#: Pixels a side.
MOUTH_SIZE = 1024
#: Linear light.
_TOOTH = (0.80, 0.75, 0.65)
_TOOTH_NECK = (0.68, 0.59, 0.46)
_GUM = (0.42, 0.16, 0.15)
_TONGUE = (0.36, 0.125, 0.12)
#: Widths of the teeth from the midline, millimetres (Ash and Nelson, "Wheeler's Dental Anatomy").
_UPPER_WIDTHS = (8.5, 6.5, 7.5, 7.0, 7.0, 10.0, 9.0)
_LOWER_WIDTHS = (5.0, 5.5, 7.0, 7.0, 7.0, 11.0, 10.5)
#: Share of half an arch.
_GAP = 0.010


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
        values = np.zeros((len(uvs), 3), np.float32)
        span = slice(int(first_uv[index]), int(first_uv[index + 1]))
        values[span] = _measure(part, data.positions[part.vertices])
        across, height, forward = interpolate(torch.from_numpy(values).to(device), corner, raster).permute(
            2, 0, 1
        )
        if part.name == "tongue":
            colour = _paint_tongue(forward, size)
        else:
            upper = part.name == "teeth_upper"
            colour = _paint_teeth(
                across, height if upper else 1 - height, _UPPER_WIDTHS if upper else _LOWER_WIDTHS
            )
        result = torch.where(owner == index, colour, result)
    return result


def _measure(part: PartData, positions: np.ndarray) -> np.ndarray:
    """Return (T, 3) for each uv: place along the arch from the midline, height, and place from back to front.

    Each is in 0..1.
    """
    low, high = positions[:, 1].min(), positions[:, 1].max()
    # Length of the arch as a function of |x|: the part is a narrow band along it.
    aside = np.abs(positions[:, 0])
    edges = np.linspace(0, aside.max(), 12)
    z = np.array([positions[np.argsort(np.abs(aside - edge))[:8], 2].max() for edge in edges])
    length = np.concatenate([[0], np.cumsum(np.hypot(np.diff(edges), np.diff(z)))])
    across = np.interp(aside, edges, length) / length[-1]
    back, front = positions[:, 2].min(), positions[:, 2].max()
    forward = (positions[:, 2] - back) / max(front - back, 1e-6)
    height = (positions[:, 1] - low) / max(high - low, 1e-6)
    values = np.zeros((len(part.uvs), 3), np.float32)
    values[part.uv_triangles] = np.stack([across, height, forward], 1)[part.triangles]
    return values


def _paint_teeth(across: Tensor, height: Tensor, widths: tuple[float, ...]) -> Tensor:
    """Args: height: 0 at the biting edge, 1 in the gum."""
    device = across.device
    gaps = torch.cumsum(torch.tensor((0.0, *widths), device=device), 0) / sum(widths)
    nearest = (across[..., None] - gaps).abs().amin(-1)
    gap = torch.exp(-((nearest / _GAP) ** 2))
    neck = ((height - 0.2) / 0.6).clamp(0, 1)[None]
    tooth = torch.tensor(_TOOTH, device=device)[:, None, None]
    colour = tooth + (torch.tensor(_TOOTH_NECK, device=device)[:, None, None] - tooth) * neck
    colour = colour * (1 - gap * torch.tensor((0.28, 0.36, 0.42), device=device)[:, None, None])
    # The gum line is scalloped: it reaches down between the teeth.
    gum = ((height + 0.12 * gap - 0.80) / 0.08).clamp(0, 1)
    return colour + (torch.tensor(_GUM, device=device)[:, None, None] - colour) * gum


def _paint_tongue(forward: Tensor, size: int) -> Tensor:
    """Args: forward: 0 in the throat, where no light comes, 1 at the tip."""
    bumps = (make_noise(size, 2.0, seed=21) * 0.7 + make_noise(size, 9.0, seed=22) * 0.5).to(forward.device)
    shade = 0.25 + 0.75 * forward.clamp(0, 1) + 0.04 * bumps
    return torch.tensor(_TONGUE, device=forward.device)[:, None, None] * shade

"""How much of the sky each texel of the skin sees: ambient occlusion of the mean head, found once a process.

Depth maps from many directions tell what is hidden from there; heads differ little in what hides what. What a
person's own folds hide is added later (detail_maps.py).
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from gpu_workers.head.model.head_template import HeadData
from gpu_workers.head.ops.image import sample_picture
from gpu_workers.head.ops.uv_rasterization import rasterise
from gpu_workers.head.texturing.uv_atlas import SkinAtlas

#: Directions looked from, and pixels a side of each view.
_DIRECTIONS, _VIEW = 30, 224
#: Metres: a point is lifted so far off its skin, and hidden when it lies so much deeper than what is seen.
_LIFT, _SLACK = 0.0014, 0.0014
#: Cornea and lashes let light through.
_CLEAR = ("cornea", "lashes")


def find_occlusion(data: HeadData, atlas: SkinAtlas, size: int) -> Tensor:
    """Return (size, size) the share of the sky that the mean head's skin sees, cosine weighted, 0..1.

    Args:
        size: pixels a side, a power of two no larger than the atlas.
    """
    device = atlas.triangles.device
    positions = torch.from_numpy(data.positions).float().to(device)
    solid = [part.triangles + part.first for part in data.parts if part.material not in _CLEAR]
    triangles = torch.cat([torch.from_numpy(rows).long() for rows in solid]).to(device)
    skin = positions[data.part("skin").vertices]
    step = atlas.covered.shape[0] // size
    place = _pick_texels(atlas.spread(skin), step)
    normal = functional.normalize(
        _pick_texels(atlas.spread(_find_normals(skin, atlas.triangles)), step), dim=0
    )
    lifted = place + _LIFT * normal
    seen = torch.zeros(size, size, device=device)
    total = torch.zeros(size, size, device=device)
    for direction in spread_directions(_DIRECTIONS).to(device):
        weight = torch.tensordot(direction, normal, dims=1).clamp(min=0)
        seen += weight * _find_visible(lifted, direction, positions, triangles)
        total += weight
    share = seen / total.clamp(min=1e-6)
    # The head is symmetric, the directions are not: together they are twice as many.
    main = _pick_texels(atlas.main[None], step)[0]
    return torch.where(main, 0.5 * (share + share.flip(-1)), share)


def spread_directions(count: int) -> Tensor:
    """Return (count, 3) unit vectors spread evenly over the sphere: a Fibonacci lattice."""
    row = torch.arange(count, dtype=torch.float32) + 0.5
    y = 1 - 2 * row / count
    angle = row * (math.pi * (3 - math.sqrt(5)))
    radius = (1 - y * y).sqrt()
    return torch.stack([radius * torch.cos(angle), y, radius * torch.sin(angle)], 1)


def _find_visible(points: Tensor, direction: Tensor, positions: Tensor, triangles: Tensor) -> Tensor:
    """Return (h, w) in 0..1 whether points (3, h, w) are seen from far off in a direction."""
    helper = torch.eye(3, device=direction.device)[direction.abs().argmin()]
    right = functional.normalize(torch.linalg.cross(helper, direction), dim=0)
    axes = torch.stack([right, torch.linalg.cross(direction, right)])
    flat = positions @ axes.T
    low = flat.amin(0)
    span = (flat.amax(0) - low).max() * 1.02
    # Positive and smaller where nearer, as the depth test wants it.
    reach = positions.norm(dim=1).max() + 0.1
    depth = reach - positions @ direction
    raster = rasterise((flat - low) / span * _VIEW, triangles, _VIEW, _VIEW, depth)
    nearest = (depth[triangles[raster.triangle.clamp(min=0)]] * raster.weights).sum(-1)
    nearest = torch.where(raster.triangle >= 0, nearest, 2 * reach)
    own = reach - torch.tensordot(direction, points, dims=1)
    there = (torch.tensordot(axes, points, dims=1) - low[:, None, None]) / span
    behind = own - sample_picture(nearest[None], there, mode="nearest")[0]
    share: Tensor = (1 - (behind - _SLACK) / _SLACK).clamp(0, 1)
    return share


def _pick_texels(maps: Tensor, step: int) -> Tensor:
    # Not the mean: between charts it would be neither's.
    return maps[:, ::step, ::step]


def _find_normals(positions: Tensor, triangles: Tensor) -> Tensor:
    corners = positions[triangles]
    faces = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = torch.zeros_like(positions)
    for k in range(3):
        normals.index_add_(0, triangles[:, k], faces)
    return functional.normalize(normals, dim=1)

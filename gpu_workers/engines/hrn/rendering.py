"""What the pipeline asks of nvdiffrast and PyTorch3D, answered by our rasteriser, on CPU and CUDA.

Only what it asks: one mesh shared by a batch, one triangle a pixel, bilinear textures that wrap around. The
argument names are theirs. Gradients reach textures and attributes, and not the triangles' borders.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from gpu_workers.head.ops import rasterization
from gpu_workers.head.ops.rasterization import Raster


class RasterizeCudaContext:
    """nvdiffrast's handle of a device; ours needs none."""

    def __init__(self, device: torch.device | str | None = None) -> None:
        self.device = device


def rasterize(
    glctx: RasterizeCudaContext,  # noqa: ARG001
    pos: Tensor,
    tri: Tensor,
    resolution: Sequence[int],
    ranges: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return (B, H, W, 4) weights of the first two corners, z / w, triangle + 1; and no derivatives.

    Args:
        pos: (B, V, 4) clip coordinates; row 0 of the picture lies at y / w = -1.
        tri: (F, 3).
        resolution: height and width.
        ranges: other meshes for other pictures; not supported.
    """
    if ranges is not None:
        raise NotImplementedError("one mesh for all pictures is what this rasteriser draws")
    height, width = resolution
    depth = pos[..., 3]
    place = torch.stack(
        [(pos[..., 0] / depth + 1) * width / 2, (pos[..., 1] / depth + 1) * height / 2, depth], dim=-1
    )
    raster = rasterization.rasterise(place, tri, height, width)
    z = rasterization.interpolate(pos[..., 2:3], tri, raster)[..., 0]
    distance = torch.where(raster.covered, raster.depth, torch.ones_like(z))
    number = (raster.triangle + 1).to(pos.dtype)
    out = torch.stack([raster.weights[..., 0], raster.weights[..., 1], z / distance, number], dim=-1)
    return out, torch.zeros_like(out)


def interpolate(
    attr: Tensor,
    rast: Tensor,
    tri: Tensor,
    rast_db: Tensor | None = None,  # noqa: ARG001
    diff_attrs: Any = None,  # noqa: ARG001
) -> tuple[Tensor, Tensor]:
    """Return (B, H, W, C) of vertex values (V, C) or (B, V, C), 0 where nothing lies; and no derivatives."""
    values = attr if attr.dim() == 3 else attr[None].expand(len(rast), -1, -1)
    covered = rast[..., 3] > 0
    first, second = rast[..., 0], rast[..., 1]
    weights = torch.stack([first, second, 1 - first - second], dim=-1) * covered[..., None]
    raster = Raster(
        triangle=rast[..., 3].long() - 1, weights=weights, depth=rast[..., 2], dropped=rast.new_zeros(())
    )
    mixed = rasterization.interpolate(values, tri, raster)
    return mixed, mixed.new_zeros(())


def texture(tex: Tensor, uv: Tensor, filter_mode: str = "linear") -> Tensor:
    """Return (B, H, W, C): a texture (B, h, w, C), row 0 at v = 0, at (B, H, W, 2); it wraps around."""
    if filter_mode != "linear":
        raise NotImplementedError("bilinear is how this texture is read")
    height, width = tex.shape[1:3]
    # One texel of the other side all around: what lies between the last texel and the first.
    planes = functional.pad(tex.permute(0, 3, 1, 2), (1, 1, 1, 1), mode="circular")
    size = torch.tensor([width, height], dtype=uv.dtype, device=uv.device)
    grid = ((uv - uv.floor()) * size + 1) * 2 / (size + 2) - 1
    read = functional.grid_sample(planes, grid, mode="bilinear", align_corners=False)
    return read.permute(0, 2, 3, 1)


class Meshes:
    """PyTorch3D's batch of meshes: vertices (B, V, 3) and the same triangles (B, F, 3) in each."""

    def __init__(self, verts: Tensor, faces: Tensor) -> None:
        self.verts, self.faces = verts, faces


def rasterize_meshes(
    meshes: Meshes,
    image_size: int | Sequence[int],
    perspective_correct: bool = False,
    **unused: Any,  # noqa: ARG001
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return (B, H, W, 1) triangle of the whole batch or -1, and depth; (B, H, W, 1, 3) weights; zeros.

    Vertices are PyTorch3D's: x to the left, y up, both in -1..1.
    """
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    scale = torch.tensor([width / 2, height / 2], device=meshes.verts.device)
    place = torch.cat([(1 - meshes.verts[..., :2]) * scale, meshes.verts[..., 2:]], dim=-1)
    raster = rasterization.rasterise(place, meshes.faces[0], height, width, perspective=perspective_correct)
    first = torch.arange(len(place), device=place.device)[:, None, None] * meshes.faces.shape[1]
    number = torch.where(raster.covered, raster.triangle + first, -1)
    distances = torch.zeros_like(raster.depth)
    return number[..., None], raster.depth[..., None], raster.weights[..., None, :], distances[..., None]


def suppress_overlaps(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Return the rows of boxes (N, 4; two corners) that no better one overlaps too much, best first.

    torchvision's `nms`, where its own cannot be loaded.
    """
    low, high = boxes[:, :2], boxes[:, 2:]
    area = (high - low).prod(1)
    shared = (torch.minimum(high[:, None], high) - torch.maximum(low[:, None], low)).clamp(min=0).prod(-1)
    overlaps = shared / (area[:, None] + area - shared) > iou_threshold
    kept: list[int] = []
    for row in scores.argsort(descending=True).tolist():
        if not overlaps[row, kept].any():
            kept.append(row)
    return torch.tensor(kept, dtype=torch.int64, device=boxes.device)

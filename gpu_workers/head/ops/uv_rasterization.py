"""Triangles to pixels in torch: which triangle covers each pixel, and where on it. For UV and depth maps.

Every triangle is tested against the pixels of its bounding box, all triangles at once: triangles of a head
mesh are small, so few tests are wasted, and the same code runs on CPU and CUDA.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

#: Pixel tests made at once; bounds the memory.
_CHUNK = 4_000_000
_FAR = torch.iinfo(torch.int64).max
#: Barycentric slack of the inside test, so that no pixel on a shared edge is lost.
_SLACK = 1e-5


@dataclass(frozen=True, kw_only=True)
class Raster:
    """A picture of triangle numbers."""

    #: (H, W) int64 row of the triangle list, -1 where nothing lies.
    triangle: Tensor
    #: (H, W, 3) barycentric weights of the pixel's centre on that triangle, linear on the picture.
    weights: Tensor


def rasterise(
    points: Tensor, triangles: Tensor, height: int, width: int, depth: Tensor | None = None
) -> Raster:
    """Return the triangle at each pixel centre: the nearest one, or any when there is no depth.

    Args:
        points: (V, 2) float32, pixel x right and y down; the centre of the top-left pixel is (0.5, 0.5).
        triangles: (M, 3) int64; both orientations count.
        depth: (V,) positive; smaller is nearer.
    """
    corners = points[triangles]
    low = torch.ceil(corners.amin(1) - 0.5).long()
    high = torch.floor(corners.amax(1) - 0.5).long() + 1
    limit = torch.tensor([width, height], device=points.device)
    low, high = torch.minimum(low.clamp(min=0), limit), torch.minimum(high.clamp(min=0), limit)
    span = (high - low).clamp(min=0)
    tests = span[:, 0] * span[:, 1]
    best = torch.full((height * width,), _FAR, dtype=torch.int64, device=points.device)
    ends = torch.cumsum(tests, 0)
    start = 0
    while start < len(triangles):
        done = int(ends[start - 1]) if start else 0
        stop = int(torch.searchsorted(ends, done + _CHUNK, right=True).item())
        stop = max(stop, start + 1)
        count = tests[start:stop]
        triangle = torch.repeat_interleave(torch.arange(start, stop, device=points.device), count)
        first = torch.repeat_interleave(ends[start:stop] - count, count)
        offset = torch.arange(len(triangle), device=points.device) + done - first
        column = low[triangle, 0] + offset % span[triangle, 0]
        row = low[triangle, 1] + torch.div(offset, span[triangle, 0], rounding_mode="floor")
        weights = _weigh(corners, triangle, column, row)
        inside = (weights >= -_SLACK).all(1)
        triangle, weights, pixel = triangle[inside], weights[inside], (row * width + column)[inside]
        key = triangle
        if depth is not None:
            near = (weights * depth[triangles[triangle]]).sum(1).float()
            # The bits of a positive float sort like the float.
            key = (near.view(torch.int32).long() << 32) | triangle
        best.scatter_reduce_(0, pixel, key, "amin")
        start = stop
    covered = best != _FAR
    triangle = torch.where(covered, best & 0xFFFFFFFF, -1)
    pixel = torch.arange(height * width, device=points.device)
    weights = _weigh(
        corners, triangle.clamp(min=0), pixel % width, torch.div(pixel, width, rounding_mode="floor")
    )
    weights = torch.where(covered[:, None], weights, 0.0)
    return Raster(triangle=triangle.view(height, width), weights=weights.view(height, width, 3))


def _weigh(corners: Tensor, triangle: Tensor, column: Tensor, row: Tensor) -> Tensor:
    """Return (P, 3) barycentric weights of pixel centres; a degenerate triangle has none inside."""
    own = corners[triangle]
    dx = own[:, :, 0] - (column + 0.5)[:, None]
    dy = own[:, :, 1] - (row + 0.5)[:, None]
    first = dx[:, 1] * dy[:, 2] - dx[:, 2] * dy[:, 1]
    second = dx[:, 2] * dy[:, 0] - dx[:, 0] * dy[:, 2]
    third = dx[:, 0] * dy[:, 1] - dx[:, 1] * dy[:, 0]
    area = first + second + third
    scale = torch.where(area.abs() > 1e-12, 1 / area, torch.nan)
    return torch.stack([first, second, third], 1) * scale[:, None]


def interpolate(values: Tensor, triangles: Tensor, raster: Raster) -> Tensor:
    """Return (H, W, C): vertex values (V, C) at each pixel; arbitrary where nothing is covered."""
    corner = triangles[raster.triangle.clamp(min=0)]
    result = values[corner[..., 0]] * raster.weights[..., 0:1]
    result += values[corner[..., 1]] * raster.weights[..., 1:2]
    result += values[corner[..., 2]] * raster.weights[..., 2:3]
    return result


def rasterise_atlas(uvs: Tensor, triangles: Tensor, size: int, reach: float = 3.0) -> tuple[Raster, Tensor]:
    """Return a UV map without holes: what lies between the charts continues the nearest chart.

    Args:
        uvs: (T, 2), v up; row 0 of the map lies at v = 1.
        triangles: (M, 3) int64 indices into `uvs`.
        size: pixels a side.
        reach: so far from a chart, in pixels, values continue linearly; further they stay constant.
    Returns:
        The raster, each pixel of which names a triangle, and the (size, size) bool map of covered pixels.
    """
    points = torch.stack([uvs[:, 0] * size, (1 - uvs[:, 1]) * size], 1)
    raster = rasterise(points, triangles, size, size)
    covered = raster.triangle >= 0
    distance, nearest = distance_transform_edt(~covered.cpu().numpy(), return_indices=True)
    source = torch.from_numpy(nearest.astype(np.int64)).to(uvs.device)
    triangle = raster.triangle[source[0], source[1]].reshape(-1)
    # Linear continuation to at most `reach` pixels along the way from the chart.
    far = torch.from_numpy(distance.astype(np.float32)).to(uvs.device)
    share = (reach / far.clamp(min=reach)).unsqueeze(0)
    grid = torch.stack(torch.meshgrid(*(torch.arange(size, device=uvs.device),) * 2, indexing="ij"))
    target = source + (grid - source) * share
    weights = _weigh(points[triangles], triangle, target[1].reshape(-1), target[0].reshape(-1))
    return Raster(triangle=triangle.view(size, size), weights=weights.view(size, size, 3)), covered

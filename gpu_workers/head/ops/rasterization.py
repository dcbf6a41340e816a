"""Triangles to pixels in torch, batched: which triangle each pixel sees, where on it, and how far away.

One code for CPU and CUDA, in a handful of large operations: the pixels of all bounding boxes of all
triangles of the whole batch stand in one list (a triangle finds its place in it by a running sum), each is
tested against its triangle, and the nearest triangle of a pixel wins by one 64-bit minimum over
(depth, triangle). Triangles of a head mesh are small, so few tests are wasted.

Tie rule: a pixel centre within 1e-4 pixels of an edge is inside, so that no pixel between neighbours is
lost; of several triangles there the nearer one wins, at equal depth the one with the lower number.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

#: Pixel tests made at once: on a CPU they stay in its caches, on a GPU they bound the memory.
_CHUNK_CPU = 100_000
_CHUNK_CUDA = 24_000_000
#: Distance to an edge, pixels, that still counts as inside: above the rounding of float32.
_SLACK = 1e-4
#: Triangles of less area, square pixels, are lines: they cover nothing.
_MIN_AREA = 1e-6
#: Nearer vertices lie behind the camera, for what this module knows.
_NEAREST = 1e-6
_FAR = torch.iinfo(torch.int64).max
#: Below this, 32 bits count.
_SHORT = torch.iinfo(torch.int32).max
#: Columns of a triangle's row: place of corner a, gradients of the weights of b and c, slack of the three
#: weights, (inverse) depth at a and its difference at b and c.
_COLUMNS = 12


@dataclass(frozen=True, kw_only=True)
class Raster:
    """What B pictures of one mesh show."""

    #: (B, H, W) int64 row of the triangle list, -1 where nothing lies.
    triangle: Tensor
    #: (B, H, W, 3) weights of the triangle's corners at the pixel's centre, 0 where nothing lies.
    weights: Tensor
    #: (B, H, W) depth, unit of the vertices' z; infinite where nothing lies.
    depth: Tensor
    #: () int64 pixel tests that did not fit into `capacity`: 0 unless that is too small.
    dropped: Tensor

    @property
    def covered(self) -> Tensor:
        """(B, H, W) bool: something lies there."""
        covered: Tensor = self.triangle >= 0
        return covered


def rasterise(
    vertices: Tensor,
    triangles: Tensor,
    height: int,
    width: int,
    *,
    perspective: bool = True,
    cull_back: bool = False,
    capacity: int | None = None,
) -> Raster:
    """Return the nearest triangle at each pixel centre of each picture.

    Weights and depth carry gradients to the vertices; which triangle is seen does not.

    Args:
        vertices: (B, V, 3) float32: pixel x right, pixel y down, depth > 0 away from the camera; the centre
            of the top-left pixel is (0.5, 0.5). Triangles with a corner at depth <= 0 are left out.
        triangles: (F, 3) integer, the same in all pictures.
        height: pixels.
        width: pixels.
        perspective: depth is that of a pinhole camera, so weights are perspective-correct; False means an
            orthographic view, in which both are linear on the picture.
        cull_back: leave out triangles whose corners run clockwise on the screen: of a mesh whose triangles
            are anticlockwise seen from outside, those that are seen from behind.
        capacity: size of the list of pixel tests. None measures it, which on CUDA waits for the device once
            a call; a number never waits, and triangles beyond it are lost (see `count_tests`).
    Source: Pineda, A Parallel Algorithm for Polygon Rasterization, 1988; perspective by McCool et al. 2001.
    """
    triangles = triangles.long()
    with torch.no_grad():
        rows, low, span = _prepare(vertices, triangles, height, width, perspective, cull_back)
        shape = (len(vertices), height, width)
        best, dropped = _nearest(rows, low, span, shape, perspective, capacity)
        seen = torch.where(best == _FAR, -1, best & 0xFFFFFFFF).view(shape)
    return _measure(vertices, triangles, seen, perspective, dropped)


def count_tests(
    vertices: Tensor,
    triangles: Tensor,
    height: int,
    width: int,
    *,
    perspective: bool = True,
    cull_back: bool = False,
) -> Tensor:
    """Return (B,) how many pixel tests each picture needs; their sum is the `capacity` to ask for."""
    _, _, span = _prepare(vertices, triangles.long(), height, width, perspective, cull_back)
    return span.prod(-1).view(len(vertices), -1).sum(1)


def _prepare(
    vertices: Tensor, triangles: Tensor, height: int, width: int, perspective: bool, cull_back: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return rows (B F, 12), and first pixel and size (B F, 2; int64; x, y) of the bounding boxes."""
    corners = vertices.detach()[:, triangles].float()
    place, depth = corners[..., :2], corners[..., 2]
    a = place[:, :, 0]
    ab, ac = place[:, :, 1] - a, place[:, :, 2] - a
    area = ab[..., 0] * ac[..., 1] - ab[..., 1] * ac[..., 0]
    usable = (area.abs() > _MIN_AREA) & (depth.amin(-1) > _NEAREST)
    if cull_back:
        usable &= area < 0
    scale = torch.where(usable, 1 / area, torch.zeros_like(area))
    # A pixel centre lies at a half; infinite or enormous places must not overflow the integers.
    big = float(4 * max(width, height))
    low = torch.ceil(place.amin(2).clamp(-big, big) - 0.5 - _SLACK).long().clamp(min=0)
    high = torch.floor(place.amax(2).clamp(-big, big) + 0.5 + _SLACK).long()
    # Not by a tensor of both limits: sending it would make the host wait.
    high = torch.stack([high[..., 0].clamp(max=width), high[..., 1].clamp(max=height)], -1)
    span = (high - low).clamp(min=0) * usable[..., None]
    slack = _SLACK * scale.abs()
    near = 1 / depth.clamp(min=_NEAREST) if perspective else depth
    rows = torch.stack(
        [
            *(a[..., 0], a[..., 1]),
            *(ac[..., 1] * scale, -ac[..., 0] * scale, -ab[..., 1] * scale, ab[..., 0] * scale),
            *((ac - ab).norm(dim=-1) * slack, ac.norm(dim=-1) * slack, ab.norm(dim=-1) * slack),
            *(near[..., 0], near[..., 1] - near[..., 0], near[..., 2] - near[..., 0]),
        ],
        dim=-1,
    )
    return rows.view(-1, _COLUMNS), low.view(-1, 2), span.view(-1, 2)


def _nearest(
    rows: Tensor,
    low: Tensor,
    span: Tensor,
    shape: tuple[int, int, int],
    perspective: bool,
    capacity: int | None,
) -> tuple[Tensor, Tensor]:
    """Return (B H W,) int64: bits of the depth above the triangle's number, or _FAR; and what was dropped."""
    device = rows.device
    batch, height, width = shape
    pixels = batch * height * width
    best = torch.full((pixels,), _FAR, dtype=torch.int64, device=device)
    ends = torch.cumsum(span[:, 0] * span[:, 1], 0)
    if not len(ends) or not pixels:
        return best, torch.zeros((), dtype=torch.int64, device=device)
    faces = len(rows) // batch
    total = int(ends[-1].item()) if capacity is None else capacity
    # Memory traffic is what takes the time: short integers where they suffice, and columns, not rows, so that
    # each is read as one run.
    kind = torch.int32 if max(total, pixels) < _SHORT else torch.int64
    columns = rows.T.contiguous()
    firsts = ends - span.prod(-1)
    boxes = torch.stack([low[:, 0], low[:, 1], span[:, 0].clamp(min=1), firsts.clamp(max=total)]).to(kind)
    places = ends.clamp(max=total).to(kind)
    chunk = _CHUNK_CPU if device.type == "cpu" else _CHUNK_CUDA
    for start in range(0, total, chunk):
        slot = torch.arange(start, min(start + chunk, total), device=device, dtype=kind)
        found = torch.searchsorted(places, slot, right=True, out_int32=kind == torch.int32)
        owner = found if capacity is None else found.clamp(max=len(rows) - 1)
        left, top, across, first = boxes[:, owner]
        offset = slot - first
        down = torch.div(offset, across, rounding_mode="floor")
        column, line = left + offset - down * across, top + down
        depth, inside = _test(columns[:, owner], column, line, perspective)
        picture = torch.div(owner, faces, rounding_mode="floor")
        pixel = (picture * height + line) * width + column
        if capacity is not None:
            valid = found < len(rows)
            inside &= valid
            # Slots without an owner ask for any pixel, and a spread of them: one address would be a queue.
            pixel = torch.where(valid, pixel, slot % pixels)
        # The bits of a positive float sort like the float.
        key = (depth.view(torch.int32).long() << 32) | (owner - picture * faces)
        best.scatter_reduce_(0, pixel.long(), torch.where(inside, key, _FAR), "amin")
    return best, (ends[-1] - total).clamp(min=0)


def _test(columns: Tensor, column: Tensor, line: Tensor, perspective: bool) -> tuple[Tensor, Tensor]:
    """Return depth (N,) and whether the pixel centre lies inside (N,) by columns (12, N)."""
    row = columns.unbind(0)
    dx, dy = column + 0.5 - row[0], line + 0.5 - row[1]
    b = dx * row[2] + dy * row[3]
    c = dx * row[4] + dy * row[5]
    inside = (1 - b - c >= -row[6]) & (b >= -row[7]) & (c >= -row[8])
    depth = row[9] + b * row[10] + c * row[11]
    if perspective:
        depth = 1 / depth
    return depth, inside & (depth > 0)


def _measure(vertices: Tensor, triangles: Tensor, seen: Tensor, perspective: bool, dropped: Tensor) -> Raster:
    """Return the raster of known triangles (B, H, W)."""
    batch, height, width = seen.shape
    device = vertices.device
    covered = seen >= 0
    if not len(triangles):
        weights = torch.zeros(batch, height, width, 3, device=device)
        far = torch.full_like(weights[..., 0], torch.inf)
        return Raster(triangle=seen, weights=weights, depth=far, dropped=dropped)
    first = torch.arange(batch, device=device)[:, None] * vertices.shape[1]
    corner = triangles[seen.clamp(min=0).view(batch, -1)] + first[..., None]
    # (3 coordinates, 3 corners, B, H, W): whole pictures, so that every operation reads in one run.
    places = vertices.reshape(-1, 3).T[:, corner.permute(2, 0, 1).reshape(3, batch, height, width)]
    x = torch.arange(width, device=device) + 0.5
    y = torch.arange(height, device=device)[:, None] + 0.5
    (ax, bx, cx), (ay, by, cy), depth = places
    bx, by, cx, cy = bx - ax, by - ay, cx - ax, cy - ay
    dx, dy = x - ax, y - ay
    area = bx * cy - by * cx
    scale = 1 / torch.where(covered, area, torch.ones_like(area))
    b = ((dx * cy - dy * cx) * scale).clamp(0, 1)
    c = ((bx * dy - by * dx) * scale).clamp(0, 1)
    weights = torch.stack([(1 - b - c).clamp(min=0), b, c])
    if perspective:
        weights = weights / torch.where(covered, depth, torch.ones_like(depth))
    weights = weights / weights.sum(0)
    weights = torch.where(covered, weights, torch.zeros_like(weights))
    seen_depth = torch.where(covered, (weights * depth).sum(0), torch.full_like(dx, torch.inf))
    return Raster(triangle=seen, weights=weights.movedim(0, -1), depth=seen_depth, dropped=dropped)


def interpolate(values: Tensor, triangles: Tensor, raster: Raster) -> Tensor:
    """Return (B, H, W, C): vertex values (B, V, C) at each pixel, 0 where nothing lies.

    Each channel is one run in memory: `.movedim(-1, 0)` costs nothing.
    """
    batch, height, width = raster.triangle.shape
    first = torch.arange(batch, device=values.device)[:, None] * values.shape[1]
    corner = triangles.long()[raster.triangle.clamp(min=0).view(batch, -1)] + first[..., None]
    planes = values.reshape(-1, values.shape[-1]).T
    mixed = torch.zeros(values.shape[-1], batch, height, width, device=values.device)
    for k, weight in enumerate(raster.weights.unbind(-1)):
        mixed = mixed + planes[:, corner[..., k].reshape(batch, height, width)] * weight
    return mixed.movedim(0, -1)


def interpolate_corners(values: Tensor, raster: Raster) -> Tensor:
    """Return (B, H, W, C): values (F, 3, C) of each triangle's corners, the same in all pictures."""
    planes = values.permute(1, 2, 0).contiguous()
    seen = raster.triangle.clamp(min=0)
    mixed = torch.zeros(planes.shape[1], *seen.shape, device=values.device)
    for k, weight in enumerate(raster.weights.unbind(-1)):
        mixed = mixed + planes[k][:, seen] * weight
    return mixed.movedim(0, -1)

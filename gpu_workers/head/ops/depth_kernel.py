"""Triton's kernel of the depth map, a pass over the triangles; reference: `rasterization.draw_depth`."""

from typing import Any

import torch
from torch import Tensor

from gpu_workers.head.ops.raster_constants import INSIDE_SLACK, SMALLEST_AREA
from gpu_workers.head.runtime.triton_support import tl, triton

#: Pixels of a triangle's box that are tested at once.
_PIXELS = 64
#: The bits of the largest float32.
_FAR_BITS = 0x7F7FFFFF


if triton is not None:

    @triton.jit  # type: ignore[untyped-decorator,unused-ignore]
    def _depth_kernel(  # type: ignore[no-untyped-def,unused-ignore]
        points, depth, corners, nearest, width, height, slack, smallest_area, BLOCK: tl.constexpr
    ):
        """One triangle: the smallest depth, as the bits of a positive float, at each pixel centre inside."""
        triangle = tl.program_id(0)
        a = tl.load(corners + 3 * triangle)
        b = tl.load(corners + 3 * triangle + 1)
        c = tl.load(corners + 3 * triangle + 2)
        ax, ay, az = tl.load(points + 2 * a), tl.load(points + 2 * a + 1), tl.load(depth + a)
        bx, by, bz = tl.load(points + 2 * b), tl.load(points + 2 * b + 1), tl.load(depth + b)
        cx, cy, cz = tl.load(points + 2 * c), tl.load(points + 2 * c + 1), tl.load(depth + c)
        lowest_x, lowest_y = tl.minimum(tl.minimum(ax, bx), cx), tl.minimum(tl.minimum(ay, by), cy)
        highest_x, highest_y = tl.maximum(tl.maximum(ax, bx), cx), tl.maximum(tl.maximum(ay, by), cy)
        left = tl.maximum(tl.ceil(lowest_x - 0.5 - slack), 0.0).to(tl.int32)
        top = tl.maximum(tl.ceil(lowest_y - 0.5 - slack), 0.0).to(tl.int32)
        right = tl.minimum(tl.floor(highest_x + 0.5 + slack), width * 1.0).to(tl.int32)
        bottom = tl.minimum(tl.floor(highest_y + 0.5 + slack), height * 1.0).to(tl.int32)
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        usable = tl.abs(area) > smallest_area
        scale = 1.0 / tl.where(usable, area, 1.0)
        # Slack of the three weights: that of the distance to the edge opposite.
        reach = slack * tl.abs(scale)
        slack_a = reach * tl.sqrt((cx - bx) * (cx - bx) + (cy - by) * (cy - by))
        slack_b = reach * tl.sqrt((cx - ax) * (cx - ax) + (cy - ay) * (cy - ay))
        slack_c = reach * tl.sqrt((bx - ax) * (bx - ax) + (by - ay) * (by - ay))
        across = tl.maximum(right - left, 0)
        tests = tl.where(usable, across * tl.maximum(bottom - top, 0), 0)
        for start in range(0, tests, BLOCK):
            offset = start + tl.arange(0, BLOCK)
            column = left + offset % across
            row = top + offset // across
            x, y = column + 0.5, row + 0.5
            first = (bx - x) * (cy - y) - (cx - x) * (by - y)
            second = (cx - x) * (ay - y) - (ax - x) * (cy - y)
            third = (ax - x) * (by - y) - (bx - x) * (ay - y)
            first, second, third = first * scale, second * scale, third * scale
            inside = (first >= -slack_a) & (second >= -slack_b) & (third >= -slack_c)
            inside = inside & (offset < tests)
            near = first * az + second * bz + third * cz
            bits = near.to(tl.int32, bitcast=True)
            tl.atomic_min(nearest + row * width + column, bits, mask=inside)


def draw_depth(points: Tensor, depth: Tensor, triangles: Tensor, height: int, width: int) -> Tensor:
    """Return (height, width) the smallest depth at each pixel, a huge number where nothing lies.

    Args:
        points: (V, 2) pixels; see `rasterization.draw_depth`, whose orthographic view this is.
        depth: (V,) positive.
        triangles: (M, 3) int32.
    """
    nearest = torch.full((height, width), _FAR_BITS, dtype=torch.int32, device=points.device)
    kernel: Any = _depth_kernel
    kernel[(len(triangles),)](
        points.contiguous(),
        depth.contiguous(),
        triangles,
        nearest,
        width,
        height,
        INSIDE_SLACK,
        SMALLEST_AREA,
        BLOCK=_PIXELS,
        num_warps=2,
    )
    return nearest.view(torch.float32)

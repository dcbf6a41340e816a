"""Triton kernels of the bake: the depth map and the composition, each one pass; plain torch is the twin.

Present where Triton is installed and the device is CUDA; `available` tells.
"""

from typing import Any

import torch
from torch import Tensor

try:
    import triton  # type: ignore[import-not-found,import-untyped,unused-ignore]
    import triton.language as tl  # type: ignore[import-not-found,import-untyped,unused-ignore]
except ImportError:  # CPU-only machines
    triton = None

_COLUMNS = 256
_FAR_BITS = 0x7F7FFFFF


def available(device: torch.device) -> bool:
    """Tell whether the kernels run on a device."""
    return triton is not None and device.type == "cuda"


if triton is not None:

    @triton.jit  # type: ignore[untyped-decorator,unused-ignore]
    def _depth_kernel(points, depth, corners, nearest, width, height, slack, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def,unused-ignore]
        """One triangle: the smallest depth, as the bits of a positive float, at each pixel centre inside."""
        triangle = tl.program_id(0)
        a = tl.load(corners + 3 * triangle)
        b = tl.load(corners + 3 * triangle + 1)
        c = tl.load(corners + 3 * triangle + 2)
        ax, ay, az = tl.load(points + 2 * a), tl.load(points + 2 * a + 1), tl.load(depth + a)
        bx, by, bz = tl.load(points + 2 * b), tl.load(points + 2 * b + 1), tl.load(depth + b)
        cx, cy, cz = tl.load(points + 2 * c), tl.load(points + 2 * c + 1), tl.load(depth + c)
        left = tl.maximum(tl.ceil(tl.minimum(tl.minimum(ax, bx), cx) - 0.5), 0.0).to(tl.int32)
        top = tl.maximum(tl.ceil(tl.minimum(tl.minimum(ay, by), cy) - 0.5), 0.0).to(tl.int32)
        right = tl.minimum(tl.floor(tl.maximum(tl.maximum(ax, bx), cx) - 0.5) + 1, width * 1.0).to(tl.int32)
        bottom = tl.minimum(tl.floor(tl.maximum(tl.maximum(ay, by), cy) - 0.5) + 1, height * 1.0).to(tl.int32)
        across = tl.maximum(right - left, 0)
        tests = across * tl.maximum(bottom - top, 0)
        for start in range(0, tests, BLOCK):
            offset = start + tl.arange(0, BLOCK)
            column = left + offset % across
            row = top + offset // across
            x, y = column + 0.5, row + 0.5
            first = (bx - x) * (cy - y) - (cx - x) * (by - y)
            second = (cx - x) * (ay - y) - (ax - x) * (cy - y)
            third = (ax - x) * (by - y) - (bx - x) * (ay - y)
            area = first + second + third
            usable = tl.abs(area) > 1e-12
            scale = 1.0 / tl.where(usable, area, 1.0)
            first, second, third = first * scale, second * scale, third * scale
            inside = (first >= -slack) & (second >= -slack) & (third >= -slack) & usable & (offset < tests)
            near = first * az + second * bz + third * cz
            bits = near.to(tl.int32, bitcast=True)
            tl.atomic_min(nearest + row * width + column, bits, mask=inside)

    @triton.jit  # type: ignore[untyped-decorator,unused-ignore]
    def _bicubic(t, k: tl.constexpr):  # type: ignore[no-untyped-def,unused-ignore]
        """Weight of tap k of 0..3 at fraction t: Keys' kernel, a = -0.75, as in torch's grid_sample."""
        if k == 0:
            s = t + 1.0
            w = ((-0.75 * s + 3.75) * s - 6.0) * s + 3.0
        elif k == 1:
            w = (1.25 * t - 2.25) * t * t + 1.0
        elif k == 2:
            s = 1.0 - t
            w = (1.25 * s - 2.25) * s * s + 1.0
        else:
            s = 2.0 - t
            w = ((-0.75 * s + 3.75) * s - 6.0) * s + 3.0
        return w

    @triton.jit  # type: ignore[untyped-decorator,unused-ignore]
    def _mix(maps, channel, p00, p01, p10, p11, fx, fy, plane, mask):  # type: ignore[no-untyped-def,unused-ignore]
        """Bilinear value of one channel of small maps."""
        base = maps + channel * plane
        upper = tl.load(base + p00, mask=mask, other=0.0) * (1 - fx)
        upper += tl.load(base + p01, mask=mask, other=0.0) * fx
        lower = tl.load(base + p10, mask=mask, other=0.0) * (1 - fx)
        lower += tl.load(base + p11, mask=mask, other=0.0) * fx
        return upper * (1 - fy) + lower * fy

    @triton.jit  # type: ignore[untyped-decorator,unused-ignore]
    def _sample(photo, x, y, height, width, plane, mask):  # type: ignore[no-untyped-def,unused-ignore]
        """Bicubic samples of the photo's three planes; indices clamped to the border."""
        px, py = x * width - 0.5, y * height - 0.5
        left, top = tl.floor(px), tl.floor(py)
        tx, ty = px - left, py - top
        column, row = left.to(tl.int32), top.to(tl.int32)
        red = tl.zeros_like(px)
        green = tl.zeros_like(px)
        blue = tl.zeros_like(px)
        for i in tl.static_range(4):
            r = tl.minimum(tl.maximum(row + (i - 1), 0), height - 1) * width
            wy = _bicubic(ty, i)
            for j in tl.static_range(4):
                place = r + tl.minimum(tl.maximum(column + (j - 1), 0), width - 1)
                w = wy * _bicubic(tx, j)
                red += w * tl.load(photo + place, mask=mask, other=0.0)
                green += w * tl.load(photo + plane + place, mask=mask, other=0.0)
                blue += w * tl.load(photo + 2 * plane + place, mask=mask, other=0.0)
        red = tl.minimum(tl.maximum(red, 0.0), 1.0)
        green = tl.minimum(tl.maximum(green, 0.0), 1.0)
        blue = tl.minimum(tl.maximum(blue, 0.0), 1.0)
        return red, green, blue

    @triton.jit  # type: ignore[untyped-decorator,unused-ignore]
    def _encode(value):  # type: ignore[no-untyped-def,unused-ignore]
        """Linear light to 8-bit sRGB (IEC 61966-2-1)."""
        v = tl.minimum(tl.maximum(value, 0.0), 1.0)
        curve = 1.055 * tl.exp2(tl.log2(tl.maximum(v, 1e-8)) * (1 / 2.4)) - 0.055
        code = tl.where(v <= 0.0031308, 12.92 * v, curve)
        return (code * 255 + 0.5).to(tl.uint8)

    @triton.jit  # type: ignore[untyped-decorator,unused-ignore]
    def _compose_kernel(  # type: ignore[no-untyped-def,unused-ignore]
        photo, base, direct, mirrored, grain, strands, hair, out,
        height, width, small, size, grain_size,
        raggedness, contrast, cover_most,
        BLOCK: tl.constexpr,
    ):  # fmt: skip
        """One row's stretch of the full map.

        `base`: completion (3), pores, scalp. `direct`, `mirrored`: x, y, weight, gain (3), each (6, L, L).
        """
        row = tl.program_id(1)
        column = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        inside = column < size
        factor = size // small
        plane = small * small
        sx = tl.maximum((column + 0.5) / factor - 0.5, 0.0)
        sy = tl.maximum((row + 0.5) / factor - 0.5, 0.0)
        x0 = sx.to(tl.int32)
        y0 = sy.to(tl.int32)
        fx, fy = sx - x0, sy - y0
        x1 = tl.minimum(x0 + 1, small - 1)
        y1 = tl.minimum(y0 + 1, small - 1)
        p00, p01, p10, p11 = y0 * small + x0, y0 * small + x1, y1 * small + x0, y1 * small + x1
        red = _mix(base, 0, p00, p01, p10, p11, fx, fy, plane, inside)
        green = _mix(base, 1, p00, p01, p10, p11, fx, fy, plane, inside)
        blue = _mix(base, 2, p00, p01, p10, p11, fx, fy, plane, inside)
        for side in tl.static_range(2):
            maps = mirrored if side == 0 else direct
            weight = _mix(maps, 2, p00, p01, p10, p11, fx, fy, plane, inside)
            if tl.max(weight, axis=0) > 0:
                used = inside & (weight > 0)
                x = _mix(maps, 0, p00, p01, p10, p11, fx, fy, plane, used)
                y = _mix(maps, 1, p00, p01, p10, p11, fx, fy, plane, used)
                r, g, b = _sample(photo, x, y, height, width, height * width, used)
                red += weight * (r * _mix(maps, 3, p00, p01, p10, p11, fx, fy, plane, used) - red)
                green += weight * (g * _mix(maps, 4, p00, p01, p10, p11, fx, fy, plane, used) - green)
                blue += weight * (b * _mix(maps, 5, p00, p01, p10, p11, fx, fy, plane, used) - blue)
        tile = (row % grain_size) * grain_size + column % grain_size
        pores = _mix(base, 3, p00, p01, p10, p11, fx, fy, plane, inside)
        fine = 1 + pores * tl.load(grain + tile, mask=inside, other=0.0)
        red, green, blue = red * fine, green * fine, blue * fine
        scalp = _mix(base, 4, p00, p01, p10, p11, fx, fy, plane, inside)
        if tl.max(scalp, axis=0) > 0:
            strand = tl.load(strands + tile, mask=inside, other=0.0)
            cover = (scalp * 1.5 + strand * raggedness - 0.55) * 1.8
            cover = tl.minimum(tl.maximum(cover, 0.0), 1.0) * tl.minimum(scalp * 8, 1.0) * cover_most
            shade = tl.maximum(strand * contrast + 1, 0.35)
            red += cover * (shade * tl.load(hair) - red)
            green += cover * (shade * tl.load(hair + 1) - green)
            blue += cover * (shade * tl.load(hair + 2) - blue)
        place = out + (row * size + column) * 3
        tl.store(place, _encode(red), mask=inside)
        tl.store(place + 1, _encode(green), mask=inside)
        tl.store(place + 2, _encode(blue), mask=inside)


def draw_depth(points: Tensor, depth: Tensor, triangles: Tensor, height: int, width: int) -> Tensor:
    """Return (height, width) the smallest depth at each pixel, a huge number where nothing lies.

    Args:
        points: (V, 2) pixels; see `uv_raster.rasterise`, whose nearest triangle this is.
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
        1e-5,
        BLOCK=64,
        num_warps=2,
    )
    return nearest.view(torch.float32)


def compose(
    photo: Tensor,
    base: Tensor,
    direct: Tensor,
    mirrored: Tensor,
    grain: tuple[Tensor, Tensor],
    hair: Tensor,
    out: Tensor,
    hair_values: tuple[float, float, float],
) -> None:
    """Write (S, S, 3) uint8 into `out`: what `compose_skin` makes band by band.

    Args:
        photo: (3, H, W) linear light.
        base: (5, L, L) completion, pores, scalp.
        direct: (6, L, L) x, y, weight and gain of the photo; `mirrored` of its mirror image.
        grain: tileable noise of pores and of strands, square.
        hair_values: raggedness, contrast of strands, densest cover.
    """
    small, size = base.shape[-1], out.shape[0]
    kernel: Any = _compose_kernel
    kernel[(-(-size // _COLUMNS), size)](
        photo, base, direct, mirrored, *grain, hair, out,
        photo.shape[1], photo.shape[2], small, size, grain[0].shape[0], *hair_values,
        BLOCK=_COLUMNS, num_warps=4,
    )  # fmt: skip

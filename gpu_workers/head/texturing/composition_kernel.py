"""Triton's kernel of the skin's last pass; the bands of `compose_skin` are its reference."""

from typing import Any

from torch import Tensor

from face3d import srgb
from gpu_workers.head.runtime.triton_support import tl, triton
from gpu_workers.head.texturing.composition_constants import BICUBIC, CODES, HAIR

#: Texels of a row that are made at once.
_COLUMNS = 256


if triton is not None:

    @triton.jit  # type: ignore[untyped-decorator,unused-ignore]
    def _bicubic(t, k: tl.constexpr, A: tl.constexpr):  # type: ignore[no-untyped-def,unused-ignore]
        """Weight of tap k of 0..3 at fraction t: Keys' kernel with coefficient A."""
        if k == 0:
            s = t + 1.0
            w = ((A * s - 5 * A) * s + 8 * A) * s - 4 * A
        elif k == 1:
            w = ((A + 2) * t - (A + 3)) * t * t + 1.0
        elif k == 2:
            s = 1.0 - t
            w = ((A + 2) * s - (A + 3)) * s * s + 1.0
        else:
            s = 2.0 - t
            w = ((A * s - 5 * A) * s + 8 * A) * s - 4 * A
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
    def _sample(photo, x, y, height, width, plane, mask, BICUBIC: tl.constexpr):  # type: ignore[no-untyped-def,unused-ignore]
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
            wy = _bicubic(ty, i, BICUBIC)
            for j in tl.static_range(4):
                place = r + tl.minimum(tl.maximum(column + (j - 1), 0), width - 1)
                w = wy * _bicubic(tx, j, BICUBIC)
                red += w * tl.load(photo + place, mask=mask, other=0.0)
                green += w * tl.load(photo + plane + place, mask=mask, other=0.0)
                blue += w * tl.load(photo + 2 * plane + place, mask=mask, other=0.0)
        red = tl.minimum(tl.maximum(red, 0.0), 1.0)
        green = tl.minimum(tl.maximum(green, 0.0), 1.0)
        blue = tl.minimum(tl.maximum(blue, 0.0), 1.0)
        return red, green, blue

    @triton.jit  # type: ignore[untyped-decorator,unused-ignore]
    def _encode(  # type: ignore[no-untyped-def,unused-ignore]
        value,
        SLOPE: tl.constexpr,
        CUT: tl.constexpr,
        SCALE: tl.constexpr,
        OFFSET: tl.constexpr,
        GAMMA: tl.constexpr,
        CODES: tl.constexpr,
    ):
        """Linear light to 8-bit sRGB."""
        v = tl.minimum(tl.maximum(value, 0.0), 1.0)
        # The straight part covers what the logarithm must not see.
        curve = SCALE * tl.exp2(tl.log2(tl.maximum(v, 1e-8)) * (1 / GAMMA)) - OFFSET
        code = tl.where(v <= CUT, SLOPE * v, curve)
        return (code * CODES + 0.5).to(tl.uint8)

    @triton.jit  # type: ignore[untyped-decorator,unused-ignore]
    def _compose_kernel(  # type: ignore[no-untyped-def,unused-ignore]
        photo, base, direct, mirrored, grain, strands, hair, out,
        height, width, small, size, grain_size,
        DENSITY: tl.constexpr, RAGGEDNESS: tl.constexpr, THRESHOLD: tl.constexpr, STEEPNESS: tl.constexpr,
        FADE: tl.constexpr, COVER: tl.constexpr, CONTRAST: tl.constexpr, DARKEST: tl.constexpr,
        BICUBIC: tl.constexpr, SLOPE: tl.constexpr, CUT: tl.constexpr, SCALE: tl.constexpr,
        OFFSET: tl.constexpr, GAMMA: tl.constexpr, CODES: tl.constexpr,
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
                r, g, b = _sample(photo, x, y, height, width, height * width, used, BICUBIC)
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
            cover = (scalp * DENSITY + strand * RAGGEDNESS - THRESHOLD) * STEEPNESS
            cover = tl.minimum(tl.maximum(cover, 0.0), 1.0) * tl.minimum(scalp * FADE, 1.0) * COVER
            shade = tl.maximum(strand * CONTRAST + 1, DARKEST)
            red += cover * (shade * tl.load(hair) - red)
            green += cover * (shade * tl.load(hair + 1) - green)
            blue += cover * (shade * tl.load(hair + 2) - blue)
        place = out + (row * size + column) * 3
        tl.store(place, _encode(red, SLOPE, CUT, SCALE, OFFSET, GAMMA, CODES), mask=inside)
        tl.store(place + 1, _encode(green, SLOPE, CUT, SCALE, OFFSET, GAMMA, CODES), mask=inside)
        tl.store(place + 2, _encode(blue, SLOPE, CUT, SCALE, OFFSET, GAMMA, CODES), mask=inside)


def compose(
    photo: Tensor,
    base: Tensor,
    direct: Tensor,
    mirrored: Tensor,
    grain: tuple[Tensor, Tensor],
    hair: Tensor,
    out: Tensor,
) -> None:
    """Write (S, S, 3) uint8 into `out`: what `compose_skin` makes band by band.

    Args:
        photo: (3, H, W) linear light.
        base: (5, L, L) completion, pores, scalp.
        direct: (6, L, L) x, y, weight and gain of the photo; `mirrored` of its mirror image.
        grain: tileable noise of pores and of strands, square.
    """
    small, size = base.shape[-1], out.shape[0]
    kernel: Any = _compose_kernel
    kernel[(-(-size // _COLUMNS), size)](
        photo, base, direct, mirrored, *grain, hair, out,
        photo.shape[1], photo.shape[2], small, size, grain[0].shape[0],
        DENSITY=HAIR.density, RAGGEDNESS=HAIR.raggedness, THRESHOLD=HAIR.threshold, STEEPNESS=HAIR.steepness,
        FADE=HAIR.fade, COVER=HAIR.cover, CONTRAST=HAIR.contrast, DARKEST=HAIR.darkest, BICUBIC=BICUBIC,
        SLOPE=srgb.SLOPE, CUT=srgb.LIGHT_CUT, SCALE=srgb.SCALE, OFFSET=srgb.OFFSET, GAMMA=srgb.GAMMA,
        CODES=CODES,
        BLOCK=_COLUMNS, num_warps=4,
    )  # fmt: skip

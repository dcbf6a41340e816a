"""The skin's map at full size: the photo sampled texel by texel, all that is smooth enlarged from small maps.

Worked in bands of rows, so that memory follows the band and not the map.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from gpu_workers.head.ops import triton_kernels
from gpu_workers.head.ops.image import sample_picture
from gpu_workers.head.ops.inpainting import make_noise
from gpu_workers.head.runtime.cuda_graphs import graph_constant

#: Rows of the small maps in one band.
_BAND = 64
_NOISE_SIZE = 1024
#: Map size at which grains have the radii that are given, and the finest that pixels can show.
_GRAIN_SIZE, _FINEST = 2048, 0.5
#: How far single strands reach over the hairline, how much they differ in brightness, and how much skin
#: shows through where hair is densest.
_RAGGEDNESS = 0.20
_STRAND_CONTRAST = 0.30
_HAIR_COVER = 0.95
#: A weight below this paints nothing.
_SMALLEST = 1 / 512


@dataclass(frozen=True, kw_only=True)
class SkinLayers:
    """Small maps of a bake, (C, L, L) float32, linear light."""

    #: (2) where the photo shows the texel, shares of its size.
    coordinates: Tensor
    #: (1) weight of the photo's own texel, and of its mirror image.
    direct: Tensor
    mirrored: Tensor
    #: (3) factor of the photo's colour: evens the light.
    gain: Tensor
    #: (3) factor of the mirror image's colour: evens the light and takes this side's tone.
    mirror_gain: Tensor
    #: (3) colour where neither is seen.
    completion: Tensor
    #: (1) relative deviation of the fine grain.
    pores: Tensor
    #: (1) how densely hair covers the texel, 0..1.
    scalp: Tensor
    #: (3,) the hair's colour.
    hair: Tensor


def compose_skin(photo: Tensor, layers: SkinLayers, size: int, out: Tensor | None = None) -> Tensor:
    """Return the skin's albedo, (size, size, 3) uint8 sRGB.

    Args:
        photo: (3, H, W) linear light.
        size: a multiple of the layers' size, in pixels.
        out: (size, size, 3) uint8 to write to and return.
    """
    small = layers.completion.shape[-1]
    factor = size // small
    result = torch.empty(size, size, 3, dtype=torch.uint8, device=photo.device) if out is None else out
    if triton_kernels.available(photo.device):
        compose_at_once(photo, layers, result)
        return result
    pores, strands = _load_grain(str(photo.device), size)
    base = torch.cat([layers.completion, layers.pores, layers.scalp])
    for start in range(0, small, _BAND):
        stop = min(start + _BAND, small)
        rows = slice(start * factor, stop * factor)
        band = enlarge(base, start, stop, 0, small, factor)
        colour, fine, scalp = band[:3], band[3], band[4]
        for weight, coordinates, gain in (
            (layers.mirrored, layers.coordinates.flip(-1), layers.mirror_gain),
            (layers.direct, layers.coordinates, layers.gain),
        ):
            _paint(colour, photo, weight, coordinates, gain, start, stop, factor)
        colour.mul_(fine.mul_(_tile(pores, rows, size)).add_(1))
        if bool((scalp > 0).any()):
            _comb(colour, scalp, layers.hair, _tile(strands, rows, size))
        result[rows] = encode_srgb(colour).permute(1, 2, 0)
    return result


def compose_at_once(photo: Tensor, layers: SkinLayers, out: Tensor) -> None:
    """Write the albedo into (S, S, 3) uint8 by Triton's kernel: the fast twin of the bands."""

    def side(weight: Tensor, gain: Tensor) -> Tensor:
        return torch.cat([layers.coordinates, weight, gain.expand(3, -1, -1)])

    direct = side(layers.direct, layers.gain)
    mirrored = side(layers.mirrored, layers.mirror_gain)
    mirrored[:2] = layers.coordinates.flip(-1)
    triton_kernels.compose(
        photo,
        torch.cat([layers.completion, layers.pores, layers.scalp]),
        direct,
        mirrored,
        _load_grain(str(photo.device), len(out)),
        layers.hair,
        out,
        (_RAGGEDNESS, _STRAND_CONTRAST, _HAIR_COVER),
    )


def _comb(colour: Tensor, density: Tensor, hair: Tensor, strands: Tensor) -> None:
    """Lay short hair over a band: towards the hairline single strands remain."""
    cover = density.mul(1.5).add_(strands, alpha=_RAGGEDNESS).sub_(0.55).mul_(1.8).clamp_(0, 1)
    cover.mul_(density.mul(8).clamp_(max=1)).mul_(_HAIR_COVER)
    shade = strands.mul(_STRAND_CONTRAST).add_(1).clamp_(min=0.35)
    for channel in range(3):
        colour[channel].lerp_(shade * hair[channel], cover)


def encode_srgb(linear: Tensor) -> Tensor:
    """Return linear light of any shape as uint8 sRGB (IEC 61966-2-1); the input is overwritten."""
    linear.clamp_(0, 1)
    low = linear * 12.92
    curve = linear.pow(1 / 2.4).mul_(1.055).sub_(0.055)
    encoded = torch.where(linear <= 0.0031308, low, curve)
    return encoded.mul_(255).add_(0.5).to(torch.uint8)


def _paint(
    colour: Tensor,
    photo: Tensor,
    weight: Tensor,
    coordinates: Tensor,
    gain: Tensor,
    start: int,
    stop: int,
    factor: int,
) -> None:
    """Blend the photo over a band of the full map, in the columns where it has weight."""
    used = (weight[0, max(0, start - 1) : stop + 1] > _SMALLEST).any(0).nonzero()[:, 0]
    if not len(used):
        return
    small = weight.shape[-1]
    left, right = max(0, int(used[0]) - 1), min(small, int(used[-1]) + 2)
    maps = enlarge(torch.cat([coordinates, weight, gain]), start, stop, left, right, factor)
    sampled = sample_picture(photo, maps[:2], mode="bicubic").clamp_(0, 1)
    target = colour[:, :, left * factor : right * factor]
    target.lerp_(sampled.mul_(maps[3:]), maps[2:3])


def enlarge(maps: Tensor, top: int, bottom: int, left: int, right: int, factor: int) -> Tensor:
    """Return a cut of (C, L, L) maps enlarged bilinearly, equal to the same cut of the enlarged whole."""
    if factor == 1:
        return maps[:, top:bottom, left:right].clone()
    limit = maps.shape[-1]
    rows = torch.arange(top - 1, bottom + 1, device=maps.device).clamp(0, limit - 1)
    columns = torch.arange(left - 1, right + 1, device=maps.device).clamp(0, limit - 1)
    padded = maps[:, rows][:, :, columns]
    large = functional.interpolate(padded[None], scale_factor=factor, mode="bilinear", align_corners=False)[0]
    return large[:, factor:-factor, factor:-factor].contiguous()


@graph_constant(maxsize=8)
def _load_grain(device: str, size: int) -> tuple[Tensor, Tensor]:
    """Return tileable noise of pores and of strands, of the same size on the head on every map."""
    unit = size / _GRAIN_SIZE

    def noise(sigma: float, stretch: float, seed: int) -> Tensor:
        return make_noise(_NOISE_SIZE, max(sigma * unit, _FINEST), stretch=stretch, seed=seed)

    fine = noise(0.7, 1, 1) * 0.6 + noise(1.6, 1, 2) * 0.8
    coarse = noise(1.0, 7, 5) * 0.8 + noise(4.0, 4, 6) * 0.6
    return _mirror(fine).to(device), _mirror(coarse).to(device)


def _mirror(noise: Tensor) -> Tensor:
    """Return the noise with its left half on both sides: alike on both sides of the cut behind the head."""
    half = noise[:, : noise.shape[1] // 2]
    return torch.cat([half, half.flip(1)], 1)


def _tile(noise: Tensor, rows: slice, size: int) -> Tensor:
    picked = torch.arange(rows.start, rows.stop, device=noise.device) % _NOISE_SIZE
    return noise[picked].repeat(1, -(-size // _NOISE_SIZE))[:, :size]

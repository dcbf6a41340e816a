"""Short hair painted on the scalp: its colour, how densely it grows, and where it ends."""

import torch
from torch import Tensor

from gpu_workers.head.ops.image import LUMA, FacePhoto, blur, sample_picture, smoothstep
from gpu_workers.head.ops.inpainting import make_noise
from gpu_workers.head.ops.masked_statistics import (
    constant,
    masked_mean,
    masked_quantile,
    scale_count,
    thin_out,
)
from gpu_workers.head.runtime.cuda_graphs import graph_constant
from gpu_workers.head.texturing.projection import Projection
from gpu_workers.head.texturing.uv_atlas import SkinAtlas

#: Linear light.
_FALLBACK_HAIR = (0.045, 0.03, 0.02)
#: Texels on which the hair's colour is measured at least.
_FEWEST_HAIR = 400
#: Blur of the hairline in the small map's pixels, how much it wanders, and the density before the ears.
_HAIRLINE, _HAIRLINE_NOISE, _SIDEBURN = 28.0, 0.10, 0.75
#: Above 1, so that no skin shows between strands where hair is dense.
_DENSEST = 1.25
#: Deviation of the scalp's hue from the skin's, logarithms: bald, and stubble for sure.
_STUBBLE = (0.12, 0.25)
#: Patches of the skin: two grains in the small map's pixels with their shares of light and dark, and the
#: grain of redder and paler, of which red has nothing, green all and blue this share.
_SHADES, _BLUSH_GRAIN, _BLUE_BLUSH = ((5.0, 0.6), (18.0, 0.8)), 9.0, 0.7
#: The scalp is looked at where its mask is surer than this, and the camera sees it less aslant (a cosine).
_SCALP, _LEAST_COSINE = 0.3, 0.15
#: Share of the scalp that looks like skin: from the first on it is bald, less by the second it is covered.
_BALD, _BALD_RANGE = 0.85, 0.35
#: Surely no skin; share of the pixels by brightness that are no highlight.
_NO_SKIN, _WITHOUT_HIGHLIGHTS = 0.3, 0.75


def grow_hair(atlas: SkinAtlas) -> Tensor:
    """Return (1, S, S) how densely hair grows: it thins out towards forehead and temples, never in a line."""
    scalp = blur(atlas.masks["scalp"][None], _HAIRLINE)
    scalp = torch.maximum(scalp, _SIDEBURN * atlas.sideburns[None])
    edge = 4 * scalp * (1 - scalp)
    patches = load_patches(scalp.device, scalp.shape[-1])[:1]
    return _DENSEST * (scalp + _HAIRLINE_NOISE * edge * patches).clamp(0, 1)


@graph_constant(maxsize=4)
def load_patches(device: torch.device, size: int) -> Tensor:
    """Return (3, S, S) smooth noise of unit deviation: patches lighter and darker, redder and paler."""
    fine, coarse = (
        make_noise(size, grain, seed=seed) * share for seed, (grain, share) in enumerate(_SHADES, 11)
    )
    shade = fine + coarse
    blush = make_noise(size, _BLUSH_GRAIN, seed=13)
    patches = torch.stack([shade, shade - blush, shade - _BLUE_BLUSH * blush])
    # Alike on both sides of the cut at the back of the head.
    return ((patches + patches.flip(-1)) / 2**0.5).to(device)


def find_hair(
    colour: Tensor, base: Tensor, projection: Projection, photo: FacePhoto, masks: dict[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """Return the hair's colour (3,), and how far the scalp is covered with it, 0..1, without dimensions."""
    inside = ((projection.coordinates > 0) & (projection.coordinates < 1)).all(0, keepdim=True)
    seen = (masks["scalp"][None] > _SCALP) & (projection.visible > 0.5) & inside
    seen = seen & (projection.cosine > _LEAST_COSINE)
    chosen = thin_out(seen[0])
    enough = chosen.sum() >= scale_count(_FEWEST_HAIR, colour.shape[-1])
    skin = thin_out(sample_picture(photo.skin, projection.coordinates))[0]
    bald = masked_mean((skin > 0.5).float(), chosen)
    hairiness = ((_BALD - bald) / _BALD_RANGE).clamp(0, 1)
    # Fair hair can pass for skin; then what does not is only its shadows.
    foreign = masked_mean((skin < _NO_SKIN).float(), chosen) > 0.5
    chosen = chosen & ((skin < _NO_SKIN) | ~foreign)
    values = thin_out(colour)
    luma = constant(LUMA, colour.device) @ values
    # Without highlights and a bright background beside the hair.
    most = masked_quantile(luma[None], chosen, _WITHOUT_HIGHLIGHTS)
    hair = masked_quantile(values, chosen & (luma <= most))
    fallback = constant(_FALLBACK_HAIR, colour.device)
    hair = torch.where(enough, hair, fallback)
    # Stubble on a shaven scalp is as light as skin, but of a duller hue.
    luma = constant(LUMA, colour.device)
    dull = ((hair / (luma @ hair)) / (base / (luma @ base))).clamp(min=1e-3).log().abs().amax()
    hairiness = torch.maximum(hairiness, smoothstep((dull - _STUBBLE[0]) / (_STUBBLE[1] - _STUBBLE[0])))
    return hair, torch.where(enough, hairiness, 1.0)

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
#: So many texels the hair's colour is measured on at least.
_FEWEST_HAIR = 400
#: Blur of the hairline in the small map's pixels, how much it wanders, and the density before the ears.
_HAIRLINE, _HAIRLINE_NOISE, _SIDEBURN = 28.0, 0.10, 0.75
#: Above 1, so that no skin shows between strands where hair is dense.
_DENSEST = 1.25
#: Deviation of the scalp's hue from the skin's, logarithms: bald, and stubble for sure.
_STUBBLE = (0.12, 0.25)


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
    shade = make_noise(size, 5.0, seed=11) * 0.6 + make_noise(size, 18.0, seed=12) * 0.8
    blush = make_noise(size, 9.0, seed=13)
    patches = torch.stack([shade, shade - blush, shade - 0.7 * blush])
    # Alike on both sides of the cut at the back of the head.
    return ((patches + patches.flip(-1)) / 2**0.5).to(device)


def find_hair(
    colour: Tensor, base: Tensor, projection: Projection, photo: FacePhoto, masks: dict[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """Return the hair's colour (3,), and how far the scalp is covered with it, 0..1, without dimensions."""
    inside = ((projection.coordinates > 0) & (projection.coordinates < 1)).all(0, keepdim=True)
    seen = (masks["scalp"][None] > 0.3) & (projection.visible > 0.5) & (projection.cosine > 0.15) & inside
    chosen = thin_out(seen[0])
    enough = chosen.sum() >= scale_count(_FEWEST_HAIR, colour.shape[-1])
    skin = thin_out(sample_picture(photo.skin, projection.coordinates))[0]
    bald = masked_mean((skin > 0.5).float(), chosen)
    hairiness = ((0.85 - bald) / 0.35).clamp(0, 1)
    # Fair hair can pass for skin; then what does not is only its shadows.
    foreign = masked_mean((skin < 0.3).float(), chosen) > 0.5
    chosen = chosen & ((skin < 0.3) | ~foreign)
    values = thin_out(colour)
    luma = constant(LUMA, colour.device) @ values
    # Without highlights and a bright background beside the hair.
    hair = masked_quantile(values, chosen & (luma <= masked_quantile(luma[None], chosen, 0.75)))
    fallback = constant(_FALLBACK_HAIR, colour.device)
    hair = torch.where(enough, hair, fallback)
    # Stubble on a shaven scalp is as light as skin, but of a duller hue.
    luma = constant(LUMA, colour.device)
    dull = ((hair / (luma @ hair)) / (base / (luma @ base))).clamp(min=1e-3).log().abs().amax()
    hairiness = torch.maximum(hairiness, smoothstep((dull - _STUBBLE[0]) / (_STUBBLE[1] - _STUBBLE[0])))
    return hair, torch.where(enough, hairiness, 1.0)

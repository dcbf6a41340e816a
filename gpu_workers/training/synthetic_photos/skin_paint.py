"""Each head's skin, painted in the atlas: texture or painted tone, lips, brows, lashes, beard, scalp."""

import torch
from torch import Tensor
from torch.nn import functional

from gpu_workers.training.constants import constant
from gpu_workers.training.synthetic_photos.atlas_maps import AtlasMaps
from gpu_workers.training.synthetic_photos.random_appearance import HairLook, SkinLook
from gpu_workers.training.synthetic_photos.textures import Material, sample_noise


def soft_step(value: Tensor) -> Tensor:
    """Return 0 below 0, 1 above 1, and a smooth way between."""
    clipped = value.clamp(0, 1)
    return clipped * clipped * (3 - 2 * clipped)


def mix(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """Return first where share is 0 and second where it is 1."""
    return first + (second - first) * share


def paint_skin(skin: SkinLook, hair: HairLook, mouth: Tensor, maps: AtlasMaps, material: Material) -> Tensor:
    """Return (B, 4, S, S): linear RGB, and the share of the gloss.

    Args:
        mouth: (B, 3) colour of the mouth's inside.
    """
    x, y, z = maps.place
    batch = len(skin.tone)
    shift = skin.seed * 7.3
    # Noise in the template's own space, so that no seam of the atlas shows: about 11 cm a tile.
    broad, warp, fine, grain = sample_noise(
        material.noise,
        (x + 0.3 * z).expand(batch, -1, -1) * 9 + shift[:, 0, None, None],
        (y + 0.5 * z).expand(batch, -1, -1) * 9 + shift[:, 1, None, None],
    )
    painted = _paint_tone(skin, maps, broad, fine)
    if len(material.textures):
        wide = sample_noise(
            material.noise[:2],
            (x + 0.3 * z).expand(batch, -1, -1) * 2.2 + shift[:, 1, None, None],
            (y + 0.5 * z).expand(batch, -1, -1) * 2.2 + shift[:, 0, None, None],
        )
        textured = _slide_texture(skin, maps, material, warp, wide) * _by_head(skin.gain)
        colour = mix(textured, painted, _by_head(skin.procedural))
    else:
        colour = painted
    lips = maps.lips * _by_head(skin.lips)
    colour = mix(colour, _by_head(skin.lip_colour) * (1 + 0.08 * fine[:, None]), lips)

    rise = maps.above_brow - skin.brow_shift[:, None, None] + 0.0012 * grain
    width = (skin.brow_width[:, None, None] * maps.brow_body).clamp(min=1e-4)
    brow = soft_step(2.1 - 1.6 * rise.abs() / width) * (maps.brow_body > 0.05) * (0.8 + 0.25 * fine)
    colour = mix(colour, _by_head(skin.brow_colour), (brow.clamp(0, 1)[:, None] * _by_head(skin.brows)))
    colour = colour * (1 - 0.75 * maps.lid_rim * _by_head(skin.lashes))

    grown = maps.beard + 0.12 * broad + _by_head(skin.beard_reach)[:, 0] - 1
    beard = soft_step(grown * 4 + 0.5) * (1 - maps.lips) * (0.7 + 0.3 * grain).clamp(0, 1)
    beard = (beard * (maps.beard > 0.02))[:, None] * _by_head(skin.beard)
    colour = mix(colour, _by_head(skin.beard_colour) * (1 + 0.3 * fine[:, None]).clamp(min=0.2), beard)

    border = maps.behind_hairline + hair.hairline[:, None, None] + 0.004 * fine + 0.003 * broad
    scalp = soft_step(border / 0.008 + 0.3) * (1 - maps.ears) * hair.stubble[:, None, None]
    strands = (0.75 + 0.25 * grain).clamp(min=0.3)[:, None]
    colour = mix(colour, _by_head(hair.colour[:, 0]) * strands, 0.9 * scalp[:, None])
    colour = mix(colour, _by_head(mouth), maps.mouth)
    gloss = (1 - scalp) * (1 - beard[:, 0]) * (1 + 0.8 * maps.lips)
    return torch.cat([colour.clamp(0.002, 1), gloss[:, None]], 1)


def _by_head(values: Tensor) -> Tensor:
    """Return (B, C) or (B,) as (B, C or 1, 1, 1)."""
    wide: Tensor = values.view(len(values), -1, 1, 1)
    return wide


def _paint_tone(skin: SkinLook, maps: AtlasMaps, broad: Tensor, fine: Tensor) -> Tensor:
    """Return (B, 3, S, S): a tone with blotches, pores and red cheeks."""
    mottled = 1 + _by_head(skin.blotches) * (0.6 * broad + 0.3 * fine)[:, None]
    flush = (maps.cheeks * skin.cheeks[:, None, None] * (1 + 0.3 * broad))[:, None]
    red = constant((0.25, -0.2, -0.15), flush.device).view(1, 3, 1, 1)
    return (_by_head(skin.tone) * mottled * (1 + red * flush)).clamp(min=0.004)


def _slide_texture(skin: SkinLook, maps: AtlasMaps, material: Material, warp: Tensor, wide: Tensor) -> Tensor:
    """Return (B, 3, S, S) linear: two textures mixed, perhaps mirrored, and moved a little against the face.

    The textures were laid on the atlas by a landmark detector, whose errors the network must not learn: by
    features (brows, lips), anywhere in small (warp, (B, S, S)), and by whole parts of a face, such as the
    nose (wide, (2, B, S, S)).
    """
    chosen = material.textures[skin.textures].float()
    share = skin.texture_mix[:, None, None, None]
    picture = mix(chosen[:, 0], chosen[:, 1], share).permute(0, 3, 1, 2) / 255
    size = maps.lips.shape[0]
    centres = (torch.arange(size, device=warp.device) + 0.5) / size
    brow, lip, anywhere, part_down, part_right = (skin.slip[:, k, None, None] for k in range(5))
    down = centres[:, None] + brow * maps.brow_zone + lip * maps.lip_zone + 0.5 * anywhere * warp
    down = down + part_down * wide[0]
    right = centres[None, :] + 0.5 * anywhere * warp.flip(1) + part_right * wide[1]
    turn = 1 - 2 * skin.mirrored[:, None, None] * maps.symmetric
    grid = torch.stack([(right * 2 - 1) * turn, down * 2 - 1], -1)
    moved = functional.grid_sample(picture, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return moved**2.2

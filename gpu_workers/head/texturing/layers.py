"""The layers of the skin's map: what the photo shows, its mirror image, and a completion that fits both."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from gpu_workers.head.ops.image import (
    LUMA,
    MASK_EYE_DISTANCE,
    FacePhoto,
    blur,
    double,
    halve,
    sample_picture,
    smoothstep,
)
from gpu_workers.head.ops.inpainting import push_pull
from gpu_workers.head.ops.masked_statistics import (
    constant,
    masked_mean,
    masked_quantile,
    scale_count,
    thin_out,
)
from gpu_workers.head.ops.multiband_blending import blend_bands
from gpu_workers.head.texturing.composition import SkinLayers
from gpu_workers.head.texturing.delighting import even_locally, find_light_gain
from gpu_workers.head.texturing.hair import find_hair, grow_hair, load_patches
from gpu_workers.head.texturing.projection import Projection
from gpu_workers.head.texturing.smile_folds import fade_smile
from gpu_workers.head.texturing.uv_atlas import SkinAtlas

#: Outer-eye distance on the small map, pixels: a larger photo is reduced to it before it is sampled there.
_MAP_EYE_DISTANCE = 360
_COSINE_RAMP = (0.10, 0.45)
_TONE_SIZE = 256
#: Linear light.
_FALLBACK_SKIN = (0.42, 0.25, 0.18)
#: What is wet beside the eye is hardly of the skin's colour: thin conjunctiva over white, and the caruncle.
_CONJUNCTIVA, _CARUNCLE = (0.50, 0.36, 0.33), (0.42, 0.19, 0.16)
#: Texels on which the skin's colour is measured at least.
_FEWEST_SKIN = 200
#: Factors on the base tone.
_EAR_TINT = (1.03, 0.90, 0.88)
_SOCKET_TINT = (0.62, 0.42, 0.38)
_LIP_TINT = (0.82, 0.58, 0.60)
_MOUTH_TINT = (0.42, 0.17, 0.17)
#: Widest hole that is filled from its rim, in quarters of the small map's pixels; odd.
_CLOSING = 21
#: Shares of the pixels by brightness between which skin has its own colour.
_TYPICAL = (0.25, 0.7)
#: What differs so much from the skin, as a logarithm, hardly continues beyond what is seen.
_CONTINUED = 0.9
#: A lid's deviations from the skin's tone, logarithms: skin still, and lashes or the eye for sure.
_STAIN = (0.25, 0.5)
#: Darkness in a corner, a logarithm, from which it is shade or lashes, and at which surely; and the hue of a
#: beard: logarithm of red over blue, less the skin's.
_DARK_CORNER, _BEARD_HUE = (0.25, 0.6), -0.25
#: Darkness, a logarithm, from which a corner is no beard whatever its hue, and how much more until surely.
_BLACK, _BLACK_RANGE = 0.9, 0.5
#: Texels of the thinned map that a guess of the lips' colour weighs as much as.
_FEW_LIPS = 5.0
#: Logarithm of red over green, less the skin's, from which a texel is surely lip.
_REDDER = 0.2
#: Share of the lips' mean colour in what lips hide.
_LIPS_FILLED = 0.7
#: How much completed skin varies by patches.
MOTTLE = 0.025
PORES_COMPLETED, _PORES_OBSERVED = 0.030, 0.014
#: A weight of what is seen counts from the first on and wholly at the sum of both; for holes, likewise.
_KNOWN_FROM, _KNOWN_RANGE = 0.3, 0.5
_AROUND_HOLES_FROM, _AROUND_HOLES_RANGE = 0.4, 0.4
#: Surely bare skin, on which the base tone is measured; surely seen, where no mirror image is needed.
_BARE, _SEEN = 0.6, 0.98
#: As `_CONTINUED` for the tone of the whole skin; its blur in its own pixels.
_TONE_CONTINUED, _TONE_BLUR = 0.35, 3.0
#: How far the two sides of a face may differ in tone, a factor.
_SIDES_DIFFER = (0.6, 1.6)
#: Blurs of stains on lids, in half the small map's pixels: of any hue, of blue, of the rims' mask; where the
#: masks of upper lids and of rims begin to count, and their range.
_STAIN_BLUR, _WHITE_BLUR, _RIM_BLUR, _LIDS_FROM, _LIDS_RANGE = 1.0, 0.7, 1.5, 0.3, 0.3
#: Where the mask of rims begins to count for lashes on lower lids: two millimetres from the edge.
_EDGES_FROM = 0.45
#: Least and largest factor by which what is seen meets the completion.
_MEETING = (0.3, 3)
#: How much of their tints ears and lips have; light that the throat loses.
_EAR_SHARE, _LIP_SHARE, _THROAT_SHADE = 0.8, 0.9, 0.7
#: Blur of soft edges, pixels of the map that is blurred.
_SOFT_EDGE = 2.0


@dataclass(frozen=True, kw_only=True)
class SkinPaint:
    """The layers and what was measured on the way."""

    layers: SkinLayers
    #: Shares of the face region's texels, each a tensor without dimensions.
    observed: Tensor
    mirrored: Tensor
    #: (3,) linear light.
    base_tone: Tensor


def paint_skin(photo: FacePhoto, projection: Projection, atlas: SkinAtlas, smile: Tensor) -> SkinPaint:
    """Return the layers that `compose_skin` enlarges.

    Args:
        smile: (2,) left and right, 0..1: how far the photo's smile is no part of the head's base shape.
    """
    masks = atlas.masks
    hidden = torch.maximum(masks["mouth_interior"], masks["eye_socket"])
    low, high = _COSINE_RAMP
    facing = smoothstep((projection.cosine - low) / (high - low))
    confidence = sample_picture(photo.confidence, projection.coordinates)
    direct = facing * _soften(projection.visible) * confidence * atlas.outside

    colour = sample_picture(_reduce(photo), projection.coordinates)
    bare = (
        direct
        * sample_picture(photo.skin, projection.coordinates)
        * (1 - masks["lips"])
        * (1 - masks["brows"])
    )
    gain = find_light_gain(colour, projection.normals, bare)
    even = colour * gain
    base = _typical(even, bare[0] > _BARE)
    gain = gain * even_locally(even, base, bare, (1 - masks["lips"]) * (1 - masks["brows"]))
    even = colour * gain
    rows, columns = atlas.smile_window
    window = np.s_[:, rows, columns]
    amount = (atlas.smile_folds * smile[:, None, None]).sum(0, keepdim=True)
    factor, lost = fade_smile(even[window], base, bare[window], amount)
    gain[window] *= factor
    direct[window] *= 1 - lost
    even = colour * gain

    tone = _continue_tone(even, bare, base)
    direct = direct * (1 - _find_lid_stains(even, tone, atlas)) * (1 - masks["conjunctiva"])
    lip = _find_lip_colour(even, direct, base, atlas)
    direct = direct * (1 - find_dark_corners(even, tone, lip, atlas))
    mirror_weight, mirror_gain = _mirror(direct, gain, tone, atlas)
    # A fold on one side hides what the other's shows elsewhere: faces are not so symmetric.
    mirror_weight[window] *= 1 - lost
    other = colour.flip(-1) * mirror_gain
    weight = direct + (1 - direct) * mirror_weight
    seen = even * direct + other * (1 - direct) * mirror_weight
    hair, hairiness = find_hair(colour, base, projection, photo, masks)
    patches = 1 + MOTTLE * load_patches(colour.device, colour.shape[-1])
    completion, correction = _meet(seen, weight, _complete(base, atlas), base)
    gain, mirror_gain = gain * correction, mirror_gain * correction
    inner_lips = lip[:, None, None] * correction, _LIPS_FILLED * masks["lips"]
    completion = _fill_holes(completion * patches, colour * gain, direct, *inner_lips)
    completion = _join_charts(completion, colour * gain, direct, atlas)
    completion = _wet(completion, masks)
    remaining = (1 - direct) * (1 - mirror_weight)
    region = (masks["face"] > 0.5) & atlas.main & atlas.covered & (hidden < 0.5)
    observed = direct[0] > 0.5
    mirrored = ~observed & (mirror_weight[0] > 0.5)
    count = region.sum().clamp(min=1)
    scalp = grow_hair(atlas) * hairiness * remaining
    return SkinPaint(
        layers=SkinLayers(
            coordinates=projection.coordinates,
            direct=direct,
            mirrored=mirror_weight,
            gain=gain,
            mirror_gain=mirror_gain,
            completion=completion,
            pores=_PORES_OBSERVED + (PORES_COMPLETED - _PORES_OBSERVED) * remaining,
            scalp=scalp,
            hair=hair,
        ),
        observed=(observed & region).sum() / count,
        mirrored=(mirrored & region).sum() / count,
        base_tone=base,
    )


def _reduce(photo: FacePhoto) -> Tensor:
    """Return the photo at about the small map's density, so that sampling it there does not alias."""
    scale = _MAP_EYE_DISTANCE / (MASK_EYE_DISTANCE * photo.reduction)
    if scale >= 1:
        return photo.linear
    size = [max(2, round(side * scale)) for side in photo.linear.shape[1:]]
    return functional.interpolate(
        photo.linear[None], size=size, mode="bilinear", antialias=True, align_corners=False
    )[0]


def _typical(colour: Tensor, where: Tensor) -> Tensor:
    """Return the skin's own colour (3,), an average skin's where too few pixels are chosen.

    Above the middle of its brightness skin shines, far below it lies in shadow.
    """
    chosen = thin_out(where)
    values = thin_out(colour)
    luma = (constant(LUMA, colour.device) @ values)[None]
    low, high = (masked_quantile(luma, chosen, share) for share in _TYPICAL)
    band = chosen & (luma[0] >= low) & (luma[0] <= high)
    mean = torch.stack([masked_mean(channel, band) for channel in values])
    enough = chosen.sum() >= scale_count(_FEWEST_SKIN, colour.shape[-1])
    return torch.where(enough, mean, constant(_FALLBACK_SKIN, colour.device))


def _continue_tone(even: Tensor, bare: Tensor, base: Tensor) -> Tensor:
    """Return the skin's low frequencies everywhere: near what is seen they are its own, (3, S, S)."""
    size = even.shape[-1]
    step = size // _TONE_SIZE
    weight = smoothstep((bare - _KNOWN_FROM) / _KNOWN_RANGE)
    amount = functional.avg_pool2d(weight[None], step)[0]
    mean = functional.avg_pool2d((even * weight)[None], step)[0] / amount.clamp(min=1e-4)
    tone = blur(push_pull(mean, amount * _like_skin(mean, base, _TONE_CONTINUED)), _TONE_BLUR)
    return functional.interpolate(tone[None], size=size, mode="bilinear", align_corners=False)[0]


def _like_skin(mean: Tensor, base: Tensor, reach: float) -> Tensor:
    """Return (1, H, W) in 0..1: what differs from the skin (stubble, hair) must not run down the neck."""
    ratio = (mean / base[:, None, None]).clamp(min=1e-3).log().abs().amax(0, keepdim=True)
    return torch.exp(-((ratio / reach) ** 2))


def _mirror(direct: Tensor, gain: Tensor, tone: Tensor, atlas: SkinAtlas) -> tuple[Tensor, Tensor]:
    """Return weight and colour factor of the mirror image, which fills what only the other side shows."""
    other = smoothstep((direct.flip(-1) - _KNOWN_FROM) / _KNOWN_RANGE)
    weight = other * atlas.main * (1 - direct) * (1 - atlas.masks["conjunctiva"])
    # In the blend the direct weight comes after, so that the mirror image lies beneath.
    ratio = (tone / tone.flip(-1).clamp(min=1e-3)).clamp(*_SIDES_DIFFER)
    return torch.where(direct > _SEEN, torch.zeros_like(weight), weight), gain.flip(-1) * ratio


def _find_lid_stains(even: Tensor, tone: Tensor, atlas: SkinAtlas) -> Tensor:
    """Return (1, S, S) in 0..1: where lids show lashes or the white of the eye, a stain when shut."""
    distance = (halve(even).clamp(min=1e-3) / halve(tone).clamp(min=1e-3)).log()
    low, high = _STAIN
    foreign = smoothstep((blur(distance.abs().amax(0, keepdim=True), _STAIN_BLUR) - low) / (high - low))
    # Skin is nowhere as blue as the white of an eye.
    white = smoothstep((blur(distance[2:], _WHITE_BLUR) - low) / (high - low))
    upper = smoothstep((halve(atlas.upper_lids[None]) - _LIDS_FROM) / _LIDS_RANGE)
    near = blur(halve(atlas.masks["eyelid_rim"][None]), _RIM_BLUR)
    rims = smoothstep(near / _LIDS_RANGE)
    # The photo's lower lashes lie where it happens to see them; the head's own grow on the lid's edge.
    edges = smoothstep((near - _EDGES_FROM) / _LIDS_RANGE)
    return double(torch.maximum(foreign * torch.maximum(upper, edges), white * rims))


def _find_lip_colour(even: Tensor, direct: Tensor, base: Tensor, atlas: SkinAtlas) -> Tensor:
    """Return (3,) the mean of the lips that are seen; near what the skin lets one expect if few are.

    What is no redder than skin is skin beside lips that are thinner than the mask's, or a tooth.
    """
    values = thin_out(even).clamp(min=1e-3)
    red = (values[0] / values[1]).log() - (base[0] / base[1]).log()
    weight = thin_out(direct * atlas.masks["lips"])[0] * smoothstep(red / _REDDER)
    expected = base * constant(_LIP_TINT, base.device)
    return ((values * weight).sum(1) + _FEW_LIPS * expected) / (weight.sum() + _FEW_LIPS)


def find_dark_corners(even: Tensor, tone: Tensor, lip: Tensor, atlas: SkinAtlas) -> Tensor:
    """Return (1, S, S) in 0..1: the shade in the corner of a mouth, and what lashes lie on beside an eye.

    Where mouth and eye move, it would be a stain on the skin. A beard is duller than the skin, and stays.
    """
    usual = tone + (lip[:, None, None] - tone) * atlas.masks["lips"]
    distance = blur((halve(even).clamp(min=1e-3) / halve(usual).clamp(min=1e-3)).log(), _STAIN_BLUR)
    dull = (distance[:1] - distance[2:]).clamp(max=0)
    level = torch.tensordot(constant(LUMA, even.device), distance, dims=1)[None]
    low, high = _DARK_CORNER
    # What is nearly black has no hue.
    bare = torch.maximum(torch.exp(-((dull / _BEARD_HUE) ** 2)), smoothstep((-level - _BLACK) / _BLACK_RANGE))
    dark = smoothstep((-level - low) / (high - low)) * bare
    return double(dark * halve(atlas.corners[None]))


def _meet(seen: Tensor, weight: Tensor, completion: Tensor, base: Tensor) -> tuple[Tensor, Tensor]:
    """Return the completion, and the factor of what is seen, (3, S, S) each, that meet without a border."""
    size = seen.shape[-1]
    step = size // _TONE_SIZE
    amount = functional.avg_pool2d(weight[None], step)[0]
    own = functional.avg_pool2d(seen[None], step)[0]
    mean = own / amount.clamp(min=1e-4)
    known = smoothstep((amount - _KNOWN_FROM) / _KNOWN_RANGE) * _like_skin(mean, base, _CONTINUED)
    front = own + push_pull(mean, known) * (1 - amount)
    back = functional.avg_pool2d(completion[None], step)[0]
    met = blend_bands(front, back, amount)
    correction = (met / front.clamp(min=1e-3)).clamp(*_MEETING)
    change = met / back.clamp(min=1e-3)
    both = functional.interpolate(
        torch.cat([correction, change])[None], size=size, mode="bilinear", align_corners=False
    )[0]
    return completion * both[3:], both[:3]


def _complete(base: Tensor, atlas: SkinAtlas) -> Tensor:
    """Return the colour of what is not seen, (3, S, S)."""
    flat = base[:, None, None]
    masks = atlas.masks
    colour = flat.expand(-1, *atlas.covered.shape)
    for name, tint, share in (("ears", _EAR_TINT, _EAR_SHARE), ("lips", _LIP_TINT, _LIP_SHARE)):
        factor = constant(tint, base.device)[:, None, None]
        colour = colour * (1 + (factor - 1) * masks[name] * share)
    for name, tint in (("eye_socket", _SOCKET_TINT), ("mouth_interior", _MOUTH_TINT)):
        factor = constant(tint, base.device)[:, None, None]
        shade = 1 - _THROAT_SHADE * atlas.throat if name == "mouth_interior" else 1.0
        colour = colour + (flat * factor * shade - colour) * masks[name]
    return colour


def _fill_holes(completion: Tensor, even: Tensor, direct: Tensor, lip: Tensor, lips: Tensor) -> Tensor:
    """Give texels amid observed ones (nostrils, lip line, lid folds) what lies next to them, dark or not.

    Args:
        lip: (3, S, S) what lips get, as far as `lips` (S, S) says: beside their corners lies skin.
    """
    # Morphological closing at a quarter's size: fills holes and bays, leaves the outer border where it is.
    small = functional.max_pool2d((direct > 0.5).float()[None], 4)
    grown = functional.max_pool2d(small, _CLOSING, stride=1, padding=_CLOSING // 2)
    closed = -functional.max_pool2d(-grown, _CLOSING, stride=1, padding=_CLOSING // 2)
    soft = blur(closed[0], _SOFT_EDGE)[None]
    surrounded = functional.interpolate(soft, scale_factor=4, mode="bilinear", align_corners=False)[0]
    near = push_pull(even, smoothstep((direct - _AROUND_HOLES_FROM) / _AROUND_HOLES_RANGE))
    near = near + (lip - near) * lips
    return completion + (near - completion) * surrounded


def _join_charts(completion: Tensor, even: Tensor, direct: Tensor, atlas: SkinAtlas) -> Tensor:
    """Give the rims of mouth and eye sockets the colour of the skin across the cut of the map."""
    shown = completion + (even - completion) * direct
    across = sample_picture(shown, atlas.across)
    return completion + (across - completion) * atlas.seam


def _wet(completion: Tensor, masks: dict[str, Tensor]) -> Tensor:
    """Give what lies between lids and eyeballs the colour of the conjunctiva, at the nose the caruncle's."""
    white, pink = (constant(colour, completion.device)[:, None, None] for colour in (_CONJUNCTIVA, _CARUNCLE))
    colour = white + (pink - white) * masks["caruncle"]
    return completion + (colour - completion) * masks["conjunctiva"]


def _soften(mask: Tensor) -> Tensor:
    """Return the mask with soft edges that lie inside it: what was rejected stays so."""
    eroded = -functional.max_pool2d(-mask[None], 9, stride=1, padding=4)[0]
    return blur(eroded, _SOFT_EDGE)

"""Random looks: skin, hair, eyes, glasses, light, background and what a camera does to the picture.

Colours are linear RGB unless a name says otherwise; every tensor has one row a head. Lengths are metres,
directions are unit vectors in the camera's frame (x right, y down, z forward) that point to the light.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from gpu_workers.training.constants import constant
from gpu_workers.training.synthetic_photos.dice import Dice

_LIGHT_SKIN = (0.62, 0.40, 0.30)
_DARK_SKIN = (0.09, 0.045, 0.028)
_HAIR = (
    (0.012, 0.009, 0.008), (0.030, 0.018, 0.012), (0.070, 0.040, 0.022), (0.16, 0.09, 0.045),
    (0.42, 0.30, 0.16), (0.22, 0.07, 0.03), (0.35, 0.34, 0.33), (0.65, 0.63, 0.60),
)  # fmt: skip
_IRIS = (
    (0.030, 0.015, 0.008), (0.07, 0.035, 0.015), (0.12, 0.08, 0.04), (0.10, 0.14, 0.08),
    (0.12, 0.20, 0.32), (0.20, 0.22, 0.24),
)  # fmt: skip
#: Standard deviation of how far textures slip on the face (share of the texture; 1 mm is 0.0044): brows and
#: lips up or down, anything in small, parts of the face down and to the right.
_SLIP = (0.0145, 0.0035, 0.0070, 0.0110, 0.0075)
#: Where the picture's light comes from: spread of the main light's direction about the camera, radians.
_KEY_SPREAD, _FILL_SPREAD, _ABOVE = 0.8, 1.5, 0.45


@dataclass(frozen=True, kw_only=True)
class SkinLook:
    """The painted skin."""

    #: (B, 2) int64 numbers of the textures, and (B,) the share of the second one.
    textures: Tensor
    texture_mix: Tensor
    #: (B,) 1 where the textures are turned left for right.
    mirrored: Tensor
    #: (B,) share of painted skin in place of the texture.
    procedural: Tensor
    #: (B, 3) colour of painted skin, and factor on the texture.
    tone: Tensor
    gain: Tensor
    #: (B,) how blotchy painted skin is, and how red its cheeks.
    blotches: Tensor
    cheeks: Tensor
    #: (B, 3) and (B,) colour and share of lipstick.
    lip_colour: Tensor
    lips: Tensor
    #: (B, 3), (B,): painted brows; shift up and half width in metres.
    brow_colour: Tensor
    brows: Tensor
    brow_shift: Tensor
    brow_width: Tensor
    #: (B,) share of a dark line along the lids.
    lashes: Tensor
    #: (B, 3), (B,), (B,): painted beard, its share and how far it reaches (0..1).
    beard_colour: Tensor
    beard: Tensor
    beard_reach: Tensor
    #: (B,) and (B,): strength and exponent of the gloss.
    gloss: Tensor
    gloss_power: Tensor
    #: (B, 5) how far the texture slips on the face, see _SLIP.
    slip: Tensor
    #: (B, 2) where in the noise this head lies.
    seed: Tensor


@dataclass(frozen=True, kw_only=True)
class HairLook:
    """Hair on the scalp, and the long hair behind the head."""

    #: (B, 2, 3) two colours that strands mix.
    colour: Tensor
    #: (B,) 1 for heads with a shell of hair, else 0: bald or shorn.
    shell: Tensor
    #: (B,) share of hair painted on the scalp.
    stubble: Tensor
    #: (B,) the hairline's shift down the forehead, and how far a fringe and sideburns hang; metres.
    hairline: Tensor
    fringe: Tensor
    sides: Tensor
    #: (B,) raggedness of the border, thickness of the shell; metres.
    ragged: Tensor
    thickness: Tensor
    #: (B,) 1 for long hair, its width (in half widths of the head) and length (in head heights).
    long: Tensor
    long_width: Tensor
    long_length: Tensor


@dataclass(frozen=True, kw_only=True)
class EyeLook:
    """Eyes, mouth, cloth and glasses."""

    #: (B, 3) each.
    iris: Tensor
    sclera: Tensor
    mouth: Tensor
    cloth: Tensor
    #: (B,) radii of iris and pupil in units of the template's iris.
    iris_size: Tensor
    pupil_size: Tensor
    #: (B,) brightness of the teeth.
    teeth: Tensor
    #: (B,) 1 with glasses; (B, 2) half width and height of a lens; (B,) roundness, frame's half width;
    #: distance before the eyes and shift down.
    glasses: Tensor
    lens: Tensor
    lens_power: Tensor
    frame: Tensor
    glasses_offset: Tensor
    #: (B, 3) and (B,): colour of the frame, darkness of the lenses.
    frame_colour: Tensor
    lens_tint: Tensor


@dataclass(frozen=True, kw_only=True)
class LightLook:
    """Ambient light that changes with direction, two lights, exposure, background."""

    #: (B, 3) colour, and (B, 3) its change along the camera's axes.
    ambient: Tensor
    ambient_slope: Tensor
    #: (B, 2, 3) each: key and fill light.
    direction: Tensor
    colour: Tensor
    #: (B,) how far the key light wraps round, and how dark its shadows are (0..1).
    wrap: Tensor
    shadow: Tensor
    exposure: Tensor
    #: (B, 2, 3) colours of a gradient, (B, 2) its direction; (B,) number of a photo and its share.
    background: Tensor
    background_turn: Tensor
    background_photo: Tensor
    background_mix: Tensor


@dataclass(frozen=True, kw_only=True)
class CameraLook:
    """What the camera and its file do; applied to sRGB values."""

    #: (B,) each: exponent, contrast, brightness, saturation; (B, 3) white balance.
    gamma: Tensor
    contrast: Tensor
    brightness: Tensor
    saturation: Tensor
    balance: Tensor
    #: (B,) standard deviation of blur in pixels of the picture, at most 2; of fine and of coarse noise.
    blur: Tensor
    noise: Tensor
    coarse_noise: Tensor
    #: (B,) step of the JPEG-like quantisation, 0 for none.
    quantisation: Tensor


@dataclass(frozen=True, kw_only=True)
class Looks:
    """How B heads look."""

    skin: SkinLook
    hair: HairLook
    eyes: EyeLook
    light: LightLook
    camera: CameraLook


def sample_looks(
    batch: int, generator: torch.Generator, *, textures: int = 0, backgrounds: int = 0, clean: bool = False
) -> Looks:
    """Return random looks.

    Args:
        batch: B.
        generator: decides everything; its device is that of the tensors.
        textures: how many skin textures there are; without any all skin is painted.
        backgrounds: how many background photos there are.
        clean: no blur, noise or quantisation.
    """
    dice = Dice(generator, batch)
    hair = dice.one_of(_HAIR) * dice.factor(0.25, 1) * dice.factor(0.08, 3)
    return Looks(
        skin=_sample_skin(dice, hair, textures),
        hair=_sample_hair(dice, hair),
        eyes=_sample_eyes(dice),
        light=_sample_light(dice, backgrounds),
        camera=_sample_camera(dice, clean),
    )


def _sample_skin(dice: Dice, hair: Tensor, textures: int) -> SkinLook:
    melanin = dice.uniform(0, 1, 1) ** 1.5
    light, dark = (constant(c, dice.device) for c in (_LIGHT_SKIN, _DARK_SKIN))
    tone = (light.log() * (1 - melanin) + dark.log() * melanin).exp() * dice.factor(0.12, 3)
    mostly = dice.chance(0.2)
    share = mostly * dice.uniform(0.5, 1) + (1 - mostly) * dice.chance(0.3) * dice.uniform(0, 0.5)
    procedural = share if textures else torch.ones_like(share)
    lip = constant((0.95, 0.52, 0.52), dice.device)
    return SkinLook(
        textures=dice.index(max(textures, 1), 2),
        texture_mix=dice.chance(0.3) * dice.uniform(0.1, 0.5),
        mirrored=dice.chance(0.5),
        procedural=procedural,
        tone=tone,
        gain=dice.factor(0.2, 1) * dice.factor(0.05, 3),
        blotches=dice.uniform(0, 0.14),
        cheeks=dice.uniform(0, 0.5),
        lip_colour=tone * lip * dice.factor(0.25, 3),
        lips=torch.maximum(procedural * dice.uniform(0.3, 1), dice.chance(0.2) * dice.uniform(0, 0.8)),
        brow_colour=hair * 0.8 * dice.factor(0.3, 1),
        brows=torch.maximum(procedural * dice.uniform(0.5, 1), dice.chance(0.15) * dice.uniform(0, 0.8)),
        brow_shift=dice.normal(0.0033),
        brow_width=dice.uniform(0.0018, 0.0040),
        lashes=dice.uniform(0, 0.9) * torch.maximum(procedural, dice.chance(0.5)),
        beard_colour=hair * dice.factor(0.2, 1),
        beard=dice.chance(0.22) * dice.uniform(0.3, 1),
        beard_reach=dice.uniform(0.2, 0.8),
        gloss=dice.uniform() ** 2 * 0.35,
        gloss_power=dice.log_uniform(5, 55),
        slip=dice.normal(1.0, 5) * constant(_SLIP, dice.device),
        seed=dice.uniform(0, 1, 2),
    )


def _sample_hair(dice: Dice, hair: Tensor) -> HairLook:
    bald = dice.chance(0.15)
    shell = (1 - bald) * dice.chance(0.85)
    fringe = dice.chance(0.25)
    sides = dice.chance(0.45)
    long = (1 - bald) * dice.chance(0.4)
    return HairLook(
        colour=torch.stack([hair, hair * dice.factor(0.4, 1)], 1),
        shell=shell,
        stubble=torch.maximum(shell, (1 - bald) * dice.uniform(0.3, 0.9)),
        hairline=dice.normal(0.007) - 0.008 - bald * dice.uniform(0.02, 0.12),
        fringe=fringe * dice.uniform(0.01, 0.042),
        sides=torch.maximum(long, sides) * dice.uniform(0.0, 0.04),
        ragged=dice.uniform(0.001, 0.007),
        thickness=dice.uniform(0.003, 0.028),
        long=long,
        long_width=dice.uniform(0.95, 1.45),
        long_length=dice.uniform(0.3, 1.6),
    )


def _sample_eyes(dice: Dice) -> EyeLook:
    white = constant((1.0, 0.93, 0.90), dice.device)
    red = constant((0.25, 0.06, 0.05), dice.device)
    dark = dice.chance(0.7, 1)
    return EyeLook(
        iris=dice.one_of(_IRIS) * dice.factor(0.2, 1) * dice.factor(0.1, 3),
        sclera=dice.uniform(0.28, 0.6, 1) * white * dice.factor(0.05, 3),
        mouth=red * dice.factor(0.3, 3),
        cloth=_muted(dice.uniform(0, 1, 3) ** 2.2),
        iris_size=dice.uniform(0.93, 1.1),
        pupil_size=dice.uniform(0.28, 0.52),
        teeth=dice.uniform(0.45, 1.1),
        glasses=dice.chance(0.2),
        lens=torch.stack([dice.uniform(0.021, 0.028), dice.uniform(0.014, 0.024)], 1),
        lens_power=dice.uniform(2, 5),
        frame=dice.uniform(0.0004, 0.0024),
        glasses_offset=torch.stack([dice.uniform(0.010, 0.020), dice.normal(0.003) + 0.003], 1),
        frame_colour=dark * dice.uniform(0, 0.06, 3) + (1 - dark) * dice.uniform(0, 0.5, 3),
        lens_tint=dice.chance(0.25) * dice.uniform() ** 2 * 0.95,
    )


def _sample_light(dice: Dice, backgrounds: int) -> LightLook:
    key = dice.factor(0.3, 1)
    ambience = dice.uniform(0.15, 1.1, 1)
    warm = constant((1.0, 0.0, -1.0), dice.device)

    def tint(spread: float) -> Tensor:
        return (dice.normal(spread, 3) * 0.5 + dice.normal(spread, 1) * warm).exp()

    first = 1.15 * (1.3 - ambience) * key * tint(0.08)
    second = dice.chance(0.6, 1) * dice.uniform(0, 0.6, 1) * key * tint(0.12)
    angle = dice.uniform(0, 6.2832)
    photo = dice.chance(0.6) * dice.uniform(0.5, 1)
    return LightLook(
        ambient=0.85 * ambience * key * tint(0.06),
        ambient_slope=dice.normal(0.3, 3),
        direction=torch.stack([_direction(dice, _KEY_SPREAD), _direction(dice, _FILL_SPREAD)], 1),
        colour=torch.stack([first, second], 1),
        wrap=dice.uniform(0.02, 0.35),
        shadow=dice.chance(0.75) * dice.uniform(0.2, 1),
        exposure=dice.factor(0.22) * 1.3,
        background=_muted(dice.uniform(0, 1, 2, 3) ** 2),
        background_turn=torch.stack([angle.cos(), angle.sin()], 1),
        background_photo=dice.index(max(backgrounds, 1)),
        background_mix=photo if backgrounds else torch.zeros_like(photo),
    )


def _muted(colour: Tensor) -> Tensor:
    """Return colours (..., 3) that are half as strong, as most cloth and walls are."""
    return 0.5 * colour + 0.5 * colour.mean(-1, keepdim=True)


def _direction(dice: Dice, spread: float) -> Tensor:
    """Return (B, 3) directions about the camera's, mostly from above."""
    side, up = dice.normal(spread), dice.normal(0.45) + _ABOVE
    return torch.stack([side.sin() * up.cos(), -up.sin(), -side.cos() * up.cos()], 1)


def _sample_camera(dice: Dice, clean: bool) -> CameraLook:
    file = 0.0 if clean else 1.0
    return CameraLook(
        gamma=dice.factor(0.15),
        contrast=dice.factor(0.13),
        brightness=dice.normal(0.03),
        saturation=dice.factor(0.22) * (1 - dice.chance(0.06)),
        balance=dice.factor(0.05, 3),
        blur=dice.chance(0.5) * dice.uniform(0.2, 2.0) * file,
        noise=dice.chance(0.5) * dice.uniform(0, 0.04) * file,
        coarse_noise=dice.chance(0.25) * dice.uniform(0, 0.05) * file,
        quantisation=dice.chance(0.35) * dice.log_uniform(0.3, 3.5) * file,
    )

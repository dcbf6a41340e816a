"""Colours of what is not skin: eyes, teeth, tongue, cloth, hair, glasses, background. Planes (C, B, H, W)."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from gpu_workers.training.constants import constant
from gpu_workers.training.synthetic_photos.random_appearance import EyeLook, HairLook, LightLook
from gpu_workers.training.synthetic_photos.shading import dot, planes
from gpu_workers.training.synthetic_photos.skin_paint import mix, soft_step
from gpu_workers.training.synthetic_photos.textures import Material, sample_noise

#: Width of a front tooth, metres.
_TOOTH = 0.0082
_TOOTH_COLOUR = (0.72, 0.66, 0.55)


class PlaneMap(NamedTuple):
    """A plane in space as the picture sees it: pixel = middle + x * right + y * down, in metres of it."""

    #: (B, 2) each, pixels.
    middle: Tensor
    right: Tensor
    down: Tensor

    def metres(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return where on the plane pixels lie, (B, H, W) each."""
        x = x - self.middle[:, 0, None, None]
        y = y - self.middle[:, 1, None, None]
        (a, c), (b, d) = ((v[:, 0, None, None], v[:, 1, None, None]) for v in (self.right, self.down))
        scale = 1 / (a * d - b * c)
        return (d * x - b * y) * scale, (a * y - c * x) * scale

    @property
    def pixel(self) -> Tensor:
        """(B, 1, 1) the size of a pixel, metres."""
        size: Tensor = 1 / self.down.norm(dim=1)[:, None, None].clamp(min=1e-6)
        return size


def eye_colour(eyes: EyeLook, place: Tensor, iris_radius: float) -> Tensor:
    """Return the albedo of eyes.

    Args:
        place: (3, B, H, W) on the template's eyeball, about its middle, in its radii.
        iris_radius: in the same unit.
    """
    x, y, z = place
    radius = torch.sqrt(x * x + y * y + 1e-12)
    iris = eyes.iris_size[:, None, None] * iris_radius
    pupil = iris * eyes.pupil_size[:, None, None]
    share = radius / iris
    angle = torch.atan2(y, x)
    fibres = 0.85 + 0.12 * torch.sin(angle * 31) + 0.12 * torch.sin(angle * 17 + 5 * share)
    ring = 1 - 0.6 * soft_step((share - 0.72) / 0.28)
    inside = soft_step((1.03 - share) / 0.08) * (z > 0)
    colour = mix(planes(eyes.sclera), planes(eyes.iris) * (fibres * ring), inside)
    colour = colour * (1 - 0.97 * soft_step((pupil * 1.06 - radius) / (0.12 * pupil)) * inside)
    # Redder towards the corners; darker under the upper lid.
    corner = planes(constant(((0.0, 0.25, 0.25),), x.device))
    colour = colour * (1 - corner * soft_step((x.abs() - 0.35) / 0.4))
    shaded: Tensor = colour * (1 - 0.5 * soft_step((y + 0.05) / 0.5))
    return shaded


def teeth_colour(eyes: EyeLook, place: Tensor, openness: Tensor) -> Tensor:
    """Return the albedo of teeth at places (3, B, H, W) on the template, metres."""
    along = torch.sqrt(place[0] ** 2 + 1e-12) / _TOOTH
    gap = (along - along.floor() - 0.5).abs()
    bright = eyes.teeth[:, None, None] * (1 - 0.45 * soft_step((gap - 0.41) / 0.09))
    bright = bright * (1.15 - 0.14 * along).clamp(0, 1) * (0.35 + 0.65 * openness)
    return planes(constant((_TOOTH_COLOUR,), along.device)) * bright


class Strands(NamedTuple):
    """The shell of hair at each pixel."""

    colour: Tensor
    #: (B, H, W) share that hides what lies behind.
    cover: Tensor


def hair_strands(hair: HairLook, values: Tensor, seed: Tensor, material: Material) -> Strands:
    """Return colour and cover of the shell.

    Args:
        values: (HAIR_VALUES, B, H, W), see scene.py.
        seed: (B, 2).
    """
    depth, polar = hair_depth(hair, values), values[4]
    shift = seed[:, :, None, None] * 5.7
    broad, _, strand, fine = sample_noise(
        material.noise, values[3] * 0.9 + shift[:, 0], polar * 0.10 + shift[:, 1]
    )
    ragged = hair.ragged[:, None, None] * (0.9 * broad + 0.8 * strand)
    cover = soft_step((depth + ragged) / (0.004 + 0.25 * hair.ragged[:, None, None]) + 0.3)
    cover = cover * hair.shell[:, None, None]
    first, second = planes(hair.colour[:, 0]), planes(hair.colour[:, 1])
    bright = (0.85 + 0.33 * strand + 0.22 * fine + 0.12 * broad).clamp(0.15, 2)
    return Strands(mix(first, second, (0.5 + 0.4 * broad).clamp(0, 1)) * bright, cover)


def hair_depth(hair: HairLook, values: Tensor) -> Tensor:
    """Return metres behind the hair's own border; values (HAIR_VALUES, B, ...)."""
    tail = (1,) * (values.dim() - 2)

    def wide(one: Tensor) -> Tensor:
        spread: Tensor = one.view(-1, *tail)
        return spread

    hang = wide(hair.fringe) * values[1] + wide(hair.sides) * values[2]
    return values[0] + wide(hair.hairline) + hang


def paint_background(light: LightLook, material: Material, size: int) -> Tensor:
    """Return (3, B, S, S) linear: a gradient, or a blurred photo."""
    steps = (torch.arange(size, device=light.exposure.device) + 0.5) / size - 0.5
    turn = light.background_turn[:, :, None, None]
    ramp = (0.5 + 0.7 * (steps[None, :] * turn[:, 0] + steps[:, None] * turn[:, 1])).clamp(0, 1)
    colour = mix(planes(light.background[:, 0]), planes(light.background[:, 1]), ramp)
    if not len(material.backgrounds):
        return colour
    photo = material.backgrounds[light.background_photo].permute(0, 3, 1, 2).float() / 255
    photo = functional.interpolate(photo, size=(size, size), mode="bilinear", align_corners=False)
    return mix(colour, (photo**2.2).movedim(1, 0), light.background_mix[:, None, None])


def paint_long_hair(
    behind: Tensor, hair: HairLook, light: LightLook, head: PlaneMap, seed: Tensor, material: Material
) -> Tensor:
    """Return the background (3, B, S, S) with long hair before it; `head` maps the plane of the skull."""
    size = behind.shape[-1]
    steps = torch.arange(size, device=behind.device) + 0.5
    x, y = head.metres(steps[None, None, :], steps[None, :, None])
    shift = seed[:, :, None, None] * 3.1
    broad, _, strand, fine = sample_noise(material.noise, x * 4 + shift[:, 0], y * 0.5 + shift[:, 1])
    across = x.abs() / (0.085 * hair.long_width[:, None, None])
    above = (-y).clamp(min=0) / 0.105
    below = (y - 0.22 * hair.long_length[:, None, None]).clamp(min=0) / 0.06
    radius = torch.sqrt(across**2 + above**2 + below**2) + 0.05 * broad + 0.03 * strand
    cover = soft_step((1 - radius) / 0.06 + 0.5) * hair.long[:, None, None]
    energy = planes(light.ambient) * 0.7 + planes(light.colour[:, 0]) * 0.25
    bright = (0.6 + 0.3 * strand + 0.2 * fine).clamp(0.1, 2)
    return mix(behind, planes(hair.colour[:, 0]) * bright * energy, cover)


def add_glasses(picture: Tensor, eyes: EyeLook, lens: PlaneMap, apart: Tensor, ears: Tensor) -> Tensor:
    """Return the picture (3, B, S, S) with glasses before it.

    Args:
        lens: the plane of the glasses, its middle on the bridge.
        apart: (B,) from there to the middle of a lens, metres.
        ears: (B, 2, 2) x and y on that plane of the right and the left ear.
    """
    size = picture.shape[-1]
    steps = torch.arange(size, device=picture.device) + 0.5
    x, y = lens.metres(steps[None, None, :], steps[None, :, None])
    wide, high = (eyes.lens[:, k, None, None] for k in range(2))
    power, thick = eyes.lens_power[:, None, None], eyes.frame[:, None, None]
    apart, pixel = apart[:, None, None], lens.pixel
    across = x.abs() - apart
    radius = ((across.abs() / wide) ** power + (y.abs() / high) ** power + 1e-9) ** (1 / power)
    distance = (radius - 1).abs() * torch.minimum(wide, high)
    bridge = (y + 0.35 * high).abs() + 1e3 * (x.abs() - (apart - wide * 0.9)).clamp(min=0)
    distance = torch.minimum(distance, torch.minimum(bridge, _arm(x, y, apart + wide, high, ears)))
    frame = soft_step((thick - distance) / pixel + 0.5) * eyes.glasses[:, None, None]
    tint = soft_step((1 - radius) * 20) * (eyes.lens_tint * eyes.glasses)[:, None, None]
    return mix(picture * (1 - tint), planes(eyes.frame_colour), frame)


def _arm(x: Tensor, y: Tensor, outer: Tensor, high: Tensor, ears: Tensor) -> Tensor:
    """Return the distance (B, H, W) to the arm on a pixel's side of the face, if it is seen."""
    left = x > 0
    ear_x = torch.where(left, ears[:, 1, 0, None, None], ears[:, 0, 0, None, None])
    ear_y = torch.where(left, ears[:, 1, 1, None, None], ears[:, 0, 1, None, None])
    start_x = torch.where(left, outer, -outer)
    start_y = -0.4 * high
    dx, dy = ear_x - start_x, ear_y - start_y
    share = ((x - start_x) * dx + (y - start_y) * dy) / (dx * dx + dy * dy + 1e-9)
    share = share.clamp(0, 1)
    distance = torch.sqrt((x - start_x - share * dx) ** 2 + (y - start_y - share * dy) ** 2 + 1e-12)
    # An arm that leads inwards is hidden behind the face.
    return torch.where(torch.where(left, dx, -dx) > 0, distance, torch.full_like(distance, 1.0))


def facing(normal: Tensor, view: Tensor) -> Tensor:
    """Return normals (3, B, H, W) that look to the camera, whichever side of a surface is seen."""
    return normal * torch.where(dot(normal, view) < 0, -1.0, 1.0)

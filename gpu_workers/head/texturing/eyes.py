"""The eyes' own map: a procedural iris in the person's colour; sharp whatever the photo's size."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from face3d.messages import Array
from gpu_workers.head.model.head_template import HeadData
from gpu_workers.head.model.mediapipe_landmarks import LEFT_IRIS, RIGHT_IRIS
from gpu_workers.head.ops.image import LUMA, smoothstep
from gpu_workers.head.ops.inpainting import make_noise
from gpu_workers.head.ops.mesh import split_quads
from gpu_workers.head.ops.uv_rasterization import interpolate, rasterise_atlas

#: Pixels a side.
EYES_SIZE = 1024
#: Linear light.
_SCLERA = (0.52, 0.485, 0.455)
_SCLERA_RIM = (0.43, 0.235, 0.20)
_VEIN = (0.40, 0.13, 0.11)
_FALLBACK_IRIS = (0.085, 0.05, 0.028)
_PUPIL = (0.004, 0.004, 0.005)
#: Shares of the iris's radius.
_PUPIL_RADIUS = 0.36
_LIMBUS = 0.84
#: An iris in a photo lies in the shade of lid and lashes.
_SHADE = 1.45
#: Contact shade of the upper lid, the lower one and the corners, which no light of a viewer makes: strength,
#: where it begins and where it is full, in radii of the iris.
_UPPER_SHADE, _LOWER_SHADE, _CORNER_SHADE = (0.50, 0.30, 1.15), (0.22, 0.60, 1.35), (0.28, 1.25, 2.45)
#: A dark iris in a photo is mostly noise and reflections: below this luminance it is taken for brown.
_DARK_IRIS = (0.02, 0.05)
_DARKEST, _BRIGHTEST = 0.022, 0.22
#: Of the brown that takes a dark iris's place, the most.
_BROWN_SHARE = 0.8
#: Fewest pixels that tell an iris's colour; shares by brightness between which they count, without the
#: window's reflection above and the lashes below.
_FEWEST_PIXELS, _TYPICAL = 8, (0.25, 0.75)
#: Where an iris shows its colour, shares of its radius: from the pupil to the limbus, about its equator.
_RING, _EQUATOR = (0.42, 0.86), 0.55
#: All lengths below are radii of the iris. The white reddens outwards: from, to, how far.
_RED_BEGINS, _RED_SURE, _RED_SHARE = 1.35, 2.6, 0.55
#: Blotches of the white: grain in texels, contrast, and what it does to red, green and blue.
_BLOTCH_GRAIN, _BLOTCH_CONTRAST, _BLOTCH_TINT = 14, 0.02, (0.5, 1.2, 1.3)
#: Where vessels begin beside the iris, and where they are full.
_VEINS_BEGIN, _VEINS_SURE = 1.15, 2.1
#: Brightness of the iris's ground, and what its fibres add.
_GROUND, _FIBRE = 0.62, 0.78
#: The collarette round the pupil is lighter and warmer: radius, what fibres add to it, width, gain and tint.
_COLLARETTE, _COLLARETTE_WAVE, _COLLARETTE_WIDTH = 0.50, 0.05, 0.10
_COLLARETTE_GAIN, _COLLARETTE_TINT = 0.45, (1.15, 1.0, 0.75)
#: The limbus is a dark ring: how dark, its width inwards, where it ends.
_LIMBUS_DARKNESS, _LIMBUS_WIDTH, _LIMBUS_END = 0.78, 0.10, 0.99
#: Soft edge of the pupil, inwards and outwards, and of the iris.
_PUPIL_EDGE, _IRIS_EDGE = (0.02, 0.03), (0.93, 1.08)
#: Vessels: their number round the eye and width; frequencies of how they wander, and how far; how much of
#: one shows, and of that everywhere and at the corners.
_VESSELS, _WANDER, _WANDER_REACH = ((7, 0.05), (13, 0.035), (23, 0.03)), (2.3, 4.1, 7.9), 1.8
_VESSEL_COVER, _EVERYWHERE, _AT_CORNERS = 0.42, 0.35, 0.65
#: Fibres round the pupil, by wave; what the sum of waves is divided by, so that it ends about 0 and 1.
_FIBRES, _FIBRE_SCALE = (9, 17, 26, 37, 51, 68, 83), 9
#: A full turn, as the random phases are drawn.
_TURN = 6.28


def find_iris_colour(photo: Tensor, landmarks: Array, seen: tuple[bool, bool] = (True, True)) -> Tensor:
    """Return the irises' colour, (3,) linear light on the CPU, without the lid's shade; brown if unknown.

    Args:
        photo: (3, H, W) linear light.
        landmarks: (478, 2 or 3) pixels of the photo.
        seen: whether the right and the left iris show; see observed_face.py.
    """
    irises = [iris for iris, shows in zip((RIGHT_IRIS, LEFT_IRIS), seen, strict=True) if shows]
    samples = [_sample_iris(photo, np.asarray(landmarks)[list(iris), :2]) for iris in irises]
    pixels = torch.cat([torch.empty(3, 0), *samples], 1)
    if pixels.shape[1] < _FEWEST_PIXELS:
        return torch.tensor(_FALLBACK_IRIS)
    luma = torch.tensor(LUMA) @ pixels
    low, high = (luma.quantile(share) for share in _TYPICAL)
    kept = (luma >= low) & (luma <= high)
    colour = _make_plausible(pixels[:, kept].mean(1) * _SHADE)
    level = float(torch.tensor(LUMA) @ colour)
    return colour * (min(max(level, _DARKEST), _BRIGHTEST) / max(level, 1e-4))


def _make_plausible(colour: Tensor) -> Tensor:
    """Return an iris's colour (3,) that an iris can have.

    Melanin over scattering stroma runs from brown over green and grey to blue, never to purple: green is no
    less than the mean of red and blue.
    """
    luma = torch.tensor(LUMA)
    floor = (colour[0] * colour[2]).clamp(min=0).sqrt()
    possible = torch.stack([colour[0], torch.maximum(colour[1], floor), colour[2]])
    level = luma @ possible
    brown = torch.tensor(_FALLBACK_IRIS)
    brown = brown * (level / (luma @ brown))
    low, high = _DARK_IRIS
    share = _BROWN_SHARE * ((high - level) / (high - low)).clamp(0, 1)
    return possible + share * (brown - possible)


def _sample_iris(photo: Tensor, points: Array) -> Tensor:
    """Return (3, N) the pixels between pupil and limbus, near the iris's equator, which lids seldom cover."""
    height, width = photo.shape[1:]
    radius = float(np.linalg.norm(points[1:] - points[0], axis=1).mean())
    reach = max(radius, 1.0) + 1
    left, top = (
        int(min(max(0, middle - reach), side))
        for middle, side in zip(points[0], (width, height), strict=True)
    )
    right, bottom = (
        int(min(max(0, middle + reach + 1), side))
        for middle, side in zip(points[0], (width, height), strict=True)
    )
    window = photo[:, top:bottom, left:right].cpu()
    rows = torch.arange(top, bottom)[:, None] + 0.5 - float(points[0, 1])
    columns = torch.arange(left, right)[None, :] + 0.5 - float(points[0, 0])
    distance = torch.sqrt(rows**2 + columns**2) / max(radius, 1.0)
    ring = (distance > _RING[0]) & (distance < _RING[1]) & (rows.abs() < _EQUATOR * radius)
    return window[:, ring]


def locate_iris(data: HeadData, device: torch.device, size: int = EYES_SIZE) -> Tensor:
    """Return each texel's place on the eyeball about the iris, (2, size, size): 1 is the iris's rim.

    Right and up of the pupil, by polar angle about the eyeball's front, so that circles are round on the head
    whatever the coarse quads do to them on the map.
    """
    eye = data.part("eye_left")
    positions = data.positions[eye.vertices]
    from_centre = positions - 0.5 * (positions.min(0) + positions.max(0))
    uvs = torch.from_numpy(_quarter(eye.uvs[eye.uv_quads])).to(device)
    places = torch.from_numpy(_quarter(from_centre[eye.quads])).to(device)
    quads = np.arange(len(uvs)).reshape(-1, 4)
    corners = torch.from_numpy(split_quads(quads)).to(device)
    raster, _ = rasterise_atlas(uvs, corners, size)
    x, y, z = interpolate(places, corners, raster).permute(2, 0, 1)
    aside = torch.sqrt(x**2 + y**2)
    rim = math.asin(data.iris_radius / data.eyeball_radius)
    scale = torch.atan2(aside, z) / rim / aside.clamp(min=1e-9)
    return torch.stack([x * scale, y * scale])


def _quarter(corners: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (16 F, C): quads' corner values (F, 4, C), each quad cut into four as a finer mesh's uvs are."""
    after = 0.5 * (corners + np.roll(corners, -1, axis=1))
    middle = np.broadcast_to(corners.mean(1, keepdims=True), corners.shape)
    finer = np.stack([corners, after, middle, np.roll(after, 1, axis=1)], axis=2)
    return np.ascontiguousarray(finer.reshape(-1, corners.shape[-1]), np.float32)


@dataclass(frozen=True)
class EyePaint:
    """The eyes' map but for the iris's colour, in which it is linear: offset + factor x colour."""

    #: (3, S, S) each, linear light.
    offset: Tensor
    factor: Tensor


def prepare_eyes(places: Tensor) -> EyePaint:
    """Return the constant parts of the eyes' map; `places` as `locate_iris` returns them."""
    without = _paint(torch.zeros(3, device=places.device), places)
    return EyePaint(without, _paint(torch.ones(3, device=places.device), places) - without)


def paint_eyes(iris: Tensor, paint: EyePaint) -> Tensor:
    """Return the eyes' albedo, (3, S, S) linear light, for an iris colour (3,) in linear light."""
    return (paint.offset + paint.factor * iris.to(paint.offset.device)[:, None, None]).clamp(0, 1)


def _paint(iris: Tensor, places: Tensor) -> Tensor:
    device, size = places.device, places.shape[-1]
    x, y = places
    distance = torch.sqrt(x**2 + y**2)
    angle = torch.atan2(y, x)

    def ramp(low: float, high: float) -> Tensor:
        return smoothstep((distance - low) / (high - low))

    def tint(colour: tuple[float, float, float]) -> Tensor:
        return torch.tensor(colour, device=device)[:, None, None]

    sclera = tint(_SCLERA) + (tint(_SCLERA_RIM) - tint(_SCLERA)) * ramp(_RED_BEGINS, _RED_SURE) * _RED_SHARE
    blotches = make_noise(size, _BLOTCH_GRAIN, seed=11).to(device)
    sclera = sclera * (1 + _BLOTCH_CONTRAST * blotches * tint(_BLOTCH_TINT))
    veins = _veins(angle, distance) * ramp(_VEINS_BEGIN, _VEINS_SURE)
    sclera = sclera + (tint(_VEIN) - sclera) * veins
    fibres = _fibres(angle, distance)
    colour = iris[:, None, None] * (_GROUND + _FIBRE * fibres)
    from_collarette = (distance - _COLLARETTE - _COLLARETTE_WAVE * fibres) / _COLLARETTE_WIDTH
    collarette = torch.exp(-(from_collarette**2))
    colour = colour * (1 + _COLLARETTE_GAIN * collarette * tint(_COLLARETTE_TINT))
    colour = colour * (1 - _LIMBUS_DARKNESS * ramp(_LIMBUS - _LIMBUS_WIDTH, _LIMBUS_END))
    inwards, outwards = _PUPIL_EDGE
    around = ramp(_PUPIL_RADIUS - inwards, _PUPIL_RADIUS + outwards)
    colour = colour + (tint(_PUPIL) - colour) * (1 - around)
    painted = colour + (sclera - colour) * ramp(*_IRIS_EDGE)
    for place, (strength, low, high) in ((y, _UPPER_SHADE), (-y, _LOWER_SHADE), (x.abs(), _CORNER_SHADE)):
        painted = painted * (1 - strength * smoothstep((place - low) / (high - low)))
    return painted


def _veins(angle: Tensor, distance: Tensor) -> Tensor:
    """Return how much of a fine vessel lies on the white, 0..1: lines that wander inwards."""
    generator = torch.Generator().manual_seed(17)
    total = torch.zeros_like(angle)
    for count, width in _VESSELS:
        wander = torch.zeros_like(angle)
        for frequency in _WANDER:
            phase, turn = torch.rand(2, generator=generator).tolist()
            wander = (
                wander + torch.sin(frequency * distance + _TURN * phase + round(3 * turn) * angle) / frequency
            )
        phase = float(torch.rand(1, generator=generator))
        wave = torch.sin(0.5 * count * angle + _WANDER_REACH * wander + _TURN * phase)
        strength = 0.5 + 0.5 * torch.sin(3 * angle + 2 * distance + _TURN * phase)
        total = torch.maximum(total, torch.exp(-((wave / width) ** 2)) * strength)
    return _VESSEL_COVER * total * (_EVERYWHERE + _AT_CORNERS * torch.cos(angle) ** 2)


def _fibres(angle: Tensor, distance: Tensor) -> Tensor:
    """Return the iris's radial fibres, about 0..1: waves round the pupil whose phase drifts outwards."""
    generator = torch.Generator().manual_seed(5)
    total = torch.zeros_like(angle)
    for frequency in _FIBRES:
        phase, drift, strength = torch.rand(3, generator=generator).tolist()
        wave = torch.cos(frequency * angle + _TURN * phase + 5 * (drift - 0.5) * distance)
        total = total + (0.5 + strength) * wave
    return 0.5 + total / _FIBRE_SCALE

"""The mouth's own map: crowns that yellow towards the gum, gums and tongue; darker where no light comes."""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from face3d.messages import Array
from gpu_workers.head.model.head_template import HeadData, PartData
from gpu_workers.head.model.mediapipe_landmarks import INNER_LIPS
from gpu_workers.head.ops.image import LUMA, smoothstep
from gpu_workers.head.ops.inpainting import make_noise
from gpu_workers.head.ops.uv_rasterization import interpolate, rasterise_atlas

#: Pixels a side.
MOUTH_SIZE = 1024
#: Linear light.
_TOOTH = (0.66, 0.61, 0.52)
_TOOTH_EDGE = (0.58, 0.575, 0.54)
_TOOTH_NECK = (0.54, 0.45, 0.33)
_GUM = (0.36, 0.13, 0.125)
_TONGUE = (0.36, 0.125, 0.12)
#: Millimetres from the biting edge: where it stops being translucent, where the neck begins and is reached.
_EDGE_END = 2.2
_NECK = (4.5, 9.5)
#: Light at the back of the mouth, of that in front.
_BACK_LIGHT = 0.14
#: MediaPipe's landmarks of the middle of the lips' opening, above and below.
_MIDDLE = (13, 14)
#: Fewest pixels between the lips, and across them, that can show teeth.
_FEWEST, _LEAST_OPEN = 30, 3.0
#: Teeth are the brightest pixels between the lips, and hardly coloured: red over green, blue over green.
_TOOTH_SHARE = 0.4
_RED_LIMITS, _BLUE_LIMITS = (0.95, 1.22), (0.68, 1.0)
#: So far the photo's light is believed.
_CONFIDENCE = 0.7
#: By so much a pixel's red may exceed, and its blue fall short of, those limits and still count as a tooth.
_RED_EXCESS, _BLUE_LACK = 1.35, 0.6
#: Place from the back to the front where light begins, and how far it takes to be full.
_LIGHT_BEGINS, _LIGHT_RANGE = 0.30, 0.62
#: Grain in texels and contrast of teeth and of gums.
_TOOTH_GRAIN, _TOOTH_CONTRAST = 10.0, 0.025
_GUM_GRAIN, _GUM_CONTRAST = 7.0, 0.05
#: The margin is paler than the mucosa further from the teeth, which is red with vessels: millimetres from
#: the margin, how many more until it is reached, and what it lacks of red, green and blue.
_MUCOSA_BEGINS, _MUCOSA_RANGE, _MUCOSA_LACK = 4, 9, (0.15, 0.4, 0.36)
#: Papillae of the tongue: two grains in texels, the share of either, and the contrast.
_PAPILLAE, _PAPILLA_SHARE, _PAPILLA_CONTRAST = (1.6, 6.0), 0.6, 0.05
#: Light on the tongue: where it begins, how far it takes, its curve; the least of it.
_TONGUE_BEGINS, _TONGUE_RANGE, _TONGUE_CURVE, _TONGUE_LEAST = 0.46, 0.50, 1.2, 0.07
#: Groove along its middle: half its width in millimetres, depth as lost light, where it begins, and how
#: steeply it deepens from there and ends before the tip.
_GROOVE_WIDTH, _GROOVE_SHADE, _GROOVE_BEGINS, _GROOVE_RISE, _GROOVE_END = 1.6, 0.16, 0.35, 3, 8
#: Its back is coated, its rim and tip are redder: where the coat ends, how steeply, half its width in
#: millimetres, and what it adds to red, green and blue.
_COAT_END, _COAT_RISE, _COAT_WIDTH, _COAT = 0.9, 4, 13, (0.06, 0.16, 0.10)


@dataclass(frozen=True)
class MouthPaint:
    """The mouth's map but for the teeth's colour, in which it is linear."""

    #: (3, S, S) each, linear light: gums and tongue; teeth of the colour that `find_tooth_tint` takes as one.
    rest: Tensor
    teeth: Tensor


def find_tooth_tint(photo: Tensor, landmarks: Array) -> Tensor:
    """Return the photo's teeth's colour over that of the made ones, (3,) on the CPU; ones where none shows.

    Their hue only: how bright they are says more of the lips' shade than of the teeth.

    Args:
        photo: (3, H, W) linear light.
        landmarks: (478, 2 or 3) pixels of the photo.
    """
    points = np.asarray(landmarks, np.float64)[:, :2]
    outline = points[list(INNER_LIPS)]
    low, high = np.floor(outline.min(0)).astype(int), np.ceil(outline.max(0)).astype(int)
    low, high = np.maximum(low, 0), np.minimum(high, (photo.shape[2], photo.shape[1]))
    unknown = torch.ones(3)
    upper, lower = points[list(_MIDDLE)]
    if (high - low < 2).any() or np.linalg.norm(lower - upper) < _LEAST_OPEN:
        return unknown
    sheet = Image.new("L", (int(high[0] - low[0]), int(high[1] - low[1])), 0)
    ImageDraw.Draw(sheet).polygon([(float(x), float(y)) for x, y in outline - low], fill=1)
    inside = torch.from_numpy(np.asarray(sheet) > 0)
    pixels = photo[:, low[1] : high[1], low[0] : high[0]].cpu()[:, inside]
    if pixels.shape[1] < _FEWEST:
        return unknown
    level = torch.tensor(LUMA) @ pixels
    bright = pixels[:, level >= level.quantile(1 - _TOOTH_SHARE)]
    red, blue = bright[0] / bright[1].clamp(min=1e-4), bright[2] / bright[1].clamp(min=1e-4)
    white = (red < _RED_EXCESS * _RED_LIMITS[1]) & (blue > _BLUE_LACK * _BLUE_LIMITS[0])
    if int(white.sum()) < _FEWEST // 2:
        return unknown
    hue = torch.stack(
        [
            red[white].median().clamp(*_RED_LIMITS),
            torch.tensor(1.0),
            blue[white].median().clamp(*_BLUE_LIMITS),
        ]
    )
    own = torch.tensor(_TOOTH) / _TOOTH[1]
    tint: Tensor = 1 + _CONFIDENCE * (hue / own - 1)
    return tint / (torch.tensor(LUMA) @ tint)


def paint_mouth(tint: Tensor, paint: MouthPaint) -> Tensor:
    """Return the mouth's albedo, (3, S, S) linear light, with teeth of a tint (3,)."""
    return (paint.rest + paint.teeth * tint.to(paint.rest.device)[:, None, None]).clamp(0, 1)


def prepare_mouth(data: HeadData, device: torch.device, size: int = MOUTH_SIZE) -> MouthPaint:
    """Return the constant parts of the mouth's map."""
    parts = [part for part in data.parts if part.material == "mouth"]
    result = torch.tensor(_GUM, device=device)[:, None, None].expand(3, size, size).clone()
    teeth = torch.zeros(size, size, dtype=torch.bool, device=device)
    first_uv = np.cumsum([0] + [len(part.uvs) for part in parts])
    uvs = torch.from_numpy(np.concatenate([part.uvs for part in parts])).to(device)
    triangles = [part.uv_triangles + start for part, start in zip(parts, first_uv, strict=False)]
    corner = torch.from_numpy(np.concatenate(triangles)).long().to(device)
    raster, _ = rasterise_atlas(uvs, corner, size)
    owner = torch.from_numpy(np.repeat(np.arange(len(parts)), [len(t) for t in triangles])).to(device)
    owner = owner[raster.triangle]
    for index, part in enumerate(parts):
        values = np.zeros((len(uvs), 3), np.float32)
        span = slice(int(first_uv[index]), int(first_uv[index + 1]))
        values[span] = _measure(part, data.positions[part.vertices])
        height, forward, aside = interpolate(torch.from_numpy(values).to(device), corner, raster).permute(
            2, 0, 1
        )
        if part.name == "tongue":
            colour = _paint_tongue(forward, aside, size)
        elif part.name.startswith("teeth"):
            colour = _paint_teeth(height, size) * _light(forward)
        else:
            colour = _paint_gum(height, size) * _light(forward)
        result = torch.where(owner == index, colour, result)
        if part.name.startswith("teeth"):
            teeth |= owner == index
    return MouthPaint(result * ~teeth, result * teeth)


def _measure(part: PartData, positions: np.ndarray) -> np.ndarray:
    """Return (T, 3) for each uv: millimetres from the biting edge, place from the back (0) to the front, and
    millimetres to the person's left.

    Of a gum the millimetres are from its margin, of the tongue they mean nothing.
    """
    towards_gum = -1 if part.name.endswith("lower") else 1
    height = towards_gum * positions[:, 1] * 1000
    values = np.zeros((len(part.uvs), 3), np.float32)
    back, front = positions[:, 2].min(), positions[:, 2].max()
    forward = (positions[:, 2] - back) / max(front - back, 1e-6)
    aside = positions[:, 0] * 1000
    values[part.uv_triangles] = np.stack([height, forward, aside], 1)[part.triangles]
    # Each tooth is an island of its own.
    for island in range(int(part.uv_islands.max()) + 1):
        own = part.uv_islands == island
        values[own, 0] -= values[own, 0].min()
    return values


def _light(forward: Tensor) -> Tensor:
    return _BACK_LIGHT + (1 - _BACK_LIGHT) * smoothstep((forward - _LIGHT_BEGINS) / _LIGHT_RANGE)


def _tint(colour: tuple[float, float, float], device: torch.device) -> Tensor:
    return torch.tensor(colour, device=device)[:, None, None]


def _paint_teeth(height: Tensor, size: int) -> Tensor:
    device = height.device
    edge = (1 - height / _EDGE_END).clamp(0, 1)
    neck = ((height - _NECK[0]) / (_NECK[1] - _NECK[0])).clamp(0, 1)
    tooth = _tint(_TOOTH, device)
    colour = tooth + (_tint(_TOOTH_EDGE, device) - tooth) * edge
    colour = colour + (_tint(_TOOTH_NECK, device) - colour) * neck * neck
    return colour * (1 + _TOOTH_CONTRAST * make_noise(size, _TOOTH_GRAIN, seed=31).to(device))


def _paint_gum(height: Tensor, size: int) -> Tensor:
    device = height.device
    blotches = make_noise(size, _GUM_GRAIN, seed=32).to(device)
    deep = ((height - _MUCOSA_BEGINS) / _MUCOSA_RANGE).clamp(0, 1)
    colour = _tint(_GUM, device) * (1 - deep * _tint(_MUCOSA_LACK, device))
    return colour * (1 + _GUM_CONTRAST * blotches)


def _paint_tongue(forward: Tensor, aside: Tensor, size: int) -> Tensor:
    """Return the tongue's colour.

    Args:
        forward: 0 in the throat, where no light comes, 1 at the tip.
        aside: millimetres from the groove along its middle.
    """
    device = forward.device
    fine, coarse = (
        make_noise(size, grain, seed=seed) * _PAPILLA_SHARE for seed, grain in enumerate(_PAPILLAE, 21)
    )
    papillae = (fine + coarse).to(device)
    light = ((forward - _TONGUE_BEGINS) / _TONGUE_RANGE).clamp(0, 1)
    groove = (
        torch.exp(-((aside / _GROOVE_WIDTH) ** 2))
        * ((forward - _GROOVE_BEGINS) * _GROOVE_RISE).clamp(0, 1)
        * ((1 - forward) * _GROOVE_END).clamp(0, 1)
    )
    lit = _TONGUE_LEAST + (1 - _TONGUE_LEAST) * light**_TONGUE_CURVE
    shade = lit * (1 - _GROOVE_SHADE * groove) * (1 + _PAPILLA_CONTRAST * papillae)
    coat = ((_COAT_END - forward) * _COAT_RISE).clamp(0, 1) * torch.exp(-((aside / _COAT_WIDTH) ** 2))
    colour = _tint(_TONGUE, device) * (1 + coat * _tint(_COAT, device))
    return colour * shade

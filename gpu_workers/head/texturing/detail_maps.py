"""The skin's surface finer than its mesh: folds as the photo's shading tells them, pores; as four maps.

A fold is a dark line: its darkness, freed from pigment, is curved across it and not along it. Freckles
curve both ways, and are redder than what surrounds them; brows and beards are left out by place and tone.
Folds are depths in metres, so that normals, displacement and occlusion agree with each other.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import binary_fill_holes, distance_transform_edt
from torch import Tensor
from torch.nn import functional

from gpu_workers.head.model.head_template import HeadData
from gpu_workers.head.ops.image import blur, smoothstep
from gpu_workers.head.ops.inpainting import make_noise
from gpu_workers.head.ops.masked_statistics import constant, masked_quantile, thin_out
from gpu_workers.head.runtime.cuda_graphs import graph_constant
from gpu_workers.head.texturing.ambient_occlusion import find_occlusion
from gpu_workers.head.texturing.uv_atlas import SkinAtlas, frame_mask

#: Metres of displacement at the ends of its 16 bits; the middle code is none. Codes are multiples of `_STEP`:
#: a micrometre, and files that deflate.
DISPLACEMENT_RANGE = 0.001
_MIDDLE, _STEP = 32768, 32
#: Width of the folds looked for, in texels of the small maps and of twice and four times smaller ones; the
#: finest in pixels of the photo.
_FOLD_WIDTH, _OCTAVES, _FINEST = 1.5, 3, 0.8
#: From the outer border of the face chart inwards folds fade in, texels.
_BORDER_WIDTH = 48
#: Darkest code that is looked at; exponent that makes code values light, about; what is coarser than this
#: blur, in texels, is no fold.
_DARKEST_CODE, _GAMMA, _COARSE = 0.02, 2.2, 12.0
#: Blur of how busy a neighbourhood is, and of the folds found, texels.
_BUSY_BLUR, _FOLD_BLUR = 8.0, 1.2
#: A line curves so much less along it than across it; blur, in fold widths, in which directions are compared;
#: agreement from which a line is one, and how much more until it surely is.
_LINE, _AGREEMENT_BLUR, _AGREES_FROM, _AGREES_RANGE = 1.6, 1.25, 0.12, 0.35
#: Less is noise.
_LEAST_CURVED = 0.007
#: Metres of depth a unit of curved darkness and metre of width; the deepest fold.
_FOLD_DEPTH, _DEEPEST = 1.7, 0.00035
#: What melanin and blood take from green, of what they take from blue, and from red: Beer-Lambert in sRGB.
_PIGMENT_RED, _PIGMENT_GREEN = 0.38, 0.80
#: So much darker than the skin (natural logarithm) a neighbourhood begins to be hair, and is hair.
_HAIR_BEGINS, _HAIR_SURE = 0.22, 0.50
#: So is one whose shade changes so much from texel to texel: folds are single lines, hairs are many.
_BUSY_BEGINS, _BUSY_SURE = 0.11, 0.20
#: Pixels of the tile of pores, at 4096 a side; metres of a pore's depth on the cheek.
_TILE, _TILE_SIZE = 1024, 4096
_PORE = 0.000030
#: Roughness of skin; what nose and forehead (oily), lips (wet) and scalp differ by.
_ROUGHNESS, _OILY, _LIPS, _SCALP = 0.52, -0.09, -0.16, 0.12
#: Roughness of what lies inside mouth and eye sockets; half the breadth of the oily part, and where it ends
#: below the eyes, metres.
_HIDDEN_ROUGHNESS, _OILY_BREADTH, _OILY_BELOW = 0.35, 0.022, -0.05
#: How much shallower pores are on lids and lips, ears, and off the face; of folds, how much lids lose.
_CALM, _CALM_EARS, _CALM_REST, _LIDS_LOSE = 0.75, 0.3, 0.35, 0.7
#: On the outline of the face ends what the photo shows: blur of its mask, where folds begin, over what range.
_FACE_BLUR, _FACE_FROM, _FACE_RANGE = 24.0, 0.6, 0.3
#: Brows and lids reach beyond their masks: blur of what remains; folds of less than this need no texel.
_REMAINING_BLUR, _LEAST_FOLD = 3.0, 0.02
#: Blurs of roughness and of the sizes of texels; shares of the latter that are no leap between charts.
_ROUGHNESS_BLUR, _TEXEL_BLUR, _NO_LEAP = 4.0, 2.0, (0.02, 0.98)
#: Cells of pores: two grains in pixels with their shares; pits in a mesh of fine ridges: height of the ridge,
#: and the deepest pit; metres of a pixel.
_CELLS, _RIDGE, _PIT, _PORE_PIXEL = ((1.7, 0.75), (4.0, 0.5)), 0.6, -1.2, 0.0001
#: Least light that a hidden texel is given: mouths and eyes open, and the map is one for all poses.
_DARKEST, _DARKEST_LID = 0.25, 0.65
#: Metres of a fold that halve the light in it.
_FOLD_SHADE = 0.0016
#: Rows of the small maps in one band on a CPU; texels of the full map in a larger one on a GPU.
_BAND, _DEVICE_BAND_TEXELS = 64, 1 << 22


@dataclass(frozen=True, kw_only=True)
class SurfaceAtlas:
    """What is the same for every person, (L, L) float32 each."""

    #: How far a fold may show, 0..1, and the rows and columns where it may.
    folds: Tensor
    window: tuple[slice, slice]
    #: Metres of a pore's depth.
    pores: Tensor
    roughness: Tensor
    #: Share of the sky that is seen.
    occlusion: Tensor
    #: (2, L, L) a texel's breadth and height on the mean head, metres.
    metres: Tensor
    #: Their mean.
    texel: float


@dataclass(frozen=True, kw_only=True)
class SurfaceMaps:
    """Maps of a skin, S pixels a side, linear."""

    #: (S, S, 3) uint8: tangent space, x right, y up the map, z out of the skin (glTF's, +Y).
    normal: Tensor
    #: (S, S) uint8, 255 is rough.
    roughness: Tensor
    #: (S, S) uint8, 255 is open to the sky.
    occlusion: Tensor
    #: (S, S) uint16; see DISPLACEMENT_RANGE.
    displacement: Tensor


def make_surface(albedo: Tensor, photo_density: Tensor, atlas: SurfaceAtlas) -> SurfaceMaps:
    """Return the maps of a baked skin; on a GPU without waiting for it.

    Args:
        albedo: (S, S, 3) uint8 sRGB.
        photo_density: () the photo's pixels a centimetre of face, on the same device.
    """
    size, small = albedo.shape[0], atlas.folds.shape[-1]
    factor = size // small
    fold = find_folds(_reduce(albedo, small), photo_density, atlas)
    layers = torch.cat([find_slopes(fold, atlas.metres), fold[None], atlas.pores[None]])
    codes = (torch.stack([atlas.roughness, _shade(fold, atlas)]).clamp(0, 1) * 255).round()
    device = albedo.device
    if not albedo.is_cuda:
        # Eight bits enlarge several times as fast on a CPU; a GPU has no such kernel.
        codes = codes.to(torch.uint8)
    maps = SurfaceMaps(
        normal=torch.empty(size, size, 3, dtype=torch.uint8, device=device),
        roughness=torch.empty(size, size, dtype=torch.uint8, device=device),
        occlusion=torch.empty(size, size, dtype=torch.uint8, device=device),
        displacement=torch.empty(size, size, dtype=torch.uint16, device=device),
    )
    tile = _load_pores(size, str(device))
    band = max(1, _DEVICE_BAND_TEXELS // (size * factor)) if albedo.is_cuda else _BAND
    for start in range(0, small, band):
        stop = min(start + band, small)
        rows = slice(start * factor, stop * factor)
        maps.roughness[rows], maps.occlusion[rows] = _enlarge_rows(codes, start, stop, factor).round()
        compose_surface(_enlarge_rows(layers, start, stop, factor), _cut(tile, rows, size), maps, rows)
    return maps


def compose_surface(layers: Tensor, pores: Tensor, maps: SurfaceMaps, rows: slice) -> None:
    """Write some rows of normals and displacement.

    Args:
        layers: (4, R, S) slopes right and up, fold's depth, pores' depth; overwritten.
        pores: (3, R, S) slopes of a metre deep pores, right and up, and their height, -1..1.
    """
    right, up, height, depth = layers
    right.addcmul_(pores[0], depth)
    up.addcmul_(pores[1], depth)
    scale = (right * right).addcmul_(up, up).add_(1).rsqrt_().mul_(-127.5)
    normal = maps.normal[rows]
    normal[..., 0] = right.mul_(scale).add_(128)
    normal[..., 1] = up.mul_(scale).add_(128)
    normal[..., 2] = scale.neg_().add_(128).clamp_(max=255)
    height.addcmul_(pores[2], depth)
    codes = height.mul_(_MIDDLE / DISPLACEMENT_RANGE / _STEP).round_().mul_(_STEP).add_(_MIDDLE)
    maps.displacement[rows] = codes.clamp_(0, 65535).to(torch.int32).to(torch.uint16)


def _enlarge_rows(layers: Tensor, start: int, stop: int, factor: int) -> Tensor:
    """Return some rows of (C, L, L) enlarged bilinearly, equal to the same rows of the enlarged whole."""
    if factor == 1:
        return layers[:, start:stop].clone()
    rows = torch.arange(start - 1, stop + 1, device=layers.device).clamp(0, layers.shape[1] - 1)
    large = functional.interpolate(layers[None, :, rows], scale_factor=factor, mode="bilinear")[0]
    return large[:, factor:-factor]


def find_folds(colour: Tensor, photo_density: Tensor, atlas: SurfaceAtlas) -> Tensor:
    """Return (L, L) metres, 0 or less: how deep the skin lies in a fold.

    Args:
        colour: (3, L, L) in 0..1, sRGB.
        photo_density: () pixels a centimetre of face.
    """
    rows, columns = atlas.window
    allowed = atlas.folds[rows, columns]
    # A power law is a factor of the logarithm.
    light = colour[:, rows, columns].clamp(min=_DARKEST_CODE).log() * _GAMMA
    coarse = blur(light, _COARSE)
    red, green, _ = light - coarse
    # Shade darkens all channels alike; what green lost beyond red is pigment, and red's share of it goes.
    shade = red - (_PIGMENT_RED / (_PIGMENT_GREEN - _PIGMENT_RED)) * (green - red)
    level = coarse.mean(0)
    usual = masked_quantile(thin_out(level)[None], thin_out(allowed > 0.5))[0]
    hair = ((usual - level - _HAIR_BEGINS) / (_HAIR_SURE - _HAIR_BEGINS)).clamp(0, 1)
    busy = blur(shade.abs()[None], _BUSY_BLUR)[0]
    hair = torch.maximum(hair, ((busy - _BUSY_BEGINS) / (_BUSY_SURE - _BUSY_BEGINS)).clamp(0, 1))
    finest = _FINEST * (0.01 / atlas.texel) / photo_density.clamp(min=1.0)
    depth = torch.zeros_like(shade)
    for octave in range(_OCTAVES):
        width = _FOLD_WIDTH * 2**octave
        valleys = _find_valleys(_shrink(shade[None], 2**octave)[0])
        # Left out by a factor and not by a branch, for which a GPU would wait.
        seen = 1.0 if octave == _OCTAVES - 1 else (width >= finest).float()
        depth += _enlarge(valleys[None], depth.shape)[0] * (width * atlas.texel * _FOLD_DEPTH) * seen
    depth = _DEEPEST * torch.tanh(depth * (allowed * (1 - hair)) / _DEEPEST)
    fold = torch.zeros_like(atlas.folds)
    fold[rows, columns] = -blur(depth[None], _FOLD_BLUR)[0]
    return fold


def _find_valleys(shade: Tensor) -> Tensor:
    """Return (H, W) how much darker a line is than its sides: 0 on freckles and on level ground."""
    smooth = functional.pad(blur(shade[None], _FOLD_WIDTH)[None], (1, 1, 1, 1), mode="replicate")[0, 0]
    middle = smooth[1:-1, 1:-1]
    across = smooth[1:-1, 2:] + smooth[1:-1, :-2] - 2 * middle
    down = smooth[2:, 1:-1] + smooth[:-2, 1:-1] - 2 * middle
    mixed = (smooth[2:, 2:] + smooth[:-2, :-2] - smooth[2:, :-2] - smooth[:-2, 2:]) / 4
    mean, half = (across + down) / 2, (((across - down) / 2) ** 2 + mixed**2).sqrt()
    most, least = (mean + half).clamp(min=0), (mean - half).abs()
    line = (1 - _LINE * least / most.clamp(min=1e-6)).clamp(0, 1)
    # Along a line the curves agree in direction: doubled angles do not cancel each other.
    share = most / half.clamp(min=1e-9)
    curved = _shrink(torch.stack([share * (across - down) / 2, share * mixed, most]), 2)
    same, other, total = blur(curved, _AGREEMENT_BLUR * _FOLD_WIDTH)
    agreement = (same**2 + other**2).sqrt() / total.clamp(min=1e-9)
    agreed = _enlarge(smoothstep((agreement - _AGREES_FROM) / _AGREES_RANGE)[None], shade.shape)[0]
    return (most * line * _FOLD_WIDTH**2 * agreed - _LEAST_CURVED).clamp(min=0)


def _shrink(maps: Tensor, step: int) -> Tensor:
    return functional.avg_pool2d(maps[None], step)[0] if step > 1 else maps


def _enlarge(maps: Tensor, size: torch.Size) -> Tensor:
    if maps.shape[1:] == size:
        return maps
    return functional.interpolate(maps[None], size=list(size), mode="bilinear", align_corners=False)[0]


def find_slopes(height: Tensor, metres: Tensor) -> Tensor:
    """Return (2, L, L) how steeply a height (L, L) rises to the right and up the map."""
    padded = functional.pad(height[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
    right = (padded[1:-1, 2:] - padded[1:-1, :-2]) / (2 * metres[0])
    up = (padded[:-2, 1:-1] - padded[2:, 1:-1]) / (2 * metres[1])
    return torch.stack([right, up])


def _shade(fold: Tensor, atlas: SurfaceAtlas) -> Tensor:
    return atlas.occlusion / (1 - fold / _FOLD_SHADE)


def _reduce(albedo: Tensor, small: int) -> Tensor:
    def reduce(picture: Tensor) -> Tensor:
        size = (small, small)
        return functional.interpolate(
            picture, size=size, mode="bilinear", antialias=True, align_corners=False
        )

    picture = albedo.permute(2, 0, 1)[None]
    if albedo.is_cuda:
        # One channel after another: four bytes for each of eight bits.
        return torch.cat([reduce(channel[None, None].float()) for channel in picture[0]], 1)[0] / 255
    return reduce(picture)[0].float() / 255


def _away_from_border(atlas: SkinAtlas) -> Tensor:
    """Return (S, S): 0 on the outer border of the face chart and on other charts, 1 well inside.

    Its holes (eyes, mouth) count as inside.
    """
    chart = binary_fill_holes((atlas.covered & atlas.main).cpu().numpy())
    smooth = smoothstep(distance_transform_edt(chart) / _BORDER_WIDTH).astype(np.float32)
    return torch.from_numpy(smooth).to(atlas.covered.device) * atlas.main


def build_surface_atlas(data: HeadData, atlas: SkinAtlas) -> SurfaceAtlas:
    masks = atlas.masks
    device = atlas.covered.device
    lids = torch.zeros_like(masks["lips"])
    if "eyelids" in data.masks:
        values = torch.from_numpy(data.masks["eyelids"][:, None]).float().to(device)
        lids = atlas.spread(values)[0].clamp(0, 1)
    hidden = torch.maximum(masks["mouth_interior"], masks["eye_socket"])
    bare = (1 - hidden) * (1 - 3 * masks["brows"]).clamp(min=0) * (1 - masks["scalp"])
    folds = bare * masks["face"] * (1 - masks["lips"]) * (1 - _LIDS_LOSE * lids) * _away_from_border(atlas)
    folds = folds * ((blur(masks["face"][None], _FACE_BLUR)[0] - _FACE_FROM) / _FACE_RANGE).clamp(0, 1)
    folds = blur(-functional.max_pool2d(-folds[None], 9, stride=1, padding=4), _REMAINING_BLUR)[0]
    calm = 1 - _CALM * torch.maximum(lids, masks["lips"]) - _CALM_EARS * masks["ears"]
    calm = calm - _CALM_REST * (1 - masks["face"])
    positions = torch.from_numpy(data.positions[data.part("skin").vertices]).float().to(device)
    place = atlas.spread(positions)
    metres = _measure_texels(place, atlas.covered)
    oily = masks["face"] * torch.exp(-((place[0] / _OILY_BREADTH) ** 2)) * (place[1] > _OILY_BELOW)
    roughness = _ROUGHNESS + _OILY * oily + _LIPS * masks["lips"] + _SCALP * masks["scalp"]
    roughness = roughness + (_HIDDEN_ROUGHNESS - roughness) * hidden
    half = find_occlusion(data, atlas, atlas.covered.shape[0] // 2)
    occlusion = functional.interpolate(
        half[None, None], scale_factor=2, mode="bilinear", align_corners=False
    )[0]
    # On the seam the skin is as even as what is joined to it.
    occlusion = occlusion + (1 - occlusion) * masks["seam"]
    least = _DARKEST + (_DARKEST_LID - _DARKEST) * torch.maximum(lids, masks["lips"])
    return SurfaceAtlas(
        folds=folds.contiguous(),
        window=frame_mask(folds > _LEAST_FOLD),
        pores=(_PORE * calm.clamp(0, 1) * (1 - hidden) * (1 - masks["seam"])).contiguous(),
        roughness=blur(roughness[None], _ROUGHNESS_BLUR)[0],
        occlusion=torch.maximum(occlusion[0], least),
        metres=metres,
        texel=float(metres.mean()),
    )


def _measure_texels(place: Tensor, covered: Tensor) -> Tensor:
    """Return (2, L, L) how far apart neighbouring texels lie to the right and down the map, metres."""
    right = functional.pad(
        (place[:, :, 1:] - place[:, :, :-1]).norm(dim=0)[None, None], (0, 1, 0, 0), mode="replicate"
    )
    down = functional.pad(
        (place[:, 1:] - place[:, :-1]).norm(dim=0)[None, None], (0, 0, 0, 1), mode="replicate"
    )
    steps = torch.cat([right[0], down[0]])
    limits = torch.quantile(steps[:, covered][:, ::16], constant(_NO_LEAP, steps.device), dim=1)
    # Across the borders of charts there are leaps.
    return blur(steps.clamp(limits[0].view(2, 1, 1), limits[1].view(2, 1, 1)), _TEXEL_BLUR)


@graph_constant(maxsize=4)
def _load_pores(size: int, device: str) -> Tensor:
    """Return (3, T, T) a tile of pores a metre deep: slopes to the right and up, and height in -1..1."""
    fine, coarse = (
        make_noise(_TILE, grain, seed=seed) * share for seed, (grain, share) in enumerate(_CELLS, 51)
    )
    height = (_RIDGE - (fine + coarse).abs()).clamp(_PIT, _RIDGE)[None, None]
    if size < _TILE_SIZE:
        height = functional.avg_pool2d(height, _TILE_SIZE // size)
    elif size > _TILE_SIZE:
        height = functional.interpolate(
            height, scale_factor=size // _TILE_SIZE, mode="bicubic", align_corners=False
        )
    height = height[0, 0] - height.mean()
    texel = _PORE_PIXEL * _TILE_SIZE / size
    right = (height.roll(-1, 1) - height.roll(1, 1)) / (2 * texel)
    up = (height.roll(1, 0) - height.roll(-1, 0)) / (2 * texel)
    return torch.stack([right, up, height]).to(device)


def _cut(tile: Tensor, rows: slice, size: int) -> Tensor:
    side = tile.shape[-1]
    picked = torch.arange(rows.start, rows.stop, device=tile.device) % side
    return tile[:, picked].repeat(1, 1, -(-size // side))[..., :size]

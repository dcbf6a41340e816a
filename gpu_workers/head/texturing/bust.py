"""The bust's map: plain skin that goes on where the neck's map ends, without a seam.

What lies just above the seam is mirrored to just below it, so that colour and grain are the same on both
sides; further down it passes into the neck's mean tone with the grain of completed skin.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn import functional

from face3d import srgb
from gpu_workers.head.model.head_template import HeadData
from gpu_workers.head.ops.image import smoothstep
from gpu_workers.head.ops.inpainting import make_noise
from gpu_workers.head.ops.uv_rasterization import interpolate, rasterise_atlas
from gpu_workers.head.texturing.composition import encode_srgb
from gpu_workers.head.texturing.composition_constants import CODES
from gpu_workers.head.texturing.hair import load_patches
from gpu_workers.head.texturing.layers import MOTTLE, PORES_COMPLETED

FloatArray = NDArray[np.float64]

#: Pixels a side: about the density of the neck on a map of 4096.
BUST_SIZE = 2048
#: Metres below the seam to which the neck is mirrored, and to which its tone differs round the neck.
_MIRRORED, _TONED = 0.022, 0.10
#: Of the mirrored band, metres from the seam between which the tone is measured, and pieces round the neck.
_TONE_FROM, _TONE_TO, _PIECES = 0.002, 0.012, 48
#: Blur of the tone, pieces.
_TONE_BLUR = 2.0
#: Points on an edge of the seam, and triangles of the neck that are tried for the nearest one.
_POINTS, _TRIED = 8, 12
#: Every N texels are measured far from the seam, and metres by which those between may differ.
_COARSE, _COARSE_ERROR = 4, 0.004
#: Grains of pores in texels with their shares, as the neck's are (composition.py), and of the side on which
#: patches are made: there they are as large on the bust as on the neck.
_PORES, _PATCHES_SIDE = ((1.9, 0.6), (4.4, 0.8)), 512


@dataclass(frozen=True)
class BustPaint:
    """The constant parts of the bust's map: S a side, M texels that show what is mirrored."""

    #: (3, S, S) factors of patches and pores.
    grain: Tensor
    #: (S, S) number of the piece of the seam that a texel is nearest to, with fraction, and 0..1 how far it
    #: has the neck's mean tone instead.
    piece: Tensor
    plainness: Tensor
    #: (M,) texels of the flattened map; (M, 2) x and y on the skin's map, shares; (M,) their weight.
    mirrored: Tensor
    places: Tensor
    weight: Tensor
    #: (M,) bool: the tone is measured there.
    measured: Tensor


def paint_bust(albedo: Tensor, constants: BustPaint) -> Tensor:
    """Return the bust's map (S, S, 3) uint8 sRGB.

    Args:
        albedo: (T, T, 3) uint8 sRGB, the skin's map.
    """
    seen = _sample(albedo, constants.places)
    piece = constants.piece.view(-1)[constants.mirrored].long() % _PIECES
    chosen = constants.measured[:, None].float()
    total = seen.new_zeros(_PIECES, 4).index_add_(
        0, piece, torch.cat([seen, torch.ones_like(seen[:, :1])], 1) * chosen
    )
    tone = _blur_round(total)
    tone = tone[:, :3] / tone[:, 3:].clamp(min=1e-6)
    mean = tone.mean(0)
    first = constants.piece.long() % _PIECES
    share = (constants.piece - constants.piece.floor())[..., None]
    around = tone[first] * (1 - share) + tone[(first + 1) % _PIECES] * share
    plain = around + (mean - around) * constants.plainness[..., None]
    plain = plain * constants.grain.permute(1, 2, 0)
    flat = plain.view(-1, 3)
    under = flat[constants.mirrored]
    flat[constants.mirrored] = under + (seen - under) * constants.weight[:, None]
    return encode_srgb(plain)


def _sample(albedo: Tensor, places: Tensor) -> Tensor:
    """Return linear colours (M, 3) of an sRGB map at places (M, 2), bilinearly."""
    size = albedo.shape[0]
    where = (places * size - 0.5).clamp(0, size - 1)
    low = where.floor().long()
    high = (low + 1).clamp(max=size - 1)
    share = where - low
    flat = albedo.view(-1, 3)
    colour: Tensor = torch.zeros(len(places), 3, device=albedo.device)
    for x, across in ((low[:, 0], 1 - share[:, 0]), (high[:, 0], share[:, 0])):
        for y, down in ((low[:, 1], 1 - share[:, 1]), (high[:, 1], share[:, 1])):
            colour += srgb.decode(flat[y * size + x].float() / CODES) * (across * down)[:, None]
    return colour


def _blur_round(values: Tensor) -> Tensor:
    """Return values (N, C) round a closed loop, blurred."""
    steps = torch.arange(len(values), device=values.device)
    apart = (steps[:, None] - steps[None]).abs()
    apart = torch.minimum(apart, len(values) - apart)
    return torch.exp(-0.5 * (apart / _TONE_BLUR) ** 2) @ values


def prepare_bust(data: HeadData, device: torch.device) -> BustPaint:
    """Return the constant parts of the bust's map (five seconds of a core)."""
    part = data.bust.part
    raster, _ = rasterise_atlas(
        torch.from_numpy(part.uvs), torch.from_numpy(part.uv_triangles).long(), BUST_SIZE // 2
    )
    shown = interpolate(
        torch.from_numpy(data.bust.positions), torch.from_numpy(part.triangles).long(), raster
    )
    finer = functional.interpolate(
        shown.permute(2, 0, 1)[None], scale_factor=2, mode="bilinear", align_corners=False
    )[0]
    surface = finer.permute(1, 2, 0).numpy().astype(np.float64)
    loop = data.positions[part.host_vertices].astype(np.float64)
    distance, piece = _measure_seam(surface, loop)
    near = np.flatnonzero(distance < _MIRRORED)
    points = surface.reshape(-1, 3)[near]
    # What is continued between the charts is mirrored too, so that filtering meets no border.
    middle, normal = _fit_plane(loop)
    image = points - 2 * ((points - middle) @ normal)[:, None] * normal
    places = _find_on_skin(data, image)
    measured = (distance[near] > _TONE_FROM) & (distance[near] < _TONE_TO)

    def send(values: FloatArray) -> Tensor:
        return torch.from_numpy(values.astype(np.float32)).to(device)

    square = (BUST_SIZE, BUST_SIZE)
    return BustPaint(
        grain=_make_grain(device),
        piece=send(piece.reshape(square)),
        plainness=send(smoothstep(distance / _TONED).reshape(square)),
        mirrored=torch.from_numpy(near).to(device),
        places=send(places),
        weight=send(smoothstep(1.25 * (1 - distance[near] / _MIRRORED))),
        measured=torch.from_numpy(measured).to(device),
    )


def _measure_seam(surface: FloatArray, loop: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return for texels (S, S, 3) the distance from the seam (L, 3), and where along it, 0.._PIECES: (S²,).

    Exact where the neck is mirrored; elsewhere every fourth texel tells for its neighbours, too.
    """
    following = np.roll(loop, -1, axis=0)
    share = np.arange(_POINTS) / _POINTS
    dense = (loop[:, None] + share[:, None] * (following - loop)[:, None]).reshape(-1, 3)
    tree = cKDTree(dense)
    distance, nearest = (
        values.repeat(_COARSE, 0).repeat(_COARSE, 1).ravel()
        for values in tree.query(surface[_COARSE // 2 :: _COARSE, _COARSE // 2 :: _COARSE])
    )
    near = np.flatnonzero(distance < _MIRRORED + _COARSE_ERROR)
    distance[near], nearest[near] = tree.query(surface.reshape(-1, 3)[near])
    return distance, nearest * (_PIECES / len(dense))


def _fit_plane(points: FloatArray) -> tuple[FloatArray, FloatArray]:
    middle = points.mean(0)
    return middle, np.linalg.svd(points - middle)[2][2]


def _find_on_skin(data: HeadData, points: FloatArray) -> FloatArray:
    """Return where points (N, 3) near the neck lie on the skin's map: x and y, shares of its size (N, 2)."""
    skin = data.part("skin")
    corners = data.positions[skin.vertices].astype(np.float64)[skin.triangles]
    low = np.flatnonzero(corners[..., 1].min(1) < points[:, 1].max() + 0.01)
    _, tried = cKDTree(corners[low].mean(1)).query(points, k=_TRIED)
    best, weights = np.full(len(points), np.inf), np.zeros((len(points), 3))
    triangle = np.zeros(len(points), np.int64)
    for column in tried.T:
        own = low[column]
        found = _project(points, corners[own])
        apart = np.linalg.norm((found[..., None] * corners[own]).sum(1) - points, axis=1)
        better = apart < best
        best[better], weights[better], triangle[better] = apart[better], found[better], own[better]
    uvs = (weights[..., None] * skin.uvs[skin.uv_triangles[triangle]]).sum(1)
    return np.asarray(uvs * [1, -1] + [0, 1])


def _project(points: FloatArray, corners: FloatArray) -> FloatArray:
    """Return barycentric weights (N, 3) in 0..1 of the points' feet (N, 3) on triangles (N, 3, 3)."""
    u, v, w = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0], points - corners[:, 0]
    uu, uv, vv = (u * u).sum(1), (u * v).sum(1), (v * v).sum(1)
    wu, wv = (w * u).sum(1), (w * v).sum(1)
    area = np.maximum(uu * vv - uv * uv, 1e-18)
    second, third = (vv * wu - uv * wv) / area, (uu * wv - uv * wu) / area
    inside = np.clip(np.stack([1 - second - third, second, third], axis=1), 0, 1)
    return np.asarray(inside / inside.sum(1, keepdims=True))


def _make_grain(device: torch.device) -> Tensor:
    pores = sum(
        make_noise(BUST_SIZE, sigma, seed=seed) * share for seed, (sigma, share) in enumerate(_PORES, 21)
    )
    patches = functional.interpolate(
        load_patches(device, _PATCHES_SIDE)[None], size=BUST_SIZE, mode="bilinear", align_corners=False
    )[0]
    grain: Tensor = (1 + MOTTLE * patches) * (1 + PORES_COMPLETED * torch.as_tensor(pores).to(device))
    return grain

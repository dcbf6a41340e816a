"""The mesh that is drawn: the head, a neck and shoulders below it, a shell of hair; with what is constant.

Triangles carry constant values at their corners, so that a picture needs one look-up a pixel.
"""

from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from face3d.head import ARKIT_NAMES
from gpu_workers.head.model.head_template import HeadData
from gpu_workers.training.synthetic_photos.atlas_maps import hairline, smooth_step
from gpu_workers.training.synthetic_photos.occlusion import openness

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]

#: Rings below the neck: metres down, factors on x and z about the neck's axis, and metres back.
_RINGS = ((0.025, 1.03, 1.0, 0.0), (0.045, 1.35, 1.1, 0.0), (0.07, 2.6, 1.3, 0.01), (0.25, 3.4, 1.6, 0.02))
#: The first ring that is cloth.
_CLOTH_FROM = 1
#: Skin so far in front of the hairline can still lie under a fringe, metres.
_FRINGE_REACH = 0.055
#: The expression in which the mouth's inside is open to light.
_OPEN_MOUTH = {"jawOpen": 0.5, "mouthUpperUpLeft": 0.4, "mouthUpperUpRight": 0.4}
#: Strands run from the crown: where its axis starts, head's frame, metres.
_CROWN = (0.0, 0.01, -0.075)


class Surface(IntEnum):
    """What a triangle is made of."""

    SKIN = 0
    EYE = 1
    TEETH = 2
    TONGUE = 3
    CLOTH = 4


#: Values at the corners of the head's triangles: atlas u, v; place on the template (an eye's about its
#: middle, in eyeball radii); openness to ambient light.
HEAD_VALUES = 6
#: Of the hair's: metres behind the hairline, shares of fringe and sides, strand's azimuth and polar angle.
HAIR_VALUES = 5


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Constant tensors on one device; V counts the head's vertices, N those of head, neck and shoulders."""

    #: (F, 3) int64 rows of the N vertices, and (F,) int64 Surface of each.
    triangles: Tensor
    surfaces: Tensor
    #: (F, 3, HEAD_VALUES)
    values: Tensor
    #: (R,) vertices of the neck's border, in order.
    border: Tensor
    #: (rings, 4): down, scale x, scale z, back.
    rings: Tensor
    #: (H,) head vertices under the hair, (G, 3) triangles of them, (G, 3, HAIR_VALUES), (H, HAIR_VALUES).
    hair_vertices: Tensor
    hair_triangles: Tensor
    hair_corners: Tensor
    hair_values: Tensor

    def extend(self, vertices: Tensor) -> Tensor:
        """Return (B, N, 3): vertices (B, V, 3) of the head's frame, and neck and shoulders below them."""
        border = vertices[:, self.border]
        middle = border.mean(1, keepdim=True)
        rings = [vertices]
        for down, across, along, back in self.rings.unbind(0):
            stretch = torch.stack([across, torch.zeros_like(across), along])
            drop = torch.stack([torch.zeros_like(down), -down, -back])
            rings.append(middle + (border - middle) * stretch + drop)
        return torch.cat(rings, 1)


def make_scene(data: HeadData, device: torch.device) -> Scene:
    """Return the scene of the head data; what light reaches is measured here, which takes a second."""
    skin = data.part("skin")
    border = _neck_border(skin.triangles, data.positions[skin.vertices])
    head = solid_triangles(data)
    count = len(data.positions)
    ring_triangles = _ring_triangles(border, count)
    surfaces = np.concatenate([_part_surfaces(data), _ring_surfaces(len(border))])
    hair_vertices, hair_triangles, hair_values = _make_hair(data)

    def tensor(array: NDArray[np.generic]) -> Tensor:
        kind = torch.float32 if array.dtype.kind == "f" else torch.int64
        return torch.from_numpy(np.ascontiguousarray(array)).to(device, kind)

    triangles = np.concatenate([head, ring_triangles])
    return Scene(
        triangles=tensor(triangles),
        surfaces=tensor(surfaces),
        values=tensor(_corner_values(data, border, ring_triangles)),
        border=tensor(border),
        rings=torch.tensor(_RINGS, device=device),
        hair_vertices=tensor(hair_vertices),
        hair_triangles=tensor(hair_triangles),
        hair_corners=tensor(hair_values[hair_triangles]),
        hair_values=tensor(hair_values),
    )


def vertex_normals(vertices: Tensor, triangles: Tensor) -> Tensor:
    """Return area-weighted unit normals (B, N, 3) of vertices (B, N, 3); triangles (F, 3) int64."""
    a, b, c = (vertices[:, triangles[:, k]] for k in range(3))
    flat = torch.linalg.cross(b - a, c - a)
    total = torch.zeros_like(vertices)
    for k in range(3):
        total.index_add_(1, triangles[:, k], flat)
    return torch.nn.functional.normalize(total, dim=-1)


def _neck_border(triangles: NDArray[np.int32], positions: NDArray[np.float32]) -> IndexArray:
    """Return the vertices of the lowest open border of the skin, in order."""
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]).astype(
        np.int64
    )
    known = {tuple(edge) for edge in edges.tolist()}
    following = {a: b for a, b in known if (b, a) not in known}
    start = min(following, key=lambda vertex: float(positions[vertex, 1]))
    loop = [start]
    while following[loop[-1]] != start:
        loop.append(following[loop[-1]])
    return np.array(loop, dtype=np.int64)


def _ring_triangles(border: IndexArray, count: int) -> IndexArray:
    """Return the triangles between the border and the rings, which follow the head's vertices."""
    size = len(border)
    rings = [border, *(count + size * ring + np.arange(size) for ring in range(len(_RINGS)))]
    found = []
    for upper, lower in pairwise(rings):
        # The border runs as its triangles do, so that those on its other side run against it.
        a, b, c, d = upper, np.roll(upper, -1), lower, np.roll(lower, -1)
        found += [np.stack([b, a, c], 1), np.stack([b, c, d], 1)]
    return np.concatenate(found)


def solid_triangles(data: HeadData) -> IndexArray:
    """Return the triangles (F, 3) that a picture draws: corneas and lashes are clear for the most part."""
    return data.triangles[_is_solid(data)].astype(np.int64)


def _is_solid(data: HeadData) -> NDArray[np.bool_]:
    clear = [part.material in ("cornea", "lashes") for part in data.parts]
    return ~np.array(clear)[data.triangle_parts]


def _part_surfaces(data: HeadData) -> IndexArray:
    kinds = {"skin": Surface.SKIN, "tongue": Surface.TONGUE}
    kinds |= dict.fromkeys(("eye_left", "eye_right"), Surface.EYE)
    kinds |= dict.fromkeys(("teeth_upper", "teeth_lower"), Surface.TEETH)
    kinds |= dict.fromkeys(("gums_upper", "gums_lower"), Surface.TONGUE)
    numbers = np.array([kinds.get(part.name, -1) for part in data.parts], dtype=np.int64)[data.triangle_parts]
    return numbers[_is_solid(data)]


def _ring_surfaces(size: int) -> IndexArray:
    kinds = [Surface.CLOTH if ring >= _CLOTH_FROM else Surface.SKIN for ring in range(len(_RINGS))]
    return np.repeat(np.array(kinds, dtype=np.int64), 2 * size)


def _corner_values(data: HeadData, border: IndexArray, ring_triangles: IndexArray) -> FloatArray:
    """Return (F, 3, HEAD_VALUES) of head and rings."""
    place = data.positions.astype(np.float64)
    for name in ("eye_left", "eye_right"):
        rows = data.part(name).vertices
        middle = 0.5 * (place[rows].min(0) + place[rows].max(0))
        place[rows] = (place[rows] - middle) / data.eyeball_radius
    uvs = np.zeros((len(data.triangles), 3, 2))
    first = 0
    for part in data.parts:
        uvs[first : first + len(part.triangles)] = part.uvs[part.uv_triangles]
        first += len(part.triangles)
    opened = data.positions.copy()
    for name, weight in _OPEN_MOUTH.items():
        opened += weight * data.actions[ARKIT_NAMES.index(name)]
    open_share = openness(opened, data.triangles)
    corners = data.triangles
    head = np.concatenate([uvs, place[corners], open_share[corners][..., None]], axis=2)[_is_solid(data)]

    # The neck's rings continue the border's own values.
    skin = data.part("skin")
    vertex_uv = np.zeros((skin.count, 2))
    vertex_uv[skin.triangles.ravel()] = skin.uvs[skin.uv_triangles.ravel()]
    one = np.concatenate([vertex_uv[border], place[border], open_share[border][:, None]], axis=1)
    table = np.zeros((len(data.positions), HEAD_VALUES))
    table[border] = one
    table = np.concatenate([table, *([one] * len(_RINGS))])
    return np.concatenate([head, table[ring_triangles]])


def _make_hair(data: HeadData) -> tuple[IndexArray, IndexArray, FloatArray]:
    """Return the vertices under the hair, their triangles, and (H, HAIR_VALUES)."""
    skin = data.part("skin")
    positions = data.positions[skin.vertices].astype(np.float64)
    behind = hairline(data, positions)
    ears = data.masks["ears"].astype(np.float64)
    hidden = np.maximum(data.masks["mouth_interior"], data.masks["eye_socket"]) > 0
    usable = (behind > -_FRINGE_REACH) & ~hidden & (positions[:, 1] > -0.085)
    triangles = skin.triangles[usable[skin.triangles].all(1) & (ears[skin.triangles] < 0.5).any(1)]
    vertices, flat = np.unique(triangles, return_inverse=True)
    x, y, z = positions[vertices].T
    from_crown = positions[vertices] - np.array(_CROWN)
    from_crown /= np.linalg.norm(from_crown, axis=1, keepdims=True)
    values = np.stack(
        [
            behind[vertices] - 0.08 * ears[vertices],
            smooth_step((0.068 - np.abs(x)) / 0.02) * smooth_step((z + 0.04) / 0.03),
            smooth_step((np.abs(x) - 0.056) / 0.010) * smooth_step((0.06 - y) / 0.03)
            + smooth_step((-0.075 - z) / 0.02),
            # The seam lies at the back.
            np.arctan2(from_crown[:, 0], from_crown[:, 2]),
            np.arccos(np.clip(from_crown[:, 1], -1, 1)),
        ],
        axis=1,
    )
    return vertices.astype(np.int64), flat.reshape(-1, 3).astype(np.int64), values

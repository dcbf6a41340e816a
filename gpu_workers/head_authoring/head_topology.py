"""Cuts the head out of MakeHuman's body mesh: skin, two whole eyes, tongue, two rows of teeth.

The skin is four UV islands of the body (face and skull, mouth interior, two eye sockets) and the neck down
to an edge loop of the body that runs square to the neck, from the nape down to the throat: the seam.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from face3d.errors import ConfigurationError
from gpu_workers.head.ops.image import smoothstep
from gpu_workers.head.ops.mesh import connected_labels, walk_loop
from gpu_workers.head_authoring.edge_loops import EdgeLoops, split_by_loops
from gpu_workers.head_authoring.makehuman_source import BaseMesh

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]

#: Part name to its group in base.obj (the person's left eye is MakeHuman's `l`).
_GROUPS = {
    "eye_left": "helper-l-eye",
    "eye_right": "helper-r-eye",
    "tongue": "helper-tongue",
    "teeth_upper": "helper-upper-teeth",
    "teeth_lower": "helper-lower-teeth",
}
#: Vertices of base.obj that the seam begins with: the middle of the nape, and the next to the left.
SEAM_START = (857, 7724)
#: What lies above the plane y = height + slope * z of the base mesh (metres) counts in the identity basis.
_BASIS_HEIGHT, _BASIS_SLOPE = 0.604, 0.06
#: Smoothing steps of the seam, and how far up the neck what is done to it fades out, metres.
_SEAM_SMOOTHING, SEAM_REACH = 4, 0.035
#: Vertices of the seam that a vertex near it follows.
_SEAM_NEIGHBOURS = 4
#: Each part's mirror image.
MIRROR_PART = {
    f"{name}_{side}": f"{name}_{other}"
    for name in ("eye", "cornea", "lashes")
    for side, other in (("left", "right"), ("right", "left"))
}


@dataclass(frozen=True, kw_only=True)
class CutPart:
    """A part as it was cut, with MakeHuman's own uvs."""

    name: str
    #: (V,) indices in base.obj, ascending.
    source: IndexArray
    #: (F, 4) local vertex indices.
    quads: IndexArray
    #: (T, 2) native uvs.
    uvs: FloatArray
    #: (F, 4) indices into `uvs`.
    uv_quads: IndexArray
    #: (F,) on the skin: face, mouth, socket_left, socket_right or neck; else the part's name.
    regions: NDArray[np.str_]


def cut_parts(mesh: BaseMesh) -> tuple[CutPart, ...]:
    """Return the six parts of the head, the skin first.

    Raises:
        ConfigurationError: the mesh is not MakeHuman's hm08 base mesh.
    """
    body, uv_body = mesh.quads["body"], mesh.uv_quads["body"]
    regions = _skin_regions(mesh, body, uv_body)
    keep = regions != ""
    parts = [_cut("skin", mesh, body[keep], uv_body[keep], regions[keep])]
    for name, group in _GROUPS.items():
        quads = mesh.quads[group]
        parts.append(_cut(name, mesh, quads, mesh.uv_quads[group], np.full(len(quads), name)))
    return tuple(parts)


def _skin_regions(mesh: BaseMesh, quads: IndexArray, uv_quads: IndexArray) -> NDArray[np.str_]:
    islands = connected_labels(uv_quads, len(mesh.uvs))[uv_quads[:, 0]]
    centres = mesh.positions[quads].mean(1)
    regions = np.full(len(quads), "", dtype="<U12")
    for island in np.unique(islands):
        chosen = islands == island
        low, high = centres[chosen].min(0), centres[chosen].max(0)
        if low[1] < 0.6:
            continue
        if high[0] - low[0] > 0.1:
            regions[chosen] = "face"
        elif low[0] * high[0] < 0:
            regions[chosen] = "mouth"
        else:
            regions[chosen] = "socket_left" if low[0] > 0 else "socket_right"
    if sorted(set(regions)) != ["", "face", "mouth", "socket_left", "socket_right"]:
        raise ConfigurationError("base.obj is not the expected MakeHuman mesh")
    seam = EdgeLoops(quads).walk(*SEAM_START)
    above = split_by_loops(quads, [seam], np.flatnonzero(regions == "face"))
    regions[above & (regions == "")] = "neck"
    return regions


def basis_vertices(mesh: BaseMesh, cut: tuple[CutPart, ...]) -> IndexArray:
    """Return the vertices of base.obj, ascending, on which the identity components are found.

    They are those of the parts, but of the neck those of the faces above a level plane, which stands where
    it stood when the components' priors were tuned. What the seam leaves of the neck differs by a few.
    """
    quads = mesh.quads["body"]
    centres = mesh.positions[quads].mean(1)
    above = (centres[:, 1] > _BASIS_HEIGHT + _BASIS_SLOPE * centres[:, 2]) & (np.abs(centres[:, 0]) < 0.1)
    outer = np.isin(quads, cut[0].source[cut[0].quads[cut[0].regions != "neck"]]).all(1)
    return np.unique(np.concatenate([quads[above | outer].ravel(), *(part.source for part in cut[1:])]))


@dataclass(frozen=True)
class Seam:
    """The open edge of the neck, where a body is joined on."""

    #: (L,) the skin's vertices in order, beginning at the nape; the way that the skin's own edges run.
    loop: IndexArray
    #: (S, L) how far a vertex of the skin follows each of the loop's: rows sum to one on it, and fall to
    #: zero at `SEAM_REACH`.
    follow: FloatArray
    #: dy / dz of its plane.
    slope: float


def find_seam(skin: CutPart, positions: FloatArray, mirror: IndexArray) -> Seam:
    """Return the seam of the skin (S, 3) metres; `mirror` (S,) is each vertex' mirror image."""
    following = {int(a): int(b) for a, b in _open_edges(skin.quads)}
    start = int(np.flatnonzero(skin.source == SEAM_START[0])[0])
    loop = np.array(walk_loop(following, start))
    distance, near = cKDTree(positions[loop]).query(positions, k=_SEAM_NEIGHBOURS)
    share = 1 / np.maximum(distance, 1e-6) ** 2
    share *= smoothstep(1 - distance[:, :1] / SEAM_REACH) / share.sum(1, keepdims=True)
    follow = np.zeros((len(positions), len(loop)))
    np.put_along_axis(follow, near, share, axis=1)
    follow[loop] = np.eye(len(loop))
    # The loop begins on the midline: the other way round it is its own mirror image.
    follow = 0.5 * (follow + follow[mirror][:, -np.arange(len(loop))])
    return Seam(loop, follow, float(np.polyfit(positions[loop, 2], positions[loop, 1], 1)[0]))


def level_neck(seam: Seam, positions: FloatArray) -> FloatArray:
    """Return the displacement (S, 3) that makes the seam of the skin (S, 3) planar and smooth."""
    edge = positions[seam.loop]
    for _ in range(_SEAM_SMOOTHING):
        edge = 0.5 * edge + 0.25 * (np.roll(edge, 1, axis=0) + np.roll(edge, -1, axis=0))
    edge[:, 1] = seam.slope * edge[:, 2] + (edge[:, 1] - seam.slope * edge[:, 2]).mean()
    return np.asarray(seam.follow @ (edge - positions[seam.loop]))


def keep_level(seam: Seam, columns: FloatArray) -> FloatArray:
    """Return displacements (C, S, 3) that leave the seam in a plane of the same slope, whatever their sum.

    With dy = slope * dz + constant at the loop every weighted sum of columns keeps y - slope * z constant.
    """
    off = columns[:, seam.loop, 1] - seam.slope * columns[:, seam.loop, 2]
    levelled = columns.copy()
    levelled[..., 1] += (off.mean(1, keepdims=True) - off) @ seam.follow.T
    return levelled


def hold_seam(seam: Seam, shapes: FloatArray) -> FloatArray:
    """Return shapes (C, S, 3) that leave the seam where it is: what is joined to it need not follow them."""
    return np.asarray(shapes * (1 - seam.follow.sum(1))[:, None])


def find_lid_rim(skin: CutPart) -> list[int]:
    """Return the left eye's loop of vertices between face and socket, the way that the face's edges run."""
    face, socket = (_directed_edges(skin.quads[skin.regions == name]) for name in ("face", "socket_left"))
    following = {a: b for a, b in face if (b, a) in socket}
    return walk_loop(following, min(following))


def _directed_edges(quads: IndexArray) -> set[tuple[int, int]]:
    edges = np.stack([quads, np.roll(quads, -1, axis=1)], axis=-1).reshape(-1, 2)
    return {(int(a), int(b)) for a, b in edges}


def _open_edges(quads: IndexArray) -> IndexArray:
    """Return the directed edges (E, 2) that one face uses and no other face uses the other way."""
    seen = _directed_edges(quads)
    return np.array([(a, b) for a, b in seen if (b, a) not in seen], dtype=np.int64)


def _cut(
    name: str, mesh: BaseMesh, quads: IndexArray, uv_quads: IndexArray, regions: NDArray[np.str_]
) -> CutPart:
    source, local = np.unique(quads, return_inverse=True)
    used, uv_local = np.unique(uv_quads, return_inverse=True)
    return CutPart(
        name=name,
        source=source,
        quads=local.reshape(quads.shape),
        uvs=mesh.uvs[used],
        uv_quads=uv_local.reshape(quads.shape),
        regions=regions,
    )


def pair_sides(rows: Mapping[str, IndexArray], positions: FloatArray) -> IndexArray:
    """Return the mirror image (V,) of every vertex.

    Args:
        rows: name of a part to its vertices.
        positions: (V, 3), symmetric about x = 0.
    Raises:
        ConfigurationError: a vertex has no mirror image.
    """
    mirror = np.zeros(len(positions), dtype=np.int64)
    for name, own in rows.items():
        other = rows[MIRROR_PART.get(name, name)]
        mirror[own] = other[cKDTree(positions[other]).query(positions[own] * [-1, 1, 1])[1]]
    if not np.array_equal(mirror[mirror], np.arange(len(mirror))):
        raise ConfigurationError("the head's parts are not symmetric")
    return mirror

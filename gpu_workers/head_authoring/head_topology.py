"""Cuts the head out of MakeHuman's body mesh: skin, two whole eyes, tongue, two rows of teeth.

The skin is four UV islands of the body (face and skull, mouth interior, two eye sockets) and the neck down
to a level cut, which ends it in one planar edge loop.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from face3d.errors import ConfigurationError
from gpu_workers.head.ops.mesh import connected_labels
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
#: The neck is cut by the plane y = height + slope * z of the base mesh (metres).
_CUT_HEIGHT = 0.604
_CUT_SLOPE = 0.06
_EDGE_SMOOTHING = 8
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
    above = (regions == "") & (centres[:, 1] > _cut_level(centres)) & (np.abs(centres[:, 0]) < 0.1)
    regions[above] = "neck"
    return regions


def _cut_level(positions: FloatArray) -> FloatArray:
    return np.asarray(_CUT_HEIGHT + _CUT_SLOPE * positions[:, 2])


def level_neck(skin: CutPart, positions: FloatArray) -> FloatArray:
    """Return the displacement (S, 3) that makes the open edge of the neck planar and smooth.

    Args:
        positions: (S, 3) metres.
    """
    following = {int(a): int(b) for a, b in _open_edges(skin.quads)}
    low = positions[list(following), 1] < positions[:, 1].min() + 0.06
    start = min(vertex for vertex, is_low in zip(following, low, strict=True) if is_low)
    loop = [start]
    while following[loop[-1]] != start:
        loop.append(following[loop[-1]])
    edge = positions[loop]
    for _ in range(_EDGE_SMOOTHING):
        edge = 0.5 * edge + 0.25 * (np.roll(edge, 1, axis=0) + np.roll(edge, -1, axis=0))
    slope, height = np.polyfit(edge[:, 2], edge[:, 1], 1)
    edge[:, 1] = height + slope * edge[:, 2]
    displacement = np.zeros_like(positions)
    displacement[loop] = edge - positions[loop]
    return displacement


def find_lid_rim(skin: CutPart) -> list[int]:
    """Return the left eye's loop of vertices between face and socket, the way that the face's edges run."""
    face, socket = (_directed_edges(skin.quads[skin.regions == name]) for name in ("face", "socket_left"))
    following = {a: b for a, b in face if (b, a) in socket}
    loop = [min(following)]
    while following[loop[-1]] != loop[0]:
        loop.append(following[loop[-1]])
    return loop


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


def mirror_vertices(parts: tuple[CutPart, ...], positions: FloatArray) -> IndexArray:
    """Return the mirror image (V,) of every vertex in the list of all parts' vertices.

    Args:
        positions: (V, 3) of MakeHuman's base mesh, symmetric about x = 0.
    Raises:
        ConfigurationError: a vertex has no mirror image.
    """
    first = np.cumsum([0] + [len(part.source) for part in parts])
    rows = {p.name: np.arange(first[k], first[k + 1]) for k, p in enumerate(parts)}
    mirror = np.zeros(len(positions), dtype=np.int64)
    for part in parts:
        other = rows[MIRROR_PART.get(part.name, part.name)]
        own = rows[part.name]
        mirror[own] = other[cKDTree(positions[other]).query(positions[own] * [-1, 1, 1])[1]]
    if not np.array_equal(mirror[mirror], np.arange(len(mirror))):
        raise ConfigurationError("the base mesh is not symmetric")
    return mirror

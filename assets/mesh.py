"""A part's quads as real-time formats want them: triangles, a vertex a (position, uv) pair, normals."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from face3d.head import FloatArray, IndexArray, MeshPart

#: A head has a dozen parts, on three levels of detail.
_KEPT_TOPOLOGIES = 64
#: Metres: vertices of two parts that are so near are one.
_MEETING = 1e-5


@dataclass(frozen=True, kw_only=True)
class TriangleMesh:
    """A part with split vertices; N of them."""

    #: (N,) the part's vertex that each split vertex stands for, ascending.
    vertices: IndexArray
    #: (N, 2) v up.
    uvs: FloatArray
    #: (M, 3) indices of split vertices, anticlockwise seen from outside.
    triangles: IndexArray


def split_quads(quads: IndexArray) -> IndexArray:
    """Return (M, 3) triangles of (F, 4) quads, cut from corner 0 to 2; a repeated last index makes one."""
    real = quads[:, 2] != quads[:, 3]
    count = len(quads) + int(real.sum())
    triangles = np.empty((count, 3), np.int32)
    first = np.arange(len(quads)) + np.concatenate([[0], np.cumsum(real)[:-1]])
    triangles[first] = quads[:, :3]
    triangles[first[real] + 1] = quads[real][:, [0, 2, 3]]
    return triangles


def split_vertices(part: MeshPart) -> TriangleMesh:
    """Return the part as triangles whose vertices have one uv each."""
    arrays = (np.ascontiguousarray(quads, np.int32).tobytes() for quads in (part.quads, part.uv_quads))
    split = _split_topology(*arrays, len(part.uvs))
    return TriangleMesh(
        vertices=split.vertices, uvs=part.uvs.take(split.uv_rows, axis=0), triangles=split.triangles
    )


@dataclass(frozen=True, kw_only=True)
class _Split:
    """What splitting tells of a topology: vertices (N,) and uvs (N,), and triangles (M, 3) of the pairs."""

    vertices: IndexArray
    uv_rows: IndexArray
    triangles: IndexArray


@lru_cache(maxsize=_KEPT_TOPOLOGIES)
def _split_topology(quad_data: bytes, uv_data: bytes, uvs: int) -> _Split:
    quads, uv_quads = (np.frombuffer(data, np.int32).reshape(-1, 4) for data in (quad_data, uv_data))
    # A quad is real by its positions: a uv quad may be collapsed where the mesh is not, never the other way.
    corners = quads.astype(np.int64) * uvs + uv_quads
    pairs, inverse = np.unique(corners, return_inverse=True)
    split = inverse.reshape(quads.shape).astype(np.int32)
    triangle = quads[:, 2] == quads[:, 3]
    split[triangle, 3] = split[triangle, 2]
    vertices, uv_rows = np.divmod(pairs, uvs)
    found = _Split(
        vertices=vertices.astype(np.int32), uv_rows=uv_rows.astype(np.int32), triangles=split_quads(split)
    )
    for array in (found.vertices, found.uv_rows, found.triangles):
        array.flags.writeable = False
    return found


def find_areas_across(parts: Sequence[MeshPart], places: Sequence[FloatArray]) -> list[FloatArray | None]:
    """Return for each part what the faces across its seam add to its vertices' area vectors, or None.

    Skin and bust are parts of their own that meet in a seam: with the areas of both the shading runs on over
    it. A head without a bust has no such seam.

    Args:
        places: (V, 3) of each part, of the pose and frame in which normals are wanted.
    """
    found: list[FloatArray | None] = [None] * len(parts)
    names = [part.name for part in parts]
    if "bust" not in names or "skin" not in names:
        return found
    pair = names.index("skin"), names.index("bust")
    rims = [find_rim(parts[index].quads) for index in pair]
    own, other = (parts[index].positions[rim] for index, rim in zip(pair, rims, strict=True))
    apart, nearest = cKDTree(other).query(own)
    meeting = apart < _MEETING
    rows = rims[0][meeting], rims[1][nearest[meeting]]
    areas = [sum_areas(find_areas(places[k], parts[k].quads), parts[k].quads, len(places[k])) for k in pair]
    for here, there in ((0, 1), (1, 0)):
        beyond = np.zeros_like(areas[here])
        beyond[rows[here]] = areas[there][rows[there]]
        found[pair[here]] = beyond
    return found


def find_rim(quads: IndexArray) -> NDArray[np.intp]:
    """Return the vertices of edges that only one face has."""
    following = np.roll(quads, -1, axis=1)
    real = (quads != following).ravel()
    span = np.int64(quads.max()) + 1
    keys = (np.minimum(quads, following) * span + np.maximum(quads, following)).ravel()[real]
    edges, count = np.unique(keys, return_counts=True)
    return np.unique(np.concatenate(np.divmod(edges[count == 1], span)))


def find_normals(positions: FloatArray, quads: IndexArray, beyond: FloatArray | None = None) -> FloatArray:
    """Return unit vertex normals, area weighted.

    Args:
        positions: (V, 3).
        quads: (F, 4); a triangle repeats its last index.
        beyond: (V, 3) areas that faces of other parts add; see `find_areas_across`.
    Returns:
        (V, 3); a vertex without area looks along +z.
    """
    sums = sum_areas(find_areas(positions, quads), quads, len(positions))
    return normalise(sums if beyond is None else sums + beyond)


def find_areas(positions: FloatArray, quads: IndexArray) -> FloatArray:
    """Return area vectors (F, 3) of quads (F, 4), doubled: the cross product of a quad's diagonals."""
    a, b, c, d = (positions.take(quads[:, k], axis=0) for k in range(4))
    u, v = c - a, d - b
    areas = np.empty_like(u)
    for k in range(3):
        i, j = (k + 1) % 3, (k + 2) % 3
        areas[:, k] = u[:, i] * v[:, j] - u[:, j] * v[:, i]
    return areas


def sum_areas(areas: FloatArray, quads: IndexArray, count: int) -> FloatArray:
    """Return (count, 3): for each vertex the sum of the areas (F, 3) of quads (F, 4) around it."""
    # A triangle's last corner is not there twice.
    real = (quads[:, 2] != quads[:, 3]).astype(np.float32)
    sums = np.empty((count, 3), np.float32)
    flat = quads.T.ravel()
    for k in range(3):
        column = areas[:, k]
        sums[:, k] = np.bincount(flat, np.concatenate([column, column, column, column * real]), count)
    return sums


def squared_lengths(planes: FloatArray) -> FloatArray:
    """Return (...): squared lengths of vectors whose coordinates lie apart, (3, ...)."""
    x, y, z = planes
    lengths: FloatArray = x * x
    lengths += y * y
    lengths += z * z
    return lengths


def normalise(vectors: FloatArray) -> FloatArray:
    """Return vectors (V, 3) as unit vectors; one without length looks along +z."""
    length = np.sqrt(np.einsum("vc,vc->v", vectors, vectors))[:, None]
    unit: FloatArray = np.where(
        length > 1e-12, vectors / np.maximum(length, 1e-12), np.array([0, 0, 1], np.float32)
    )
    return unit.astype(np.float32)

"""A part's quads as real-time formats want them: triangles, a vertex a (position, uv) pair, normals."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from face3d.head import FloatArray, IndexArray, MeshPart


@dataclass(frozen=True, kw_only=True)
class TriangleMesh:
    """A part with split vertices; N of them."""

    #: (N,) the part's vertex that each split vertex stands for.
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
    # A quad is real by its positions: a uv quad may be collapsed where the mesh is not, never the other way.
    corners = part.quads.astype(np.int64) * len(part.uvs) + part.uv_quads
    pairs, inverse = np.unique(corners, return_inverse=True)
    split = inverse.reshape(part.quads.shape).astype(np.int32)
    triangle = part.quads[:, 2] == part.quads[:, 3]
    split[triangle, 3] = split[triangle, 2]
    vertices, uv_index = np.divmod(pairs, len(part.uvs))
    return TriangleMesh(
        vertices=vertices.astype(np.int32), uvs=part.uvs[uv_index], triangles=split_quads(split)
    )


def find_normals(positions: FloatArray, quads: IndexArray) -> FloatArray:
    """Return unit vertex normals, area weighted.

    Args:
        positions: (V, 3).
        quads: (F, 4); a triangle repeats its last index.
    Returns:
        (V, 3); a vertex without area looks along +z.
    """
    return _normalise(_sum_areas(_find_areas(positions, quads), quads, len(positions)))


def find_tangents(positions: FloatArray, uvs: FloatArray, triangles: IndexArray) -> FloatArray:
    """Return unit vectors (N, 3) along which u grows, of split vertices; not yet at right angles to normals.

    Args:
        positions: (N, 3).
        uvs: (N, 2).
        triangles: (M, 3).
    """
    a, b, c = (positions[triangles[:, k]] for k in range(3))
    u, v, w = (uvs[triangles[:, k]] for k in range(3))
    du1, dv1 = (v - u).T
    du2, dv2 = (w - u).T
    area = du1 * dv2 - du2 * dv1
    along = ((b - a) * dv2[:, None] - (c - a) * dv1[:, None]) * np.sign(area)[:, None]
    sums = np.stack(
        [np.bincount(triangles.ravel(), np.repeat(along[:, axis], 3), len(positions)) for axis in range(3)],
        axis=1,
    )
    return _normalise(sums.astype(np.float32))


@dataclass(frozen=True, kw_only=True)
class ShapeNormals:
    """What a shape does to normals: only vertices whose faces it moves are listed; K of them."""

    #: (K,) vertices, ascending.
    vertices: IndexArray
    #: (K, 3) the moved surface's unit normal less the resting one's.
    turns: FloatArray


class NormalFinder:
    """Finds the normals of one mesh and of its shapes, which move a part of it each.

    Args:
        positions: (V, 3).
        quads: (F, 4); a triangle repeats its last index.
    """

    def __init__(self, positions: FloatArray, quads: IndexArray) -> None:
        self._positions, self._quads = positions, quads
        self._corners = np.ascontiguousarray(quads.T)
        self._areas = _find_areas(positions, quads)
        self._sums = _sum_areas(self._areas, quads, len(positions))
        #: (V, 3) unit normals of the mesh at rest.
        self.normals = _normalise(self._sums)

    def find_turns(self, moved: NDArray[np.integer], moves: FloatArray) -> ShapeNormals:
        """Return the turns of the normals where vertices (K,) move by (K, 3)."""
        if not len(moved):
            return ShapeNormals(vertices=np.zeros(0, np.int32), turns=np.zeros((0, 3), np.float32))
        flags = np.zeros(len(self._positions), bool)
        flags[moved] = True
        a, b, c, d = (flags.take(corner) for corner in self._corners)
        touched = np.flatnonzero(a | b | c | d)
        quads = self._quads.take(touched, axis=0)
        flags[quads.ravel()] = True
        vertices = np.flatnonzero(flags)
        place = np.cumsum(flags, dtype=np.int32) - 1
        positions = self._positions.take(vertices, axis=0)
        positions[place.take(moved)] += moves
        local = place.take(quads)
        change = _find_areas(positions, local) - self._areas.take(touched, axis=0)
        sums = self._sums.take(vertices, axis=0) + _sum_areas(change, local, len(vertices))
        turns = _normalise(sums) - self.normals.take(vertices, axis=0)
        return ShapeNormals(vertices=vertices.astype(np.int32), turns=turns)


def _find_areas(positions: FloatArray, quads: IndexArray) -> FloatArray:
    """Return area vectors (F, 3), doubled: the cross product of a quad's diagonals."""
    a, b, c, d = (positions.take(quads[:, k], axis=0) for k in range(4))
    u, v = c - a, d - b
    areas = np.empty_like(u)
    for k in range(3):
        i, j = (k + 1) % 3, (k + 2) % 3
        areas[:, k] = u[:, i] * v[:, j] - u[:, j] * v[:, i]
    return areas


def _sum_areas(areas: FloatArray, quads: IndexArray, count: int) -> FloatArray:
    # A triangle's last corner is not there twice.
    real = (quads[:, 2] != quads[:, 3]).astype(np.float32)
    sums = np.empty((count, 3), np.float32)
    flat = quads.T.ravel()
    for k in range(3):
        column = areas[:, k]
        sums[:, k] = np.bincount(flat, np.concatenate([column, column, column, column * real]), count)
    return sums


def _normalise(vectors: FloatArray) -> FloatArray:
    length = np.sqrt(np.einsum("vc,vc->v", vectors, vectors))[:, None]
    unit: FloatArray = np.where(
        length > 1e-12, vectors / np.maximum(length, 1e-12), np.array([0, 0, 1], np.float32)
    )
    return unit.astype(np.float32)

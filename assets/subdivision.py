"""One Catmull-Clark step as linear maps: vertices smoothed, uvs face-varying and linear.

A step depends on the topology alone, so its weights are found once a topology and kept; a head and its 52
shapes are then refined by one sparse product each.

Source of the rules: Catmull and Clark, Recursively generated B-spline surfaces, 1978; for boundaries and
creases DeRose, Kass and Truong, Subdivision surfaces in character animation, 1998, section 3.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix, diags, identity, vstack

from face3d.head import FloatArray, IndexArray

_KEPT_TOPOLOGIES = 64


@dataclass(frozen=True, kw_only=True)
class LinearLevel:
    """A level of detail as a linear map of a cage of V vertices and T uvs."""

    #: (V', V) rows sum to one; `cage_weights` (V, V), where there are any, come first.
    vertex_weights: csr_matrix
    cage_weights: csr_matrix | None = None
    #: (T', T) rows sum to one.
    uv_weights: csr_matrix
    #: (F', 4) vertex indices, anticlockwise seen from outside; a triangle repeats its last index.
    quads: IndexArray
    #: (F', 4) indices of uvs, parallel to `quads`.
    uv_quads: IndexArray

    def map_vertices(self, values: FloatArray) -> FloatArray:
        """Return (..., V', D): positions, displacements or other values (..., V, D) on this level."""
        poses = values.reshape(-1, *values.shape[-2:])
        columns = np.ascontiguousarray(poses.transpose(1, 0, 2)).reshape(values.shape[-2], -1)
        if self.cage_weights is not None:
            columns = self.cage_weights @ columns
        mapped = np.asarray(self.vertex_weights @ columns, np.float32).reshape(
            -1, len(poses), values.shape[-1]
        )
        return mapped.transpose(1, 0, 2).reshape(*values.shape[:-2], -1, values.shape[-1])

    def map_uvs(self, uvs: FloatArray) -> FloatArray:
        """Return (T', 2): uvs (T, 2) on this level."""
        return np.asarray(self.uv_weights @ uvs, np.float32)


def subdivide(
    quads: IndexArray,
    vertices: int,
    uv_quads: IndexArray,
    uvs: int,
    *,
    creases: IndexArray | None = None,
    keep_place: bool = False,
) -> LinearLevel:
    """Return the next finer level; every face of it is a quad.

    New vertices stand in the order: one a vertex of the cage (so row i is where vertex i went), one an edge,
    one a face; uvs likewise.

    Args:
        quads: (F, 4); a triangle repeats its last index.
        vertices: V.
        uv_quads: (F, 4).
        uvs: T.
        creases: (C, 2) edges that stay sharp, as boundaries do.
        keep_place: first move the cage against its own smoothing, so that the finer surface passes by the
            cage's vertices instead of shrinking away from them: the first step of progressive interpolation
            (Chen et al., Progressive interpolation based on Catmull-Clark subdivision surfaces, 2008).
    """
    sharp = np.zeros((0, 2), np.int32) if creases is None else creases.astype(np.int32)
    arrays = (np.ascontiguousarray(array, np.int32).tobytes() for array in (quads, uv_quads, sharp))
    return _subdivide(*arrays, vertices, uvs, keep_place)


@lru_cache(maxsize=_KEPT_TOPOLOGIES)
def _subdivide(
    quad_data: bytes, uv_data: bytes, crease_data: bytes, vertices: int, uvs: int, keep_place: bool
) -> LinearLevel:
    quads, uv_quads, creases = (
        np.frombuffer(data, np.int32).reshape(-1, width)
        for data, width in ((quad_data, 4), (uv_data, 4), (crease_data, 2))
    )
    corners = _list_corners(quads)
    smooth = _number_points(quads, corners, vertices)
    linear = _number_points(uv_quads, corners, uvs)
    weights = _smooth_weights(smooth, vertices, creases)
    return LinearLevel(
        vertex_weights=weights,
        cage_weights=(2 * identity(vertices, np.float32) - weights[:vertices]).tocsr()
        if keep_place
        else None,
        uv_weights=vstack([identity(uvs), linear.midpoints, linear.centres], "csr").astype(np.float32),
        quads=smooth.quads,
        uv_quads=linear.quads,
    )


@dataclass(frozen=True, kw_only=True)
class _Corners:
    """The C real corners of all faces, face by face; a triangle has three."""

    #: (C,) face of each, its place in the face's row, that of the next and of the previous corner's entry.
    face: NDArray[np.intp]
    place: NDArray[np.intp]
    following: NDArray[np.intp]
    #: (C,) number of the previous corner of the same face in this list.
    previous: NDArray[np.intp]


def _list_corners(quads: IndexArray) -> _Corners:
    triangle = quads[:, 2] == quads[:, 3]
    real = np.ones(quads.shape, bool)
    real[triangle, 3] = False
    face, place = np.nonzero(real)
    size = np.where(triangle, 3, 4)[face]
    number = np.arange(len(face))
    return _Corners(
        face=face,
        place=place,
        following=(place + 1) % size,
        previous=np.where(place == 0, number + size - 1, number - 1),
    )


@dataclass(frozen=True, kw_only=True)
class _Points:
    """The points that a step adds to one index space (vertices, or uvs), and its quads."""

    #: (E, 2) the edges, and (E,) how many faces have each.
    edges: IndexArray
    faces_per_edge: NDArray[np.intp]
    #: (C,) the edge from each corner to the next.
    edge_of: NDArray[np.intp]
    #: (E, V) and (F, V).
    midpoints: csr_matrix
    centres: csr_matrix
    #: (E, F) one where the edge is the face's.
    edge_faces: csr_matrix
    #: (C, 4)
    quads: IndexArray


def _number_points(quads: IndexArray, corners: _Corners, count: int) -> _Points:
    start, end = quads[corners.face, corners.place], quads[corners.face, corners.following]
    low, high = np.minimum(start, end).astype(np.int64), np.maximum(start, end)
    keys, edge_of, faces_per_edge = np.unique(low * count + high, return_inverse=True, return_counts=True)
    edges = np.stack(np.divmod(keys, count), axis=1).astype(np.int32)
    rows = np.arange(len(edges))
    share = 1 / np.bincount(corners.face)[corners.face]
    centre = count + len(edges) + corners.face
    quad_rows = np.stack([start, count + edge_of, centre, count + edge_of[corners.previous]], axis=1)
    return _Points(
        edges=edges,
        faces_per_edge=faces_per_edge,
        edge_of=edge_of,
        midpoints=_sparse(0.5, np.repeat(rows, 2), edges.ravel(), (len(edges), count)),
        centres=_sparse(share, corners.face, start, (len(quads), count)),
        edge_faces=_sparse(1.0, edge_of, corners.face, (len(edges), len(quads))),
        quads=quad_rows.astype(np.int32),
    )


def _smooth_weights(points: _Points, count: int, creases: IndexArray) -> csr_matrix:
    edges = points.edges.astype(np.int64)
    sharp = points.faces_per_edge != 2
    if len(creases):
        keys = creases.min(1).astype(np.int64) * count + creases.max(1)
        sharp |= np.isin(edges[:, 0] * count + edges[:, 1], keys)
    # An edge's point: the mean of its ends and of the centres of its two faces; halfway where it is sharp.
    averaged = 0.5 * points.midpoints + 0.25 * (points.edge_faces @ points.centres)
    edge_rows = diags(sharp * 1.0) @ points.midpoints + diags(~sharp * 1.0) @ averaged

    number = np.repeat(np.arange(len(edges)), 2)
    touching = _sparse(1.0, edges.ravel(), number, (count, len(edges)))
    valence = np.maximum(np.asarray(touching.sum(1)).ravel(), 1)
    sharp_valence = np.asarray(touching @ sharp.astype(np.float64))
    # (Q + 2 R + (n - 3) V) / n, with Q and R the means of the face and edge points around. Each face at an
    # inner vertex shares two of its edges, so the sum over edges counts every face twice.
    face_mean = diags(0.5 / valence) @ touching @ points.edge_faces @ points.centres
    edge_mean = diags(1 / valence) @ touching @ points.midpoints
    inner = diags(1 / valence) @ (face_mean + 2 * edge_mean) + diags((valence - 3) / valence)
    # On a crease 3/4 of the vertex and 1/8 of each neighbour along it, from the two midpoints.
    along = 0.5 * identity(count) + 0.25 * (touching @ diags(sharp * 1.0) @ points.midpoints)
    smooth, crease = sharp_valence < 2, sharp_valence == 2
    used = np.asarray(touching.sum(1)).ravel() > 0
    vertex_rows = (
        diags((smooth & used) * 1.0) @ inner
        + diags(crease * 1.0) @ along
        + diags((~(smooth & used) & ~crease) * 1.0)
    )
    weights = vstack([vertex_rows, edge_rows, points.centres], "csr").astype(np.float32)
    weights.eliminate_zeros()
    return weights


def _sparse(
    value: float | NDArray[np.float64], rows: NDArray[np.integer], columns: NDArray[np.integer],
    shape: tuple[int, int],
) -> csr_matrix:  # fmt: skip
    values = np.broadcast_to(np.asarray(value, np.float64), rows.shape)
    return coo_matrix((values, (rows, columns)), shape).tocsr()

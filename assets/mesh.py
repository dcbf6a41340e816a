"""A part's quads as real-time formats want them: triangles, a vertex a (position, uv) pair, normals."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

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


def find_normals(positions: FloatArray, triangles: IndexArray) -> FloatArray:
    """Return unit vertex normals, area weighted.

    Args:
        positions: (B, V, 3): B poses of one mesh.
        triangles: (M, 3).
    Returns:
        (B, V, 3); a vertex without area looks along +z.
    """
    corners = positions[:, triangles]
    faces = np.cross(corners[:, :, 1] - corners[:, :, 0], corners[:, :, 2] - corners[:, :, 0])
    batch, count = positions.shape[:2]
    rows = triangles.T.ravel()
    columns = np.tile(np.arange(len(triangles)), 3)
    incidence = csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=(count, len(triangles)))
    sums = incidence @ faces.transpose(1, 0, 2).reshape(len(triangles), -1)
    normals = np.asarray(sums, np.float32).reshape(count, batch, 3).transpose(1, 0, 2)
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    unit: FloatArray = np.where(
        length > 1e-12, normals / np.maximum(length, 1e-12), np.array([0, 0, 1], np.float32)
    )
    return unit.astype(np.float32)

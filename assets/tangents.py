"""Tangents of split vertices, as MikkTSpace defines them for a mesh whose texture nowhere turns over.

A triangle's tangent is the direction in which u grows: (e1 dv2 - e2 dv1) sign(A), with its edges e1 and e2,
what v grows by along them (dv1, dv2), and its area A in the texture. At a corner it is laid into the plane of
the vertex's normal, made a unit vector and weighed by the corner's angle in that plane; the sum over the
triangles around is the vertex's tangent (M. Mikkelsen, Simulation of Wrinkled Surfaces Revisited, 2008; his
mikktspace.c). The bitangent, along which v grows (up the picture), is cross(normal, tangent) * sign(A): +Y of
glTF's normal maps.
"""

import numpy as np

from face3d.head import FloatArray, IndexArray

#: Shorter is no direction: edges are metres, texture coordinates parts of a picture.
_SHORTEST = 1e-20


def find_tangents(
    positions: FloatArray, normals: FloatArray, uvs: FloatArray, triangles: IndexArray
) -> FloatArray:
    """Return (N, 4): a unit tangent at right angles to the normal, and the bitangent's sign, 1 or -1.

    A vertex that no triangle with area in the texture touches has some direction in its plane.

    Args:
        positions: (N, 3) of split vertices: each has one uv.
        normals: (N, 3) unit vectors.
        uvs: (N, 2) v up.
        triangles: (M, 3) anticlockwise seen from outside.
    """
    count = len(positions)
    corners = [np.ascontiguousarray(triangles[:, k], np.intp) for k in range(3)]
    # A row a coordinate: (3, M) for each of the three corners.
    points = [np.ascontiguousarray(positions.T).take(corner, axis=1) for corner in corners]
    coordinates = [np.ascontiguousarray(uvs.T).take(corner, axis=1) for corner in corners]
    (du1, dv1), (du2, dv2) = coordinates[1] - coordinates[0], coordinates[2] - coordinates[0]
    sign = np.sign(du1 * dv2 - du2 * dv1)
    along = ((points[1] - points[0]) * dv2 - (points[2] - points[0]) * dv1) * sign
    upright = np.ascontiguousarray(normals.T)
    sums = np.zeros((4, count))
    for k, corner in enumerate(corners):
        normal = upright.take(corner, axis=1)
        back = _lay(points[k - 1] - points[k], normal)
        forth = _lay(points[(k + 1) % 3] - points[k], normal)
        angle = np.arccos(np.clip(_dot(back, forth), -1, 1))
        weighted = _lay(along, normal) * angle
        for row, values in enumerate((*weighted, sign * angle)):
            sums[row] += np.bincount(corner, values, count)
    tangents = np.empty((count, 4), np.float32)
    tangents[:, :3] = _lay(sums[:3].astype(np.float32), upright).T
    tangents[:, 3] = np.where(sums[3] < 0, -1, 1)
    lost = np.flatnonzero(_dot(tangents[:, :3].T, tangents[:, :3].T) < 0.5)
    if len(lost):
        axes = np.eye(3, dtype=np.float32)[np.abs(normals[lost]).argmin(axis=1)]
        tangents[lost, :3] = _lay(axes.T, upright[:, lost]).T
    return tangents


def _dot(first: FloatArray, second: FloatArray) -> FloatArray:
    product: FloatArray = first[0] * second[0] + first[1] * second[1] + first[2] * second[2]
    return product


def _lay(vectors: FloatArray, normals: FloatArray) -> FloatArray:
    """Return vectors (3, K) in the planes of unit normals (3, K), as unit vectors; nothing stays nothing."""
    flat: FloatArray = vectors - normals * _dot(vectors, normals)
    length = np.sqrt(_dot(flat, flat))
    flat /= np.maximum(length, _SHORTEST)
    return flat

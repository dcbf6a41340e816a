"""Small operations on triangle meshes that several modules of the engine share."""

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]


def split_quads(quads: NDArray[np.integer]) -> IndexArray:
    """Split quads (F, 4) into triangles (N, 3): (0, 1, 2), (0, 2, 3); degenerate ones are left out."""
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int64)
    a, b, c = triangles.T
    return np.asarray(triangles[(a != b) & (b != c) & (c != a)])


def connected_labels(faces: NDArray[np.integer], count: int) -> IndexArray:
    """Return the component number of each of `count` vertices, joined by the edges of faces (F, K)."""
    following = np.roll(faces, -1, axis=1)
    edges = sp.coo_matrix((np.ones(faces.size), (faces.ravel(), following.ravel())), (count, count))
    return np.asarray(connected_components(edges, directed=False)[1], dtype=np.int64)


def vertex_normals(positions: FloatArray, triangles: NDArray[np.integer]) -> FloatArray:
    """Return area-weighted unit normals (V, 3)."""
    a, b, c = (positions[triangles[:, k]] for k in range(3))
    face_normals = np.cross(b - a, c - a)
    normals = np.zeros_like(positions)
    for k in range(3):
        np.add.at(normals, triangles[:, k], face_normals)
    return np.asarray(normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12))


def cotangent_laplacian(
    positions: FloatArray, triangles: NDArray[np.integer]
) -> tuple[sp.csr_matrix, FloatArray]:
    """Return the cotangent Laplacian (V, V) and the lumped vertex areas (V,).

    Weights are clipped to [0.01, 10], so that slivers neither cut nor dominate the mesh.
    Source: Pinkall and Polthier, Computing Discrete Minimal Surfaces, 1993.
    """
    count = len(positions)
    rows, columns, values = [], [], []
    for k in range(3):
        i, j, apex = (triangles[:, (k + m) % 3] for m in range(3))
        u, v = positions[i] - positions[apex], positions[j] - positions[apex]
        double_area = np.maximum(np.linalg.norm(np.cross(u, v), axis=1), 1e-12)
        weight = np.clip(0.5 * (u * v).sum(1) / double_area, 0.01, 10)
        rows += [i, j]
        columns += [j, i]
        values += [weight, weight]
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    weights = sp.coo_matrix(entries, (count, count)).tocsr()
    laplacian = sp.diags(np.asarray(weights.sum(1)).ravel()) - weights
    a, b, c = (positions[triangles[:, k]] for k in range(3))
    area = 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1) / 3
    areas = np.zeros(count)
    for k in range(3):
        np.add.at(areas, triangles[:, k], area)
    return laplacian.tocsr(), areas


def interpolate(
    values: FloatArray, vertices: NDArray[np.integer], weights: NDArray[np.floating]
) -> FloatArray:
    """Return (..., N, C): values (..., V, C) at points given by triangles (N, 3) and barycentrics (N, 3)."""
    picked = values[..., vertices, :]
    return np.asarray((picked * weights[..., None]).sum(-2))

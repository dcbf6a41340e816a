"""Small operations on triangle meshes that several modules of the engine share."""

from collections.abc import Mapping

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torch.nn import functional

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]
#: Least and largest cotangent weight: slivers neither cut nor dominate the mesh.
_COTANGENTS = (0.01, 10)


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


def walk_loop(following: Mapping[int, int], start: int) -> list[int]:
    """Return the vertices of a closed loop, each the one that follows the one before, from `start` on."""
    loop = [start]
    while following[loop[-1]] != start:
        loop.append(following[loop[-1]])
    return loop


def vertex_normals(positions: Tensor, triangles: Tensor) -> Tensor:
    """Return area-weighted unit normals (..., V, 3) of positions (..., V, 3); triangles (M, 3) int64.

    They look outwards where corners run anticlockwise seen from outside; a vertex without area has none, 0.
    """
    a, b, c = (positions[..., corner, :] for corner in triangles.unbind(1))
    faces = torch.linalg.cross(b - a, c - a)
    normals = torch.zeros_like(positions)
    for corner in triangles.unbind(1):
        normals.index_add_(-2, corner, faces)
    return functional.normalize(normals, dim=-1)


def cotangent_laplacian(
    positions: FloatArray, triangles: NDArray[np.integer]
) -> tuple[sp.csr_matrix, FloatArray]:
    """Return the cotangent Laplacian (V, V) and the lumped vertex areas (V,).

    Weights are clipped, see `_COTANGENTS`.
    Source: Pinkall and Polthier, Computing Discrete Minimal Surfaces, 1993.
    """
    count = len(positions)
    rows, columns, values = [], [], []
    for k in range(3):
        i, j, apex = (triangles[:, (k + m) % 3] for m in range(3))
        u, v = positions[i] - positions[apex], positions[j] - positions[apex]
        double_area = np.maximum(np.linalg.norm(np.cross(u, v), axis=1), 1e-12)
        weight = np.clip(0.5 * (u * v).sum(1) / double_area, *_COTANGENTS)
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

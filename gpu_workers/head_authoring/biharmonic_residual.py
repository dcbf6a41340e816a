"""The biharmonic residual: landmark offsets spread smoothly over the skin, as one precomputed dense map."""

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spl
from numpy.typing import NDArray

from gpu_workers.head.ops.mesh import cotangent_laplacian

FloatArray = NDArray[np.float64]

#: Weights of bending and of size against the fit of the landmarks; lengths in centimetres.
_BENDING = 0.02
_SIZE = 1e-3
_PIN = 10.0


def residual_map(
    positions: FloatArray,
    triangles: NDArray[np.int64],
    landmark_vertices: NDArray[np.int64],
    landmark_weights: FloatArray,
    trust: FloatArray,
    pinned: FloatArray,
) -> FloatArray:
    """Return the matrix (S, L) that takes landmark displacements (L, 3) to skin displacements (S, 3).

    It solves D = argmin sum_l w_l |S D - d|^2 + 0.02 |L D|^2 over M + 0.001 |D|^2_M, with S the landmarks'
    barycentric sampling, L the cotangent Laplacian and M the vertex areas (Botsch and Sorkine, On Linear
    Variational Surface Deformation Methods, 2008).

    Args:
        positions: (S, 3) metres.
        trust: (L,) weights 0..1 of the landmarks.
        pinned: (S,) 1 where the skin shall stay as it is, 0 where it is free.
    """
    count = len(positions)
    laplacian, areas = cotangent_laplacian(positions * 100, triangles)
    areas = np.maximum(areas, 1e-4)
    rows = np.repeat(np.arange(len(trust)), 3)
    sampling = sp.coo_matrix(
        (landmark_weights.ravel(), (rows, landmark_vertices.ravel())), (len(trust), count)
    ).tocsr()
    weighted = sampling.T @ sp.diags(trust)
    stiffness = laplacian.T @ sp.diags(1 / areas) @ laplacian
    system = (
        weighted @ sampling + _BENDING * stiffness + sp.diags(_SIZE * areas) + sp.diags(_PIN * pinned)
    ).tocsc()
    return np.asarray(spl.splu(system).solve(weighted.toarray()))

"""Spreads what is known on some of the skin's vertices smoothly over the rest of it."""

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spl
from numpy.typing import NDArray

from gpu_workers.head.ops.mesh import cotangent_laplacian

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]

#: Least area of a vertex, square centimetres.
_LEAST_AREA = 1e-4


class SkinSurface:
    """The skin as a thin plate that bends as little as it can.

    Args:
        positions: (S, 3) metres.
        triangles: (N, 3).
    """

    def __init__(self, positions: FloatArray, triangles: NDArray[np.integer]) -> None:
        laplacian, areas = cotangent_laplacian(positions * 100, triangles)
        self._areas = np.maximum(areas, _LEAST_AREA)
        self._bending = (laplacian.T @ sp.diags(1 / self._areas) @ laplacian).tocsc()

    def spread(
        self,
        known: IndexArray,
        values: FloatArray,
        drawn: FloatArray | None = None,
        towards: FloatArray | None = None,
    ) -> FloatArray:
        """Return values (S, C) that are those given on known vertices and bend least elsewhere.

        It solves u = argmin |L u|^2 over M + |u - t|^2 weighted by `drawn`, with u given on known vertices
        (Botsch and Kobbelt, An intuitive framework for real-time freeform modeling, 2004).

        Args:
            known: (K,) vertices, values: (K, C) of them.
            drawn: (S,) how strongly the others are drawn `towards` values (S, C).
        """
        count = len(self._areas)
        free = np.setdiff1d(np.arange(count), known)
        system, right = self._bending, np.zeros((count, values.shape[1]))
        if drawn is not None and towards is not None:
            pull = drawn * self._areas
            system = (system + sp.diags(pull)).tocsc()
            right = pull[:, None] * towards
        result = np.zeros((count, values.shape[1]))
        result[known] = values
        right = right - system[:, known] @ values
        result[free] = spl.splu(system[free][:, free].tocsc()).solve(right[free])
        return result

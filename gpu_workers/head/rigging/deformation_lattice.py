"""Carries the deformation from the template to one head through the space around the face.

The head's displacement from the template, smoothed, is put on a lattice of points around the face; in
between it is a quadratic B-spline of them (Sederberg and Parry, Free-form deformation of solid geometric
models, 1986, with B-splines). So every place has a displacement, also those to which a shape moves the
skin: where the template's lips meet, the head's meet too.
"""

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from gpu_workers.head.ops.linalg import SparseRows

FloatArray = NDArray[np.floating]
IndexArray = NDArray[np.int64]

#: Metres between the lattice's points, and the reach of the skin's vertices into it.
SPACING = 0.006
_REACH = 0.007
#: Vertices that a point of the lattice follows.
_FOLLOWED = 64
#: Stiffness of the affine part across the skin, where a patch of it tells nothing: share of the reach.
_STIFFNESS = 0.3


class Lattice:
    """A lattice in which N places have a displacement.

    Args:
        positions: (S, 3) metres, the template's skin.
        places: (N, 3) metres, around it.
        device: of all tensors.
    """

    def __init__(self, positions: FloatArray, places: FloatArray, device: torch.device) -> None:
        #: (3,) metres, the corner that cells are counted from: in line with the midline, so that symmetric
        #: heads get symmetric shapes.
        self.origin = SPACING * (np.floor(places.min(0) / SPACING) - 2)
        cells, weights = self._blend(places)
        used, columns = np.unique(cells, return_inverse=True)
        rows = np.repeat(np.arange(len(places)), cells.shape[1])
        spline = sp.csr_matrix(
            (weights.ravel(), (rows, columns.ravel())), (len(places), len(used)), dtype=np.float32
        )
        index = np.stack([used >> 42, (used >> 21) & 0x1FFFFF, used & 0x1FFFFF], axis=1)
        #: (P, 3) metres, the lattice's points that matter.
        self.points = self.origin + SPACING * index
        self._from_skin = SparseRows(_moving_average(positions, self.points), device)
        self._to_places = SparseRows(spline, device)

    def displacements(self, skin: Tensor) -> Tensor:
        """Return the displacements (N, 3) of the places from those of the skin (S, 3) float32."""
        return self._to_places @ self.values(skin)

    def values(self, skin: Tensor) -> Tensor:
        """Return the displacements (P, 3) of the lattice's points from those of the skin (S, 3) float32."""
        return self._from_skin @ skin

    def _blend(self, places: FloatArray) -> tuple[IndexArray, FloatArray]:
        """Return the 27 lattice points (N, 27) around each place and their B-spline weights."""
        place = (places - self.origin) / SPACING
        nearest = np.rint(place).astype(np.int64)
        t = place - nearest
        axis_weights = np.stack([0.5 * (0.5 - t) ** 2, 0.75 - t**2, 0.5 * (0.5 + t) ** 2], axis=-1)
        steps = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
        index = nearest[:, None] + steps - 1
        weights = np.prod([axis_weights[:, axis][:, steps[:, axis]] for axis in range(3)], axis=0)
        return (index[..., 0] << 42) | (index[..., 1] << 21) | index[..., 2], weights


def _moving_average(positions: FloatArray, points: FloatArray) -> sp.csr_matrix:
    """Return the matrix (P, S) that takes the skin's displacements to those of points around it.

    Each point takes the value there of an affine map, fitted to the nearest vertices by weighted least
    squares (moving least squares; Levin, The approximation power of moving least-squares, 1998).
    """
    distance, index = cKDTree(positions).query(points, k=_FOLLOWED)
    # Far from the skin the nearest vertices count alike.
    reach = np.maximum(_REACH, distance.mean(1, keepdims=True))
    weight = np.exp(-0.5 * (distance / reach) ** 2)
    weight /= weight.sum(1, keepdims=True)
    around = positions[index]
    middle = (weight[..., None] * around).sum(1)
    arm = around - middle[:, None]
    spread = np.einsum("pk,pki,pkj->pij", weight, arm, arm)
    spread += (_STIFFNESS * reach[:, :, None]) ** 2 * np.eye(3)
    slope = np.linalg.solve(spread, (points - middle)[..., None])[..., 0]
    values = weight * (1 + np.einsum("pki,pi->pk", arm, slope))
    rows = np.repeat(np.arange(len(points)), index.shape[1])
    return sp.csr_matrix(
        (values.ravel(), (rows, index.ravel())), (len(points), len(positions)), dtype=np.float32
    )

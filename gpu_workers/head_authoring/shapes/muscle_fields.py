"""Spreads what muscles do at a few places of the face over the skin, as soft tissue follows.

A shape is a list of handles: places on the skin, and where each goes. In between the skin bends as little as
it can, and away from the handles it comes to rest. Upper and lower lips, upper and lower lids are far apart
along the skin, so neither drags the other.
"""

from collections.abc import Mapping

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spl
from numpy.typing import NDArray

from gpu_workers.head.ops.image import smoothstep
from gpu_workers.head.ops.mesh import cotangent_laplacian

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.integer]

#: Name of a place, a MediaPipe landmark, to how far it goes: aside (from the midline), up, forward; mm.
Handles = Mapping[int, tuple[float, float, float]]

#: How tightly a handle holds, square centimetres of skin; how tightly pinned skin rests, of its own area.
_HOLD, _PIN = 60.0, 10.0
#: Metres that no one sees: so much less is moved, so that what is far away rests.
_UNSEEN = 0.0001
#: Metres above the middle of the eyes between which the forehead tells its bone, and aside of the midline.
_FOREHEAD, _FOREHEAD_ASIDE = (0.018, 0.06), 0.062
#: Metres above the middle of the eyes where bone begins to carry the skin, and where it does so wholly.
_BONE_FROM, _BONE_WHOLLY = 0.006, 0.018
#: Metres in front of the middle of the eyes where the forehead turns to the temple, and where it has turned.
_TEMPLE_FROM, _TEMPLE_TO = 0.004, -0.012


class SkinFields:
    """Displacement fields of one skin.

    Args:
        positions: (S, 3) metres, the template's skin.
        triangles: (N, 3).
        landmark_vertices: (L, 3) skin vertices around each landmark, and their weights (L, 3).
        resting: (S,) 1 where the skin never moves, 0 where it is free.
    """

    def __init__(
        self,
        positions: FloatArray,
        triangles: IndexArray,
        landmark_vertices: IndexArray,
        landmark_weights: FloatArray,
        resting: FloatArray,
    ) -> None:
        self._positions = positions
        laplacian, areas = cotangent_laplacian(positions * 100, triangles)
        areas = np.maximum(areas, 1e-4)
        self._bending = laplacian.T @ sp.diags(1 / areas) @ laplacian
        self._size = sp.diags(areas * (1 + _PIN * resting))
        self._vertices, self._weights = landmark_vertices, landmark_weights
        self._bone = _Bone(positions)

    def spread(self, handles: Handles, reach: float) -> FloatArray:
        """Return the displacement (S, 3) metres that handles give the skin.

        Args:
            reach: metres over which the skin comes to rest.
        """
        rows = [*handles]
        count = len(self._positions)
        sampling = sp.coo_matrix(
            (
                self._weights[rows].ravel(),
                (np.repeat(np.arange(len(rows)), 3), self._vertices[rows].ravel()),
            ),
            (len(rows), count),
        ).tocsr()
        goals = np.array([*handles.values()]) / 1000
        # |D|^2 + reach^4 |L D|^2 over the area: a point load's dent on an elastic bed is `reach` wide.
        system = _HOLD * sampling.T @ sampling + (100 * reach) ** 4 * self._bending + self._size
        field = np.asarray(spl.splu(system.tocsc()).solve(_HOLD * (sampling.T @ goals)))
        length = np.linalg.norm(field, axis=1, keepdims=True)
        return np.asarray(field * np.maximum(1 - _UNSEEN / np.maximum(length, _UNSEEN), 0))

    def slide(self, field: FloatArray) -> FloatArray:
        """Return a field (S, 3) whose forehead slides over the bone and takes its own thickness along.

        What the field does forwards is kept: it is the skin's bulge.
        """
        moved = self._positions + field * [1, 1, 0]
        lift = self._bone.height(moved) - self._bone.height(self._positions)
        slid = field.copy()
        slid[:, 2] += self._bone.carries(self._positions) * lift
        return slid


class _Bone:
    """The forehead's bone: a smooth symmetric surface through its skin, without brows and orbits."""

    def __init__(self, positions: FloatArray) -> None:
        x, y, z = positions.T
        forehead = (y > _FOREHEAD[0]) & (y < _FOREHEAD[1]) & (z > _TEMPLE_TO) & (np.abs(x) < _FOREHEAD_ASIDE)
        self._shape = np.linalg.lstsq(_powers(positions[forehead]), z[forehead], rcond=None)[0]

    def height(self, points: FloatArray) -> FloatArray:
        """Return the bone's z (P,) under points (P, 3)."""
        return np.asarray(_powers(points) @ self._shape)

    @staticmethod
    def carries(points: FloatArray) -> FloatArray:
        """Return how far the bone carries the skin (P,), 0..1, at points (P, 3)."""
        above = smoothstep((points[:, 1] - _BONE_FROM) / (_BONE_WHOLLY - _BONE_FROM))
        ahead = smoothstep((points[:, 2] - _TEMPLE_TO) / (_TEMPLE_FROM - _TEMPLE_TO))
        return np.asarray(above * ahead)


def _powers(points: FloatArray) -> FloatArray:
    """Return the terms (P, 8) of a polynomial that is even in x, lengths in decimetres."""
    x, y = 10 * points[:, 0], 10 * points[:, 1]
    terms = [np.ones_like(x), y, y**2, y**3, x**2, x**2 * y, x**2 * y**2, x**4]
    return np.stack(terms, axis=1)

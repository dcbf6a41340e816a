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
from scipy.interpolate import LinearNDInterpolator
from scipy.spatial import cKDTree

from gpu_workers.head.ops.image import smoothstep
from gpu_workers.head.ops.mesh import cotangent_laplacian

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.integer]

#: Name of a place, a MediaPipe landmark, to how far it goes: aside (from the midline), up, forward; mm.
Handles = Mapping[int, tuple[float, float, float]]

#: How tightly a handle holds, square centimetres of skin; how tightly pinned skin rests, of its own area.
_HOLD, _PIN = 60.0, 10.0
#: Metres over which the skin of the forehead is smoothed to find the bone under it.
_BONE_SMOOTHING = 0.009
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
        return np.asarray(spl.splu(system.tocsc()).solve(_HOLD * (sampling.T @ goals)))

    def slide(self, field: FloatArray) -> FloatArray:
        """Return a field (S, 3) whose forehead slides over the bone and takes its own thickness along.

        What the field does forwards is kept: it is the skin's bulge.
        """
        before, whole = self._bone(self._positions)
        after, _ = self._bone(self._positions + field * [1, 1, 0])
        slid = field.copy()
        slid[:, 2] += whole * np.where(np.isfinite(after - before), after - before, 0)
        return slid


class _Bone:
    """The forehead's bone as a height over the face's plane."""

    def __init__(self, positions: FloatArray) -> None:
        front = (positions[:, 2] > -0.06) & (positions[:, 1] > -0.004) & (np.abs(positions[:, 0]) < 0.075)
        x, y, z = positions[front].T
        tree = cKDTree(np.stack([x, y], axis=1))
        near = tree.query_ball_point(np.stack([x, y], axis=1), 2.5 * _BONE_SMOOTHING)
        smooth = np.empty(len(x))
        for k, rows in enumerate(near):
            square = (x[rows] - x[k]) ** 2 + (y[rows] - y[k]) ** 2
            weight = np.exp(-0.5 * square / _BONE_SMOOTHING**2)
            # A plane, not a mean: the edge of the forehead is not flattened.
            design = np.stack([np.ones(len(rows)), x[rows] - x[k], y[rows] - y[k]], axis=1)
            normal = design.T @ (weight[:, None] * design) + 1e-9 * np.eye(3)
            smooth[k] = np.linalg.solve(normal, design.T @ (weight * z[rows]))[0]
        self._height = LinearNDInterpolator(np.stack([x, y], axis=1), smooth)

    def __call__(self, points: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the bone's z (P,) under points (P, 3), and how far it carries the skin there (P,)."""
        above = smoothstep((points[:, 1] - _BONE_FROM) / (_BONE_WHOLLY - _BONE_FROM))
        ahead = smoothstep((points[:, 2] - _TEMPLE_TO) / (_TEMPLE_FROM - _TEMPLE_TO))
        return self._height(points[:, :2]), above * ahead

"""How much of the sky each vertex of a mesh sees: nostrils, mouth and the hollow of the eye are dark."""

import numpy as np
import torch
from numpy.typing import NDArray

from gpu_workers.head.ops.mesh import vertex_normals
from gpu_workers.head.ops.rasterization import rasterise

FloatArray = NDArray[np.float64]

_DIRECTIONS = 96
_PIXELS = 160
#: A vertex is seen if nothing lies more than this in front of it, metres.
_BIAS = 0.0025


def openness(positions: NDArray[np.floating], triangles: NDArray[np.integer]) -> FloatArray:
    """Return (V,) in 0..1: the cosine-weighted share of directions from which each vertex is seen.

    Args:
        positions: (V, 3) metres.
        triangles: (F, 3) anticlockwise seen from outside.
    Method: one orthographic depth picture a direction.
    """
    normals = vertex_normals(positions.astype(np.float64), triangles)
    centred = positions - positions.mean(0)
    reach = float(np.linalg.norm(centred, axis=1).max()) * 1.02
    seen = np.zeros(len(positions))
    total = np.full(len(positions), 1e-9)
    faces = torch.from_numpy(triangles.astype(np.int64))
    for direction in _spread_directions(_DIRECTIONS):
        side = np.cross(direction, [0.31, 0.87, 0.38])
        side /= np.linalg.norm(side)
        frame = np.stack([side, np.cross(direction, side), -direction])
        turned = centred @ frame.T
        turned[:, :2] = (turned[:, :2] / reach + 1) * (_PIXELS / 2)
        turned[:, 2] += 2 * reach
        view = torch.from_numpy(turned[None]).float()
        depth = rasterise(view, faces, _PIXELS, _PIXELS, perspective=False).depth[0].numpy()
        column, row = np.clip(turned[:, :2].astype(np.int64), 0, _PIXELS - 1).T
        facing = np.clip(normals @ direction, 0, None)
        total += facing
        # Slanted surfaces span more depth within a pixel.
        bias = _BIAS + 2 * reach / _PIXELS / np.clip(facing, 0.3, None)
        seen += facing * (turned[:, 2] <= depth[row, column] + bias)
    return np.asarray(seen / total)


def _spread_directions(count: int) -> FloatArray:
    """Return (N, 3) unit vectors spread over the sphere: Fibonacci's lattice."""
    index = np.arange(count) + 0.5
    height = 1 - 2 * index / count
    angle = np.pi * (1 + 5**0.5) * index
    radius = np.sqrt(1 - height**2)
    return np.stack([radius * np.cos(angle), height, radius * np.sin(angle)], axis=1)

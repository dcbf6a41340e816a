"""Finds triangles of a mesh that pass through each other."""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]

#: Depths below this share of a triangle's size count as touching, not as passing through.
_TOUCH = 1e-7


def intersecting_pairs(positions: NDArray[np.floating], triangles: NDArray[np.integer]) -> IndexArray:
    """Return the pairs of triangles (P, 2), first < second, that pass through each other.

    Triangles that share a vertex are left out: they touch by design. So are coplanar ones, which have no
    line of intersection.

    Args:
        positions: (V, 3), any unit.
        triangles: (N, 3).
    Source: Möller, A Fast Triangle-Triangle Intersection Test, 1997 (the interval test).
    """
    corners = positions.astype(np.float64)[triangles]
    pairs = _close_pairs(corners)
    shared = (triangles[pairs[:, 0], :, None] == triangles[pairs[:, 1], None, :]).any((1, 2))
    pairs = pairs[~shared]
    crossing = _pass_through(corners[pairs[:, 0]], corners[pairs[:, 1]])
    return np.asarray(pairs[crossing])


def intersecting_triangles(positions: NDArray[np.floating], triangles: NDArray[np.integer]) -> IndexArray:
    """Return the numbers of the triangles that pass through another one, ascending."""
    return np.unique(intersecting_pairs(positions, triangles))


def _close_pairs(corners: FloatArray) -> IndexArray:
    """Return pairs of triangles (P, 2) whose boxes overlap, found through a grid of cubes."""
    low, high = corners.min(1), corners.max(1)
    size = 1.5 * max(float(np.median((high - low).max(1))), 1e-12)
    origin = low.min(0)
    first = np.floor((low - origin) / size).astype(np.int64)
    extent = np.floor((high - origin) / size).astype(np.int64) - first + 1
    count = extent.prod(1)
    owner = np.repeat(np.arange(len(corners)), count)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    _, ny, nz = extent[owner].T
    cell = first[owner] + np.stack([within // (ny * nz), within // nz % ny, within % nz], axis=1)
    span = cell.max(0) + 1
    key = (cell[:, 0] * span[1] + cell[:, 1]) * span[2] + cell[:, 2]
    order = np.argsort(key, kind="stable")
    key, owner = key[order], owner[order]
    # Each entry meets those that follow it in its cube.
    end = np.searchsorted(key, key, side="right")
    following = end - np.arange(len(key)) - 1
    left = np.repeat(np.arange(len(key)), following)
    right = left + 1 + np.arange(len(left)) - np.repeat(np.cumsum(following) - following, following)
    a, b = owner[left], owner[right]
    overlap = ((low[a] <= high[b]) & (low[b] <= high[a])).all(1)
    a, b = a[overlap], b[overlap]
    codes = np.unique(np.minimum(a, b) * len(corners) + np.maximum(a, b))
    return np.stack(np.divmod(codes, len(corners)), axis=1)


def _pass_through(first: FloatArray, second: FloatArray) -> NDArray[np.bool_]:
    """Return whether triangles (P, 3, 3) and (P, 3, 3) intersect, pair by pair."""
    result = np.zeros(len(first), bool)
    normal_first, depth_second = _depths(first, second)
    normal_second, depth_first = _depths(second, first)
    crossing = _straddles(depth_first) & _straddles(depth_second)
    line = np.cross(normal_first, normal_second)[crossing]
    from_first = _interval(first[crossing], depth_first[crossing], line)
    from_second = _interval(second[crossing], depth_second[crossing], line)
    result[crossing] = (from_first[0] < from_second[1]) & (from_second[0] < from_first[1])
    return result


def _depths(plane: FloatArray, points: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the planes' normals (P, 3) and the signed distances (P, 3) of points, tiny ones set to zero."""
    edges = plane[:, 1:] - plane[:, :1]
    normal = np.cross(edges[:, 0], edges[:, 1])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-300)
    depth = np.einsum("pc,pkc->pk", normal, points - plane[:, :1])
    touch = _TOUCH * np.abs(edges).max((1, 2))
    depth[np.abs(depth) < touch[:, None]] = 0
    return normal, depth


def _straddles(depth: FloatArray) -> NDArray[np.bool_]:
    return np.asarray((depth.min(1) < 0) & (depth.max(1) > 0))


def _interval(corners: FloatArray, depth: FloatArray, line: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return where triangles (P, 3, 3) enter and leave the other's plane, measured along the line (P, 3)."""
    along = np.einsum("pkc,pc->pk", corners, line)
    low, high = np.full(len(line), np.inf), np.full(len(line), -np.inf)
    for i, j in ((0, 1), (1, 2), (2, 0)):
        crosses = (np.minimum(depth[:, i], depth[:, j]) <= 0) & (np.maximum(depth[:, i], depth[:, j]) >= 0)
        gap = depth[:, i] - depth[:, j]
        share = np.divide(depth[:, i], gap, out=np.zeros_like(gap), where=gap != 0)
        place = along[:, i] + share * (along[:, j] - along[:, i])
        low = np.where(crosses, np.minimum(low, place), low)
        high = np.where(crosses, np.maximum(high, place), high)
    return low, high

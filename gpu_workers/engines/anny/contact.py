"""Keeps the two rims of an opening, lips or lids, apart, or brings them together, in many poses at once.

The rims are a regular grid (rings.py). Beside every point of one rim, the other rim's rings are cut by the
plane across the opening through it: a profile, which runs from the inside to the front and is a height over
depth. A point beyond the other rim's height passes through it. Both rims yield by half of the overlap, and
their surroundings follow.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpu_workers.engines.anny.rings import RingGrid

FloatArray = NDArray[np.floating]
IndexArray = NDArray[np.int64]

_PASSES = 5
#: Samples beside a corner that are no contact: there both rims are one steep fold, and heights say nothing.
_CORNER = 3
#: Steps from the template's column to the column beside a sample of a pose.
_SEARCHES = 2
#: Vertices around a contact that follow.
_SPREAD = 4


@dataclass(frozen=True)
class _Side:
    """One lip: R touching rings, C columns with the corners; samples on the vertices and halfway between."""

    #: (C,) columns of the grid.
    columns: IndexArray
    #: (2R - 1, 2C - 1, 4) touching vertices (ring x all columns + column) whose mean is the sample.
    corners: IndexArray
    #: (2R - 1, 2C - 1, R) place of the sample among the other rim's columns on each ring of the template.
    place: FloatArray
    #: (C',) columns of the other rim.
    other: IndexArray
    #: 1 on the upper rim, which yields upwards, -1 on the lower.
    sign: int


class RimContact:
    """Contact of the two rims of an opening of one topology.

    Args:
        grid: around the opening, at least `_SPREAD` rings beyond those that touch.
        positions: (S, 3) metres, the template.
        touching: how many rings inside and outside of the grid's border can meet the other rim.
        gap: metres between rims that touch: enough that quads between the samples stay apart too.
    """

    def __init__(
        self, grid: RingGrid, positions: FloatArray, touching: tuple[int, int], gap: float
    ) -> None:
        self._grid = grid
        self._gap = gap
        self._rings = slice(grid.border - touching[0], grid.border + touching[1] + 1)
        across = positions[grid.vertices[self._rings], 0]
        upper = np.arange(*grid.upper.indices(grid.vertices.shape[1]))
        self._sides = (_side(across, upper, grid.lower, 1), _side(across, grid.lower, upper, -1))
        # Where the template's rims lie closer than that, near the corners, heads may do so too.
        self._touch = [np.full((1, 1, 1), gap, np.float32)] * 2
        template = np.asarray(positions, np.float32)[None, grid.vertices]
        clearances = [self._clearance(template, side, side.sign) for side in self._sides]
        self._touch = [np.minimum(gap, clearance) for clearance in clearances]

    def part(self, poses: FloatArray) -> None:
        """Move the rims of poses (B, S, 3) apart where they pass through each other, in place."""
        points = poses[:, self._grid.vertices]
        active = np.arange(len(poses))
        for _ in range(_PASSES):
            lift = self._overlaps(points[active])
            overlapping = lift.any(axis=(1, 2))
            active, lift = active[overlapping], lift[overlapping]
            if not len(active):
                break
            points[active, :, :, 1] += self._spread(lift)
        poses[:, self._grid.vertices] = points

    def close(self, poses: FloatArray) -> None:
        """Bring the rims of poses (B, S, 3) together along their whole length, in place."""
        points = poses[:, self._grid.vertices]
        border, last = self._grid.border, points.shape[1] - 1
        fade = np.interp(np.arange(last + 1), [0, border - 2, border + 5, last], [0, 1, 1, 0])
        for _ in range(_PASSES):
            lift = np.zeros(points.shape[:3], points.dtype)
            for side in self._sides:
                gap = np.abs(self._clearance(points, side, -side.sign)).min(0)[::2].T
                open_by = np.where(np.isfinite(gap), np.maximum(gap - self._gap, 0), 0)
                lift[:, :, side.columns[1:-1]] = -side.sign * 0.5 * open_by[:, None, 1:-1]
            points[..., 1] += lift * fade[:, None]
        poses[:, self._grid.vertices] = points

    def _overlaps(self, points: FloatArray) -> FloatArray:
        """Return how far each vertex of the grid (B, K, C) has to rise to leave the other rim."""
        lift = np.zeros(points.shape[:3], points.dtype)
        for side, touch in zip(self._sides, self._touch, strict=True):
            overlap = np.maximum(touch - self._clearance(points, side, side.sign), 0)
            overlap[:, :_CORNER] = overlap[:, -_CORNER:] = 0
            strongest = side.sign * 0.5 * _strongest(overlap)
            lift[:, self._rings, side.columns[1:-1]] = strongest[:, 1:-1].transpose(2, 0, 1)
        return lift

    def _clearance(self, points: FloatArray, side: _Side, extreme: int) -> FloatArray:
        """Return how far a side's samples (2R - 1, 2C - 1, B) lie off the other rim, on their own side of it.

        Args:
            points: (B, K, C, 3) of the grid.
            extreme: 1 takes the profile's highest point at a sample's depth, -1 its lowest.
        Returns:
            Infinite where the profile does not reach.
        """
        across, height, depth = (
            np.ascontiguousarray(points[:, self._rings, :, axis].reshape(len(points), -1).T) for axis in range(3)
        )
        left, right, share = self._beside(across, side)
        pose = np.arange(len(points))
        profile_height = height[left, pose]
        profile_height += share * (height[right, pose] - profile_height)
        profile_depth = depth[left, pose]
        profile_depth += share * (depth[right, pose] - profile_depth)
        along = profile_depth[:, :, 1:] - profile_depth[:, :, :-1]
        along[along == 0] = 1e-12
        step = (depth[side.corners].mean(2)[:, :, None] - profile_depth[:, :, :-1]) / along
        crossed = profile_height[:, :, :-1] + step * (profile_height[:, :, 1:] - profile_height[:, :, :-1])
        crossed[(step < 0) | (step > 1)] = -extreme * np.inf
        nearest = crossed.max(2) if extreme > 0 else crossed.min(2)
        return np.asarray(side.sign * (height[side.corners].mean(2) - nearest))

    def _beside(self, across: FloatArray, side: _Side) -> tuple[IndexArray, IndexArray, FloatArray]:
        """Return the other rim's touching vertices left and right of each sample, and the right one's share.

        Args:
            across: (R x columns, B) x of the touching vertices.
        Returns:
            Each (2R - 1, 2C - 1, R, B).
        """
        row = (np.arange(side.place.shape[2]) * self._grid.vertices.shape[1])[:, None]
        pose = np.arange(across.shape[1])
        sample = across[side.corners].mean(2)[:, :, None]
        place = np.repeat(side.place[..., None], across.shape[1], axis=3)
        for _ in range(_SEARCHES):
            first = np.clip(place.astype(np.int64), 0, len(side.other) - 2)
            left, right = row + side.other[first], row + side.other[first + 1]
            start = across[left, pose]
            width = across[right, pose] - start
            share = (sample - start) / np.where(np.abs(width) < 1e-6, 1e-6, width)
            place = first + np.clip(share, -1, 2)
        return left, right, np.clip(share, 0, 1)

    def _spread(self, lift: FloatArray) -> FloatArray:
        """Return lifts (B, K, C) of at least these sizes that fade smoothly around them."""
        for _ in range(_SPREAD):
            around = 0.5 * lift + 0.25 * (np.roll(lift, 1, axis=2) + np.roll(lift, -1, axis=2))
            across = np.zeros_like(around)
            across[:, 1:-1] = 0.5 * around[:, 1:-1] + 0.25 * (around[:, :-2] + around[:, 2:])
            across[:, :, [0, self._grid.left_corner]] = 0
            lift = np.where(np.abs(lift) > np.abs(across), lift, across)
        return lift


def _side(across: FloatArray, own: IndexArray, other: IndexArray, sign: int) -> _Side:
    """Return a side of touching rings; across (R, all columns) are the template's x."""
    rings, columns = across.shape
    ring, column = np.meshgrid(np.arange(2 * rings - 1), np.arange(2 * len(own) - 1), indexing="ij")
    corners = np.stack(
        [(r // 2) * columns + own[c // 2] for r in (ring, ring + 1) for c in (column, column + 1)], axis=-1
    )
    sample = across.ravel()[corners].mean(-1)
    # Rings curl a little near the corners; what counts is the order of the columns.
    knots = np.maximum.accumulate(across[:, other], axis=1)
    place = np.stack([np.interp(sample, ring, np.arange(len(other))) for ring in knots], axis=-1)
    return _Side(columns=own, corners=corners, place=place.astype(np.float32), other=other, sign=sign)


def _strongest(samples: FloatArray) -> FloatArray:
    """Return for each vertex (R, C, B) the largest of its sample's and the neighbouring samples' values."""
    padded = np.pad(samples, ((1, 1), (1, 1), (0, 0)))
    rows, columns = samples.shape[:2]
    windows = [padded[i : i + rows : 2, j : j + columns : 2] for i in range(3) for j in range(3)]
    return np.asarray(np.max(windows, axis=0))

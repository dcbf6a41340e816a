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

_PASSES = 4
#: Rounds of closing and parting that shut an opening, and the share of what is left that is closed last.
_ROUNDS, _LAST_SHARE = 2, 0.7
#: Metres of overlap that no one sees.
_IGNORED = 0.00002
#: Steps from the template's column to the column beside a sample of a head.
_SEARCHES = 2


@dataclass(frozen=True)
class _Side:
    """One rim: R touching rings, C columns with the corners; samples on the vertices and beside them."""

    #: (C,) columns of the grid.
    columns: IndexArray
    #: (R, 2C - 1, 2) touching vertices (ring x all columns + column) whose mean is the sample.
    samples: IndexArray
    #: (R, 2C - 1, R) place of the sample among the other rim's columns on each ring of the template.
    place: FloatArray
    #: (C',) columns of the other rim.
    other: IndexArray
    #: 1 on the upper rim, which yields upwards, -1 on the lower.
    sign: int


@dataclass(frozen=True)
class _Profile:
    """The other rim beside each sample of B poses: a line of R points."""

    #: (R, 2C - 1, R) touching vertices left and right of the points, and the share of the right one (..., B).
    left: IndexArray
    right: IndexArray
    share: FloatArray
    #: (R, 2C - 1, R - 1, B) where each piece of the line is as deep as a sample; infinity where it never is.
    step: FloatArray
    missed: FloatArray

    def of(self, poses: NDArray[np.bool_]) -> "_Profile":
        """Return the profiles of some of the poses (B,)."""
        return _Profile(
            self.left, self.right, self.share[..., poses], self.step[..., poses], self.missed[..., poses]
        )


class RimContact:
    """Contact of the two rims of an opening of one topology.

    Args:
        grid: around the opening, some rings beyond those that touch.
        positions: (S, 3) metres, the template.
        touching: how many rings inside and outside of the grid's border can meet the other rim.
        gap: metres between rims that touch: enough that quads between the samples stay apart too.
        corner: samples beside a corner that are no contact: there both rims are one steep fold, and heights
            say nothing.
    """

    def __init__(
        self, grid: RingGrid, positions: FloatArray, touching: tuple[int, int], gap: float, corner: int
    ) -> None:
        self.grid = grid
        self._gap, self._corner = gap, corner
        self._rings = slice(grid.border - touching[0], grid.border + touching[1] + 1)
        across = positions[grid.vertices[self._rings], 0]
        upper = np.arange(*grid.upper.indices(grid.vertices.shape[1]))
        self._sides = (_side(across, upper, grid.lower, 1), _side(across, grid.lower, upper, -1))
        # Where the template's rims lie closer than that, near the corners, heads may do so too.
        template = np.asarray(positions[None, grid.vertices], np.float32)
        self._touch = []
        for side in self._sides:
            profile = self._profile(template, positions, side)
            clearance = self._clearance(template[..., 1], side, profile, side.sign)
            self._touch.append(np.minimum(gap, clearance))

    def part(self, poses: FloatArray, rest: FloatArray) -> None:
        """Move the rims of poses (B, S, 3) apart where they pass through each other, in place.

        Args:
            rest: (S, 3) the same head at rest, which tells what lies beside what.
        """
        heights, profiles = self._cut(poses, rest)
        before = heights.copy()
        self._part(heights, profiles)
        poses[:, self.grid.vertices, 1] += heights - before

    def shut(self, pose: FloatArray, rest: FloatArray) -> None:
        """Bring the rims of one pose (S, 3) together along their whole length, in place; they touch."""
        heights, profiles = self._cut(pose[None], rest)
        before = heights.copy()
        for _ in range(_ROUNDS):
            self._close(heights, profiles, 1)
            self._part(heights, profiles)
        # Parting one column opens its neighbours a little.
        self._close(heights, profiles, _LAST_SHARE)
        pose[self.grid.vertices, 1] += (heights - before)[0]

    def _cut(self, poses: FloatArray, rest: FloatArray) -> tuple[FloatArray, list[_Profile]]:
        """Return the grid's heights (B, K, C), all that ever changes, and the profiles of both rims."""
        points = np.asarray(poses[:, self.grid.vertices], np.float32)
        return points[..., 1].copy(), [self._profile(points, rest, side) for side in self._sides]

    def _part(self, heights: FloatArray, profiles: list[_Profile]) -> None:
        active = np.arange(len(heights))
        for _ in range(_PASSES):
            lift = self._overlaps(heights[active], profiles)
            overlapping = np.asarray(lift.any(axis=(1, 2)))
            if not overlapping.any():
                break
            active = active[overlapping]
            heights[active] += self.grid.spread(lift[overlapping], corners=False)
            profiles = [profile.of(overlapping) for profile in profiles]

    def _close(self, heights: FloatArray, profiles: list[_Profile], share: float) -> None:
        border, last = self.grid.border, heights.shape[1] - 1
        fade = np.interp(np.arange(last + 1), [0, border - 2, border + 5, last], [0, 1, 1, 0])
        lift = np.zeros(heights.shape[2], np.float32)
        for side, profile in zip(self._sides, profiles, strict=True):
            gap = self._clearance(heights, side, profile, side.sign)[..., 0].min(0)[::2]
            open_by = np.where(np.isfinite(gap), np.maximum(gap - self._gap, 0), 0)
            lift[side.columns[1:-1]] = -side.sign * 0.5 * share * open_by[1:-1]
        heights += lift * fade[:, None]

    def _overlaps(self, heights: FloatArray, profiles: list[_Profile]) -> FloatArray:
        """Return how far each vertex of the grid has to rise to leave the other rim; heights (B, K, C)."""
        lift = np.zeros_like(heights)
        for side, touch, profile in zip(self._sides, self._touch, profiles, strict=True):
            overlap = touch - self._clearance(heights, side, profile, side.sign)
            overlap[overlap < _IGNORED] = 0
            overlap[:, : self._corner] = overlap[:, -self._corner :] = 0
            strongest = side.sign * 0.5 * _strongest(overlap)
            lift[:, self._rings, side.columns[1:-1]] = strongest[:, 1:-1].transpose(2, 0, 1)
        return lift

    def _clearance(self, heights: FloatArray, side: _Side, profile: _Profile, extreme: int) -> FloatArray:
        """Return how far a side's samples (R, 2C - 1, B) lie off the other rim, on their own side of it.

        Args:
            heights: (B, K, C) of the grid.
            extreme: 1 takes the profile's highest point at a sample's depth, -1 its lowest.
        Returns:
            Infinite where the profile does not reach.
        """
        height = self._touching(heights)
        beside = height[profile.left]
        beside += profile.share * (height[profile.right] - beside)
        crossed = beside[:, :, 1:] - beside[:, :, :-1]
        crossed *= profile.step
        crossed += beside[:, :, :-1]
        crossed += profile.missed if extreme < 0 else -profile.missed
        nearest = crossed.max(2) if extreme > 0 else crossed.min(2)
        return np.asarray(side.sign * (height[side.samples].mean(2) - nearest))

    def _profile(self, points: FloatArray, rest: FloatArray, side: _Side) -> _Profile:
        """Return where the other rim is cut beside each sample of poses; points (B, K, C, 3) of the grid."""
        row = np.arange(side.place.shape[2]) * self.grid.vertices.shape[1]
        at_rest = np.asarray(rest[self.grid.vertices[self._rings], 0], np.float32).ravel()
        place: FloatArray = side.place
        for _ in range(_SEARCHES):
            first = np.clip(np.asarray(place, np.int64), 0, len(side.other) - 2)
            left, right = row + side.other[first], row + side.other[first + 1]
            share = _share(at_rest[side.samples].mean(2)[..., None], at_rest[left], at_rest[right])
            place = np.asarray(first + np.clip(share, -1, 2), np.float32)
        across, depth = self._touching(points[..., 0]), self._touching(points[..., 2])
        share = _share(across[side.samples].mean(2)[:, :, None], across[left], across[right])
        np.clip(share, 0, 1, out=share)
        beside = depth[left]
        beside += share * (depth[right] - beside)
        step = _share(depth[side.samples].mean(2)[:, :, None], beside[:, :, :-1], beside[:, :, 1:])
        missed = np.where((step < 0) | (step > 1), np.float32(np.inf), np.float32(0))
        return _Profile(left, right, share, np.clip(step, 0, 1), missed)

    def _touching(self, values: FloatArray) -> FloatArray:
        """Return values (B, K, C) of the grid at the rings that touch: (R x C, B)."""
        return np.ascontiguousarray(values[:, self._rings].reshape(len(values), -1).T)


def _side(across: FloatArray, own: IndexArray, other: IndexArray, sign: int) -> _Side:
    """Return a side of touching rings; across (R, all columns) are the template's x."""
    rings, columns = across.shape
    ring, column = np.meshgrid(np.arange(rings), np.arange(2 * len(own) - 1), indexing="ij")
    samples = np.stack([ring * columns + own[c // 2] for c in (column, column + 1)], axis=-1)
    middle = across.ravel()[samples].mean(-1)
    # Rings curl a little near the corners; what counts is the order of the columns.
    knots = np.maximum.accumulate(across[:, other], axis=1)
    place = np.stack([np.interp(middle, line, np.arange(len(other))) for line in knots], axis=-1)
    return _Side(columns=own, samples=samples, place=place.astype(np.float32), other=other, sign=sign)


def _share(value: FloatArray, start: FloatArray, end: FloatArray) -> FloatArray:
    """Return how far along from start to end a value lies."""
    width = end - start
    width[np.abs(width) < 1e-9] = 1e-9
    return np.asarray((value - start) / width)


def _strongest(samples: FloatArray) -> FloatArray:
    """Return for each vertex (R, C, B) the largest of its sample's and the neighbouring samples' values."""
    padded = np.pad(samples, ((1, 1), (1, 1), (0, 0)))
    rows, columns = samples.shape[:2]
    along = np.maximum(np.maximum(padded[:, 0:columns:2], padded[:, 1::2]), padded[:, 2::2])
    return np.asarray(np.maximum(np.maximum(along[:rows], along[1:-1]), along[2:]))

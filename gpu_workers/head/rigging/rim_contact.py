"""Keeps the two rims of an opening, lips or lids, apart, or brings them together, in many poses at once.

The rims are a regular grid (opening_grids.py). Beside every point of one rim, the other rim's rings are cut
by the plane across the opening through it: a profile, which runs from the inside to the front and is a height
over depth. A point beyond the other rim's height passes through it. Both rims yield by half of the overlap,
and their surroundings follow.

Nothing here depends on what is found: every pose takes every pass, and where nothing overlaps, nothing moves.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpu_workers.head.ops.linalg import send
from gpu_workers.head.rigging.opening_grids import RingGrid, RingGroup

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
class _Rims:
    """All rims of the grids, samples in one list: on the vertices of R touching rings and beside them.

    M samples, R (2 C - 1) of each rim of C columns, corners included; point numbers are RingGroup's.
    """

    #: (M, 2) points whose mean is the sample.
    samples: IndexArray
    #: (M, R) place of the sample among the other rim's columns on each ring of the template.
    place: FloatArray
    #: (M, R) the first point of each ring, and (M,) where the other rim's columns begin in `columns`.
    ring: IndexArray
    first: IndexArray
    columns: IndexArray
    #: (M,) the number of pieces between the other rim's columns.
    pieces: IndexArray
    #: (M,) 1 on upper rims, which yield upwards, -1 on lower ones; and whether a sample is a corner's.
    sign: FloatArray
    corner: NDArray[np.bool_]
    #: (L,) points between the corners, (L, 9) the samples on and around each.
    yielding: IndexArray
    around: IndexArray
    #: (D,) points of one ring between the corners, (D, R) the samples on each column.
    closing: IndexArray
    along: IndexArray


@dataclass(frozen=True)
class _Profile:
    """The other rim beside each sample of B poses: a line of R points."""

    #: (2 M R + 2 M,) points left of the line's, right of them, and those that the samples lie between.
    points: Tensor
    #: (M, R, B) the share of the right one.
    share: Tensor
    #: (M, R - 1, B) where each piece of the line is as deep as a sample; minus infinity where it never is.
    step: Tensor
    missed: Tensor


class RimContact:
    """Contact of the two rims of G openings of one form.

    Points are those of the grids, N in the order of `RingGroup`.

    Args:
        grids: around the openings, some rings beyond those that touch.
        positions: (S, 3) metres, the template.
        touching: how many rings inside and outside of the grid's border can meet the other rim.
        gap: metres between rims that touch: enough that quads between the samples stay apart too.
        corner: samples beside a corner that are no contact: there both rims are one steep fold, and heights
            say nothing.
        device: of all tensors.
    """

    def __init__(
        self,
        grids: Sequence[RingGrid],
        positions: FloatArray,
        touching: tuple[int, int],
        gap: float,
        corner: int,
        device: torch.device,
    ) -> None:
        grid = grids[0]
        self.grid = grid
        self.group = RingGroup(grids, device)
        self._gap = gap
        rings = range(grid.border - touching[0], grid.border + touching[1] + 1)
        rims = _find_rims(grids, positions, rings, corner)

        self._samples, self._place, self._ring = (
            send(rims.samples, device),
            send(rims.place, device),
            send(rims.ring, device),
        )
        self._first, self._columns = send(rims.first, device)[:, None], send(rims.columns, device)
        self._last = send(rims.pieces - 1, device)[:, None]
        self._sign = send(rims.sign, device)[:, None]
        around = np.zeros((self.group.vertices.numel(), 9), np.int64)
        around[rims.yielding] = rims.around
        yields = np.zeros((len(around), 1), np.float32)
        yields[rims.yielding] = 0.5
        self._around, self._yields = send(around, device), send(yields, device)
        upwards = np.ones(self.group.shape, np.float32)
        upwards[:, :, grid.left_corner :] = -1
        self._upwards = send(upwards.reshape(-1, 1), device)
        self._closing, self._along = send(rims.closing, device), send(rims.along, device)
        self._pull = -0.5 * self._sign[self._along[:, 0]]
        last = len(grid.vertices) - 1
        fade = np.interp(np.arange(last + 1), [0, grid.border - 2, grid.border + 5, last], [0, 1, 1, 0])
        self._fade = send(fade.astype(np.float32), device)[:, None, None]
        # Where the template's rims lie closer than that, near the corners, heads may do so too.
        template = send(positions, device)[self.group.vertices]
        across, heights, depth = _planes(template[:, None])
        clearance = -self._sunk(heights, self._profile(across, depth, across[:, 0]))
        self._touch = clearance.clamp(max=gap).masked_fill(send(rims.corner, device)[:, None], -torch.inf)

    def part(self, points: Tensor, rest: Tensor) -> Tensor:
        """Return by how much points rise (N, B) so that the rims no longer pass through each other.

        Args:
            points: (N, B, 3) metres, B poses.
            rest: (N, 3) the same head at rest, which tells what lies beside what.
        """
        across, heights, depth = _planes(points)
        profile = self._profile(across, depth, rest[:, 0].float())
        return self._part(heights, profile) - heights

    def shut(self, points: Tensor, rest: Tensor) -> Tensor:
        """Return by how much points (N, B, 3) rise (N, B) for the rims to touch along their whole length."""
        across, before, depth = _planes(points)
        profile = self._profile(across, depth, rest[:, 0].float())
        heights = before
        for _ in range(_ROUNDS):
            heights = self._part(self._close(heights, profile, 1), profile)
        # Parting one column opens its neighbours a little.
        return self._close(heights, profile, _LAST_SHARE) - before

    def meet(self, points: Tensor, rest: Tensor, most: float) -> Tensor:
        """Return by how much points rise (N, B) for rims that hardly gape to touch, and not to overlap.

        Args:
            most: metres of a gap that are closed; what is left of a wider one stays.
        """
        across, before, depth = _planes(points)
        profile = self._profile(across, depth, rest[:, 0].float())
        return self._part(self._close(before, profile, 1, most), profile) - before

    def _part(self, heights: Tensor, profile: _Profile) -> Tensor:
        for _ in range(_PASSES):
            overlap = torch.threshold(self._touch + self._sunk(heights, profile), _IGNORED, 0)
            yielded = self._yields * _rows(overlap, self._around).amax(1)
            # The corners stand between the rims: what is spread stays on its own.
            heights = torch.addcmul(heights, self.group.spread(yielded, corners=False), self._upwards)
        return heights

    def _close(self, heights: Tensor, profile: _Profile, share: float, most: float | None = None) -> Tensor:
        gap = -_rows(self._sunk(heights, profile), self._along).amax(1)
        open_by = torch.where(gap.isfinite(), (gap - self._gap).clamp(min=0, max=most), 0)
        grids, _, columns = self.group.shape
        lift = torch.zeros_like(heights[: grids * columns])
        lift = lift.index_copy_(0, self._closing, share * self._pull * open_by)
        moved = self._fade * lift.view(grids, 1, columns, -1)
        return heights + moved.view(heights.shape)

    def _sunk(self, heights: Tensor, profile: _Profile) -> Tensor:
        """Return how deep the samples (M, B) lie beyond the other rim; heights (N, B).

        Returns:
            Negative on their own side of it; minus infinity where the profile does not reach.
        """
        left, right, beside = _split(heights.index_select(0, profile.points), profile.share.shape)
        line = torch.lerp(left, right, profile.share)
        crossed = torch.lerp(line[:, :-1], line[:, 1:], profile.step)
        # Upwards counts on an upper rim, downwards on a lower one.
        nearest = torch.addcmul(profile.missed, crossed, self._sign[:, :, None]).amax(1)
        return torch.addcmul(nearest, beside.mean(1), self._sign, value=-1)

    def _profile(self, across: Tensor, depth: Tensor, at_rest: Tensor) -> _Profile:
        """Return where the other rim is cut beside each sample of poses.

        Args:
            across: (N, B) x, and `depth` (N, B) z; `at_rest` (N,) x at rest.
        """
        own = at_rest[self._samples].mean(1, keepdim=True)
        place = self._place
        for _ in range(_SEARCHES):
            piece = torch.minimum(place.long().clamp(min=0), self._last)
            left, right = (self._ring + self._columns[self._first + piece + step] for step in (0, 1))
            place = piece + _share(own, at_rest[left], at_rest[right]).clamp(-1, 2)
        chosen = torch.cat([index.view(-1) for index in (left, right, self._samples)])
        shape = (*place.shape, across.shape[1])
        left, right, beside = _split(across.index_select(0, chosen), shape)
        share = _share(beside.mean(1, keepdim=True), left, right).clamp(0, 1)
        left, right, beside = _split(depth.index_select(0, chosen), shape)
        line = torch.lerp(left, right, share)
        step = _share(beside.mean(1, keepdim=True), line[:, :-1], line[:, 1:])
        missed = torch.where((step < 0) | (step > 1), -torch.inf, 0.0)
        return _Profile(chosen, share, step.clamp(0, 1), missed)


def _find_rims(grids: Sequence[RingGrid], positions: FloatArray, rings: range, corner: int) -> _Rims:
    found: list[_Rims] = []
    samples = columns = 0
    size = grids[0].vertices.size
    for number, grid in enumerate(grids):
        upper = np.arange(*grid.upper.indices(grid.vertices.shape[1]))
        for own, other, sign in ((upper, grid.lower, 1), (grid.lower, upper, -1)):
            rim = _find_rim(positions[grid.vertices, 0], rings, own, other, corner)
            # Numbers within the rim become those of all.
            for name in ("samples", "ring", "yielding"):
                getattr(rim, name)[:] += number * size
            for name in ("around", "along"):
                getattr(rim, name)[:] += samples
            rim.first[:] += columns
            rim.closing[:] += number * grid.vertices.shape[1]
            rim.sign[:] = sign
            found.append(rim)
            samples, columns = samples + len(rim.samples), columns + len(other)
    return _Rims(**{name: np.concatenate([getattr(rim, name) for rim in found]) for name in vars(found[0])})


def _find_rim(across: FloatArray, rings: range, own: IndexArray, other: IndexArray, corner: int) -> _Rims:
    """Return one rim of one grid; across (K, all columns) are the template's x."""
    count, columns = len(rings), across.shape[1]
    width = 2 * len(own) - 1
    ring, column = np.meshgrid(np.array(rings), np.arange(width), indexing="ij")
    samples = np.stack([ring * columns + own[c // 2] for c in (column, column + 1)], axis=-1)
    middle = across.ravel()[samples].mean(-1)
    # Rings curl a little near the corners; what counts is the order of the columns.
    knots = np.maximum.accumulate(across[rings.start : rings.stop, other], axis=1)
    place = np.stack([np.interp(middle, line, np.arange(len(other))) for line in knots], axis=-1)
    total = count * width
    # Beyond the first and the last ring stand these themselves.
    number = np.pad(np.arange(total).reshape(count, width), ((1, 1), (0, 0)), mode="edge")
    inner = np.arange(1, len(own) - 1)
    around = np.stack(
        [number[1 + r : 1 + r + count][:, 2 * inner + c] for r in (0, -1, 1) for c in (0, -1, 1)], axis=-1
    )
    return _Rims(
        samples=samples.reshape(total, 2),
        place=place.reshape(total, count).astype(np.float32),
        ring=np.tile(np.array(rings) * columns, (total, 1)),
        first=np.zeros(total, np.int64),
        columns=other,
        pieces=np.full(total, len(other) - 1),
        sign=np.ones(total, np.float32),
        corner=np.tile((np.arange(width) < corner) | (np.arange(width) >= width - corner), count),
        yielding=(np.array(rings)[:, None] * columns + own[inner]).ravel(),
        around=around.reshape(-1, 9),
        closing=own[inner],
        along=(np.arange(count) * width + 2 * inner[:, None]),
    )


def _planes(points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return x, y and z (N, B) float32 of points (N, B, 3)."""
    x, y, z = points.float().movedim(-1, 0).contiguous()
    return x, y, z


def _rows(values: Tensor, index: Tensor) -> Tensor:
    """Return (L, K, B): rows of values (N, B) by index (L, K)."""
    return values.index_select(0, index.view(-1)).view(*index.shape, -1)


def _split(values: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Return values at a profile's points: left and right of it (M, R, B), beside the samples (M, 2, B)."""
    line = shape[0] * shape[1]
    left, right, beside = torch.split(values, [line, line, 2 * shape[0]])
    return left.view(shape), right.view(shape), beside.view(shape[0], 2, -1)


def _share(value: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Return how far along from start to end a value lies."""
    width = end - start
    return (value - start) / torch.where(width.abs() < 1e-9, 1e-9, width)

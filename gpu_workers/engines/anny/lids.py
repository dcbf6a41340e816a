"""Closes the lids of one eye, and keeps them outside the eyeball."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpu_workers.engines.anny.rings import RingGrid

FloatArray = NDArray[np.floating]

#: Rings inside and outside of the socket's border that follow a lid.
GRID_INNER, GRID_OUTER = 5, 10
#: Metres between closed lids, ring by ring from the socket's border: the outer two touch without passing
#: through each other; the inner two, hidden in the eyeball, need not.
_GAPS = (0.0012, 0.0005, 0.0001, 0.0001)
#: Share of the open eye's gap that may be left at most, near the corners.
_MOST_LEFT = 0.6
#: Metres by which a lid may lie inside of the eyeball's fitted surface: its quads lie deeper.
_SUNK = 0.0001
#: The lid's edge: rings outwards of the socket's border, from the wet side to the lashes. The rings nearer
#: to the border lie inside the eyeball, where they hide the lid's inside.
_EDGE = (2, 3)
#: Columns from a corner, and metres that shut lids may leave open there.
_SHUT = ((1, 2, 3), (0.00072, 0.0006, 0.00012))


@dataclass(frozen=True)
class Eyeball:
    """An almost round eyeball: its radius along a direction u is u^T Q u."""

    #: (3,) metres.
    centre: FloatArray
    #: (3, 3) metres, symmetric.
    quadric: FloatArray

    def radius(self, directions: FloatArray) -> FloatArray:
        """Return the radius (...) along unit vectors (..., 3)."""
        return np.asarray(((directions @ self.quadric) * directions).sum(-1))


def fit_eyeball(positions: FloatArray) -> Eyeball:
    """Return the eyeball of vertices (V, 3) that surround it, by least squares."""
    centre = 0.5 * (positions.min(0) + positions.max(0))
    radius = np.linalg.norm(positions - centre, axis=1)
    x, y, z = ((positions - centre) / radius[:, None]).T
    columns = np.stack([x * x, y * y, z * z, 2 * x * y, 2 * x * z, 2 * y * z], axis=1)
    xx, yy, zz, xy, xz, yz = np.linalg.lstsq(columns, radius, rcond=None)[0]
    return Eyeball(centre, np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]))


class Lids:
    """The lids of one eye of one topology.

    Args:
        grid: around the eye, `GRID_INNER` rings inwards, `GRID_OUTER` outwards.
        positions: (S, 3) metres, the template.
    """

    def __init__(self, grid: RingGrid, positions: FloatArray) -> None:
        self.grid = grid
        #: (K, C) vertices of the upper and the lower lid, ring by ring, from the person's right to the left.
        self.upper = grid.vertices[:, grid.upper]
        self.lower = grid.vertices[:, grid.lower]
        self._edge = slice(grid.border, grid.border + _EDGE[1] + 1)
        steps = np.arange(len(grid.vertices)) - grid.border
        self._hidden = grid.border + _EDGE[0]
        # A point of the upper edge meets the lower edge at the same share of the way from corner to corner.
        lashes = grid.border + _EDGE[1]
        #: (C,) vertices of the upper lid that carry the lashes.
        self.lashes = self.upper[lashes]
        above, below = _way_along(positions[self.lashes]), _way_along(positions[self.lower[lashes]])
        self._meets = np.stack([np.interp(above, below, row) for row in np.eye(len(below))], axis=1)
        open_by = np.abs(self.gaps(positions)[..., 1])
        self._touch = np.zeros((*open_by.shape, 3))
        self._touch[..., 1] = -np.minimum(np.array(_GAPS)[:, None], _MOST_LEFT * open_by)
        self._fade = np.interp(steps, [-GRID_INNER, 0, _EDGE[1], GRID_OUTER], [0, 1, 1, 0])

    def close(self, pose: FloatArray, gaps: FloatArray | None = None) -> None:
        """Set the upper lid of a pose (S, 3) down on the lower one, in place.

        The edge meets ring by ring; the lid's skin follows, less and less.

        Args:
            gaps: (4, C, 3) what shall stay open, as `gaps` returns it; a touch if omitted.
        """
        missing = self.gaps(pose) - (self._touch if gaps is None else gaps)
        missing[:, [0, -1]] = 0
        inner, outer = self._edge.start, len(self._fade) - self._edge.stop
        moves = np.concatenate([np.repeat(missing[:1], inner, 0), missing, np.repeat(missing[-1:], outer, 0)])
        pose[self.upper] += self._fade[:, None, None] * moves

    def gaps(self, pose: FloatArray) -> FloatArray:
        """Return the way (4, C, 3) from each vertex of the upper edge to its place on the lower edge.

        The rows are the rings from the socket's border outwards; the columns include the corners.
        """
        return np.asarray(self._meets @ pose[self.lower[self._edge]] - pose[self.upper[self._edge]])

    def shorten(self, gaps: FloatArray) -> FloatArray:
        """Return `gaps` of which those of the edge, which are seen, are as short as they can be.

        Beside the corners, where lids are one steep fold, some is left: closed further, it would cut itself.
        """
        from_corner = np.arange(gaps.shape[1])
        from_corner = np.minimum(from_corner, from_corner[::-1])
        longest = np.interp(from_corner, *_SHUT)[:, None]
        seen = gaps[_EDGE[0] :]
        length = np.linalg.norm(seen, axis=-1, keepdims=True)
        shortened = seen * np.minimum(1, longest / np.maximum(length, 1e-12))
        return np.concatenate([gaps[: _EDGE[0]], shortened])

    def clear(self, poses: FloatArray, eyeball: Eyeball) -> None:
        """Push the lids of poses (B, S, 3) out of the eyeball, in place; what lies around them follows."""
        outward = poses[:, self.grid.vertices] - eyeball.centre
        distance = np.linalg.norm(outward, axis=-1)
        direction = outward / np.maximum(distance, 1e-9)[..., None]
        inside = np.maximum(eyeball.radius(direction) - _SUNK - distance, 0)
        inside[:, : self._hidden] = 0
        if inside.any():
            poses[:, self.grid.vertices] += self.grid.spread(inside, corners=True)[..., None] * direction


def _way_along(points: FloatArray) -> FloatArray:
    """Return for each point (C,) of a line (C, 3) the share 0..1 of its length up to there."""
    way = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    return np.asarray(way / way[-1])

"""Closes the lids of one eye or two at once, and keeps them outside the eyeballs."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpu_workers.head.rigging.eyeballs import Eyeballs
from gpu_workers.head.rigging.opening_grids import RingGrid, RingGroup

FloatArray = NDArray[np.floating]

#: Rings inside and outside of the socket's border that follow a lid.
GRID_INNER, GRID_OUTER = 5, 10
#: Metres between closed lids, ring by ring from the socket's border: the outer two touch without passing
#: through each other; the inner two, hidden in the eyeball, need not.
_GAPS = (0.0012, 0.0005, 0.0002, 0.00018)
#: Share of the open eye's gap that may be left at most, near the corners.
_MOST_LEFT = 0.6
#: Metres by which a lid's vertices stay off the eyeball: its straight quads cut off as much.
_OFF = 0.00015
#: The lid's edge: rings outwards of the socket's border, from the wet side to the lashes. The rings nearer
#: to the border lie inside the eyeball, where they hide the lid's inside.
_EDGE = (2, 3)
#: Columns from a corner, and metres that shut lids may leave open there.
_SHUT = ((1, 2, 3), (0.0008, 0.00066, 0.0002))


class Lids:
    """The lids of G eyes of one topology.

    Points are those of the grids, N in the order of `RingGroup`.

    Args:
        grids: around each eye, `GRID_INNER` rings inwards, `GRID_OUTER` outwards.
        positions: (S, 3) metres, the template.
        device: of all tensors.
    """

    def __init__(self, grids: Sequence[RingGrid], positions: FloatArray, device: torch.device) -> None:
        grid = grids[0]
        self.grid = grid
        self.group = RingGroup(grids, device)
        self._edge = slice(grid.border, grid.border + _EDGE[1] + 1)
        steps = np.arange(len(grid.vertices)) - grid.border
        # A point of the upper edge meets the lower edge at the same share of the way from corner to corner.
        lashes = grid.border + _EDGE[1]
        #: (C,) vertices of the first eye's upper lid that carry the lashes.
        self.lashes = grid.vertices[lashes, grid.upper]
        meets = []
        for one in grids:
            above, below = (_way_along(positions[one.vertices[lashes, c]]) for c in (one.upper, one.lower))
            meets.append(np.stack([np.interp(above, below, row) for row in np.eye(len(below))], axis=1))
        self._meets = torch.from_numpy(np.stack(meets)[:, None]).to(device)
        self._upper, self._lower = grid.upper, torch.from_numpy(grid.lower).to(device)
        gaps = self.gaps(torch.from_numpy(positions).to(device)[self.group.vertices])
        self._touch = torch.zeros_like(gaps)
        widest = torch.tensor(_GAPS, dtype=gaps.dtype, device=device)[:, None]
        self._touch[..., 1] = -torch.minimum(widest, _MOST_LEFT * gaps[..., 1].abs())
        between = torch.ones(gaps.shape[2], dtype=gaps.dtype)
        between[[0, -1]] = 0
        fade = np.interp(steps, [-GRID_INNER, 0, _EDGE[1], GRID_OUTER], [0, 1, 1, 0])
        self._fade = (torch.from_numpy(fade)[:, None, None] * between[:, None]).to(device)
        # The edge's ring that a ring of the lid follows.
        self._followed = torch.from_numpy(steps.clip(0, _EDGE[1])).to(device)
        hidden = np.repeat(steps < _EDGE[0], grid.vertices.shape[1])
        self._seen = torch.from_numpy(np.tile(~hidden, len(grids)))[:, None].to(device)

    def close(self, pose: Tensor, gaps: Tensor | None = None) -> Tensor:
        """Return a pose (N, 3) with the upper lids set down on the lower ones.

        The edge meets ring by ring; the lid's skin follows, less and less.

        Args:
            gaps: (G, 4, C, 3) what shall stay open, as `gaps` returns it; a touch if omitted.
        """
        missing = self.gaps(pose) - (self._touch if gaps is None else gaps)
        points = pose.view(*self.group.shape, 3)
        moves = self._fade * missing[:, self._followed]
        lower = points[:, :, self._upper.stop :]
        return torch.cat([points[:, :, self._upper] + moves, lower], dim=2).view(pose.shape)

    def keep_closed(self, moves: Tensor) -> Tensor:
        """Return by how much closed lids (N, B, 3) must go on where B shapes move them by (N, B, 3).

        The upper lid follows its place on the lower one, wherever that goes.
        """
        flat = moves.flatten(1)
        missing = self.gaps(flat)
        followed = torch.zeros_like(flat).view(*self.group.shape, -1)
        followed[:, :, self._upper] = self._fade * missing[:, self._followed]
        return followed.view(moves.shape)

    def gaps(self, pose: Tensor) -> Tensor:
        """Return the way (G, 4, C, 3) from each point of the upper edge to its place on the lower edge.

        Args:
            pose: (N, 3) float64.
        Returns:
            The rows are the rings from the socket's border outwards; the columns include the corners.
        """
        edge = pose.view(*self.group.shape, -1)[:, self._edge]
        return self._meets @ edge[:, :, self._lower] - edge[:, :, self._upper]

    @staticmethod
    def shorten(gaps: Tensor) -> Tensor:
        """Return `gaps` of which those of the edge, which are seen, are as short as they can be.

        Beside the corners, where lids are one steep fold, some is left: closed further, it would cut itself.
        """
        from_corner = np.arange(gaps.shape[2])
        from_corner = np.minimum(from_corner, from_corner[::-1])
        longest = torch.from_numpy(np.interp(from_corner, *_SHUT)[:, None]).to(gaps)
        seen = gaps[:, _EDGE[0] :]
        length = seen.norm(dim=-1, keepdim=True)
        shortened = seen * (longest / length.clamp(min=1e-12)).clamp(max=1)
        return torch.cat([gaps[:, : _EDGE[0]], shortened], dim=1)

    def clear(self, points: Tensor, eyeballs: Eyeballs) -> Tensor:
        """Return points (N, B, 3) of B poses pushed out of the eyeballs; what lies around them follows."""
        grids = self.group.shape[0]
        outward = points.view(grids, -1, 3) - eyeballs.centre[:, None]
        distance = outward.norm(dim=-1, keepdim=True)
        direction = outward / distance.clamp(min=1e-9)
        deep = (eyeballs.reach(direction)[..., None] + _OFF - distance).clamp(min=0)
        push = self.group.spread(deep.view(points.shape[:2]) * self._seen, corners=True)
        cleared: Tensor = points + push[..., None] * direction.view(points.shape)
        return cleared


def _way_along(points: FloatArray) -> FloatArray:
    """Return for each point (C,) of a line (C, 3) the share 0..1 of its length up to there."""
    way = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    return np.asarray(way / way[-1])

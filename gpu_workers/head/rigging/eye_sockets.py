"""Seats a head's eyeballs behind its lids, and its lids on the eyeballs.

The basis moves MakeHuman's eyes, which are half as large again as real ones and differ from head to head. A
head gets spheres of 24 mm instead: each stands where its own eye stood, as seen from the front, and as deep
as the lids' margins let it. The margins then move to the sphere along the line of sight, so that the outline
that the photo showed stays. The fissure is a little wider than the sphere: near its corners the margins keep
off it, and the skin behind them, which nothing else shows, closes the way to the sphere (at the inner corner
that is the caruncle). No ray from the front passes between a lid and its eyeball.

Seating a head that is seated changes nothing.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from gpu_workers.head.ops.linalg import box_centre, send
from gpu_workers.head.rigging.eyeballs import EYEBALL_RADIUS, Eyeballs, bulge
from gpu_workers.head.rigging.opening_grids import RingGrid, RingGroup

FloatArray = NDArray[np.floating]

#: Rings outwards of the socket's border: the margin; behind it the bridge to the eyeball, and the foot in it.
MARGIN, _BRIDGE, _FOOT = 2, 1, 0
#: All lengths below are shares of the eyeball's radius. The margin rides on the sphere by a film of tears and
#: by what its straight quads cut off.
_FILM = 0.032
#: The sphere's profile that margins follow goes on as its tangent from here on, seen from the front.
_TANGENT_FROM = 0.68
#: Margins that tell how deep the eyeball stands: this near to its middle, seen from the front.
_CENTRAL = 0.5
#: By how much the margin may stand in front of that profile at the corners, and how far from them, along the
#: lid, it still may: (at the nose, at the temple).
_CORNER_AHEAD, _CORNER_REACH = (0.6, 0.3), (1.0, 0.7)
#: Below the sphere's surface: the bridge beside a margin that lies on it, and the foot.
_BRIDGE_SUNK, _FOOT_SUNK = 0.025, 0.07
#: How far bridge and foot lie under the lid, shares of the way from the margin to this ring: so those of shut
#: lids do not meet.
_UNDER, _TUCKED = 4, (0.4, 1.0)
#: Columns from a corner on that belong to it, and how far.
_AT_CORNERS = (1.0, 1.0, 0.5)
#: Where the margin keeps off the sphere, the bridge stands so far along the way back.
_BRIDGE_SHARE = 0.5
#: What follows the margin: rings outwards of the socket's border, and how far.
_FOLLOWS = ((-4, 0, 3, 10), (0.0, 1.0, 1.0, 0.0))


class EyeSockets:
    """Seats the eyes of heads of one topology; never waits for the device.

    Args:
        grids: around each eye; see openings.py.
        eyes: rows of each eye's sphere, in the order of the grids.
        positions: (V, 3) metres, the template.
        device: of all tensors.
    """

    def __init__(
        self, grids: Sequence[RingGrid], eyes: Sequence[slice], positions: FloatArray, device: torch.device
    ) -> None:
        self._group, self._eyes = RingGroup(grids, device), list(eyes)
        self._border = grids[0].border
        spheres = [positions[rows].astype(np.float64) for rows in eyes]
        middles = [0.5 * (ball.min(0) + ball.max(0)) for ball in spheres]
        arms = np.stack([ball - middle for ball, middle in zip(spheres, middles, strict=True)])
        self._unit = send(arms / np.linalg.norm(arms, axis=2, keepdims=True), device)
        central, ahead, pairs = [], [], []
        for grid, middle in zip(grids, middles, strict=True):
            margin = (positions[grid.vertices[self._border + MARGIN]] - middle) / EYEBALL_RADIUS
            central.append(np.clip(1 - np.abs(margin[:, 0]) / _CENTRAL, 0, 1))
            nose, temple = _from_corners(margin, grid, at_nose=0 if middle[0] > 0 else grid.left_corner)
            allowed = [
                most * np.clip(1 - way / reach, 0, 1) ** 2
                for most, reach, way in zip(_CORNER_AHEAD, _CORNER_REACH, (nose, temple), strict=True)
            ]
            ahead.append(np.maximum(*allowed))
            pairs.append(_pair_at_corners(grid))
        self._pairs = send(np.stack(pairs), device)
        beside = np.ones(grids[0].vertices.shape[1])
        for corner in (0, grids[0].left_corner):
            for step, share in enumerate(_AT_CORNERS):
                beside[[(corner + step) % len(beside), corner - step]] = 1 - share
        self._beside_corners = send(beside, device)[:, None, None]
        self._central, self._ahead = send(np.stack(central), device), send(np.stack(ahead), device)
        rings = np.arange(len(grids[0].vertices)) - self._border
        follows = np.interp(rings, *_FOLLOWS)
        self._follows = send(follows, device)[None, :, None]

    def seat(self, neutral: Tensor, scale: Tensor | float) -> Eyeballs:
        """Seat the eyes of a head (V, 3) float64, in place, and return its eyeballs.

        Args:
            scale: from the head's metres to real ones.
        """
        middle = box_centre(torch.stack([neutral[rows] for rows in self._eyes]))
        radius = torch.as_tensor(EYEBALL_RADIUS / scale, dtype=neutral.dtype, device=neutral.device)
        points = neutral[self._group.vertices].view(*self._group.shape, 3)
        margin = points[:, self._border + MARGIN]
        from_middle = (margin[..., :2] - middle[:, None, :2]).norm(dim=-1) / radius
        # Where the sphere's middle would lie if the margin lay on the profile.
        wanted = margin[..., 2] - radius * _profile(from_middle)
        depth = (self._central * wanted).sum(1) / self._central.sum(1)
        off = wanted - depth[:, None]
        move = torch.minimum(off.clamp(min=0), radius * self._ahead) - off
        move = (self._pairs @ move[..., None])[..., 0]
        points = torch.cat(
            [points[..., :2], (points[..., 2] + self._follows * move[:, None])[..., None]], dim=-1
        )
        eyeballs = Eyeballs(torch.cat([middle[:, :2], depth[:, None]], dim=1), radius)
        tucked = self.tuck(points.view(-1, 1, 3), eyeballs)
        neutral.index_copy_(0, self._group.vertices, tucked[:, 0])
        spheres = eyeballs.centre[:, None] + radius * self._unit
        for rows, sphere in zip(self._eyes, spheres, strict=True):
            neutral[rows] = sphere
        return eyeballs

    def tuck(self, points: Tensor, eyeballs: Eyeballs) -> Tensor:
        """Return points (N, B, 3) of B poses with the skin behind the margins brought to the eyeballs."""
        rings = points.view(*self._group.shape, -1, 3)
        centre, radius = eyeballs.centre[:, None, None], eyeballs.radius
        foot, bridge, margin = (rings[:, self._border + ring] - centre for ring in (_FOOT, _BRIDGE, MARGIN))
        distance = margin.norm(dim=-1, keepdim=True)
        under = rings[:, self._border + _UNDER] - rings[:, self._border + MARGIN]
        to_bridge, to_foot = (normalize(margin + share * under, dim=-1) for share in _TUCKED)
        gap = (distance - (1 + _FILM) * radius).clamp(min=0)
        beside = ((1 - _BRIDGE_SUNK) * radius + _BRIDGE_SHARE * gap) * to_bridge
        sunk = (1 - _FOOT_SUNK) * radius
        # At the corners, where both lids are one fold, these rings keep their places, but reach the eyeball.
        corner = foot * (sunk / foot.norm(dim=-1, keepdim=True)).clamp(max=1)
        tucked = [
            torch.lerp(corner, sunk * to_foot, self._beside_corners),
            torch.lerp(bridge, beside, self._beside_corners),
        ]
        moved = centre[:, None] + torch.stack(tucked, dim=1)
        first = self._border + _FOOT
        return torch.cat([rings[:, :first], moved, rings[:, first + 2 :]], dim=1).view(points.shape)


def _profile(from_middle: Tensor) -> Tensor:
    """Return how far ahead of the sphere's middle a margin lies, by how far beside it; shares of a radius."""
    inside = from_middle.clamp(max=_TANGENT_FROM)
    reach = 1 + _FILM + bulge((1 - (inside / (1 + _FILM)) ** 2).sqrt())
    slope = _TANGENT_FROM / (1 - _TANGENT_FROM**2) ** 0.5
    ahead: Tensor = (reach**2 - inside**2).sqrt() - slope * (from_middle - inside)
    return ahead


def _pair_at_corners(grid: RingGrid) -> FloatArray:
    """Return the matrix (C, C) by which columns near a corner move as upper and lower lid do in the mean."""
    count = grid.vertices.shape[1]
    pairs = np.eye(count)
    for corner in (0, grid.left_corner):
        for step, share in enumerate(_AT_CORNERS):
            one, other = (corner + step) % count, (corner - step) % count
            for column, opposite in ((one, other), (other, one)):
                pairs[column] = 0
                pairs[column, column] += 1 - share / 2
                pairs[column, opposite] += share / 2
    return pairs


def _from_corners(margin: FloatArray, grid: RingGrid, at_nose: int) -> tuple[FloatArray, FloatArray]:
    """Return how far each point of a margin (C, 3) is from the corner at the nose and from the other (C,)."""
    count = len(margin)
    step = np.linalg.norm(np.roll(margin, -1, axis=0) - margin, axis=1)
    way = np.concatenate([[0], np.cumsum(step)])
    both = []
    for corner in (at_nose, grid.left_corner - at_nose):
        once = np.abs(way[:count] - way[corner])
        both.append(np.minimum(once, way[-1] - once))
    return both[0], both[1]

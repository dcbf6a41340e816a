"""The rings of quads around the mouth and the eyes: lips and lids as regular grids of vertices.

MakeHuman's skin is regular where it opens: from the border of the mouth's (or an eye socket's) UV island,
ring after ring of as many vertices follows outwards over the lips and inwards into the mouth, and columns of
vertices cross them. Contact, closing and clearance are sought column by column.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from face3d.errors import ConfigurationError

IndexArray = NDArray[np.int64]

#: Vertices around a value that follow it.
_SPREAD = 4


@dataclass(frozen=True, kw_only=True)
class RingGrid:
    """One opening of the skin; K rings (innermost first) of C columns."""

    #: (K, C) skin vertices; columns run around the opening, from the corner at the person's right over the
    #: upper side to the corner at the left and back over the lower side.
    vertices: IndexArray
    #: The row of `vertices` that is the island's border.
    border: int
    #: The column of the corner at the person's left; column 0 is the other one.
    left_corner: int

    @property
    def upper(self) -> slice:
        """Return the columns of the upper side, corners included."""
        return slice(0, self.left_corner + 1)

    @property
    def lower(self) -> IndexArray:
        """Return the columns of the lower side, corners included, in the order of the upper side."""
        count = self.vertices.shape[1]
        return np.asarray(np.arange(count, self.left_corner - 1, -1) % count)


class RingGroup:
    """Openings of one form side by side, on one device: G grids of K rings and C columns.

    Their vertices stand in one list, N = G K C, column after column, ring after ring, grid after grid.

    Raises:
        ConfigurationError: the grids differ in form.
    """

    def __init__(self, grids: Sequence[RingGrid], device: torch.device) -> None:
        first = grids[0]
        if any(
            (grid.vertices.shape, grid.border, grid.left_corner)
            != (first.vertices.shape, first.border, first.left_corner)
            for grid in grids
        ):
            raise ConfigurationError("openings of different forms cannot be resolved together")
        #: G, K, C.
        self.shape = (len(grids), *first.vertices.shape)
        #: (N,) skin vertices.
        self.vertices = torch.from_numpy(np.stack([grid.vertices for grid in grids]).ravel()).to(device)
        _, rings, columns = self.shape
        across = _binomial(rings)
        across[[0, -1]] = 0
        around = _binomial(columns)
        around[0, -1] = around[-1, 0] = 0.25
        fixed = around.clone()
        fixed[[0, first.left_corner]] = 0
        self._across = across.to(device)
        self._around = {True: around.to(device), False: fixed.to(device)}

    def spread(self, values: Tensor, *, corners: bool) -> Tensor:
        """Return values (N, B) of at least these, none of which is negative, that fade smoothly around them.

        Args:
            corners: whether the corners follow; the innermost and the outermost ring never do.
        """
        across, around = self._across.to(values.dtype), self._around[corners].to(values.dtype)
        grids, rings, columns = self.shape
        for _ in range(_SPREAD):
            smooth = around @ values.view(grids, rings, columns, -1)
            smooth = (across @ smooth.view(grids, rings, -1)).view(values.shape)
            values = torch.maximum(values, smooth)
        return values


def _binomial(size: int) -> Tensor:
    """Return the matrix (size, size) that takes the binomial mean of a value and its two neighbours."""
    quarter = torch.full((size - 1,), 0.25)
    return 0.5 * torch.eye(size) + torch.diag(quarter, 1) + torch.diag(quarter, -1)


def ring_grid(
    positions: NDArray[np.floating],
    quads: NDArray[np.integer],
    inside: NDArray[np.bool_],
    corners: tuple[int, int],
    *,
    inwards: int,
    outwards: int,
) -> RingGrid:
    """Return the grid around one opening.

    Args:
        positions: (S, 3) the template, to tell above from below.
        quads: (F, 4).
        inside: (F,) the quads of the island within the opening.
        corners: vertices of the border at the person's right and left.
        inwards, outwards: number of rings on each side of the border.
    Raises:
        ConfigurationError: the mesh is not regular there.
    """
    own, others = _directed_edges(quads[inside]), _directed_edges(quads[~inside])
    following = {a: b for a, b in own if (b, a) in others}
    loop = [corners[0]]
    while (vertex := following[loop[-1]]) != corners[0]:
        loop.append(vertex)
    border = np.array(loop)
    left = loop.index(corners[1])
    if positions[border[1:left], 1].mean() < positions[border[left + 1 :], 1].mean():
        border = np.roll(border[::-1], 1)
        left = len(border) - left
    rings = [border]
    for side, count in ((inside, inwards), (~inside, outwards)):
        grown = _grow(border, quads[side], count)
        rings = grown[::-1] + rings if side is inside else rings + grown
    return RingGrid(vertices=np.stack(rings), border=inwards, left_corner=left)


def _directed_edges(quads: NDArray[np.integer]) -> set[tuple[int, int]]:
    edges = np.stack([quads, np.roll(quads, -1, axis=1)], axis=-1).reshape(-1, 2)
    return {(int(a), int(b)) for a, b in edges}


def _grow(border: IndexArray, quads: NDArray[np.integer], count: int) -> list[IndexArray]:
    """Return the next `count` rings on the side of the border that the quads lie on."""
    rings = [border]
    left_over = quads
    for _ in range(count):
        ring = rings[-1]
        column = {int(vertex): k for k, vertex in enumerate(ring)}
        touching = np.isin(left_over, ring).any(1)
        following: dict[int, int] = {}
        for quad in left_over[touching]:
            for a, b in zip(quad, np.roll(quad, -1), strict=True):
                if (int(a) in column) != (int(b) in column):
                    near, far = (int(a), int(b)) if int(a) in column else (int(b), int(a))
                    following.setdefault(near, far)
        grown = np.array([following.get(int(vertex), -1) for vertex in ring])
        if (grown < 0).any() or len(np.unique(grown)) != len(ring):
            raise ConfigurationError("the skin is not regular around mouth or eyes")
        rings.append(grown)
        left_over = left_over[~touching]
    return rings[1:]

"""The rings of quads around the mouth and the eyes: lips and lids as regular grids of vertices.

MakeHuman's skin is regular where it opens: from the border of the mouth's (or an eye socket's) UV island,
ring after ring of as many vertices follows outwards over the lips and inwards into the mouth, and columns of
vertices cross them. Contact, closing and clearance are sought column by column.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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

    def spread(self, values: NDArray[np.floating], *, corners: bool) -> NDArray[np.floating]:
        """Return values (B, K, C) of at least these sizes that fade smoothly around them.

        Args:
            corners: whether the corners follow; the innermost and the outermost ring never do.
        """
        for _ in range(_SPREAD):
            joined = np.concatenate([values[:, :, -1:], values, values[:, :, :1]], axis=2)
            around = 0.5 * values
            around += 0.25 * (joined[:, :, :-2] + joined[:, :, 2:])
            across = np.zeros_like(around)
            across[:, 1:-1] = 0.5 * around[:, 1:-1] + 0.25 * (around[:, :-2] + around[:, 2:])
            if not corners:
                across[:, :, [0, self.left_corner]] = 0
            values = np.where(np.abs(values) > np.abs(across), values, across)
        return values


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

"""Edge loops of quad meshes: lines of edges that run straight on over vertices with four neighbours."""

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from face3d.errors import ConfigurationError
from gpu_workers.head.ops.mesh import connected_labels

IndexArray = NDArray[np.int64]


class EdgeLoops:
    """The edges of a quad mesh (F, 4), to walk along."""

    def __init__(self, quads: IndexArray) -> None:
        self._quads = quads
        self._neighbours: dict[int, set[int]] = defaultdict(set)
        self._faces: dict[tuple[int, int], set[int]] = defaultdict(set)
        for face, row in enumerate(quads.tolist()):
            for a, b in zip(row, row[1:] + row[:1], strict=True):
                self._neighbours[a].add(b)
                self._neighbours[b].add(a)
                self._faces[min(a, b), max(a, b)].add(face)

    def walk(self, start: int, second: int) -> list[int]:
        """Return the vertices of the closed loop that begins with an edge.

        Raises:
            ConfigurationError: the loop does not close.
        """
        loop = [start, second]
        while True:
            following = self._straight_on(loop[-2], loop[-1])
            if following == start:
                return loop
            if following is None or len(loop) > len(self._quads):
                raise ConfigurationError("base.obj has not the edge loop that is expected")
            loop.append(following)

    def _straight_on(self, before: int, vertex: int) -> int | None:
        if len(self._neighbours[vertex]) != 4:
            return None
        beside = self._faces[min(before, vertex), max(before, vertex)]
        ahead = [
            other
            for other in self._neighbours[vertex]
            if other != before and not self._faces[min(vertex, other), max(vertex, other)] & beside
        ]
        return ahead[0] if len(ahead) == 1 else None


def split_by_loops(quads: IndexArray, loops: list[list[int]], inside: IndexArray) -> NDArray[np.bool_]:
    """Return (F,) whether a face hangs together with certain ones when the mesh is cut along loops.

    Args:
        quads: (F, 4).
        inside: numbers of some faces.
    """
    following = np.roll(quads, -1, axis=1)
    span = int(quads.max()) + 1
    keys = (np.minimum(quads, following) * span + np.maximum(quads, following)).ravel()
    cuts = [np.stack([loop, np.roll(loop, -1)]) for loop in loops]
    barrier = np.concatenate([pair.min(0) * span + pair.max(0) for pair in cuts])
    faces = np.repeat(np.arange(len(quads)), 4)
    kept = ~np.isin(keys, barrier)
    order = np.argsort(keys[kept], kind="stable")
    key, face = keys[kept][order], faces[kept][order]
    joined = key[1:] == key[:-1]
    links = np.stack([face[:-1][joined], face[1:][joined]], axis=1)
    labels = connected_labels(links, len(quads))
    return np.asarray(np.isin(labels, labels[inside]))

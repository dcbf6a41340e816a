"""What a part's shapes do to its vertices and to their normals, as sparse lists; several shapes at a time.

Shapes that lie beside each other in ARKit's order move much the same region, so a block of them is worked on
together: only the faces that some shape of the block moves, with a column a shape.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from assets.mesh import TriangleMesh, find_areas, normalise, squared_lengths, sum_areas
from face3d.head import FloatArray, IndexArray, MeshPart

#: A key moves a vertex, or turns its normal, when it does more than this: metres; length of the difference.
#: In a picture of 4096 pixels a head's pixel is 0.07 mm, and 0.6 degrees change a shade by 1 %. From here to
#: three times as much a move grows from nothing to its own length: a step would be a crease where a reader
#: finds normals itself.
SMALLEST_MOVE = 5e-5
SMALLEST_TURN = 1e-2
_WHOLE_FROM = 3
#: A block of a large part has eight shapes, one of a small part as many as make this number of vectors.
_BLOCK_VECTORS = 30_000
_KEPT_TOPOLOGIES = 64

#: As `map` and as `Executor.map`.
Mapper = Callable[[Callable[[slice], "list[Morph]"], Iterable[slice]], Iterator["list[Morph]"]]


@dataclass(frozen=True, kw_only=True)
class SparseVectors:
    """Vectors of the K split vertices that have one other than zero."""

    #: (K,) ascending.
    vertices: IndexArray
    #: (K, 3)
    vectors: FloatArray
    #: (2, 3) the least and the largest of each column; None where nobody asked.
    bounds: FloatArray | None = None


@dataclass(frozen=True, kw_only=True)
class Morph:
    """What a shape adds to positions (metres) and to unit normals of split vertices."""

    moves: SparseVectors
    turns: SparseVectors


class MorphFinder:
    """Finds the morphs of one part.

    Args:
        mesh: the part's triangles.
        deltas: (V, keys, 3) metres, float32, contiguous: what each key adds to the part's positions.
        beyond: (V, 3) areas that faces of other parts add; see `mesh.find_areas_across`.
    """

    def __init__(
        self, part: MeshPart, mesh: TriangleMesh, deltas: FloatArray, beyond: FloatArray | None = None
    ) -> None:
        self._positions, self._split = part.positions, mesh.vertices
        self._rings = _find_rings(np.ascontiguousarray(part.quads, np.int32).tobytes(), len(part.positions))
        # (V, keys, 3), of the keys that move something.
        x, y, z = (deltas != 0).transpose(2, 0, 1)
        moved = x | y | z
        self._moving = moved.any(axis=0)
        if not self._moving.all():
            deltas, moved = deltas[:, self._moving], moved[:, self._moving]
        self._deltas = deltas
        # (V, bytes) eight shapes a byte.
        self._moved = np.packbits(moved, axis=1)
        self._areas = find_areas(part.positions, part.quads)
        self._sums = sum_areas(self._areas, part.quads, len(part.positions))
        if beyond is not None:
            self._sums = self._sums + beyond
        #: (V, 3) unit normals of the part at rest.
        self.normals = normalise(self._sums)

    def find_all(self, run: Mapper = map) -> Iterator[Morph]:
        """Begin to find the morphs; they come in the order of the shapes.

        Args:
            run: applies a function to blocks of shapes; a pool's `map` spreads them over its threads.
        """
        vertices, count, _ = self._deltas.shape
        size = 8 * max(1, _BLOCK_VECTORS // (8 * max(vertices, 1)))
        blocks = [slice(start, min(start + size, count)) for start in range(0, count, size)]
        return self._collect(run(self._find_block, blocks))

    def _collect(self, blocks: Iterator[list[Morph]]) -> Iterator[Morph]:
        found = itertools.chain.from_iterable(blocks)
        for moves in self._moving:
            yield next(found) if moves else _NO_MORPH

    def _find_block(self, shapes: slice) -> list[Morph]:
        """Return the morphs of some of the shapes that move something; they begin with a byte's first."""
        flags = np.logical_or.reduce(self._moved[:, shapes.start // 8 : -(-shapes.stop // 8)], axis=1)
        corners = self._rings.corners
        touched = np.flatnonzero(np.logical_or.reduce([flags.take(corner) for corner in corners]))
        quads = [corner.take(touched) for corner in corners]
        for corner in quads:
            flags[corner] = True
        vertices = np.flatnonzero(flags)
        place = np.cumsum(flags, dtype=np.int32) - 1
        # Columns a shape, a plane a coordinate: (3, vertices, shapes).
        moves = np.ascontiguousarray(self._deltas[:, shapes][vertices].transpose(2, 0, 1))
        rest = self._positions.take(vertices, axis=0).T[:, :, None]
        areas = _cross_diagonals(moves + rest, [place.take(corner) for corner in quads])
        areas -= self._areas.take(touched, axis=0).T[:, :, None]
        sums = self._rings.sum_faces(areas, touched, vertices)
        sums += self._sums.take(vertices, axis=0).T[:, :, None]
        turns = _make_unit(sums)
        turns -= self.normals.take(vertices, axis=0).T[:, :, None]
        copies = np.flatnonzero(flags.take(self._split)).astype(np.int32)
        source = place.take(self._split.take(copies))
        moved = _list_sparse(moves, SMALLEST_MOVE, source, copies, bounded=True)
        turned = _list_sparse(turns, SMALLEST_TURN, source, copies)
        return [Morph(moves=move, turns=turn) for move, turn in zip(moved, turned, strict=True)]


_NOTHING = SparseVectors(vertices=np.zeros(0, np.int32), vectors=np.zeros((0, 3), np.float32))
_NO_MORPH = Morph(moves=_NOTHING, turns=_NOTHING)


def _cross_diagonals(points: FloatArray, corners: list[IndexArray]) -> FloatArray:
    """Return area vectors (3, F, C), doubled, of quads whose corners are rows of points (3, V, C)."""
    across = np.empty((2, 3, len(corners[0]), points.shape[2]), np.float32)
    for k in range(3):
        for diagonal, (start, end) in zip(across, ((0, 2), (1, 3)), strict=True):
            points[k].take(corners[end], axis=0, out=diagonal[k], mode="clip")
            diagonal[k] -= points[k].take(corners[start], axis=0)
    u, v = across
    areas = np.empty_like(u)
    for k in range(3):
        i, j = (k + 1) % 3, (k + 2) % 3
        np.multiply(u[i], v[j], out=areas[k])
        areas[k] -= u[j] * v[i]
    return areas


def _make_unit(vectors: FloatArray) -> FloatArray:
    """Return vectors (3, V, C) made unit vectors, in place; one without length looks along +z."""
    length = squared_lengths(vectors)
    np.sqrt(length, out=length)
    flat = length <= 1e-12
    np.maximum(length, 1e-12, out=length)
    vectors /= length
    if flat.any():
        vectors[:, flat] = np.array([[0], [0], [1]], np.float32)
    return vectors


def _list_sparse(
    planes: FloatArray, smallest: float, source: IndexArray, copies: IndexArray, *, bounded: bool = False
) -> Iterator[SparseVectors]:
    """Yield what is longer than `smallest` in each column, faded in up to `_WHOLE_FROM` times that.

    Args:
        planes: (3, V, C), written anew.
        source: (K,) the row of `planes` of each split vertex.
        copies: (K,) their numbers.
    """
    lengths = squared_lengths(planes)
    np.sqrt(lengths, out=lengths)
    kept = np.ascontiguousarray((lengths > smallest).take(source, axis=0).T)
    lengths -= smallest
    lengths /= (_WHOLE_FROM - 1) * smallest
    planes *= np.clip(lengths, 0, 1, out=lengths)
    columns = [np.ascontiguousarray(plane.take(source, axis=0).T) for plane in planes]
    for number, mask in enumerate(kept):
        rows = np.flatnonzero(mask)
        if not len(rows):
            yield _NOTHING
            continue
        found = [column[number].take(rows) for column in columns]
        bounds = None
        if bounded:
            bounds = np.array([[one.min() for one in found], [one.max() for one in found]], np.float32)
        yield SparseVectors(vertices=copies.take(rows), vectors=np.stack(found, axis=1), bounds=bounds)


@dataclass(frozen=True, kw_only=True)
class _Rings:
    """The faces around each vertex of a topology of V vertices and F faces."""

    #: Four of (F,): the faces' corners.
    corners: tuple[IndexArray, ...]
    #: (V, most) numbers of faces; F where a vertex has fewer. Those with four at most come by in one go.
    faces: IndexArray

    def sum_faces(
        self, values: FloatArray, touched: NDArray[np.intp], vertices: NDArray[np.intp]
    ) -> FloatArray:
        """Return (3, K, C): for some vertices (K,) the sums of values (3, T, C) of some faces (T,) around."""
        place = np.full(len(self.corners[0]) + 1, len(touched), np.int32)
        place[touched] = np.arange(len(touched), dtype=np.int32)
        around = place.take(self.faces.take(vertices, axis=0))
        sums = np.empty((3, len(vertices), values.shape[2]), np.float32)
        padded = np.zeros((len(touched) + 1, values.shape[2]), np.float32)
        common = min(4, around.shape[1])
        # The rest is a few vertices' only.
        rest = [(k, np.flatnonzero(around[:, k] < len(touched))) for k in range(common, around.shape[1])]
        for index, plane in enumerate(values):
            padded[:-1] = plane
            total = sums[index]
            padded.take(around[:, 0], axis=0, out=total, mode="clip")
            for k in range(1, common):
                total += padded.take(around[:, k], axis=0)
            for k, rows in rest:
                total[rows] += padded.take(around[rows, k], axis=0)
        return sums


@lru_cache(maxsize=_KEPT_TOPOLOGIES)
def _find_rings(quad_data: bytes, vertices: int) -> _Rings:
    quads = np.frombuffer(quad_data, np.int32).reshape(-1, 4)
    real = np.ones(quads.shape, bool)
    # A triangle's last corner is not there twice.
    real[:, 3] = quads[:, 2] != quads[:, 3]
    face = np.repeat(np.arange(len(quads), dtype=np.int32), 4)[real.ravel()]
    vertex = quads[real]
    order = np.argsort(vertex, kind="stable")
    counts = np.bincount(vertex, minlength=vertices)
    faces = np.full((vertices, max(1, int(counts.max(initial=0)))), len(quads), np.int32)
    within = np.arange(len(vertex)) - np.repeat(np.cumsum(counts) - counts, counts)
    faces[vertex[order], within] = face[order]
    return _Rings(corners=tuple(np.ascontiguousarray(quads.T)), faces=faces)

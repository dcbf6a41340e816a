"""What becomes one primitive of a file, of one part or of several: split vertices, keys, joints."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from assets.keys import find_deltas
from assets.mesh import TriangleMesh, find_areas_across, split_vertices
from assets.morphs import Morph, MorphFinder, SparseVectors
from assets.threads import ARRAY_THREADS
from face3d.head import FloatArray, Head, IndexArray, MeshPart

#: Threads share the keys of a part with more vertices than that.
_SMALL_PART = 4000


@dataclass(frozen=True, kw_only=True)
class Piece:
    """N split vertices, M triangles."""

    #: (N, 3) metres, and (N, 3) unit vectors.
    positions: FloatArray
    normals: FloatArray
    #: (N, 2) v up.
    uvs: FloatArray
    #: (M, 3) anticlockwise seen from outside.
    triangles: IndexArray
    #: (N, 6) rows sum to one.
    joint_weights: FloatArray
    #: What each key adds.
    morphs: Sequence[Morph]


def find_pieces(head: Head) -> list[Piece]:
    """Return a piece a part, in their order."""
    splits = [split_vertices(part) for part in head.parts]
    # Normals are found on unsplit vertices, so that shading does not break at UV seams.
    beyond = find_areas_across(head.parts, [part.positions for part in head.parts])
    finders = [
        MorphFinder(part, mesh, find_deltas(part), extra)
        for part, mesh, extra in zip(head.parts, splits, beyond, strict=True)
    ]
    with ThreadPoolExecutor(ARRAY_THREADS) as pool:
        large = [len(part.positions) > _SMALL_PART for part in head.parts]
        begun = {index: finders[index].find_all(pool.map) for index in range(len(large)) if large[index]}
        # What is small is done here before another thread had taken it over.
        found = [begun.get(index) or list(finder.find_all()) for index, finder in enumerate(finders)]
        return [
            _make_piece(part, mesh, finder.normals, list(morphs))
            for part, mesh, finder, morphs in zip(head.parts, splits, finders, found, strict=True)
        ]


def _make_piece(part: MeshPart, mesh: TriangleMesh, normals: FloatArray, morphs: Sequence[Morph]) -> Piece:
    return Piece(
        positions=part.positions[mesh.vertices],
        normals=normals[mesh.vertices],
        uvs=mesh.uvs,
        triangles=mesh.triangles,
        joint_weights=part.joint_weights[mesh.vertices],
        morphs=morphs,
    )


def join_pieces(pieces: Sequence[Piece]) -> Piece:
    """Return pieces as one, their vertices in order."""
    if len(pieces) == 1:
        return pieces[0]
    firsts = np.cumsum([0, *(len(piece.positions) for piece in pieces)])
    return Piece(
        positions=np.concatenate([piece.positions for piece in pieces]),
        normals=np.concatenate([piece.normals for piece in pieces]),
        uvs=np.concatenate([piece.uvs for piece in pieces]),
        triangles=np.concatenate(
            [piece.triangles + first for piece, first in zip(pieces, firsts[:-1], strict=True)]
        ).astype(np.int32),
        joint_weights=np.concatenate([piece.joint_weights for piece in pieces]),
        morphs=[
            Morph(
                moves=_join([morph.moves for morph in morphs], firsts),
                turns=_join([morph.turns for morph in morphs], firsts),
            )
            for morphs in zip(*(piece.morphs for piece in pieces), strict=True)
        ],
    )


def _join(vectors: Sequence[SparseVectors], firsts: IndexArray) -> SparseVectors:
    moving = [one for one in vectors if len(one.vertices)]
    if not moving:
        return vectors[0]
    bounds = [one.bounds for one in moving if one.bounds is not None]
    ends = np.concatenate(bounds) if bounds else None
    return SparseVectors(
        vertices=np.concatenate(
            [one.vertices + first for one, first in zip(vectors, firsts, strict=False)]
        ).astype(np.int32),
        vectors=np.concatenate([one.vectors for one in vectors]),
        bounds=None if ends is None else np.stack([ends.min(0), ends.max(0)]),
    )

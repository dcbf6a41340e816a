"""Parts of the head that MakeHuman lacks and that are made here: what they have in common."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class MadePart:
    """A part as it was made, in the template's frame (metres, origin midway between the eyes)."""

    name: str
    #: (V, 3)
    positions: FloatArray
    #: (F, 4) anticlockwise seen from outside.
    quads: IndexArray
    #: (T, 2) in its material's square, v up.
    uvs: FloatArray
    #: (F, 4) indices into `uvs`.
    uv_quads: IndexArray


def mirror_part(part: MadePart, name: str) -> MadePart:
    """Return the part on the other side of the head; vertex and uv numbers and the uvs stay."""
    flip = [0, 3, 2, 1]
    return MadePart(
        name=name,
        positions=part.positions * [-1, 1, 1],
        quads=part.quads[:, flip],
        uvs=part.uvs * [-1, 1] + [1, 0],
        uv_quads=part.uv_quads[:, flip],
    )


def join_parts(name: str, parts: list[MadePart]) -> MadePart:
    """Return several parts as one, their vertices and uvs in order."""
    vertices = np.cumsum([0] + [len(part.positions) for part in parts])
    uvs = np.cumsum([0] + [len(part.uvs) for part in parts])
    return MadePart(
        name=name,
        positions=np.concatenate([part.positions for part in parts]),
        quads=np.concatenate([part.quads + first for part, first in zip(parts, vertices, strict=False)]),
        uvs=np.concatenate([part.uvs for part in parts]),
        uv_quads=np.concatenate([part.uv_quads + first for part, first in zip(parts, uvs, strict=False)]),
    )


def grid_quads(rows: int, columns: int) -> IndexArray:
    """Return the quads of a grid of vertices, row by row; u runs with the columns, v with the rows."""
    corner = np.arange(rows * columns).reshape(rows, columns)
    quads = np.stack([corner[:-1, :-1], corner[:-1, 1:], corner[1:, 1:], corner[1:, :-1]], axis=-1)
    return np.asarray(quads.reshape(-1, 4), dtype=np.int64)


def follow_affinely(points: FloatArray, hosts: FloatArray) -> FloatArray:
    """Return weights (V, H) that move points as the affine map nearest to their hosts' motion does.

    Rows sum to one, and points are where their weighted hosts are as far as hosts span space: what hangs on
    an eyeball or a jaw turns, shifts and grows with it, whatever column of the basis moves it.

    Args:
        points: (V, 3).
        hosts: (H, 3) not all in one plane.
    """
    middle = hosts.mean(0)
    spread = np.linalg.pinv((hosts - middle).T @ (hosts - middle))
    weights = 1 / len(hosts) + (points - middle) @ spread @ (hosts - middle).T
    return np.asarray(weights)

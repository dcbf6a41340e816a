"""Fills closed loops of edges with quads: caps of the neck and of the bust's cuts."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from face3d.head import CoarseLevel

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]

#: How far the ring within the rim lies inwards, a share of the way to the middle.
_INSET = 0.12


@dataclass(frozen=True)
class LoopFill:
    """A cap of V vertices on a rim of L, which are its first."""

    #: (V, L) rows sum to one: where each vertex lies among the rim's.
    weights: FloatArray
    #: (F, 4) anticlockwise where the rim runs so.
    quads: IndexArray


def fill_loop(rim: int) -> LoopFill:
    """Return a cap on a rim of an even number of vertices, symmetric about the line across from the first.

    A ring of quads inside the rim, and in that a grid, whose vertices are a Coons patch of the ring's.
    """
    across = 2 * round(rim / 8)
    along = rim // 2 - across
    half = across // 2
    ring = (1 - _INSET) * np.eye(rim) + _INSET / rim
    grid = np.zeros((along + 1, across + 1), np.int64)
    grid[0] = (np.arange(across + 1) - half) % rim
    grid[:, -1] = half + np.arange(along + 1)
    grid[-1] = half + along + np.arange(across, -1, -1)
    grid[:, 0] = (-half - np.arange(along + 1)) % rim
    border = ring[grid]
    u = np.linspace(0, 1, across + 1)[None, :, None]
    v = np.linspace(0, 1, along + 1)[:, None, None]
    patch = (1 - v) * border[:1] + v * border[-1:] + (1 - u) * border[:, :1] + u * border[:, -1:]
    patch = patch - (1 - v) * ((1 - u) * border[:1, :1] + u * border[:1, -1:])
    patch = patch - v * ((1 - u) * border[-1:, :1] + u * border[-1:, -1:])
    inner = patch[1:-1, 1:-1].reshape(-1, rim)
    grid[1:-1, 1:-1] = rim + np.arange(len(inner)).reshape(along - 1, across - 1)
    here = np.arange(rim)
    following = np.roll(here, -1)
    collar = np.stack([here, following, following + rim, here + rim], axis=1)
    cells = np.stack([grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]], axis=-1).reshape(-1, 4)
    return LoopFill(np.concatenate([np.eye(rim), ring, inner]), np.concatenate([collar, cells + rim]))


def span_loop(kept: IndexArray) -> CoarseLevel:
    """Return a cap's level of detail 2: quads from side to side between those rim vertices that are kept.

    Args:
        kept: (K,) numbers of vertices of the rim, ascending; uvs have the same numbers.
    """
    last = len(kept) - 1
    first = np.arange((len(kept) - 1) // 2)
    quads = np.stack([first, first + 1, last - 1 - first, last - first], axis=1)
    # An odd rim ends in a triangle, which repeats its last index.
    return CoarseLevel(
        vertices=kept.astype(np.int32),
        uvs=kept.astype(np.int32),
        quads=quads.astype(np.int32),
        uv_quads=quads.astype(np.int32),
    )

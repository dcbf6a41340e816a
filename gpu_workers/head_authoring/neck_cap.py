"""The cap that closes the neck below: a part of its own on the seam, to be taken off where a body follows."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpu_workers.head_authoring.loop_fill import fill_loop
from gpu_workers.head_authoring.procedural_part import MadePart

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]

#: Of the cap's own square.
_MARGIN = 0.02


@dataclass(frozen=True)
class NeckCap:
    """The cap, and what it hangs on."""

    part: MadePart
    #: (L,) vertices of the skin, and (V, L) their weights; the first L vertices are on the seam.
    hosts: IndexArray
    weights: FloatArray


def make_neck_cap(loop: IndexArray, skin: FloatArray) -> NeckCap:
    """Return the cap of a seam.

    Args:
        loop: (L,) the seam's vertices, the way that the skin's edges run.
        skin: (S, 3) metres.
    """
    # The cap's edges run the other way; the first vertex stays in the middle of the nape.
    hosts = np.roll(loop[::-1], 1)
    fill = fill_loop(len(hosts))
    positions = fill.weights @ skin[hosts]
    part = MadePart(
        name="neck_cap",
        positions=positions,
        quads=fill.quads,
        uvs=lay_flat(positions, np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0])),
        uv_quads=fill.quads,
    )
    return NeckCap(part, hosts, fill.weights)


def lay_flat(points: FloatArray, u: FloatArray, v: FloatArray) -> FloatArray:
    """Return uvs (V, 2) in a square of points (V, 3) seen along the axes (3,) of u and v."""
    flat = np.stack([points @ u, points @ v], axis=1)
    low, extent = flat.min(0), np.ptp(flat, axis=0)
    scale = (1 - 2 * _MARGIN) / extent.max()
    return np.asarray(0.5 + (flat - low - extent / 2) * scale)

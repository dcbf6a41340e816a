"""How far lids go with the eyeball beneath: the eyes' columns of the joint weights, on the skin."""

import numpy as np
import torch
from numpy.typing import NDArray

from gpu_workers.head.model.head_template import PartData
from gpu_workers.head.ops.image import smoothstep
from gpu_workers.head.rigging.eye_sockets import MARGIN
from gpu_workers.head.rigging.opening_grids import RingGrid
from gpu_workers.head.rigging.openings import find_openings

FloatArray = NDArray[np.float64]

#: Share of the eye's turn at the middle of the upper and the lower lid's edge. A lid follows a look down
#: nearly whole (Evinger, Manning and Sibony, Eyelid movements, 1991); but the same share slides it aside, and
#: linear skinning lets it sink by share x (1 - share).
_UPPER, _LOWER = 0.58, 0.42
#: Rings outwards of the socket's border over which the share goes to nothing: from the lashes to the crease;
#: and inwards, behind the lid.
_UPPER_FADE, _LOWER_FADE, _INNER_FADE = (4, 10), (3, 10), (0, -4)
#: Share of the lid's edge, from a corner, over which it rises.
_RISE = 0.42


def lid_weights(skin: PartData, positions: FloatArray) -> FloatArray:
    """Return (S, 2): the skin's share of the left and the right eye's turn.

    Args:
        positions: (S, 3) metres, the template's skin.
    """
    shares = np.zeros((len(positions), 2))
    openings = find_openings(skin, positions, torch.device("cpu"))
    for column, side in enumerate(("Left", "Right")):
        _fill(shares[:, column], openings.eyes[side].lids.grid, positions)
    return shares


def _fill(share: FloatArray, grid: RingGrid, positions: FloatArray) -> None:
    """Write the share of one eye's turn into (S,)."""
    rings = np.arange(len(grid.vertices)) - grid.border
    upper = np.arange(*grid.upper.indices(grid.vertices.shape[1]))
    for columns, most, (full, none) in ((upper, _UPPER, _UPPER_FADE), (grid.lower, _LOWER, _LOWER_FADE)):
        edge = positions[grid.vertices[grid.border + MARGIN, columns]]
        way = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(edge, axis=0), axis=1))])
        along = np.minimum(way, way[-1] - way) / way[-1]
        across = smoothstep((none - rings) / (none - full)) * smoothstep(
            (rings - _INNER_FADE[1]) / (_INNER_FADE[0] - _INNER_FADE[1])
        )
        share[grid.vertices[:, columns]] = most * across[:, None] * smoothstep(along / _RISE)

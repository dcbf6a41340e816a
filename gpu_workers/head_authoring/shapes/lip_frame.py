"""Coordinates on the lips: how far aside, on which ring, upper or lower; and the spread of what lips do."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from gpu_workers.head.model.head_template import PartData
from gpu_workers.head.ops.image import smoothstep
from gpu_workers.head.rigging.openings import find_openings
from gpu_workers.head_authoring.shapes.skin_surface import SkinSurface

FloatArray = NDArray[np.float64]

#: Exponent of an opened lip's height over its width: an ellipse's is 0.5; lips are a little more pointed.
_ROUNDNESS = 0.6
#: Metres of the midline in which one side's shapes fade into the other's.
_SIDES_FADE = 0.009
#: Metres around teeth and gums within which the mouth's lining lies on them.
_ON_TEETH = 0.012
#: Depth counts less than what lies aside when the reach of a movement is measured: cheeks lie far back.
_DEPTH_SHARE = 0.8


class LipFrame:
    """The mouth's grid of K rings and C columns on the template, with what places a vertex on it.

    Args:
        parts: of the head, the skin first.
        positions: (V, 3) metres, the template.
    """

    def __init__(self, parts: tuple[PartData, ...], positions: FloatArray) -> None:
        skin = parts[0]
        #: (S, 3) metres.
        self.skin = positions[skin.vertices]
        self.grid = find_openings(skin, self.skin, torch.device("cpu")).lips.grid
        self.surface = SkinSurface(self.skin, skin.triangles)
        #: (K, C, 3) metres, the grid's places.
        self.rest = self.skin[self.grid.vertices]
        x = self.rest[..., 0]
        #: (K, C) 0 in the middle, 1 at the ring's corner; and 1 in the middle, 0 at the corner, round.
        self.aside = (np.abs(x) / np.abs(x[:, [0]])).clip(0, 1)
        self.height = (1 - self.aside**2) ** _ROUNDNESS
        #: (K, 1) number of the ring, 0 the lips' inner border, growing outwards.
        self.ring = np.arange(len(x))[:, None] - self.grid.border
        #: (C,) whether a column crosses the upper lip; corners belong to it.
        self.upper = np.zeros(x.shape[1], bool)
        self.upper[self.grid.upper] = True
        middle = self.rest[self.grid.border].mean(0)
        #: Skin vertices of the mouth's lining, beyond the lips, that lie on the upper and on the lower teeth.
        self.on_upper, self.on_lower = self._find_lining(parts, positions)
        #: (S,) metres from the middle of the mouth.
        self.distance = np.linalg.norm((self.skin - middle) * [1, 1, _DEPTH_SHARE], axis=1)

    def _find_lining(
        self, parts: tuple[PartData, ...], positions: FloatArray
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        skin = parts[0]
        # The island of the mouth holds the innermost ring.
        islands = skin.uv_islands[skin.uv_quads[:, 0]]
        own = islands[np.isin(skin.quads, self.grid.vertices[0]).any(1)].max()
        lining = np.setdiff1d(skin.quads[islands == own], self.grid.vertices[self.grid.border - 3 :])
        rows = {part.name: positions[part.vertices] for part in parts}
        jaws = [np.concatenate([rows[f"teeth_{jaw}"], rows[f"gums_{jaw}"]]) for jaw in ("upper", "lower")]
        distance = np.stack([cKDTree(jaw).query(self.skin[lining])[0] for jaw in jaws])
        near = distance.min(0) < _ON_TEETH
        upper = distance[0] < distance[1]
        return lining[near & upper], lining[near & ~upper]

    def rows(self, first: int, last: int) -> slice:
        """Return the grid's rows of rings first..last."""
        return slice(self.grid.border + first, self.grid.border + last + 1)

    def side(self, sign: int) -> FloatArray:
        """Return 1 on the person's left (sign 1) or right (-1), 0 on the other side, (K, C)."""
        return np.asarray(smoothstep(0.5 + sign * self.rest[..., 0] / (2 * _SIDES_FADE)))

    def still(self) -> FloatArray:
        """Return moves (K, C, 3) of lips that rest."""
        return np.zeros_like(self.rest)

    def along_arch(self, x: FloatArray) -> FloatArray:
        """Return by how much (K, C) metres lips come forward that slide to x (K, C) on the teeth's arch."""
        grid = self.rest
        corner = np.abs(grid[:, [0], 0])
        middle = np.where(
            self.upper, grid[:, [self.grid.left_corner // 2], 2], grid[:, [self._lower_middle], 2]
        )
        depth = middle - grid[:, [0], 2]
        return np.asarray(depth * (self.aside**2 - (x / corner) ** 2))

    @property
    def _lower_middle(self) -> int:
        return int(self.grid.lower[len(self.grid.lower) // 2])

    def spread(
        self,
        moves: FloatArray,
        rings: tuple[int, int],
        reach: float,
        more: tuple[NDArray[np.integer], FloatArray] | None = None,
    ) -> FloatArray:
        """Return moves (S, 3) that are the lips' own and end smoothly at some distance.

        Args:
            moves: (K, C, 3) metres, of which those of rings first..last count.
            reach: metres from the middle of the mouth beyond which the skin rests.
            more: skin vertices (M,) and their moves (M, 3).
        """
        rows = self.rows(*rings)
        known = self.grid.vertices[rows].ravel()
        values = moves[rows].reshape(-1, 3)
        if more is not None:
            own = ~np.isin(more[0], known)
            known, values = np.concatenate([known, more[0][own]]), np.concatenate([values, more[1][own]])
        resting = np.concatenate([np.flatnonzero(self.distance > reach), self.on_upper, self.on_lower])
        still = np.setdiff1d(resting, known)
        known = np.concatenate([known, still])
        return self.surface.spread(known, np.concatenate([values, np.zeros((len(still), 3))]))

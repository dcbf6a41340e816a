"""A cornea for each eye: a thin clear shell over the front of the eyeball, bulging over the iris."""

import numpy as np
import torch
from numpy.typing import NDArray

from gpu_workers.head.rigging.eyeballs import bulge
from gpu_workers.head_authoring.procedural_part import MadePart, grid_quads, mirror_part

FloatArray = NDArray[np.float64]

#: Quads a side of the shell's grid.
_CELLS = 16
#: Polar angle about +z at the middle of the grid's sides, radians; the corners are drawn in to a circle. An
#: eye that looks 35 degrees aside shows the white up to 95 degrees from its pupil.
_REACH = np.radians(104)
#: Share of that angle that grows with the square of the way from the grid's middle: cells over the iris are
#: small.
_CONDENSED = 0.45
#: Height of the film of tears on the white over the eyeball, metres.
_FILM = 0.00008
#: Between these polar angles the shell sinks into the eyeball, radians.
_SINK = (np.radians(94), np.radians(104))
_SUNK = 0.0006


def make_corneas(centre: FloatArray, radius: float) -> tuple[MadePart, MadePart]:
    """Return cornea_left and cornea_right.

    Args:
        centre: (3,) of the left eyeball, metres.
        radius: of the eyeball.
    """
    axis = np.linspace(-1, 1, _CELLS + 1)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    square = np.stack([x, y], axis=-1).reshape(-1, 2)
    disc = _square_to_disc(square)
    way = np.linalg.norm(disc, axis=1)
    angle = way * (1 - _CONDENSED + _CONDENSED * way) * _REACH
    azimuth = np.arctan2(disc[:, 1], disc[:, 0])
    height = _height(angle, radius)
    direction = np.stack(
        [np.sin(angle) * np.cos(azimuth), np.sin(angle) * np.sin(azimuth), np.cos(angle)], axis=1
    )
    quads = grid_quads(_CELLS + 1, _CELLS + 1)
    left = MadePart(
        name="cornea_left",
        positions=centre + direction * (radius + height)[:, None],
        quads=quads,
        uvs=0.5 + 0.49 * disc,
        uv_quads=quads,
    )
    return left, mirror_part(left, "cornea_right")


def _square_to_disc(square: FloatArray) -> FloatArray:
    """Map the square -1..1 to the unit disc without folds (the elliptical grid mapping)."""
    x, y = square[:, 0], square[:, 1]
    return np.stack([x * np.sqrt(1 - y**2 / 2), y * np.sqrt(1 - x**2 / 2)], axis=1)


def _height(angle: FloatArray, radius: float) -> FloatArray:
    risen = bulge(torch.from_numpy(np.cos(angle))).numpy()
    sink = np.clip((angle - _SINK[0]) / (_SINK[1] - _SINK[0]), 0, 1)
    return np.asarray(_FILM + radius * risen - (_FILM + _SUNK) * sink)

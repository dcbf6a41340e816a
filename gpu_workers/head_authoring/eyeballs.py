"""Eyeballs of our own: rings about the line of sight keep iris and pupil round at every level of detail.

MakeHuman's have 70 quads, none of whose edges follows the iris.
"""

import numpy as np
from numpy.typing import NDArray

from gpu_workers.head.rigging.eyeballs import EYEBALL_RADIUS
from gpu_workers.head_authoring.procedural_part import MadePart, mirror_part
from gpu_workers.head_authoring.uv_packing import unwrap_eye

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]

_SECTORS = 16
#: Polar angles of the rings, as shares of the iris's and then in degrees. The first keeps the uneven quads of
#: the pole inside the pupil.
_IRIS_RINGS = (0.14, 0.36, 0.7, 1.0)
_RINGS = (37.0, 47.0, 60.0, 76.0, 96.0, 122.0, 151.0)


def make_eyeballs(centre: FloatArray, radius: float, iris_radius: float) -> tuple[MadePart, MadePart]:
    """Return eye_left and eye_right, closed spheres of quads.

    Args:
        centre: (3,) of the left eyeball, metres.
        radius: of the eyeball.
        iris_radius: of the iris, whose rim is a ring of edges.
    """
    limbus = np.arcsin(iris_radius / radius)
    angles = np.concatenate([limbus * np.array(_IRIS_RINGS), np.radians(_RINGS)])
    azimuth = 2 * np.pi * np.arange(_SECTORS) / _SECTORS
    rings = [
        [[np.sin(angle) * np.cos(a), np.sin(angle) * np.sin(a), np.cos(angle)] for a in azimuth]
        for angle in angles
    ]
    unit = np.concatenate([np.array(rings).reshape(-1, 3), [[0, 0, 1], [0, 0, -1]]])
    quads = _join_rings(len(angles))
    uvs, uv_quads, _ = unwrap_eye(unit * radius, quads)
    left = MadePart(
        name="eye_left", positions=centre + unit * radius, quads=quads, uvs=uvs, uv_quads=uv_quads
    )
    return left, mirror_part(left, "eye_right")


def _join_rings(count: int) -> IndexArray:
    front, back = count * _SECTORS, count * _SECTORS + 1
    last = (count - 1) * _SECTORS
    quads = []
    for k in range(_SECTORS):
        after = (k + 1) % _SECTORS
        for ring in range(0, last, _SECTORS):
            quads.append([ring + k, ring + _SECTORS + k, ring + _SECTORS + after, ring + after])
    # A pole's quads take two sectors each.
    for k in range(0, _SECTORS, 2):
        after, next_but_one = (k + 1) % _SECTORS, (k + 2) % _SECTORS
        quads.append([front, k, after, next_but_one])
        quads.append([back, last + next_but_one, last + after, last + k])
    return np.array(quads, dtype=np.int64)


def place_eyeball(middle: FloatArray, margin: FloatArray) -> FloatArray:
    """Return the middle (3,) of an eyeball: beside and above that of MakeHuman's, as deep as the lids let it.

    Args:
        middle: (3,) of MakeHuman's eyeball, metres.
        margin: (C, 3) of the lids' margins.
    """
    aside = np.linalg.norm(margin[:, :2] - middle[:2], axis=1)
    central = np.clip(1 - np.abs(margin[:, 0] - middle[0]) / (0.5 * EYEBALL_RADIUS), 0, 1)
    reach = np.sqrt(np.maximum(EYEBALL_RADIUS**2 - aside**2, 0))
    depth = (central * (margin[:, 2] - reach)).sum() / central.sum()
    return np.array([middle[0], middle[1], depth])


def place_on_eyeball(
    points: FloatArray, centre: FloatArray, positions: FloatArray, triangles: NDArray[np.integer]
) -> tuple[IndexArray, FloatArray]:
    """Return where rays from the centre through points (P, 3) meet it: vertices and weights (P, 3) each."""
    corners = (positions - centre)[triangles].transpose(0, 2, 1)
    weights = np.linalg.solve(corners[None], (points - centre)[:, None, :, None])[..., 0]
    weights /= weights.sum(-1, keepdims=True)
    ahead = np.einsum("nck,pnk,pc->pn", corners, weights, points - centre) > 0
    inside = np.where(ahead, weights.min(-1), -np.inf)
    best = inside.argmax(1)
    chosen = np.maximum(weights[np.arange(len(points)), best], 0)
    return np.asarray(triangles[best], dtype=np.int64), chosen / chosen.sum(1, keepdims=True)

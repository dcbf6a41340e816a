"""tongueOut: the tongue bends along a line that leaves the mouth over the lower teeth and lip.

At half its weight the tip is on its way over the lip, so it hangs no further than that allows.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

FloatArray = NDArray[np.float64]

#: The tongue's middle line at rest and put out: points (y, z), metres in the template's frame, root to tip.
_REST = ((-0.0830, -0.0600), (-0.0730, -0.0380), (-0.0698, -0.0200), (-0.0705, -0.0050), (-0.0733, 0.0080))
_OUT = ((-0.0850, -0.0600), (-0.0755, -0.0330), (-0.0770, 0.0020), (-0.0800, 0.0290), (-0.0890, 0.0535))
#: Breadth and thickness along the line, of those at rest.
_BREADTH = (1.0, 1.0, 0.88, 0.90, 1.0)
_THICKNESS = (1.0, 0.9, 0.75, 0.74, 0.88)


class _Line:
    """A curve (y, z) by place 0..1 from root to tip."""

    def __init__(self, points: tuple[tuple[float, float], ...]) -> None:
        self._curve = CubicSpline(np.linspace(0, 1, len(points)), np.array(points))

    def frames(self, place: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return points (N, 2) and unit directions (N, 2) at places (N,), straight beyond the ends."""
        inside = place.clip(0, 1)
        along = self._curve(inside, 1)
        unit = along / np.linalg.norm(along, axis=1, keepdims=True)
        return self._curve(inside) + along * (place - inside)[:, None], unit


def put_tongue_out(positions: FloatArray) -> FloatArray:
    """Return the moves (T, 3) of the tongue's vertices (T, 3), metres."""
    rest, out = _Line(_REST), _Line(_OUT)
    fine = np.linspace(-0.1, 1.1, 601)
    points, _ = rest.frames(fine)
    place = fine[((positions[:, None, 1:] - points) ** 2).sum(2).argmin(1)]
    start, along = rest.frames(place)
    arm = positions[:, 1:] - start
    # Along the line, and upwards across it.
    ahead, above = (arm * along).sum(1), arm[:, 0] * along[:, 1] - arm[:, 1] * along[:, 0]
    end, way = out.frames(place)
    knots = np.linspace(0, 1, len(_BREADTH))
    above = above * np.interp(place, knots, _THICKNESS)
    moved = positions.copy()
    moved[:, 0] *= np.interp(place, knots, _BREADTH)
    moved[:, 1] = end[:, 0] + ahead * way[:, 0] + above * way[:, 1]
    moved[:, 2] = end[:, 1] + ahead * way[:, 1] - above * way[:, 0]
    return np.asarray(moved - positions)

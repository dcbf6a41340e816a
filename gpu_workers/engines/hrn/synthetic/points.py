"""Planar landmarks of a synthetic face: x to the right of the picture, y up, about 1.7 wide and 2.2 high."""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_EYE_X, _EYE_Y = 0.33, 0.22


def _ellipse(x: float, y: float, width: float, height: float, degrees: list[float]) -> FloatArray:
    angle = np.radians(degrees)
    return np.stack([x + width * np.cos(angle), y + height * np.sin(angle)], 1)


def _jaw(count: int) -> FloatArray:
    turn = np.linspace(0, np.pi, count)
    return np.stack([-0.74 * np.cos(turn), 0.12 - 1.02 * np.sin(turn)], 1)


def _line(start: tuple[float, float], end: tuple[float, float], count: int) -> FloatArray:
    return np.linspace(start, end, count)


def landmarks_68() -> FloatArray:
    """Return the 68 landmarks (68, 2) in the order of iBUG's annotation."""
    eye = [180.0, 120, 60, 0, 300, 240]
    return np.concatenate(
        [
            _jaw(17),
            _line((-0.55, 0.42), (-0.13, 0.42), 5),
            _line((0.13, 0.42), (0.55, 0.42), 5),
            _line((0, 0.28), (0, -0.1), 4),
            _line((-0.14, -0.2), (0.14, -0.2), 5),
            _ellipse(-_EYE_X, _EYE_Y, 0.13, 0.05, eye),
            _ellipse(_EYE_X, _EYE_Y, 0.13, 0.05, eye),
            _ellipse(0, -0.5, 0.26, 0.11, [180, 150, 120, 90, 60, 30, 0, -30, -60, -90, -120, -150]),
            _ellipse(0, -0.5, 0.2, 0.03, [180, 135, 90, 45, 0, -45, -90, -135]),
        ]
    )


def landmarks_106() -> FloatArray:
    """Return the 106 landmarks (106, 2) in the order of the pipeline's second detector."""
    ring = [180.0, 135, 90, 45, 0, -45, -90, -135]
    return np.concatenate(
        [
            _jaw(33),
            _line((-0.55, 0.44), (-0.13, 0.44), 5),
            _line((-0.45, 0.39), (-0.15, 0.39), 4),
            _line((0.13, 0.44), (0.55, 0.44), 5),
            _line((0.15, 0.39), (0.45, 0.39), 4),
            _line((0, 0.28), (0, -0.1), 4),
            _line((-0.1, 0.1), (0.1, 0.1), 2),
            _line((-0.16, -0.16), (0.16, -0.16), 7),
            _line((-0.1, -0.2), (0.1, -0.2), 2),
            _ellipse(-_EYE_X, _EYE_Y, 0.13, 0.05, ring),
            [[-_EYE_X, _EYE_Y]],
            _ellipse(_EYE_X, _EYE_Y, 0.13, 0.05, ring),
            [[_EYE_X, _EYE_Y]],
            # The corners are the first and the seventh of the outer lips.
            _ellipse(0, -0.5, 0.26, 0.11, [180, 150, 120, 90, 60, 30, 0, -30, -60, -90, -120, -150]),
            _ellipse(0, -0.5, 0.2, 0.03, ring),
            [[-_EYE_X, _EYE_Y], [_EYE_X, _EYE_Y]],
        ]
    )

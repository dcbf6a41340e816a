"""Photos of nobody, which a worker reconstructs before its first real one: graphs captured, memory taken."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from face3d.messages import StageResult

#: The synthetic photo's side, and the outer-eye distances whose kinds of bake are captured, pixels.
_SIDE = 1280
_EYE_DISTANCES = (190.0, 235.0, 293.0, 366.0)
_GREY = 150
#: Focal length of the synthetic camera in sides.
_FOCAL = 2.0


def synthetic_photos(template_landmarks: NDArray[np.float64]) -> Iterator[StageResult]:
    """Yield what preprocess would say of grey faces in the usual sizes, the template's own landmarks.

    Args:
        template_landmarks: (478, 3) metres, frame of face3d/head.py.
    """
    for eye_distance in _EYE_DISTANCES:
        yield _synthetic_photo(template_landmarks, eye_distance)


def _synthetic_photo(points: NDArray[np.float64], eye_distance: float) -> StageResult:
    """Return what preprocess would say of a grey face with landmarks (478, 3), metres."""
    apart = float(np.linalg.norm(points[33] - points[263]))
    scale = eye_distance / apart
    landmarks = (points - points.mean(0)) * [scale, -scale, -scale] + [_SIDE / 2, _SIDE / 2, 0]
    return StageResult(
        tensors={
            "photo": np.full((_SIDE, _SIDE, 3), _GREY, np.uint8),
            "landmarks": landmarks.astype(np.float32),
            "scores": np.zeros(52, np.float32),
            "camera": np.array([_FOCAL * _SIDE, _SIDE / 2, _SIDE / 2]),
        },
        facts={
            "face": dict.fromkeys(("yaw", "pitch", "eye_distance_px", "sharpness", "disagreement"), 0.0),
        },
    )

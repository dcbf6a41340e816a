"""What a GPU worker does before its first photo: kernels compiled, graphs captured, pinned memory taken."""

from typing import TYPE_CHECKING

import numpy as np
import torch

from face3d.messages import StageResult
from face3d.options import JobOptions

if TYPE_CHECKING:
    from gpu_workers.engines.anny.engine import AnnyEngine

#: A made-up photo's side, and the outer-eye distances whose kinds of bake are captured, pixels.
_SIDE = 1280
_EYE_DISTANCES = (190.0, 235.0, 293.0, 366.0)
_GREY = 150
#: Focal length of the made-up camera in sides.
_FOCAL = 2.0


def warm_up_graphs(engine: "AnnyEngine") -> None:
    """Reconstruct the template's own face before a made-up camera, once for each usual size in the photo."""
    options = JobOptions()
    for eye_distance in _EYE_DISTANCES:
        prepared = _made_up_photo(engine.template_landmarks(), eye_distance)
        geometry = engine.geometry(prepared, options)
        engine.texture(prepared, geometry, options)
    # A turned face is fitted with the network's points too, by a graph of its own.
    seen = engine.made_up_network_points(prepared.tensors["landmarks"])
    engine.geometry(StageResult(tensors={**prepared.tensors, **seen}, facts=prepared.facts), options)
    # What making the constants took is not needed again.
    torch.cuda.empty_cache()


def _made_up_photo(
    points: np.ndarray[tuple[int, int], np.dtype[np.float64]], eye_distance: float
) -> StageResult:
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

"""The face network's view of a photo whose landmarks are known, in the arrays that later stages read."""

import numpy as np
import torch
from numpy.typing import NDArray

from face3d.stage_results import DensePoints
from gpu_workers.head.landmarks.dense_crop import cut_face, face_square
from gpu_workers.head.landmarks.dense_network import FaceNetwork
from gpu_workers.head.landmarks.dense_network_cuda import GraphedFaceNetwork
from gpu_workers.head.model.mediapipe_landmarks import OUTER_EYE_CORNERS, SKIN_LANDMARKS

#: Points that lie farther from the detector's on average, share of the eye distance, are not believed: one
#: of the two has looked at something else.
_MAX_DISAGREEMENT = 0.08
#: The network's deviations hold on rendered heads, and photos are not quite that: how much larger they are
#: taken to be. On a face that looks straight ahead the landmarks alone did better, on turned ones both
#: together (docs/explanation/accuracy.md): up to the first yaw, degrees, the network is not asked, from the
#: second on it has its full weight.
_CAUTION = 2.5
_YAW_FROM, _YAW_FULL = 4.0, 9.0


def network_word(yaw: float) -> float:
    """Return how much the network's points count beside the landmarks, 0..1; yaw in degrees."""
    return min(1.0, max(0.0, (abs(yaw) - _YAW_FROM) / (_YAW_FULL - _YAW_FROM)))


def look_at_face(
    network: FaceNetwork | GraphedFaceNetwork,
    photo: NDArray[np.uint8],
    landmarks: NDArray[np.floating],
    word: float,
    device: torch.device,
) -> tuple[DensePoints | None, float]:
    """Return what the network says of a face.

    Args:
        photo: (H, W, 3) sRGB.
        landmarks: (478, 3) detected ones, pixels.
        word: see `network_word`; above 0.
    Returns:
        The points, deviations as far as they are believed, loadings (dense_network.py) with x and y along
        and across the line of the eyes. None if the points are far from the landmarks: the second value,
        their mean distance as a share of the eye distance, says how far.
    """
    square = face_square(landmarks)
    size = network.plan.input_size
    # On the device: cutting the square out of a photo of 1280 pixels takes a CPU core some 40 ms.
    crop = cut_face(torch.from_numpy(np.ascontiguousarray(photo)).to(device), square, size)
    estimate = network.predict(crop[None])
    points = square.to_photo(estimate.points[0].cpu().numpy())
    right, left = OUTER_EYE_CORNERS
    eyes = float(np.linalg.norm(landmarks[right, :2] - landmarks[left, :2]))
    skin = slice(0, SKIN_LANDMARKS)
    distance = np.linalg.norm(points[skin, :2] - landmarks[skin, :2], axis=1)
    disagreement = float(distance.mean()) / eyes
    if disagreement > _MAX_DISAGREEMENT:
        return None, disagreement
    deviation = estimate.log_deviation[0].exp().cpu().numpy() * (square.half * _CAUTION / word**0.5)
    predicted = DensePoints(
        points=points.astype(np.float32),
        deviation=deviation.astype(np.float32),
        loadings=estimate.loadings[0].cpu().numpy().astype(np.float32),
    )
    return predicted, disagreement

"""The 628 points that the face network finds: MediaPipe's 478 landmarks and 150 more of the skin.

The further ones lie where landmarks are sparse: ears, temples, forehead, jaw and neck.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpu_workers.head.model.head_template import HeadData

FloatArray = NDArray[np.float32]
IndexArray = NDArray[np.int64]

#: Points besides the landmarks.
FURTHER_POINTS = 150
#: What lies farther behind the eyes, metres, no photo of a face shows.
_DEEPEST = -0.115


@dataclass(frozen=True, kw_only=True)
class FacePoints:
    """Places on the head's triangles."""

    #: (K, 3) rows of the list of all vertices.
    vertices: IndexArray
    #: (K, 3) barycentric weights.
    weights: FloatArray

    def __len__(self) -> int:
        return len(self.vertices)

    def of(self, values: FloatArray) -> FloatArray:
        """Return (..., K, 3): vertex values (..., V, 3) at the points."""
        mixed = (values[..., self.vertices, :] * self.weights[..., None]).sum(-2)
        return np.asarray(mixed, dtype=np.float32)


def choose_face_points(data: HeadData, further: int = FURTHER_POINTS) -> FacePoints:
    """Return the landmarks, then vertices each of which lies farthest from all points before it."""
    skin = data.part("skin")
    positions = data.positions[skin.vertices].astype(np.float64)
    hidden = np.maximum(data.masks["mouth_interior"], data.masks["eye_socket"]) > 0
    candidates = np.flatnonzero(~hidden & (positions[:, 2] > _DEEPEST))
    corners = data.positions[data.landmark_vertices].astype(np.float64)
    landmarks = (corners * data.landmark_weights[..., None]).sum(1)
    nearest = np.linalg.norm(positions[candidates, None] - landmarks[None], axis=2).min(1)
    chosen = []
    for _ in range(further):
        farthest = int(candidates[nearest.argmax()])
        chosen.append(farthest)
        nearest = np.minimum(nearest, np.linalg.norm(positions[candidates] - positions[farthest], axis=1))
    single = np.zeros((further, 3), np.float32)
    single[:, 0] = 1
    rows = np.repeat(np.array(chosen, np.int64).reshape(-1, 1), 3, axis=1)
    return FacePoints(
        vertices=np.concatenate([data.landmark_vertices.astype(np.int64), rows]),
        weights=np.concatenate([data.landmark_weights.astype(np.float32), single]),
    )

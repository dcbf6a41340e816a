"""The 628 points that the face network finds: MediaPipe's 478 landmarks and 150 more of the skin.

The further ones lie where landmarks are sparse: ears, temples, forehead, jaw and neck.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpu_workers.head.model.head_template import HeadData

FloatArray = NDArray[np.float32]
IndexArray = NDArray[np.int64]

#: The points besides the landmarks, vertices of MakeHuman's base.obj in the order of the network's output.
#: Each lay farthest from all before it when the network was trained; on another skin others would.
FURTHER_VERTICES = (
    879, 821, 7532, 1013, 877, 7582, 797, 823, 7534, 972, 7668, 1035, 7727, 1004, 7698, 964, 7661, 981,
    7677, 985, 7680, 1024, 745, 7465, 7744, 983, 5548, 12146, 5453, 12052, 782, 878, 7583, 7628, 5439,
    12038, 1008, 7702, 825, 7536, 770, 7489, 5285, 11891, 798, 7512, 999, 7693, 970, 1006, 7700, 1016,
    7708, 992, 7686, 751, 7470, 1041, 7733, 974, 7670, 784, 5682, 12279, 882, 5245, 11853, 248, 7018,
    7684, 5560, 12157, 864, 7569, 5552, 12150, 865, 7570, 5275, 11882, 5743, 12340, 739, 7459, 973,
    7669, 1025, 7717, 987, 7682, 5231, 11840, 929, 7631, 10362, 5189, 11801, 5180, 11792, 5502, 12101,
    7667, 746, 5396, 11995, 5549, 12147, 986, 7681, 977, 7673, 5462, 12061, 7463, 1038, 7730, 7502, 920,
    1014, 7707, 1007, 7701, 7615, 763, 7482, 911, 7613, 5383, 11983, 5720, 12317, 251, 818, 7529, 971,
    820, 7531, 272, 7041, 975, 7671, 5399, 11998, 1012, 7706, 3696, 768, 7487, 875, 7580,
)  # fmt: skip
FURTHER_POINTS = len(FURTHER_VERTICES)


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


def choose_face_points(data: HeadData) -> FacePoints:
    """Return the landmarks, then the vertices that the network was trained on.

    Raises:
        KeyError: the skin has not all of them.
    """
    rows = {int(source): row for row, source in enumerate(data.part("skin").source_vertices)}
    chosen = np.array([rows[source] for source in FURTHER_VERTICES], np.int64)
    single = np.zeros((len(chosen), 3), np.float32)
    single[:, 0] = 1
    return FacePoints(
        vertices=np.concatenate([data.landmark_vertices.astype(np.int64), chosen[:, None].repeat(3, 1)]),
        weights=np.concatenate([data.landmark_weights.astype(np.float32), single]),
    )

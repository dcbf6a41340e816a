"""478 face landmarks and 52 expression scores, from the three models inside face_landmarker_v2.task.

MediaPipe's own runtime needs libEGL and libGLESv2, which bare servers lack; this one needs LiteRT only.
Constants are those of MediaPipe's face_landmarker graphs (Apache-2.0), and tests compare it with
MediaPipe's output.
"""

import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from face3d.errors import EngineUnavailable
from face3d.head import ARKIT_NAMES
from gpu_workers.engines.anny.face_crop import Photo, Region, crop_region
from gpu_workers.engines.anny.face_detector import Detection, detect_faces
from gpu_workers.engines.anny.tflite_model import TfliteModel

FloatArray = NDArray[np.float32]

MODEL_FILE = "face_landmarker_v2.task"
#: Side of the landmark model's input in pixels.
INPUT_SIZE = 256
_MEMBERS = ("face_detector.tflite", "face_landmarks_detector.tflite", "face_blendshapes.tflite")

#: The landmarks that the expression model sees (kLandmarksSubsetIdxs of face_blendshapes_graph.cc).
_EXPRESSION_LANDMARKS = (
    0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66, 67, 70,
    78, 80, 81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136, 144, 145, 146, 148, 149,
    150, 152, 153, 154, 155, 157, 158, 159, 160, 161, 162, 163, 168, 172, 173, 176, 178, 181, 185, 191, 195,
    197, 234, 246, 249, 251, 263, 267, 269, 270, 276, 282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300,
    308, 310, 311, 312, 314, 317, 318, 321, 323, 324, 332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375,
    377, 378, 379, 380, 381, 382, 384, 385, 386, 387, 388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454,
    466, 468, 469, 470, 471, 472, 473, 474, 475, 476, 477,
)  # fmt: skip
#: The expression model's outputs: Apple's names with `_neutral` first and without `tongueOut`.
_SCORE_NAMES = ("_neutral", *(name for name in ARKIT_NAMES if name != "tongueOut"))


@dataclass(frozen=True, kw_only=True)
class FaceLandmarks:
    """One face's landmarks."""

    #: (478, 3) pixels of the photo; z grows away from the camera, in the same unit, about the face's middle.
    points: FloatArray
    #: (52,) expression scores 0..1 in the order of ARKIT_NAMES; tongueOut, which the model lacks, is 0.
    scores: FloatArray
    #: 0..1: is there a face at all.
    presence: float

    @property
    def eye_distance(self) -> float:
        """Distance of the outer eye corners in pixels."""
        return float(np.linalg.norm(self.points[33, :2] - self.points[263, :2]))

    @property
    def size(self) -> float:
        """Size of the face in pixels, however it is turned: the larger side of the landmarks' box, times 0.6.

        Of a face that looks into the camera this is about the eye distance.
        """
        return 0.6 * float(np.ptp(self.points[:, :2], axis=0).max())


#: For each ARKit shape the one of the other side of the face.
_MIRROR_SHAPES = [
    ARKIT_NAMES.index(
        name[:-4] + "Right"
        if name.endswith("Left")
        else name[:-5] + "Left"
        if name.endswith("Right")
        else name
    )
    for name in ARKIT_NAMES
]


def mirror_scores(scores: FloatArray) -> FloatArray:
    """Return the scores (52,) of the mirrored face."""
    return scores[_MIRROR_SHAPES]


class FaceLandmarker:
    """The three models of one .task file.

    Args:
        model: path of face_landmarker_v2.task.
        threads: CPU threads of one run of a model.
        copies: runs of a model at once.
    Raises:
        EngineUnavailable: the file is missing or is not such a file.
    """

    def __init__(self, model: Path, threads: int = 1, copies: int = 1) -> None:
        try:
            with zipfile.ZipFile(model) as archive:
                contents = [archive.read(member) for member in _MEMBERS]
            self._detector, self._landmarks, self._expression = (
                TfliteModel(c, threads, copies) for c in contents
            )
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise EngineUnavailable(f"{model.name} is missing or unreadable: run the set-up again") from error
        self._helper = ThreadPoolExecutor(copies - 1, "landmarks") if copies > 1 else None

    def detect(self, photo: Photo, min_score: float = 0.5) -> list[Detection]:
        """Return the faces that the short-range detector sees in a photo (H, W, 3), best first."""
        return detect_faces(self._detector, photo, min_score)

    def landmarks(self, photo: Photo, region: Region) -> FaceLandmarks:
        """Return the landmarks of the face in a region of a photo (H, W, 3)."""
        pixels = crop_region(photo, region, INPUT_SIZE, replicate=True) / np.float32(255)
        outputs = self._landmarks.run(pixels[None])
        raw = outputs["Identity"].reshape(478, 3).astype(np.float64) / INPUT_SIZE
        logit = float(outputs["Identity_1"].ravel()[0])
        plane = region.to_photo(raw[:, :2])
        points = np.concatenate([plane, raw[:, 2:] * region.width], axis=1)
        subset = points[list(_EXPRESSION_LANDMARKS), :2]
        named = self._expression.run(subset[None])["StatefulPartitionedCall:0"]
        by_name = dict(zip(_SCORE_NAMES, named.tolist(), strict=True))
        return FaceLandmarks(
            points=points.astype(np.float32),
            scores=np.array([by_name.get(name, 0.0) for name in ARKIT_NAMES], dtype=np.float32),
            presence=float(1 / (1 + np.exp(-logit))),
        )

    def landmarks_of(self, cuts: Sequence[tuple[Photo, Region]]) -> list[FaceLandmarks]:
        """Return `landmarks` of each photo and region, at once where the models allow it."""
        if self._helper is None:
            return [self.landmarks(photo, region) for photo, region in cuts]
        others = [self._helper.submit(self.landmarks, photo, region) for photo, region in cuts[1:]]
        return [self.landmarks(*cuts[0]), *(other.result() for other in others)]

    def faces(self, photo: Photo, min_score: float = 0.5, min_presence: float = 0.5) -> list[FaceLandmarks]:
        """Return the landmarks of every detected face, best detection first."""
        found = [self.landmarks(photo, face.region()) for face in self.detect(photo, min_score)]
        return [face for face in found if face.presence >= min_presence]

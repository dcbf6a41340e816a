"""478 face landmarks and 52 expression scores, from the three models inside face_landmarker_v2.task.

MediaPipe's own runtime needs libEGL and libGLESv2, which bare servers lack; this one needs LiteRT only.
Constants are those of MediaPipe's face_landmarker graphs (Apache-2.0), and tests compare it with
MediaPipe's output.
"""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from face3d.errors import EngineUnavailable
from face3d.head import ARKIT_NAMES
from gpu_workers.head.landmarks.blazeface import Detection, detect_faces
from gpu_workers.head.landmarks.crops import Photo, Region
from gpu_workers.head.landmarks.mediapipe_models import (
    DETECTOR,
    EXPRESSION,
    LANDMARKS,
    FaceModels,
    HostFaceModels,
    RawFace,
)
from gpu_workers.head.landmarks.mediapipe_models_cuda import DeviceFaceModels

FloatArray = NDArray[np.float32]

MODEL_FILE = "face_landmarker_v2.task"
_CPU = torch.device("cpu")
#: Side of the picture that warms up, pixels.
_BLANK = 256
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
        device: where they run.
    Raises:
        EngineUnavailable: the file is missing or is not such a file.
    """

    def __init__(self, model: Path, device: torch.device = _CPU) -> None:
        try:
            with zipfile.ZipFile(model) as archive:
                contents = {member: archive.read(member) for member in (DETECTOR, LANDMARKS, EXPRESSION)}
            self._models: FaceModels = (
                HostFaceModels(contents) if device.type == "cpu" else DeviceFaceModels(contents, device)
            )
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise EngineUnavailable(f"{model.name} is missing or unreadable: run the set-up again") from error

    def warm_up(self) -> None:
        """Take each kind of look once: on a GPU they are captured."""
        blank = np.zeros((_BLANK, _BLANK, 3), np.uint8)
        region = Region(_BLANK / 2, _BLANK / 2, _BLANK, _BLANK)
        self.detect(blank)
        for count in (1, 2):
            self.landmarks_of([(blank, region)] * count)

    def detect(self, photo: Photo, min_score: float = 0.5) -> list[Detection]:
        """Return the faces that the short-range detector sees in a photo (H, W, 3), best first."""
        return detect_faces(self._models, photo, min_score)

    def landmarks(self, photo: Photo, region: Region) -> FaceLandmarks:
        """Return the landmarks of the face in a region of a photo (H, W, 3)."""
        return self.landmarks_of([(photo, region)])[0]

    def landmarks_of(self, cuts: Sequence[tuple[Photo, Region]]) -> list[FaceLandmarks]:
        """Return `landmarks` of each photo and region, at once where the device allows it."""
        faces = self._models.look(cuts)
        return [_describe(face, region) for face, (_, region) in zip(faces, cuts, strict=True)]

    def faces(self, photo: Photo, min_score: float = 0.5, min_presence: float = 0.5) -> list[FaceLandmarks]:
        """Return the landmarks of every detected face, best detection first."""
        found = [self.landmarks(photo, face.region()) for face in self.detect(photo, min_score)]
        return [face for face in found if face.presence >= min_presence]


def _describe(face: RawFace, region: Region) -> FaceLandmarks:
    raw = face.points.astype(np.float64)
    points = np.concatenate([region.to_photo(raw[:, :2]), raw[:, 2:] * region.width], axis=1)
    by_name = dict(zip(_SCORE_NAMES, face.scores.tolist(), strict=True))
    return FaceLandmarks(
        points=points.astype(np.float32),
        scores=np.array([by_name.get(name, 0.0) for name in ARKIT_NAMES], dtype=np.float32),
        presence=float(1 / (1 + np.exp(-face.logit))),
    )

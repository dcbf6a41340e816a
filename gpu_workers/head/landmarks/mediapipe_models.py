"""The three models inside face_landmarker_v2.task, run on cuts of a photo: on the CPU by LiteRT."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gpu_workers.head.landmarks.crops import Photo, Region, crop_region

FloatArray = NDArray[np.float32]

#: Members of the file.
DETECTOR, LANDMARKS, EXPRESSION = (
    "face_detector.tflite",
    "face_landmarks_detector.tflite",
    "face_blendshapes.tflite",
)
#: Sides of the models' inputs in pixels.
DETECTOR_SIZE, INPUT_SIZE = 128, 256
#: Names of their outputs: boxes (1, 896, 16) and logits (1, 896, 1); landmarks and a logit; scores.
BOXES, LOGITS = "regressors", "classificators"
POINTS, PRESENCE = "Identity", "Identity_1"
SCORES = "StatefulPartitionedCall:0"

#: The landmarks that the expression model sees (kLandmarksSubsetIdxs of face_blendshapes_graph.cc).
EXPRESSION_LANDMARKS = (
    0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66, 67, 70,
    78, 80, 81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136, 144, 145, 146, 148, 149,
    150, 152, 153, 154, 155, 157, 158, 159, 160, 161, 162, 163, 168, 172, 173, 176, 178, 181, 185, 191, 195,
    197, 234, 246, 249, 251, 263, 267, 269, 270, 276, 282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300,
    308, 310, 311, 312, 314, 317, 318, 321, 323, 324, 332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375,
    377, 378, 379, 380, 381, 382, 384, 385, 386, 387, 388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454,
    466, 468, 469, 470, 471, 472, 473, 474, 475, 476, 477,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class RawFace:
    """What the landmark and the expression model say of a region."""

    #: (478, 3): x and y in 0..1 of the region, z in the same unit as x.
    points: FloatArray
    #: Is there a face.
    logit: float
    #: (52,) in the expression model's order.
    scores: FloatArray


class FaceModels(Protocol):
    """The models, wherever they run; safe to call from several threads."""

    def find(self, photo: Photo, region: Region) -> tuple[FloatArray, FloatArray]:
        """Return the detector's boxes (896, 16) and logits (896,) of a region, black outside the photo."""

    def look(self, cuts: Sequence[tuple[Photo, Region]]) -> list[RawFace]:
        """Return the landmarks and scores of each photo's region; the border's colours go on outside."""


class HostFaceModels:
    """The models on the CPU.

    Args:
        contents: member of the file to its bytes.
    """

    def __init__(self, contents: Mapping[str, bytes]) -> None:
        self._detector, self._landmarks, self._expression = (
            _TfliteModel(contents[name]) for name in (DETECTOR, LANDMARKS, EXPRESSION)
        )

    def find(self, photo: Photo, region: Region) -> tuple[FloatArray, FloatArray]:
        """See `FaceModels`."""
        pixels = crop_region(_as_array(photo), region, DETECTOR_SIZE, replicate=False) / 127.5 - 1
        outputs = self._detector.run(pixels[None])
        return outputs[BOXES][0], outputs[LOGITS][0, :, 0]

    def look(self, cuts: Sequence[tuple[Photo, Region]]) -> list[RawFace]:
        """See `FaceModels`."""
        return [self._look(_as_array(photo), region) for photo, region in cuts]

    def _look(self, photo: NDArray[np.uint8], region: Region) -> RawFace:
        pixels = crop_region(photo, region, INPUT_SIZE, replicate=True) / np.float32(255)
        outputs = self._landmarks.run(pixels[None])
        points = outputs[POINTS].reshape(478, 3) / np.float32(INPUT_SIZE)
        subset = region.to_photo(points[list(EXPRESSION_LANDMARKS), :2].astype(np.float64))
        scores = self._expression.run(subset[None])[SCORES]
        return RawFace(points=points, logit=float(outputs[PRESENCE].ravel()[0]), scores=scores)


def _as_array(photo: Photo) -> NDArray[np.uint8]:
    return photo if isinstance(photo, np.ndarray) else photo.cpu().numpy()


class _TfliteModel:
    """One model on the CPU (XNNPACK), with one input; one run at a time."""

    def __init__(self, content: bytes) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter: Any = Interpreter(model_content=content, num_threads=1)
        self._interpreter.allocate_tensors()
        self._lock = threading.Lock()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._outputs = {d["name"]: d["index"] for d in self._interpreter.get_output_details()}

    def run(self, values: NDArray[np.floating]) -> dict[str, FloatArray]:
        """Return the outputs by name; `values` is the input, of the model's shape."""
        with self._lock:
            self._interpreter.set_tensor(self._input, np.ascontiguousarray(values, dtype=np.float32))
            self._interpreter.invoke()
            return {name: self._interpreter.get_tensor(index) for name, index in self._outputs.items()}

"""BlazeFace, short range: where faces are in a photo. Constants from MediaPipe's face_detector_graph.cc."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpu_workers.head.landmarks.crops import Photo, Region
from gpu_workers.head.landmarks.mediapipe_models import DETECTOR_SIZE, FaceModels

FloatArray = NDArray[np.float64]

_STRIDES = (8, 16, 16, 16)
_ANCHORS_PER_LAYER = 2
_SCORE_CLIP = 100.0
_OVERLAP = 0.3
#: The region handed to the landmark model is this much larger than the face's box.
_ROI_SCALE = 1.5


@dataclass(frozen=True, kw_only=True)
class Detection:
    """One face."""

    #: 0..1
    score: float
    #: Left, top, right, bottom in pixels of the photo.
    box: tuple[float, float, float, float]
    #: (6, 2) pixels: right eye, left eye, nose tip, mouth, right ear, left ear.
    keypoints: FloatArray

    @property
    def width(self) -> float:
        """Width of the box in pixels."""
        return self.box[2] - self.box[0]

    def moved(self, left: float, top: float) -> "Detection":
        """Return the detection in the pixels of a photo in which this one's window begins at (left, top)."""
        box = (self.box[0] + left, self.box[1] + top, self.box[2] + left, self.box[3] + top)
        keypoints = self.keypoints + np.array([left, top])
        return Detection(score=self.score, box=box, keypoints=keypoints)

    def region(self) -> Region:
        """Return the upright region that the landmark model looks at."""
        left, top, right, bottom = self.box
        (x0, y0), (x1, y1) = self.keypoints[0], self.keypoints[1]
        return Region(
            (left + right) / 2,
            (top + bottom) / 2,
            (right - left) * _ROI_SCALE,
            (bottom - top) * _ROI_SCALE,
            float(np.arctan2(y1 - y0, x1 - x0)),
        )


def detect_faces(models: FaceModels, photo: Photo, min_score: float) -> list[Detection]:
    """Return the faces in a photo, best score first."""
    height, width = photo.shape[:2]
    side = max(width, height)
    whole = Region(width / 2, height / 2, side, side)
    boxes, scores = _decode(*models.find(photo, whole))
    keep = scores >= min_score
    detections = []
    for box, score in _weighted_nms(boxes[keep], scores[keep]):
        corners = whole.to_photo(box[:4].reshape(2, 2))
        keypoints = whole.to_photo(box[4:].reshape(6, 2))
        (left, top), (right, bottom) = corners.tolist()
        detections.append(Detection(score=float(score), box=(left, top, right, bottom), keypoints=keypoints))
    return detections


def _anchor_centres() -> FloatArray:
    """Return the anchors' centres (896, 2) in 0..1; layers of equal stride share their cells."""
    centres = []
    layer = 0
    while layer < len(_STRIDES):
        same = layer
        while same < len(_STRIDES) and _STRIDES[same] == _STRIDES[layer]:
            same += 1
        cells = DETECTOR_SIZE // _STRIDES[layer]
        steps = (np.arange(cells) + 0.5) / cells
        grid = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
        centres.append(np.repeat(grid, _ANCHORS_PER_LAYER * (same - layer), axis=0))
        layer = same
    return np.concatenate(centres)


_ANCHORS = _anchor_centres()


def _decode(raw: NDArray[np.float32], logits: NDArray[np.float32]) -> tuple[FloatArray, FloatArray]:
    """Return boxes (896, 16): left, top, right, bottom and six points, in 0..1; and scores (896,)."""
    values = raw.astype(np.float64) / DETECTOR_SIZE
    centre, size = values[:, :2] + _ANCHORS, values[:, 2:4]
    points = values[:, 4:].reshape(-1, 6, 2) + _ANCHORS[:, None]
    boxes = np.concatenate([centre - size / 2, centre + size / 2, points.reshape(-1, 12)], axis=1)
    clipped = np.clip(logits.astype(np.float64), -_SCORE_CLIP, _SCORE_CLIP)
    return boxes, 1 / (1 + np.exp(-clipped))


def _weighted_nms(boxes: FloatArray, scores: FloatArray) -> list[tuple[FloatArray, float]]:
    """Merge overlapping boxes into their score-weighted mean (MediaPipe's WEIGHTED suppression)."""
    order = np.argsort(-scores, kind="stable")
    boxes, scores = boxes[order], scores[order]
    merged = []
    while len(boxes):
        near = _overlaps(boxes[0], boxes) > _OVERLAP
        near[0] = True
        weights = scores[near]
        merged.append(((boxes[near] * weights[:, None]).sum(0) / weights.sum(), float(scores[0])))
        boxes, scores = boxes[~near], scores[~near]
    return merged


def _overlaps(box: FloatArray, boxes: FloatArray) -> FloatArray:
    low = np.maximum(box[:2], boxes[:, :2])
    high = np.minimum(box[2:4], boxes[:, 2:4])
    shared = np.clip(high - low, 0, None).prod(1)
    areas = (boxes[:, 2:4] - boxes[:, :2]).prod(1)
    return np.asarray(shared / np.maximum((box[2:4] - box[:2]).prod() + areas - shared, 1e-12))

"""Finds every face of a photo, also small ones, and measures the largest closely.

The short-range detector looks at 128 x 128 pixels, so that it misses faces narrower than about a sixth of
the photo: such photos are searched again in overlapping tiles. The chosen face is cut out, enlarged and
detected again, once as it is and once mirrored: the mean of both has no preferred side.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from gpu_workers.head.landmarks.blazeface import Detection
from gpu_workers.head.landmarks.crops import Photo, Region
from gpu_workers.head.landmarks.crops_cuda import resample_square
from gpu_workers.head.landmarks.mediapipe_landmarker import FaceLandmarker, FaceLandmarks, mirror_scores
from gpu_workers.head.landmarks.mediapipe_models import INPUT_SIZE

FloatArray = NDArray[np.float32]

#: A tile's side as a share of the photo's longer side, and the face's width, as a share of the same side,
#: above which the level before has seen all faces that matter.
_TILE_LEVELS = ((0.5, 0.22), (0.25, 0.10))
_MIN_SCORE = 0.5
#: Landmarks whose middles are nearer than this, in eye distances, are of one face: of half a face a second
#: one is found within it, while two people's are 1.2 apart at least.
_SAME_FACE = 0.75
_MIN_PRESENCE = 0.5
#: The close look: half the crop's side in eye distances, its size in pixels, its centre above the landmarks'
#: mean.
_CROP_HALF = 2.6
_CROP_SIZE = 1024
_CROP_RISE = 0.35


@dataclass(frozen=True, kw_only=True)
class MeasuredFace:
    """The landmarks of the close look."""

    #: (478, 3) pixels of the photo; z in the same unit, away from the camera, about the face's middle.
    points: FloatArray
    #: (52,) expression scores in the order of ARKIT_NAMES.
    scores: FloatArray
    presence: float
    #: Mean distance between the landmarks of the crop and of its mirror image, as a share of the eye
    #: distance.
    disagreement: float


def find_faces(landmarker: FaceLandmarker, photo: Photo) -> list[FaceLandmarks]:
    """Return the faces of a photo (H, W, 3), the one with the largest eye distance first."""
    height, width = photo.shape[:2]
    side = max(height, width)
    candidates = landmarker.detect(photo, _MIN_SCORE)
    for share, enough in _TILE_LEVELS:
        if any(face.width > enough * side for face in candidates):
            break
        candidates += _detect_in_tiles(landmarker, photo, max(64, round(share * side)))
    faces: list[FaceLandmarks] = []
    for candidate in sorted(candidates, key=lambda face: -face.score):
        if any(_same(candidate, face) for face in faces):
            continue
        found = landmarker.landmarks(photo, candidate.region())
        if found.presence >= _MIN_PRESENCE and not any(_near(found, face) for face in faces):
            faces.append(found)
    return sorted(faces, key=lambda face: -face.size)


def _detect_in_tiles(landmarker: FaceLandmarker, photo: Photo, tile: int) -> list[Detection]:
    height, width = photo.shape[:2]
    found = []
    for top in _starts(height, tile):
        for left in _starts(width, tile):
            window = photo[top : top + tile, left : left + tile]
            window = window.contiguous() if isinstance(window, Tensor) else np.ascontiguousarray(window)
            found += [face.moved(left, top) for face in landmarker.detect(window, _MIN_SCORE)]
    return found


def _starts(length: int, tile: int) -> list[int]:
    """Return where tiles begin that cover a length with half of each overlapping the next."""
    if length <= tile:
        return [0]
    count = int(np.ceil((length - tile) / (tile / 2))) + 1
    return [round(k * (length - tile) / (count - 1)) for k in range(count)]


def _same(candidate: Detection, face: FaceLandmarks) -> bool:
    middle = 0.5 * (candidate.keypoints[0] + candidate.keypoints[1])
    eyes = face.points[[33, 263], :2].mean(0)
    return float(np.linalg.norm(middle - eyes)) < 0.5 * face.eye_distance


def _near(one: FaceLandmarks, other: FaceLandmarks) -> bool:
    distance = np.linalg.norm(one.points[:, :2].mean(0) - other.points[:, :2].mean(0))
    return float(distance) < _SAME_FACE * max(one.eye_distance, other.eye_distance)


def measure_face(
    landmarker: FaceLandmarker, photo: Photo, face: FaceLandmarks, mirror: NDArray[np.int32]
) -> MeasuredFace:
    """Look at a face closely.

    Args:
        mirror: (478,) the landmark on the other side of the face.
    """
    centre = face.points[:468, :2].mean(0) - [0, _CROP_RISE * face.eye_distance]
    half = _CROP_HALF * max(face.eye_distance, 0.7 * face.size)
    crop = cut_square(photo, centre, half, _CROP_SIZE)
    scale = 2 * half / _CROP_SIZE
    region = _crop_region(landmarker, crop, (face.points - [*(centre - half), 0]) / scale)
    flipped_region = Region(_CROP_SIZE - region.x, region.y, region.width, region.height, -region.angle)
    mirrored = crop.flip(1) if isinstance(crop, Tensor) else np.ascontiguousarray(crop[:, ::-1])
    seen, seen_mirrored = landmarker.landmarks_of([(crop, region), (mirrored, flipped_region)])
    plain, flipped = _centred(seen, region), _centred(seen_mirrored, flipped_region)
    # Pixel indices mirror as size - 1 - x; the landmark model speaks in indices (see crop_region).
    back = (flipped.points * [-1, 1, 1] + [_CROP_SIZE - 1, 0, 0])[mirror]
    difference = np.linalg.norm(plain.points[:468, :2] - back[:468, :2], axis=1).mean()
    points = 0.5 * (plain.points + back)
    # From indices to coordinates in which the first pixel's centre is 0.5.
    points[:, :2] += 0.5
    points = points * scale + [*(centre - half), 0]
    return MeasuredFace(
        points=points.astype(np.float32),
        scores=0.5 * (plain.scores + mirror_scores(flipped.scores)),
        presence=min(plain.presence, flipped.presence),
        disagreement=float(difference / plain.eye_distance),
    )


def _centred(face: FaceLandmarks, region: Region) -> FaceLandmarks:
    """Undo half a pixel of the model's input, by which MediaPipe's crop shifts every landmark right and down.

    Its crop takes the region's edge for a pixel's centre (see crop_region); the model was trained with edges.
    """
    half_pixel = np.array([[0.5 + 0.5 / INPUT_SIZE] * 2])
    shift = region.to_photo(half_pixel)[0] - [region.x, region.y]
    return replace(face, points=(face.points - [*shift, 0]).astype(np.float32))


def _crop_region(landmarker: FaceLandmarker, crop: Photo, expected: NDArray[np.floating]) -> Region:
    """Return the landmark model's region in the crop: a detection's, or one about the expected landmarks."""
    distance = float(np.linalg.norm(expected[33, :2] - expected[263, :2]))
    middle = expected[[33, 263], :2].mean(0)
    for detection in landmarker.detect(crop, 0.3):
        eyes = 0.5 * (detection.keypoints[0] + detection.keypoints[1])
        if np.linalg.norm(eyes - middle) < 0.5 * max(distance, 0.1 * _CROP_SIZE):
            return detection.region()
    low, high = expected[:, :2].min(0), expected[:, :2].max(0)
    across = expected[263, :2] - expected[33, :2]
    side = 1.5 * float((high - low).max())
    x, y = ((low + high) / 2).tolist()
    return Region(x, y, side, side, float(np.arctan2(across[1], across[0])))


def cut_square(photo: Photo, centre: NDArray[np.floating], half: float, size: int) -> Photo:
    """Return the square about a point, resampled to (size, size, 3); the border's colours go on outside."""
    height, width = photo.shape[:2]
    left, top = (float(x) for x in centre - half)
    if isinstance(photo, Tensor):
        return resample_square(photo, left, top, 2 * half, size)
    pad = int(np.ceil(max(0.0, -left, -top, left + 2 * half - width, top + 2 * half - height)))
    pad_left = pad_top = 0
    window = photo
    if pad:
        x0, y0 = max(0, int(left)), max(0, int(top))
        x1, y1 = min(width, int(left + 2 * half) + 1), min(height, int(top + 2 * half) + 1)
        window = np.pad(photo[y0:y1, x0:x1], ((pad, pad), (pad, pad), (0, 0)), mode="edge")
        pad_left, pad_top = pad - x0, pad - y0
    box = (left + pad_left, top + pad_top, left + 2 * half + pad_left, top + 2 * half + pad_top)
    limits = (window.shape[1], window.shape[0])
    box = (max(0.0, box[0]), max(0.0, box[1]), min(limits[0], box[2]), min(limits[1], box[3]))
    picture = Image.fromarray(window).resize((size, size), Image.Resampling.LANCZOS, box=box)
    return np.asarray(picture)

"""A photo that lies on its side or upside down, and does not say so: the four turns are tried.

The landmark model turns its window with the face that the detector found, so that a photo on its side often
gives a face all the same, but one read badly; an upside-down one gives a wrong face or none. A photo whose
face looks right as it is pays nothing.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gpu_workers.head.landmarks.crops import Photo
from gpu_workers.head.landmarks.face_detection import MeasuredFace, find_faces, measure_face
from gpu_workers.head.landmarks.mediapipe_landmarker import FaceLandmarker, FaceLandmarks

#: A face that leans further lies on its side, degrees.
MAX_LEAN = 50.0
#: A face read so well needs no other look: disagreement of its landmarks (portraits reach 0.012, faces in
#: photos upside down 0.020 at least), and presence.
GOOD_DISAGREEMENT, GOOD_PRESENCE = 0.016, 0.9
#: Another turn is taken only where it is read so much better.
_BETTER = 0.7
#: Degrees of the quarters by which NumPy turns anticlockwise.
_QUARTERS = (1, 2, 3)


@dataclass(frozen=True)
class UprightFace:
    """A photo turned until its face is upright, and the face."""

    #: Quarters anticlockwise by which the photo was turned.
    quarters: int
    photo: Photo
    #: All faces, the largest first; none where `face` is None.
    faces: list[FaceLandmarks]
    face: MeasuredFace | None

    @property
    def degrees(self) -> int:
        """Degrees clockwise by which the photo was turned."""
        return (-90 * self.quarters) % 360


def find_upright_face(
    landmarker: FaceLandmarker, photo: Photo, mirror: NDArray[np.int32], second_face_share: float
) -> UprightFace:
    """Return the largest face of a photo (H, W, 3), and the photo as that face wants it.

    Args:
        mirror: (478,) the landmark on the other side of the face.
        second_face_share: a second face larger than this share of the first makes the choice not ours.
    """
    best = _look(landmarker, photo, mirror, 0)
    if _is_good(best):
        return best
    for quarters in _order(best):
        turned = _look(landmarker, _turn(photo, quarters), mirror, quarters)
        if _is_better(turned, best, second_face_share):
            best = turned
            if _is_good(best):
                break
    return best


def lean(points: NDArray[np.floating]) -> float:
    """Return how far a face with landmarks (478, 3) leans on the screen, degrees, -180 to 180."""
    across = points[263, :2] - points[33, :2]
    return float(np.degrees(np.arctan2(across[1], across[0])))


def _look(landmarker: FaceLandmarker, photo: Photo, mirror: NDArray[np.int32], quarters: int) -> UprightFace:
    faces = find_faces(landmarker, photo)
    if quarters and faces and abs(lean(faces[0].points)) > MAX_LEAN:
        # Not the turn that this face wants: a close look would not change that.
        faces = []
    face = measure_face(landmarker, photo, faces[0], mirror) if faces else None
    return UprightFace(quarters, photo, faces, face)


def _is_good(look: UprightFace) -> bool:
    return (
        look.face is not None
        and abs(lean(look.face.points)) <= MAX_LEAN
        and look.face.disagreement <= GOOD_DISAGREEMENT
        and look.face.presence >= GOOD_PRESENCE
    )


def _is_better(look: UprightFace, other: UprightFace, second_face_share: float) -> bool:
    if look.face is None or abs(lean(look.face.points)) > MAX_LEAN:
        return False
    if other.face is None:
        return True
    smallest = second_face_share * max(look.faces[0].size, other.faces[0].size)
    # Neither a small face nor several ones that a turn brings forth speak for the turn.
    if sum(face.size > smallest for face in look.faces) != 1:
        return False
    if abs(lean(other.face.points)) > MAX_LEAN:
        return look.face.presence >= min(other.face.presence, GOOD_PRESENCE)
    return look.face.disagreement < _BETTER * other.face.disagreement and look.face.presence >= min(
        other.face.presence, GOOD_PRESENCE
    )


def _order(look: UprightFace) -> tuple[int, ...]:
    """Return the turns to try, the likeliest first."""
    if look.face is None:
        return _QUARTERS
    # A turn by a quarter anticlockwise takes as many degrees off the lean.
    likeliest = round(lean(look.face.points) / 90) % 4
    return tuple(sorted(_QUARTERS, key=lambda quarters: quarters != likeliest))


def _turn(photo: Photo, quarters: int) -> Photo:
    if isinstance(photo, Tensor):
        return photo.rot90(quarters, (0, 1)).contiguous()
    return np.ascontiguousarray(np.rot90(photo, quarters))

"""How far a head's keys move its face: lengths that anatomists measure on people, on the posed head."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assets.mesh import split_quads
from bench.quality.shape_sheets import read_weights, weigh
from face3d.head import ARKIT_NAMES, VISEME_NAMES, FloatArray, Head, IndexArray, add_correctives
from gpu_workers.head.model.dense_landmarks import FacePoints
from gpu_workers.head.model.head_template import HeadData
from gpu_workers.head.ops.self_intersection import intersecting_triangles

Points = NDArray[np.float64]

_MM = 1000.0
_X, _Y, _Z = range(3)
#: MediaPipe's numbers; pairs are the person's right and left.
_MOUTH_CORNERS, _CHIN = (61, 291), (152,)
_UPPER_LIP, _LOWER_LIP = (37, 0, 267), (84, 17, 314)
_INNER_UPPER, _INNER_LOWER = (13,), (14,)
_CHEEKS, _OUTER_CHEEKS = (50, 280), (187, 411)
_NOSE_WINGS = (129, 358)
_INNER_BROWS, _OUTER_BROWS = (107, 55, 336, 285), (63, 53, 293, 283)
_BROWS = (105, 52, 334, 282)
_UPPER_LIDS, _LOWER_LIDS = (159, 386), (145, 374)
#: A key is empty when nothing moves so far, metres.
_EMPTY = 1e-5
#: Incisors: teeth this near the middle, metres.
_INCISORS = 0.008


@dataclass(frozen=True, kw_only=True)
class Pose:
    """What a length is measured on, metres in the head's frame."""

    #: (478, 3) MediaPipe's landmarks on the skin and on the irises.
    landmarks: Points
    #: Part to vertices (V, 3).
    parts: Mapping[str, Points]

    def mean(self, landmarks: Sequence[int]) -> Points:
        """Return the mean place (3,) of landmarks."""
        middle: Points = self.landmarks[list(landmarks)].mean(0)
        return middle


@dataclass(frozen=True, kw_only=True)
class MovingFace:
    """A head's vertices and how its keys move them."""

    #: Part to (V, 3) metres.
    positions: Mapping[str, FloatArray]
    #: Part to (52 + C, V, 3) metres.
    deltas: Mapping[str, FloatArray]
    #: The landmarks on the list of all vertices.
    points: FacePoints

    def pose(self, keys: str = "") -> Pose:
        """Return the face with keys like A+B at 1.0, and their correctives; neutral without.

        A viseme is a key of its own, which has no correctives.
        """
        weights = weigh(read_weights(keys) if keys else {})
        parts = {}
        for name, rest in self.positions.items():
            correctives = 0 if keys in VISEME_NAMES else len(self.deltas[name]) - len(weights)
            whole = add_correctives(weights, correctives)
            used = np.flatnonzero(whole)
            parts[name] = rest + np.tensordot(whole[used], self.deltas[name][used], axes=1).astype(float)
        return Pose(landmarks=self._place(parts), parts=parts)

    def _place(self, parts: Mapping[str, Points]) -> Points:
        corners = np.concatenate(list(parts.values()))[self.points.vertices]
        placed: Points = (corners * self.points.weights[..., None]).sum(1)
        return placed


def face_of_head(head: Head, data: HeadData) -> MovingFace:
    """Return a head at level of detail 1, made from the data."""
    return MovingFace(
        positions={part.name: part.positions for part in head.parts},
        deltas={part.name: part.morph_deltas for part in head.parts},
        points=_landmark_points(data),
    )


def face_of_units(data: HeadData) -> MovingFace:
    """Return MakeHuman's mean adult with its ARKit face units as they are, before ours are made of them."""
    return MovingFace(
        positions={part.name: data.positions[part.vertices] for part in data.parts},
        deltas={part.name: data.actions[:, part.vertices] for part in data.parts},
        points=_landmark_points(data),
    )


def _landmark_points(data: HeadData) -> FacePoints:
    return FacePoints(vertices=data.landmark_vertices.astype(np.int64), weights=data.landmark_weights)


@dataclass(frozen=True, kw_only=True)
class Length:
    """One amplitude: what is measured between neutral and the keys at 1.0."""

    name: str
    #: Like `mouthSmile`, both sides, or `jawOpen+mouthSmile`.
    keys: str
    unit: str
    #: Of the neutral and the moved pose.
    measure: Callable[[Pose, Pose], float]


def _shift(landmarks: Sequence[int], axis: int, sign: float = 1.0) -> Callable[[Pose, Pose], float]:
    """Measure how far landmarks move along an axis of the head, mm."""
    return lambda rest, moved: _MM * sign * float((moved.mean(landmarks) - rest.mean(landmarks))[axis])


def _part_shift(part: str, axis: int, sign: float = 1.0) -> Callable[[Pose, Pose], float]:
    """Measure how far a part's incisors move along an axis, mm."""

    def measure(rest: Pose, moved: Pose) -> float:
        rows = _find_incisors(rest.parts[part])
        return _MM * sign * float((moved.parts[part][rows] - rest.parts[part][rows]).mean(0)[axis])

    return measure


def _find_incisors(teeth: Points) -> NDArray[np.intp]:
    """Return the vertices of the front teeth: near the middle, and the foremost there."""
    near = np.abs(teeth[:, _X]) < _INCISORS
    front = teeth[near, _Z].max() - _INCISORS
    return np.flatnonzero(near & (teeth[:, _Z] > front))


def _interincisal(rest: Pose, moved: Pose) -> float:
    """Return the gap between the incisors' edges, mm; negative where they overlap."""
    upper, lower = (
        moved.parts[name][_find_incisors(rest.parts[name]), _Y] for name in ("teeth_upper", "teeth_lower")
    )
    return _MM * float(upper.min() - lower.max())


def _path(landmarks: Sequence[int]) -> Callable[[Pose, Pose], float]:
    """Measure how far landmarks move, their mean, mm."""

    def measure(rest: Pose, moved: Pose) -> float:
        chosen = list(landmarks)
        return _MM * float(np.linalg.norm(moved.landmarks[chosen] - rest.landmarks[chosen], axis=1).mean())

    return measure


def _corner_angle(rest: Pose, moved: Pose) -> float:
    """Return the angle above the horizontal at which the mouth's corners move, seen from the front."""
    right, left = (moved.landmarks[k] - rest.landmarks[k] for k in _MOUTH_CORNERS)
    return float(np.degrees(np.arctan2(right[_Y] + left[_Y], left[_X] - right[_X])))


def _mouth_width(at: Pose) -> float:
    right, left = (at.landmarks[k] for k in _MOUTH_CORNERS)
    return float(np.linalg.norm(left - right))


def _width_gain(rest: Pose, moved: Pose) -> float:
    return 100 * (_mouth_width(moved) / _mouth_width(rest) - 1)


def _nose_width(rest: Pose, moved: Pose) -> float:
    now, before = (
        float(np.linalg.norm(np.diff(at.landmarks[list(_NOSE_WINGS)], axis=0))) for at in (moved, rest)
    )
    return 100 * (now / before - 1)


def _lips_gap(_: Pose, moved: Pose) -> float:
    return _MM * float(moved.mean(_INNER_UPPER)[_Y] - moved.mean(_INNER_LOWER)[_Y])


def _lid_gap(at: Pose) -> float:
    return _MM * float(at.mean(_UPPER_LIDS)[_Y] - at.mean(_LOWER_LIDS)[_Y])


def _tongue_past_lip(_: Pose, moved: Pose) -> float:
    """Return how far the tongue's tip stands from the upper lip's edge, mm; 0 where it stays behind it."""
    tongue, lip = moved.parts["tongue"], moved.mean(_INNER_UPPER)
    tip = tongue[tongue[:, _Z].argmax()]
    return _MM * float(np.linalg.norm((tip - lip)[1:])) if tip[_Z] > lip[_Z] else 0.0


def _lip_height(upper: bool) -> Callable[[Pose, Pose], float]:
    """Measure which share of a lip's red is left, %."""
    outer, inner = (_UPPER_LIP, _INNER_UPPER) if upper else (_LOWER_LIP, _INNER_LOWER)

    def measure(rest: Pose, moved: Pose) -> float:
        now, before = (abs(float((at.mean(outer) - at.mean(inner))[_Y])) for at in (moved, rest))
        return 100 * now / before

    return measure


def _outline(rest: Pose, moved: Pose) -> float:
    """Return how far the cheeks stand out on either side between nose and chin, seen from the front, mm."""
    top, bottom = rest.mean(_NOSE_WINGS)[_Y], rest.mean(_LOWER_LIP)[_Y]
    skin = rest.parts["skin"]
    front = skin[:, _Z] > rest.mean(_MOUTH_CORNERS)[_Z] - 0.06
    rows = np.flatnonzero((skin[:, _Y] < top) & (skin[:, _Y] > bottom) & front)
    out = np.abs(moved.parts["skin"][rows, _X]) - np.abs(skin[rows, _X])
    return _MM * float(out.max())


def _gaze(axis: int, sign: float) -> Callable[[Pose, Pose], float]:
    """Measure the eyeballs' turn about an axis, degrees; `sign` for the left eye, mirrored about y."""

    def measure(rest: Pose, moved: Pose) -> float:
        turns = []
        for side, mirrored in (("left", 1.0), ("right", -1.0 if axis == _Y else 1.0)):
            rotation = find_rotation(rest.parts[f"eye_{side}"], moved.parts[f"eye_{side}"])
            forward = rotation @ np.array([0.0, 0.0, 1.0])
            angle = np.arctan2(forward[_X], forward[_Z]) if axis == _Y else np.arcsin(forward[_Y])
            turns.append(sign * mirrored * float(np.degrees(angle)))
        return sum(turns) / 2

    return measure


def find_rotation(before: Points, after: Points) -> Points:
    """Return the rotation (3, 3) that best takes points (N, 3) to points (N, 3), both about their means.

    Source: Kabsch, A solution for the best rotation to relate two sets of vectors, 1976.
    """
    covariance = (after - after.mean(0)).T @ (before - before.mean(0))
    left, _, right = np.linalg.svd(covariance)
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    return np.asarray(left @ flip @ right)


def _length(name: str, keys: str, unit: str, measure: Callable[[Pose, Pose], float]) -> Length:
    return Length(name=name, keys=keys, unit=unit, measure=measure)


LENGTHS = (
    _length("mouth width gained in a smile", "mouthSmile", "%", _width_gain),
    _length("mouth corner's path in a smile", "mouthSmile", "mm", _path(_MOUTH_CORNERS)),
    _length("mouth corner's direction in a smile", "mouthSmile", "°", _corner_angle),
    _length("cheek rise in a smile", "mouthSmile", "mm", _shift(_CHEEKS, _Y)),
    _length("lower lid rise in a smile", "mouthSmile", "mm", _shift(_LOWER_LIDS, _Y)),
    _length("nose width gained in a smile", "mouthSmile", "%", _nose_width),
    _length("cheek rise", "cheekSquint", "mm", _shift(_CHEEKS, _Y)),
    _length("gap of the incisors", "jawOpen", "mm", _interincisal),
    _length("chin drop", "jawOpen", "mm", _shift(_CHIN, _Y, -1)),
    _length("lower incisors forward", "jawForward", "mm", _part_shift("teeth_lower", _Z)),
    _length("lower incisors aside", "jawLeft", "mm", _part_shift("teeth_lower", _X)),
    _length(
        "lips forward in a pucker",
        "mouthPucker",
        "mm",
        _shift((*_UPPER_LIP, *_LOWER_LIP), _Z),
    ),
    _length("mouth width gained in a pucker", "mouthPucker", "%", _width_gain),
    _length(
        "lips forward in a funnel",
        "mouthFunnel",
        "mm",
        _shift((*_UPPER_LIP, *_LOWER_LIP), _Z),
    ),
    _length("gap of the lips in a funnel", "mouthFunnel", "mm", _lips_gap),
    _length("mouth corner drop", "mouthFrown", "mm", _shift(_MOUTH_CORNERS, _Y, -1)),
    _length("mouth width gained in a stretch", "mouthStretch", "%", _width_gain),
    _length("upper lip rise", "mouthUpperUp", "mm", _shift(_UPPER_LIP, _Y)),
    _length("lower lip drop", "mouthLowerDown", "mm", _shift(_LOWER_LIP, _Y, -1)),
    _length("upper lip's red left", "mouthRollUpper", "%", _lip_height(True)),
    _length("lower lip's red left", "mouthRollLower", "%", _lip_height(False)),
    _length("mouth aside", "mouthLeft", "mm", _shift(_MOUTH_CORNERS, _X)),
    _length("lower lip rise in a shrug", "mouthShrugLower", "mm", _shift(_LOWER_LIP, _Y)),
    _length("tongue past the upper lip", "tongueOut", "mm", _tongue_past_lip),
    _length("cheek outline, each side", "cheekPuff", "mm", _outline),
    _length("nose wing rise", "noseSneer", "mm", _shift(_NOSE_WINGS, _Y)),
    _length("inner brow rise", "browInnerUp", "mm", _shift(_INNER_BROWS, _Y)),
    _length("outer brow rise", "browOuterUp", "mm", _shift(_OUTER_BROWS, _Y)),
    _length("brow's middle, all raised", "browInnerUp+browOuterUp", "mm", _shift(_BROWS, _Y)),
    _length("inner brow's path in a frown", "browDown", "mm", _path(_INNER_BROWS)),
    _length("lids' gap, open", "", "mm", lambda _, moved: _lid_gap(moved)),
    _length("upper lid's path", "eyeBlink", "mm", _path(_UPPER_LIDS)),
    _length("lids' gap, shut", "eyeBlink", "mm", lambda _, moved: _lid_gap(moved)),
    _length("upper lid rise", "eyeWide", "mm", _shift(_UPPER_LIDS, _Y)),
    _length("lower lid rise", "eyeSquint", "mm", _shift(_LOWER_LIDS, _Y)),
    _length("gaze outwards", "eyeLookOut", "°", _gaze(_Y, 1)),
    _length("gaze inwards", "eyeLookIn", "°", _gaze(_Y, -1)),
    _length("gaze up", "eyeLookUp", "°", _gaze(_X, 1)),
    _length("gaze down", "eyeLookDown", "°", _gaze(_X, -1)),
)


def measure_lengths(face: MovingFace) -> dict[str, float]:
    """Return each length's amplitude by its name."""
    rest = face.pose()
    return {length.name: length.measure(rest, face.pose(length.keys)) for length in LENGTHS}


def find_empty_keys(face: MovingFace) -> list[str]:
    """Return those of the 66 named keys at which no vertex of any part moves."""
    rest = face.pose()
    return [key for key in ARKIT_NAMES + VISEME_NAMES if _reach(rest, face.pose(key)) < _EMPTY]


def _reach(rest: Pose, moved: Pose) -> float:
    """Return the longest way of a vertex along an axis, metres."""
    return max(float(np.abs(moved.parts[name] - points).max()) for name, points in rest.parts.items())


def count_passing(face: MovingFace, quads: IndexArray, keys: Sequence[str]) -> dict[str, int]:
    """Return how many of the skin's triangles pass through another one, by keys like A+B; \"\" is neutral.

    Args:
        quads: (F, 4) the skin's.
    """
    triangles = split_quads(quads)
    return {key: len(intersecting_triangles(face.pose(key).parts["skin"], triangles)) for key in keys}

"""From a fit to a head: neutral shape, the landmarks' remaining offsets, expression, metric scale, camera.

The basis leaves about 1 % of the eye distance between its points and the detected ones. These offsets are
spread over the skin (see residual.py), but not all of them belong to the neutral face: what is the same on
both sides does; what differs is half believed; and near the mouth, as far as the person smiles or speaks,
it belongs to the expression and is put into the shapes that are active, so that neutral + expression still
meets the photo.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from face3d.head import ARKIT_NAMES, Camera, Head, MeshPart
from gpu_workers.engines.anny.bound_parts import bind_parts
from gpu_workers.engines.anny.correspondence import (
    INNER_LIPS,
    LEFT_IRIS,
    LEFT_LIDS,
    OUTER_LIPS,
    RIGHT_IRIS,
    RIGHT_LIDS,
    SKIN_LANDMARKS,
)
from gpu_workers.engines.anny.head_data import IRIS_DIAMETER, HeadData
from gpu_workers.engines.anny.personal_shapes import PersonalShapes

FloatArray = NDArray[np.float64]

#: The detector sees the iris this much too wide: measured on renderings of an iris of known size.
_IRIS_BIAS = 1.10
#: The iris' word against that of the average adult's face, in the logarithm: both are about 5 % uncertain.
_IRIS_SHARE = 0.5
#: An iris of fewer pixels is measured too coarsely to tell the scale.
_MIN_IRIS_PIXELS = 8.0
#: Scales outside this range are wrong measurements, not people.
_SCALE_RANGE = (0.75, 1.3)
#: Offsets longer than this share of the eye distance are outliers and shortened.
_MAX_OFFSET = 0.05
#: How much of an offset is the head's and not the detector's error: the slope of true on seen offsets over
#: 101 rendered random heads (docs/accuracy.md), rounded.
_BELIEF, _LID_BELIEF, _LIP_BELIEF = 0.25, 0.65, 0.5
#: How much of the offsets' difference between the two sides is believed.
_ASYMMETRY = 0.5
#: Distance from the lips (share of the eye distance) at which expression no longer explains an offset.
_MOUTH_REACH = 0.4
#: Landmarks whose offset the inner parts follow rigidly: lids, base of the nose, below the lower lip.
_FOLLOWED = {
    "eye_left": LEFT_LIDS,
    "eye_right": RIGHT_LIDS,
    "teeth_upper": (164,),
    "teeth_lower": (18,),
    "gums_upper": (164,),
    "gums_lower": (18,),
    "tongue": (18,),
}
_MOUTH_SHAPES = np.array([name.startswith(("mouth", "jaw", "cheek")) for name in ARKIT_NAMES])

#: Metres; a vertex that a shape moves less rests.
_SMALLEST_MOVE = 1e-6


@dataclass(frozen=True, kw_only=True)
class FittedPhoto:
    """One photo's fit as plain arrays."""

    #: (30 + K + 52,)
    coefficients: FloatArray
    #: (3, 3) and (3,) metres: from the head's frame to the camera's.
    rotation: FloatArray
    translation: FloatArray
    #: (478, 3) metres, the fitted landmarks with expression.
    points: FloatArray
    #: (478, 3) pixels, where the landmarks are: detected, less the detector's bias; and as detected.
    landmarks: FloatArray
    detected: FloatArray
    #: Pixels.
    focal: float
    centre: tuple[float, float]
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class AssembledHead:
    """A head and what was measured on the way."""

    head: Head
    #: `iris` or `template`.
    scale_from: str
    #: Metres of the head to metres of the template.
    scale: float
    #: Mean distance of the 468 skin landmarks to the detected ones, share of the eye distance: basis, then
    #: final.
    error_basis: float
    error: float
    #: The final one to the landmarks as they were detected.
    error_detected: float


def assemble_head(shapes: PersonalShapes, fitted: FittedPhoto, *, expression_in_base: bool) -> AssembledHead:
    """Return the head of a fitted photo."""
    data = shapes.data
    first_action = len(data.identity) + len(data.local_changes)
    identity, local = np.split(fitted.coefficients[:first_action], [len(data.identity)])
    expression = fitted.coefficients[first_action:]
    neutral = data.positions.astype(np.float64)
    # Small displacements: single precision keeps them to nanometres.
    neutral += np.tensordot(identity.astype(np.float32), data.identity, 1)
    neutral += np.tensordot(local.astype(np.float32), data.local_changes, 1)

    weights = expression.astype(np.float32)
    # The fit knew the template's shapes only: what this face's own do otherwise is made up for, too.
    posed = neutral + np.tensordot(weights, shapes.carry(neutral), 1)
    offsets = _offsets(fitted, _landmarks(data, posed))
    explained = _explained(fitted, expression)
    neutral += _spread(data, _of_neutral(data, offsets, explained))
    shapes.seat_teeth(neutral)
    shapes.settle_neutral(neutral)
    deltas = shapes.carry(neutral)
    if explained.any():
        posed = neutral + np.tensordot(weights, deltas, 1)
        of_expression = explained * _offsets(fitted, _landmarks(data, posed))
        active = np.where(_MOUTH_SHAPES, expression, 0.0)
        share = (active / (active**2).sum()).astype(np.float32)
        used = np.flatnonzero(share)
        deltas[used] += share[used, None, None] * _spread(data, of_expression).astype(np.float32)
    shapes.settle(neutral, deltas)

    neutral, deltas = bind_parts(data, neutral, deltas)
    eyes = [neutral[data.part(name).vertices] for name in ("eye_left", "eye_right")]
    origin = 0.5 * sum(0.5 * (eye.min(0) + eye.max(0)) for eye in eyes)
    scale, scale_from = _metric_scale(fitted)
    posed = neutral + np.tensordot(weights, deltas, 1)
    base = posed if expression_in_base else neutral
    camera = Camera(
        focal=(fitted.focal, fitted.focal),
        centre=fitted.centre,
        rotation=fitted.rotation.astype(np.float32),
        translation=(scale * (fitted.rotation @ origin + fitted.translation)).astype(np.float32),
        width=fitted.width,
        height=fitted.height,
    )
    positions = ((base - origin) * scale).astype(np.float32)
    deltas = deltas * np.float32(scale)
    # What nobody sees need not travel: a head is half as large without it.
    deltas *= (np.abs(deltas).max(axis=2) >= _SMALLEST_MOVE)[..., None]
    head = Head(
        parts=tuple(
            MeshPart(
                name=part.name,
                material=part.material,
                positions=positions[part.vertices],
                quads=part.quads,
                uvs=part.uvs,
                uv_quads=part.uv_quads,
                morph_deltas=np.ascontiguousarray(deltas[:, part.vertices]),
                coarse=part.coarse,
            )
            for part in data.parts
        ),
        camera=camera,
        expression=expression.astype(np.float32),
        expression_in_base=expression_in_base,
    )
    return AssembledHead(
        head=head,
        scale_from=scale_from,
        scale=scale,
        error_basis=_mean_error(fitted, fitted.points, fitted.landmarks),
        error=_mean_error(fitted, _landmarks(data, posed), fitted.landmarks),
        error_detected=_mean_error(fitted, _landmarks(data, posed), fitted.detected),
    )


def _landmarks(data: HeadData, positions: FloatArray) -> FloatArray:
    """Return the landmarks (478, 3) on a head (V, 3)."""
    return np.asarray((positions[data.landmark_vertices] * data.landmark_weights[..., None]).sum(1))


def _eye_distance(fitted: FittedPhoto) -> float:
    return float(np.linalg.norm(fitted.detected[33, :2] - fitted.detected[263, :2]))


def _project(fitted: FittedPhoto, points: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return pixels (N, 2) and depths (N,)."""
    placed = points @ fitted.rotation.T + fitted.translation
    return fitted.focal * placed[:, :2] / placed[:, 2:] + fitted.centre, placed[:, 2]


def _mean_error(fitted: FittedPhoto, points: FloatArray, landmarks: FloatArray) -> float:
    pixels, _ = _project(fitted, points)
    distance = np.linalg.norm(pixels - landmarks[:, :2], axis=1)
    return float(distance[:SKIN_LANDMARKS].mean()) / _eye_distance(fitted)


def _offsets(fitted: FittedPhoto, points: FloatArray) -> FloatArray:
    """Return the moves (468, 3), metres in the picture's plane, that take points (478, 3) where they belong.

    That is where the fit has put them, and from there towards the photo's landmarks as far as is believed.
    """
    pixels, depth = _project(fitted, points)
    fitted_pixels, _ = _project(fitted, fitted.points)
    missing = (fitted.landmarks[:, :2] - fitted_pixels)[:SKIN_LANDMARKS]
    length = np.linalg.norm(missing, axis=1, keepdims=True)
    missing *= np.minimum(1, _MAX_OFFSET * _eye_distance(fitted) / np.maximum(length, 1e-9))
    missing *= _belief()[:, None]
    missing += (fitted_pixels - pixels)[:SKIN_LANDMARKS]
    in_camera = np.zeros((SKIN_LANDMARKS, 3))
    in_camera[:, :2] = missing * depth[:SKIN_LANDMARKS, None] / fitted.focal
    return np.asarray(in_camera @ fitted.rotation)


@cache
def _belief() -> FloatArray:
    """Return how much of each landmark's offset (468,) is believed."""
    belief = np.full(SKIN_LANDMARKS, _BELIEF)
    belief[[*RIGHT_LIDS, *LEFT_LIDS]] = _LID_BELIEF
    belief[[*OUTER_LIPS, *INNER_LIPS]] = _LIP_BELIEF
    return belief


def _explained(fitted: FittedPhoto, expression: FloatArray) -> FloatArray:
    """Return how far the expression explains an offset of each landmark (468, 1), 0..1."""
    lips = fitted.points[list(OUTER_LIPS)]
    distance = np.linalg.norm(fitted.points[:SKIN_LANDMARKS, None] - lips, axis=2).min(1)
    eyes_apart = np.linalg.norm(fitted.points[33] - fitted.points[263])
    near = np.clip(1 - distance / (_MOUTH_REACH * eyes_apart), 0, 1)
    strength = float(np.clip(((expression[_MOUTH_SHAPES] ** 2).sum() - 0.1) / 0.4, 0, 1))
    return np.asarray((strength * near)[:, None])


def _of_neutral(data: HeadData, offsets: FloatArray, explained: FloatArray) -> FloatArray:
    """Return the offsets (468, 3) of the neutral face."""
    mirrored = offsets[data.landmark_mirror[:SKIN_LANDMARKS]] * [-1, 1, 1]
    common, differing = 0.5 * (offsets + mirrored), 0.5 * (offsets - mirrored)
    return np.asarray(common * (1 - 0.5 * explained) + _ASYMMETRY * differing * (1 - explained))


def _spread(data: HeadData, offsets: FloatArray) -> FloatArray:
    """Return displacements (V, 3) of all parts from landmark offsets (468, 3)."""
    spread = np.zeros((len(data.positions), 3))
    skin = data.residual_map @ offsets.astype(np.float32)
    spread[data.parts[0].vertices] = skin
    for name, landmarks in _FOLLOWED.items():
        rows = list(landmarks)
        followed = (skin[data.landmark_vertices[rows]] * data.landmark_weights[rows][..., None]).sum(1)
        spread[data.part(name).vertices] = followed.mean(0)
    return spread


def _metric_scale(fitted: FittedPhoto) -> tuple[float, str]:
    """Return the factor from template metres to real ones, and what it was taken from."""
    sizes = []
    for iris in (RIGHT_IRIS, LEFT_IRIS):
        _, *rim = iris
        # The two rim points beside the centre: lids cover the other two.
        across = fitted.detected[rim[0], :2] - fitted.detected[rim[2], :2]
        pixels = float(np.linalg.norm(across))
        depth = float((fitted.points[iris[0]] @ fitted.rotation.T + fitted.translation)[2])
        sizes.append((pixels, pixels * depth / fitted.focal))
    if min(pixels for pixels, _ in sizes) < _MIN_IRIS_PIXELS:
        return 1.0, "template"
    measured = float(np.mean([size for _, size in sizes])) / _IRIS_BIAS
    scale = IRIS_DIAMETER / measured
    if not _SCALE_RANGE[0] <= scale <= _SCALE_RANGE[1]:
        return 1.0, "template"
    return float(scale**_IRIS_SHARE), "iris"

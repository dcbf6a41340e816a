"""From a fit to a head: neutral shape, the landmarks' remaining offsets, expression, metric scale, camera.

The basis leaves about 1 % of the eye distance between its points and the detected ones. These offsets are
spread over the skin (see biharmonic_residual.py), but not all of them belong to the neutral face: what is the
same on both sides does; what differs is half believed; and near the mouth, as far as the person smiles or
speaks, it belongs to the expression and is put into the shapes that are active, so that neutral + expression
still meets the photo.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from face3d.head import ARKIT_NAMES, CORRECTIVE_PAIRS
from gpu_workers.head.model.head_template import IRIS_DIAMETER, HeadData
from gpu_workers.head.model.mediapipe_landmarks import (
    INNER_LIPS,
    LANDMARKS,
    LEFT_IRIS,
    LEFT_LIDS,
    OUTER_LIPS,
    RIGHT_IRIS,
    RIGHT_LIDS,
    SKIN_LANDMARKS,
    eye_distance,
)
from gpu_workers.head.model.posed_head import find_occluders
from gpu_workers.head.ops.linalg import Layout, box_centre, send
from gpu_workers.head.rigging.blendshape_transfer import PersonalShapes
from gpu_workers.head.rigging.expression_shares import expression_shares

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
#: 101 rendered random heads (docs/explanation/accuracy.md), rounded.
_CONFIDENCE, _LID_CONFIDENCE, _LIP_CONFIDENCE = 0.25, 0.65, 0.5
#: How much of the offsets' difference between the two sides is believed.
_ASYMMETRY = 0.5
#: Distance from the lips (share of the eye distance) at which expression no longer explains an offset.
_MOUTH_REACH = 0.4
#: Sum of squared weights of mouth shapes from which they explain an offset, and how much more until in full.
_EXPLAINS_FROM, _EXPLAINS_RANGE = 0.1, 0.4
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
#: Of each iris: its centre, and the two rim points beside it, which the lids do not cover.
_IRISES = np.array([[iris[0], iris[1], iris[3]] for iris in (RIGHT_IRIS, LEFT_IRIS)])

#: Metres; a vertex that a shape moves less rests.
_SMALLEST_MOVE = 1e-6


@dataclass(frozen=True)
class _Fit:
    """One photo's fit, float64; frames and units of head_maker.FittedPhoto."""

    #: (30 + K + 52,)
    coefficients: Tensor
    #: (3, 3) and (3,).
    rotation: Tensor
    translation: Tensor
    #: (478, 3) each.
    points: Tensor
    landmarks: Tensor
    detected: Tensor
    #: (), (2,).
    focal: Tensor
    centre: Tensor
    #: () 1 where the base shape keeps the expression, else 0.
    in_base: Tensor
    #: (2,) 1 where the right and the left iris was seen, else 0.
    irises: Tensor

    @staticmethod
    def layout(coefficients: int) -> Layout:
        """Return how the fields travel as one (1, T) tensor."""
        points = (LANDMARKS, 3)
        return Layout(shapes=((coefficients,), (3, 3), (3,), points, points, points, (), (2,), (), (2,)))

    @property
    def eye_distance(self) -> Tensor:
        """Distance () of the outer eye corners, pixels."""
        return eye_distance(self.detected[:, :2])

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return pixels (N, 2) and depths (N, 1) of points (N, 3)."""
        placed = points @ self.rotation.T + self.translation
        depth = placed[:, 2:]
        return self.focal * placed[:, :2] / depth + self.centre, depth

    def mean_error(self, points: Tensor, landmarks: Tensor) -> Tensor:
        """Return the mean distance () of skin landmarks (478, 3) to those seen, share of the eye distance."""
        pixels, _ = self.project(points)
        distance = (pixels - landmarks[:, :2]).norm(dim=1)
        error: Tensor = distance[:SKIN_LANDMARKS].mean() / self.eye_distance
        return error


@dataclass(frozen=True)
class HeadTensors:
    """An assembled head on its device."""

    #: (V', 3) metres, skin and then eyes with the photo's expression: `posed_head.stack_vertices`.
    posed: Tensor
    #: (V, 3) metres.
    positions: Tensor
    #: ((52 + C) x V x 3,) metres: the shapes part after part, each (52 + C, part's vertices, 3).
    morphs: Tensor
    #: (8,) float64: scale, whether the iris told it, errors of the basis, final, and to the landmarks as
    #: detected, the camera's translation.
    numbers: Tensor


class HeadAssembly:
    """Assembles heads of one topology.

    Nothing waits for the device or depends on what is found, so that a CUDA graph can hold it.
    """

    def __init__(self, shapes: PersonalShapes) -> None:
        data, device = shapes.data, shapes.device
        self.shapes = shapes
        #: Of a packed fit: the fields of head_maker.FittedPhoto and whether the base keeps the expression.
        self.layout = _Fit.layout(len(data.identity) + len(data.local_changes) + len(ARKIT_NAMES))
        self._first_action = len(data.identity) + len(data.local_changes)
        columns = np.concatenate([data.identity, data.local_changes])
        self._template = send(data.positions.astype(np.float64), device)
        self._columns = send(columns.reshape(len(columns), -1), device)
        corners = data.landmark_vertices.astype(np.int64).ravel()
        self._corners = send(corners, device)
        #: (52 + C, 478 x 3, 3) the template's shapes there.
        self._corner_shapes = send(data.shapes[:, corners], device)
        self._corner_weights = send(data.landmark_weights.astype(np.float64), device)[..., None]
        self._mirror = send(data.landmark_mirror[:SKIN_LANDMARKS].astype(np.int64), device)
        self._flip = send(np.array([-1.0, 1.0, 1.0]), device)
        self._skin = data.parts[0].count
        self._residual_map, self._residual_rows = (send(array, device) for array in _spreading(data))
        confidence = np.full((SKIN_LANDMARKS, 1), _CONFIDENCE)
        confidence[[*RIGHT_LIDS, *LEFT_LIDS]] = _LID_CONFIDENCE
        confidence[[*OUTER_LIPS, *INNER_LIPS]] = _LIP_CONFIDENCE
        self._confidence = send(confidence, device)
        self._outer_lips = send(np.array(OUTER_LIPS), device)
        self._mouth_shapes = send(_MOUTH_SHAPES, device)
        self._irises = send(_IRISES, device)
        self._corrected = send(np.array(CORRECTIVE_PAIRS, np.int64).reshape(-1, 2), device)
        self._expression_shares = send(expression_shares().astype(np.float64), device)
        self._eyes = [data.part(name).vertices for name in ("eye_left", "eye_right")]
        self._occluders = send(
            np.concatenate([np.arange(p.first, p.first + p.count) for p in find_occluders(data.parts)]),
            device,
        )

    def assemble(self, packed: Tensor) -> HeadTensors:
        """Return the head of one fitted photo, packed as `layout` says: (1, T) float64."""
        fit = _Fit(*(value[0] for value in self.layout.split(packed)))
        shapes = self.shapes
        expression = fit.coefficients[self._first_action :] * self._expression_shares
        weights = self._add_correctives(expression.float())
        # Small displacements: single precision keeps them to nanometres.
        moves = fit.coefficients[: self._first_action].float() @ self._columns
        neutral = self._template + moves.view(-1, 3)
        scale, from_iris = self._metric_scale(fit)
        shapes.contacts.sockets.seat(neutral, scale)

        # The fit knew the CC0 shapes only: what the template's own do otherwise is compensated, too. How
        # much more they do on this face is told below, with its own shapes.
        offsets = self._offsets(fit, self._landmarks(neutral, _weigh(self._corner_shapes, weights)))
        explained = self._explained(fit, expression)
        neutral = neutral + self._spread(self._of_neutral(fit, offsets, explained))
        shapes.contacts.place_teeth(neutral)
        shapes.contacts.resolve_neutral(neutral, scale)
        deltas = shapes.transfer(neutral)
        of_expression = explained * self._offsets(fit, self._posed_landmarks(neutral, deltas, weights))
        active = torch.where(self._mouth_shapes, expression, 0)
        # Without activity nothing is explained, and what is divided is zero.
        share = active / (active**2).sum().clamp(min=1e-9)
        # Teeth and tongue go with the jaw alone: its joint takes them to the same place.
        of_skin = (self._residual_map[: self._skin] @ of_expression.float()).view(-1)
        of_arkit = deltas.view(len(deltas), -1)[: len(ARKIT_NAMES), : len(of_skin)]
        of_arkit.addr_(share.float(), of_skin)
        shapes.contacts.resolve(neutral, deltas)
        shapes.bound_parts.bind(neutral, deltas)
        return self._scale_head(fit, neutral, deltas, weights, scale, from_iris)

    def _scale_head(
        self, fit: _Fit, neutral: Tensor, deltas: Tensor, weights: Tensor, scale: Tensor, from_iris: Tensor
    ) -> HeadTensors:
        """Return a head in metres, about its own origin; `deltas` are written anew."""
        origin = torch.stack([box_centre(neutral[rows]) for rows in self._eyes]).mean(0)
        landmarks = self._posed_landmarks(neutral, deltas, weights)
        base = neutral + fit.in_base * _weigh(deltas, weights)
        positions = ((base - origin) * scale).float()
        deltas *= scale.float()
        # What nobody sees need not travel: a head is half as large without it.
        x, y, z = deltas.abs().unbind(2)
        deltas *= (torch.maximum(torch.maximum(x, y), z) >= _SMALLEST_MOVE)[..., None]
        posed = positions + (1 - fit.in_base).float() * _weigh(deltas, weights)
        errors = [
            fit.mean_error(points, seen)
            for points, seen in (
                (fit.points, fit.landmarks),
                (landmarks, fit.landmarks),
                (landmarks, fit.detected),
            )
        ]
        translation = scale * (fit.rotation @ origin + fit.translation)
        return HeadTensors(
            posed=posed[self._occluders],
            positions=positions,
            morphs=torch.cat([deltas[:, part.vertices].reshape(-1) for part in self.shapes.data.parts]),
            numbers=torch.cat([torch.stack([scale, from_iris.to(scale.dtype), *errors]), translation]),
        )

    def _add_correctives(self, weights: Tensor) -> Tensor:
        """Return the weights (52 + C,) of ARKit shapes (52,) and correctives."""
        return torch.cat([weights, weights[self._corrected].prod(1)])

    def _posed_landmarks(self, neutral: Tensor, deltas: Tensor, weights: Tensor) -> Tensor:
        """Return the landmarks (478, 3) on a head with an expression."""
        return self._landmarks(neutral, _weigh(deltas[:, self._corners], weights))

    def _landmarks(self, neutral: Tensor, moves: Tensor) -> Tensor:
        """Return the landmarks (478, 3) on a head whose triangles' corners go by moves (478 x 3, 3)."""
        posed = neutral[self._corners] + moves
        landmarks: Tensor = (posed.view(LANDMARKS, 3, 3) * self._corner_weights).sum(1)
        return landmarks

    def _offsets(self, fit: _Fit, points: Tensor) -> Tensor:
        """Return the moves (468, 3), metres in the picture's plane, that take points (478, 3) to their place.

        That is where the fit has put them, and from there towards the photo's landmarks as far as is
        believed.
        """
        pixels, depth = (values[:SKIN_LANDMARKS] for values in fit.project(points))
        fitted = fit.project(fit.points)[0][:SKIN_LANDMARKS]
        missing = fit.landmarks[:SKIN_LANDMARKS, :2] - fitted
        length = missing.norm(dim=1, keepdim=True).clamp(min=1e-9)
        missing = missing * (_MAX_OFFSET * fit.eye_distance / length).clamp(max=1) * self._confidence
        across = (missing + fitted - pixels) * depth / fit.focal
        # The camera's plane is spanned by the rotation's first two rows.
        moves: Tensor = across @ fit.rotation[:2]
        return moves

    def _explained(self, fit: _Fit, expression: Tensor) -> Tensor:
        """Return how far the expression explains an offset of each landmark (468, 1), 0..1."""
        lips = fit.points[self._outer_lips]
        distance = (fit.points[:SKIN_LANDMARKS, None] - lips).norm(dim=2).amin(1, keepdim=True)
        eyes_apart = eye_distance(fit.points)
        near = (1 - distance / (_MOUTH_REACH * eyes_apart)).clamp(0, 1)
        active = torch.where(self._mouth_shapes, expression, 0)
        explained: Tensor = near * (((active**2).sum() - _EXPLAINS_FROM) / _EXPLAINS_RANGE).clamp(0, 1)
        return explained

    def _of_neutral(self, fit: _Fit, offsets: Tensor, explained: Tensor) -> Tensor:
        """Return the offsets (468, 3) of the neutral face.

        What an expression does otherwise than the fit knew is no part of it where the expression explains it:
        the corners of a mouth that smiled would stay drawn.
        """
        missed = self._offsets(fit, fit.points)
        mirrored = missed[self._mirror] * self._flip
        common, differing = 0.5 * (missed + mirrored), 0.5 * (missed - mirrored)
        of_missed = common * (1 - 0.5 * explained) + _ASYMMETRY * differing * (1 - explained)
        return of_missed + (offsets - missed) * (1 - explained)

    def _spread(self, offsets: Tensor) -> Tensor:
        """Return displacements (V, 3) float32 of all parts from landmark offsets (468, 3)."""
        return (self._residual_map @ offsets.float())[self._residual_rows]

    def _metric_scale(self, fit: _Fit) -> tuple[Tensor, Tensor]:
        """Return the factor () from template metres to real ones, and whether () the iris told it."""
        seen = fit.detected[self._irises]
        pixels = (seen[:, 1, :2] - seen[:, 2, :2]).norm(dim=1)
        depth = fit.project(fit.points[self._irises[:, 0]])[1][:, 0]
        # An eye that is shut or hidden tells nothing, though the landmark model draws an iris there.
        seen_irises = fit.irises.sum()
        measured = (fit.irises * pixels * depth / fit.focal).sum() / seen_irises.clamp(min=1) / _IRIS_BIAS
        scale = IRIS_DIAMETER / measured.clamp(min=1e-9)
        low, high = _SCALE_RANGE
        large = (pixels >= _MIN_IRIS_PIXELS) | (fit.irises == 0)
        known = (seen_irises > 0) & large.all() & (scale >= low) & (scale <= high)
        return torch.where(known, scale.clamp(low, high) ** _IRIS_SHARE, 1), known


def _weigh(deltas: Tensor, weights: Tensor) -> Tensor:
    """Return the moves (V, 3) of shapes (52 + C, V, 3) with their weights (52 + C,)."""
    # A vector times a matrix never runs in reduced precision.
    return (weights @ deltas.reshape(len(deltas), -1)).view(-1, 3)


def _spreading(data: HeadData) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return what spreads landmark offsets (468, 3): a map (R, 468), and the row (V,) of each vertex.

    The skin's rows come first; inner parts follow their landmarks as one, what is bound follows later.
    """
    skin = data.residual_map
    rows = np.full(len(data.positions), len(skin))
    rows[data.parts[0].vertices] = np.arange(len(skin))
    extra = [np.zeros_like(skin[:1])]
    for name, landmarks in _FOLLOWED.items():
        chosen = list(landmarks)
        at_corners = skin[data.landmark_vertices[chosen]] * data.landmark_weights[chosen][..., None]
        rows[data.part(name).vertices] = len(skin) + len(extra)
        extra.append(at_corners.sum(1).mean(0, keepdims=True))
    return np.concatenate([skin, *extra]).astype(np.float32), rows

"""The model's front laid onto the head that engine anny fitted to the same photo.

The landmarks say where a feature lies in the picture, and the front says how deep the face is there and what
runs between the landmarks. So the head keeps its topology, atlas, eyes, mouth and personal shapes; only its
skin follows the front, and what hangs on the skin follows the skin.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from face3d.head import ARKIT_NAMES, Head
from gpu_workers.engines.hrn.front_binding import FrontBinding, align
from gpu_workers.head.model.head_template import HeadData
from gpu_workers.head.model.mediapipe_landmarks import LEFT_LIDS, RIGHT_LIDS, SKIN_LANDMARKS, eye_distance
from gpu_workers.head.model.posed_head import stack_vertices
from gpu_workers.head.rigging.blendshape_transfer import PersonalShapes
from gpu_workers.head.rigging.skeleton import Skeleton
from gpu_workers.head.stages.geometry import BegunGeometry

FloatArray = NDArray[np.floating]

#: Metres between front and fitted head above which the two are not of one face; at twice that the front is
#: not followed at all.
DISAGREEMENT = 0.010
#: Metres; farther the front moves no vertex.
_FARTHEST = 0.012
#: Landmarks that a part inside follows rigidly: lids, base of the nose, below the lower lip.
_FOLLOWED = {
    "eye_left": LEFT_LIDS,
    "eye_right": RIGHT_LIDS,
    "teeth_upper": (164,),
    "gums_upper": (164,),
    "teeth_lower": (18,),
    "gums_lower": (18,),
    "tongue": (18,),
}
_MOUTH_SHAPES = np.array([name.startswith(("mouth", "jaw", "cheek")) for name in ARKIT_NAMES])
#: Below this sum of squares the mouth rests, and no shape is to blame for what the landmarks lack.
_RESTING = 0.05


@dataclass(frozen=True, kw_only=True)
class WrappedHead:
    """A head with the model's front."""

    begun: BegunGeometry
    #: (3, 4) takes places of the model's unturned face to the head's frame, metres.
    placement: FloatArray
    #: Metres by which the skin was moved where the front is trusted: median, and 95th percentile.
    moved: tuple[float, float]
    #: Metres between front and fitted head before, 95th percentile, not cut off.
    disagreement: float


def wrap_head(
    shapes: PersonalShapes,
    begun: BegunGeometry,
    binding: FrontBinding,
    front: FloatArray,
    *,
    expression_in_base: bool,
) -> WrappedHead:
    """Return the head with the model's front.

    Args:
        shapes: on the CPU.
        begun: engine anny's head with a neutral base.
        front: (N, 3) the model's face, unturned, without expression.
    """
    data, head, scale = shapes.data, begun.head, begun.assembled.scale
    # The template's scale; where its origin lies makes no difference to any shape.
    neutral = np.concatenate([part.positions for part in head.parts]).astype(np.float64) / scale
    before = np.concatenate([part.morph_deltas for part in head.parts], axis=1) / np.float32(scale)
    skin = data.parts[0].vertices
    places = binding.sample(front.astype(np.float64))
    matrix, shift = align(places, neutral[skin], np.maximum(binding.trust, 1e-6))
    wanted = places @ matrix.T + shift - neutral[skin]
    length = np.linalg.norm(wanted, axis=1, keepdims=True)
    trusted = binding.trust > 0.5
    disagreement = float(np.percentile(length[trusted], 95)) * scale
    weight = float(np.clip(2 - disagreement / DISAGREEMENT, 0, 1))
    cut = wanted * np.minimum(1, _FARTHEST / np.maximum(length, 1e-9))
    move = weight * binding.spread(cut)
    move -= _keep_in_picture(data, begun, move)
    weights = head.weights
    expected = _landmarks(data, neutral + np.tensordot(weights, before, 1)) + _landmarks(
        data, _follow(data, move)
    )
    neutral = neutral + _follow(data, move)
    # The tensors are the arrays' memory.
    own_neutral = torch.from_numpy(neutral)
    shapes.contacts.resolve_neutral(own_neutral, scale)
    own_deltas = shapes.transfer(own_neutral)
    deltas = own_deltas.numpy()
    _credit_mouth(
        data, weights, deltas, expected - _landmarks(data, neutral + np.tensordot(weights, deltas, 1))
    )
    shapes.contacts.resolve(own_neutral, own_deltas)
    shapes.bound_parts.bind(own_neutral, own_deltas)
    eyes = [neutral[data.part(name).vertices] for name in ("eye_left", "eye_right")]
    origin = 0.5 * sum(0.5 * (eye.min(0) + eye.max(0)) for eye in eyes)
    wrapped = _rebuild(data, head, neutral - origin, deltas, scale, expression_in_base)
    wrapped = replace(
        wrapped,
        camera=replace(
            head.camera,
            translation=(head.camera.translation + scale * head.camera.rotation @ origin).astype(np.float32),
        ),
    )
    error, detected = (_landmark_error(data, wrapped, begun, seen) for seen in (False, True))
    posed = torch.from_numpy(stack_vertices(wrapped)).to(begun.posed.device)
    assembled = begun.assembled.with_head(wrapped, posed, error, detected)
    size = np.linalg.norm(move[trusted], axis=1) * scale
    placement = np.concatenate([scale * matrix, scale * (shift - origin)[:, None]], axis=1)
    return WrappedHead(
        begun=replace(begun, assembled=assembled),
        placement=placement.astype(np.float32),
        moved=(float(np.median(size)), float(np.percentile(size, 95))),
        disagreement=disagreement,
    )


def _keep_in_picture(data: HeadData, begun: BegunGeometry, move: FloatArray) -> FloatArray:
    """Return what of a move (S, 3) displaces landmarks in the picture, spread over the skin."""
    ahead = begun.fitted.rotation[2].astype(np.float64)
    at_landmarks = _landmarks(data, _follow(data, move))[:SKIN_LANDMARKS]
    across = at_landmarks - (at_landmarks @ ahead)[:, None] * ahead
    return np.asarray(data.residual_map @ across.astype(np.float32))


def _follow(data: HeadData, move: FloatArray) -> FloatArray:
    """Return displacements (V, 3) of all parts from the skin's (S, 3)."""
    whole = np.zeros((len(data.positions), 3))
    whole[data.parts[0].vertices] = move
    for name, rows in _FOLLOWED.items():
        picked = (
            move[data.landmark_vertices[list(rows)]] * data.landmark_weights[list(rows)][..., None]
        ).sum(1)
        whole[data.part(name).vertices] = picked.mean(0)
    return whole


def _landmarks(data: HeadData, positions: FloatArray) -> FloatArray:
    """Return the landmarks (478, 3) on a head (V, 3)."""
    return np.asarray((positions[data.landmark_vertices] * data.landmark_weights[..., None]).sum(1))


def _credit_mouth(
    data: HeadData, weights: FloatArray, deltas: NDArray[np.float32], missing: FloatArray
) -> None:
    """Give what the landmarks (478, 3) lack to the shapes that are active about the mouth, in place.

    Engine anny's head meets the photo's smile with shapes that were made to; carried shapes start anew.
    """
    active = np.where(_MOUTH_SHAPES, weights[: len(ARKIT_NAMES)], 0.0)
    strength = float((active**2).sum())
    if strength < _RESTING:
        return
    spread = (data.residual_map @ missing[:SKIN_LANDMARKS].astype(np.float32)).astype(np.float32)
    used = np.flatnonzero(active)
    share = (active[used] / strength).astype(np.float32)
    deltas[used, data.parts[0].vertices] += share[:, None, None] * spread


def _rebuild(
    data: HeadData,
    head: Head,
    neutral: FloatArray,
    deltas: NDArray[np.float32],
    scale: float,
    expression_in_base: bool,
) -> Head:
    weights = head.weights
    base = neutral + np.tensordot(weights, deltas, 1) if expression_in_base else neutral
    positions = (base * scale).astype(np.float32)
    deltas = deltas * np.float32(scale)
    deltas *= (np.abs(deltas).max(axis=2) >= 1e-6)[..., None]
    parts = tuple(
        replace(
            part,
            positions=positions[rows.vertices],
            morph_deltas=np.ascontiguousarray(deltas[:, rows.vertices]),
        )
        for part, rows in zip(head.parts, data.parts, strict=True)
    )
    joints = Skeleton(data).place(positions, scale)
    return replace(head, parts=parts, joints=joints, expression_in_base=expression_in_base)


def _landmark_error(data: HeadData, head: Head, begun: BegunGeometry, as_detected: bool) -> float:
    """Return the mean distance of the skin's landmarks to the photo's, share of the eye distance."""
    base = np.concatenate([part.positions for part in head.parts])
    if not head.expression_in_base:
        moves = np.concatenate([part.morph_deltas for part in head.parts], axis=1)
        base = base + np.tensordot(head.weights, moves, 1)
    camera, fitted = head.camera, begun.fitted
    placed = _landmarks(data, base)[:SKIN_LANDMARKS] @ camera.rotation.T + camera.translation
    pixels = placed[:, :2] / placed[:, 2:] * camera.focal + camera.centre
    seen = (fitted.detected if as_detected else fitted.landmarks)[:, :2]
    residual = np.linalg.norm(pixels - seen[:SKIN_LANDMARKS], axis=1).mean()
    return float(residual / eye_distance(fitted.detected[:, :2]))

"""The jaw's opening: where its axis lies, how far it turns, and how much of that each vertex follows.

A mandible that opens turns and slides forward at once; seen from the side that is one turn about an axis
below the joint. About this one the condyle, 35 mm above it, goes 15 mm forward and the incisors go down and
back, as on people (Travers et al., Associations between incisor and mandibular condylar movements during
maximum mouth opening in humans, 2000).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from face3d.head import ARKIT_NAMES
from gpu_workers.head.model.head_template import PartData
from gpu_workers.head.ops.image import smoothstep
from gpu_workers.head.rigging.expression_shares import JAW_OPEN_DEGREES
from gpu_workers.head_authoring.shapes.lip_frame import LipFrame

FloatArray = NDArray[np.float64]

#: The axis, metres from the middle between the eyes.
AXIS = (0.0, -0.0555, -0.0600)
#: Parts that turn as one with the jaw.
JAW_PARTS = ("teeth_lower", "gums_lower", "tongue")
#: How much the corners of the mouth follow; and where the lips slide on each other instead of parting, how
#: much they and the middle of the upper lip follow.
_CORNER, _SLIDING_CORNER, _SLIDING_UPPER = 0.40, 0.50, 0.30
#: Metres: height above which the lining of the mouth rests, and how far below it follows whole.
_LINING_RESTS, _LINING_RANGE = -0.056, 0.023
#: How strongly the skin is drawn to MakeHuman's own shares, beyond the lips (1 per cm^4).
_DRAWN = 0.15
#: Rings that have the lips' own shares.
_LIP_RINGS = (-3, 7)
#: Least share that counts: less is rest.
_LEAST = 0.004
_JAW_OPEN = ARKIT_NAMES.index("jawOpen")


@dataclass(frozen=True)
class JawTurn:
    """The jaw's opening on the template."""

    #: (3, 3) and (3,) metres.
    rotation: FloatArray
    centre: FloatArray
    #: (V,) 0..1: how much of the turn each vertex follows.
    weights: FloatArray
    #: (V,) 0..1: how much of the jaw's sliding forwards and aside.
    sliding: FloatArray

    def moves(self, positions: FloatArray) -> FloatArray:
        """Return the whole turn's moves (N, 3) of points (N, 3), metres."""
        return np.asarray((positions - self.centre) @ (self.rotation - np.eye(3)).T)


def find_jaw_turn(
    parts: tuple[PartData, ...], positions: FloatArray, actions: FloatArray, lips: LipFrame
) -> JawTurn:
    """Return the jaw's opening.

    Args:
        positions: (V, 3) metres, the template.
        actions: (52, V, 3) metres, MakeHuman's shapes, of which the skin's shares are taken.
    """
    skin = parts[0].vertices
    angle = np.radians(JAW_OPEN_DEGREES)
    cos, sin = np.cos(angle), np.sin(angle)
    rotation = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    weights = np.zeros(len(positions))
    for part in parts:
        weights[part.vertices] = part.name in JAW_PARTS
    theirs = _makehuman_shares(parts, positions, actions[_JAW_OPEN])
    sliding = weights.copy()
    weights[skin] = _spread(lips, _parting_shares(lips), theirs)
    sliding[skin] = _spread(lips, _sliding_shares(lips), theirs)
    return JawTurn(rotation, np.array(AXIS), weights, sliding)


def _spread(lips: LipFrame, shares: FloatArray, drawn_to: FloatArray) -> FloatArray:
    """Return the shares (S,) of the skin: of the lips (K, C) their own, elsewhere near others (S,)."""
    rows = lips.rows(*_LIP_RINGS)
    known, values = lips.grid.vertices[rows].ravel(), shares[rows].ravel()
    lining = np.concatenate([lips.on_upper, lips.on_lower])
    height = lips.skin[lining, 1]
    more = [
        (lining, smoothstep((_LINING_RESTS - height) / _LINING_RANGE)),
        (np.flatnonzero(drawn_to < _LEAST), np.zeros((drawn_to < _LEAST).sum())),
    ]
    for vertices, own in more:
        new = ~np.isin(vertices, known)
        known, values = np.concatenate([known, vertices[new]]), np.concatenate([values, own[new]])
    drawn = np.full(len(drawn_to), _DRAWN)
    spread = lips.surface.spread(known, values[:, None], drawn, drawn_to[:, None])
    return np.asarray(spread[:, 0].clip(0, 1))


def _parting_shares(lips: LipFrame) -> FloatArray:
    """Return the shares (K, C) of lips that part in an oval."""
    return np.asarray(
        np.where(lips.upper, _CORNER * (1 - lips.height), _CORNER + (1 - _CORNER) * lips.height)
    )


def _sliding_shares(lips: LipFrame) -> FloatArray:
    """Return the shares (K, C) of lips that slide on each other: steep steps at the corners would fold."""
    middle = 1 - lips.aside**2
    way = np.where(lips.upper, _SLIDING_UPPER, 1.0) - _SLIDING_CORNER
    return np.asarray(_SLIDING_CORNER + way * middle)


def _makehuman_shares(parts: tuple[PartData, ...], positions: FloatArray, shape: FloatArray) -> FloatArray:
    """Return how much of its lower teeth's turn each skin vertex (S,) follows in a shape (V, 3), 0..1."""
    skin = parts[0].vertices
    teeth = next(part for part in parts if part.name == "teeth_lower").vertices
    before = positions[teeth]
    after = before + shape[teeth]
    # Kabsch, 1976.
    u, _, vt = np.linalg.svd((before - before.mean(0)).T @ (after - after.mean(0)))
    rotation = (u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt).T
    whole = (after - before).mean(0) + (positions[skin] - before.mean(0)) @ (rotation - np.eye(3)).T
    size = np.maximum((whole**2).sum(1), 1e-12)
    return np.asarray((shape[skin] * whole).sum(1) / size).clip(0, 1)

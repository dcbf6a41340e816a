"""The mouth's shapes, made from its anatomy instead of taken from MakeHuman: jaw, lips, tongue."""

import numpy as np
from numpy.typing import NDArray

from face3d.head import ARKIT_NAMES
from gpu_workers.head.model.head_template import PartData
from gpu_workers.head.ops.image import smoothstep
from gpu_workers.head_authoring.shapes import lip_shapes
from gpu_workers.head_authoring.shapes.jaw_turn import JawTurn, find_jaw_turn
from gpu_workers.head_authoring.shapes.lip_frame import LipFrame
from gpu_workers.head_authoring.shapes.tongue_shape import put_tongue_out

FloatArray = NDArray[np.float64]

_MM = 0.001
#: Metres by which jawOpen shows more of the upper and of the lower teeth, and by which corners go outwards.
_SHOW_UPPER, _SHOW_LOWER, _WIDER = 0.0050, 0.0010, 0.0015
#: How much of jawOpen is in tongueOut, which otherwise would pass through the teeth; how it parts the lips.
TONGUE_OPENS = 0.30
_TONGUE_UP, _TONGUE_DOWN = 0.0012, 0.0012
#: mouthClose on an open jaw: metres by which the closed lips stand lower than at rest, and further back.
_CLOSED = (0.0, -0.0060, -0.0010)
#: Metres: skin below and behind that lies under the chin and stays on the bone when lips close; above the
#: third the nose begins.
_UNDER_CHIN, _BEHIND_CHIN, _NOSE = -0.1135, 0.005, -0.049
#: Metres from the mouth's middle beyond which skin that the jaw leaves alone rests.
_FACE = 0.050
#: Metres of the lower jaw's way forwards, and aside at the incisors (Ash and Nelson: 8 to 10 mm at most).
_FORWARD, _ASIDE = (0.0, -0.0010, 0.0075), 0.0065
#: Metres from the jaw's axis forwards to the incisors.
_INCISORS = 0.0725


def author_mouth(parts: tuple[PartData, ...], positions: FloatArray, shapes: FloatArray) -> FloatArray:
    """Return shapes (52, V, 3) in which those of the mouth are made anew.

    Args:
        positions: (V, 3) metres, the template.
        shapes: (52, V, 3) metres, MakeHuman's, symmetric.
    """
    lips = LipFrame(parts, positions)
    jaw = find_jaw_turn(parts, positions, shapes, lips)
    skin = parts[0].vertices
    turn = jaw.weights[:, None] * jaw.moves(positions)
    opened = turn.copy()
    opened[skin] += lip_shapes.part_lips(lips, _SHOW_UPPER, _SHOW_LOWER, wide=_WIDER)
    made = {
        "jawOpen": opened,
        "jawForward": jaw.sliding[:, None] * np.array(_FORWARD),
        "jawLeft": _swing_jaw(positions, jaw, 1),
        "jawRight": _swing_jaw(positions, jaw, -1),
        "tongueOut": TONGUE_OPENS * turn,
    }
    tongue = next(part for part in parts if part.name == "tongue").vertices
    made["tongueOut"][skin] += lip_shapes.part_lips(lips, _TONGUE_UP, _TONGUE_DOWN)
    made["tongueOut"][tongue] = put_tongue_out(positions[tongue])
    of_lips = {
        "mouthClose": _close_lips(lips, jaw, turn[skin]) - opened[skin],
        "mouthPucker": lip_shapes.pucker(lips),
        "mouthFunnel": lip_shapes.funnel(lips),
        "mouthRollUpper": lip_shapes.roll(lips, upper=True),
        "mouthRollLower": lip_shapes.roll(lips, upper=False),
        "mouthShrugUpper": lip_shapes.shrug_upper(lips),
        "mouthShrugLower": lip_shapes.shrug_lower(lips),
        "mouthPressLeft": lip_shapes.press(lips, 1),
        "mouthPressRight": lip_shapes.press(lips, -1),
        "mouthLeft": lip_shapes.shift(lips, 1),
        "mouthRight": lip_shapes.shift(lips, -1),
    }
    shapes = shapes.copy()
    for name, shape in of_lips.items():
        made[name] = np.zeros_like(positions)
        made[name][skin] = shape
    for name, shape in made.items():
        shapes[ARKIT_NAMES.index(name)] = shape
    return shapes


def _swing_jaw(positions: FloatArray, jaw: JawTurn, sign: int) -> FloatArray:
    """Return jawLeft (sign 1) or jawRight (-1), (V, 3): the jaw swings about its own middle axis."""
    angle = sign * np.arctan2(_ASIDE, _INCISORS)
    cos, sin = np.cos(angle), np.sin(angle)
    rotation = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    moved = (positions - jaw.centre) @ (rotation - np.eye(3)).T
    return np.asarray(jaw.sliding[:, None] * moved)


def _close_lips(lips: LipFrame, jaw: JawTurn, turn: FloatArray) -> FloatArray:
    """Return the skin's moves (S, 3) of jawOpen and mouthClose together.

    The lips are closed as they are at rest. What is stretched below them is spread over the whole chin, whose
    skin slides on the bone; it rests under the chin.
    """
    weights = jaw.weights[: len(lips.skin)]
    known = lips.grid.vertices[lips.rows(-5, 5)].ravel()
    _, y, z = lips.skin.T
    resting = (weights <= 0) & ((y > _NOSE) | (lips.distance > _FACE))
    on_bone = resting | ((y < _UNDER_CHIN) & (z < _BEHIND_CHIN))
    still = np.setdiff1d(np.flatnonzero(on_bone), known)
    values = np.concatenate([np.tile(_CLOSED, (len(known), 1)), turn[still]])
    drawn = 0.05 * smoothstep(((lips.distance - 0.035) / 0.03).clip(0, 1))
    return lips.surface.spread(np.concatenate([known, still]), values, drawn, turn)

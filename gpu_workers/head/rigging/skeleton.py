"""The joints of a head: where they are on the template, and where they come to lie on a fitted head."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from face3d.head import ARKIT_NAMES, JOINT_NAMES, FloatArray, Joint
from face3d.joint_limits import JOINT_LIMITS
from gpu_workers.head.model.head_template import HeadData
from gpu_workers.head.rigging.gaze import EYES, look_degrees, look_shapes
from gpu_workers.head.rigging.jaw_gaze_tongue import find_jaw_joint, find_jaw_turn

#: Metres on the template. The head turns on the occipital condyles: 11 mm behind and 26 mm below the middle
#: of the ear canals (Ewing and Thomas, Human head and neck response to impact acceleration, 1972), which are
#: at y = -0.025, z = -0.070.
HEAD_JOINT = (0.0, -0.051, -0.081)
#: The neck turns where the seventh cervical vertebra lies on the first thoracic one: 120 mm below the
#: condyles and 14 mm behind them (Thunnissen and others, Human volunteer head-neck response in frontal
#: flexion, 1995).
NECK_JOINT = (0.0, -0.171, -0.095)
#: The root is the upper thorax, on which shoulders rest.
_ROOT_BELOW_NECK = 0.050
#: The head's joint follows the skin about the ear canals, the neck's what the skin is at the neck; metres.
_EAR_CANAL, _EAR_REACH = (0.070, -0.025, -0.070), 0.025

_PARENTS: Mapping[str, str | None] = {
    "root": None, "neck": "root", "head": "neck", "jaw": "head", "eye_left": "head", "eye_right": "head",
}  # fmt: skip


@dataclass(frozen=True)
class _Anchor:
    """What a joint is placed by."""

    #: (3,) metres on the template.
    place: NDArray[np.float64]
    #: (N,) vertices that it moves with, and (3,) their mean on the template.
    vertices: NDArray[np.int64]
    mean: NDArray[np.float64]


class Skeleton:
    """Places the joints of heads of one topology."""

    def __init__(self, data: HeadData) -> None:
        rest, shapes = data.positions.astype(np.float64), data.shapes.astype(np.float64)
        skin = rest[data.parts[0].vertices]
        teeth = data.part("teeth_lower").vertices
        jaw = find_jaw_turn(rest[teeth], rest[teeth] + shapes[ARKIT_NAMES.index("jawOpen"), teeth])
        one_side = skin * np.where(skin[:, :1] < 0, [-1, 1, 1], 1)
        ears = np.flatnonzero(np.linalg.norm(one_side - _EAR_CANAL, axis=1) < _EAR_REACH)
        neck = np.flatnonzero(data.masks["neck"] > 0.5)
        self._anchors = {
            "neck": _anchor(NECK_JOINT, neck, rest),
            "head": _anchor(HEAD_JOINT, ears, rest),
            "jaw": _anchor(jaw.centre, find_jaw_joint(skin, jaw), rest),
        }
        self._eyes = {name: data.part(name).vertices for name in EYES.values()}
        self._turns: dict[str, dict[str, tuple[float, float, float]]] = {
            "jaw": {"jawOpen": _rotation_vector(jaw.rotation)}
        }
        for side, name in EYES.items():
            self._turns[name] = {
                ARKIT_NAMES[k]: (*look_degrees(ARKIT_NAMES[k]), 0.0) for k in look_shapes(side)
            }

    def place(self, positions: FloatArray, scale: float) -> tuple[Joint, ...]:
        """Return the joints of a head.

        Args:
            positions: (V, 3) metres, all vertices of the head.
            scale: metres of the head to metres of the template.
        """
        places = {
            name: positions[one.vertices].mean(0) + scale * (one.place - one.mean)
            for name, one in self._anchors.items()
        }
        places["root"] = places["neck"] - [0, scale * _ROOT_BELOW_NECK, 0]
        for name, rows in self._eyes.items():
            eye = positions[rows]
            places[name] = 0.5 * (eye.min(0) + eye.max(0))
        # A head is asymmetric, its axis is not.
        for name in ("root", "neck", "head", "jaw"):
            places[name][0] = 0.0
        return tuple(
            Joint(
                name=name,
                parent=_PARENTS[name],
                position=places[name].astype(np.float32),
                limits=JOINT_LIMITS[name],
                turns=self._turns.get(name, {}),
            )
            for name in JOINT_NAMES
        )


def _anchor(
    place: tuple[float, float, float] | NDArray[np.floating],
    vertices: NDArray[np.int64],
    rest: NDArray[np.float64],
) -> _Anchor:
    return _Anchor(np.array(place), vertices, rest[vertices].mean(0))


def _rotation_vector(rotation: NDArray[np.floating]) -> tuple[float, float, float]:
    """Return the axis times the angle, degrees, of a rotation (3, 3) of under 180 degrees."""
    twice = np.array(
        [rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]]
    )
    sine = np.linalg.norm(twice) / 2
    angle = np.degrees(np.arctan2(sine, (np.trace(rotation) - 1) / 2))
    x, y, z = (twice / max(2 * sine, 1e-12) * angle).tolist()
    return x, y, z

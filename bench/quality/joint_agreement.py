"""How far apart a head's joints and its shapes move the same vertices: jaw and gaze can be done by either."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from face3d.head import ARKIT_NAMES, JOINT_NAMES, FloatArray, Joint
from gpu_workers.head.model.head_template import HeadData

#: Landmarks of the chin, from below the lower lip to beneath it; how far around them it reaches, metres.
_CHIN = (18, 200, 199, 175, 152, 148, 377)
_CHIN_REACH = 0.006
#: Parts that go whole with a joint.
_RIGID = {"jaw": ("teeth_lower", "gums_lower"), "eye_left": ("eye_left",), "eye_right": ("eye_right",)}


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Largest distances in metres between a shape at 1.0 and the joint's turn that it stands for."""

    #: Of what goes whole with the joint: lower teeth and gums, or the eyeball.
    rigid: float
    #: Of the skin that matters: the chin, or the lids of that eye.
    skin: float


def compare_poses(
    data: HeadData, positions: FloatArray, deltas: FloatArray, joints: Sequence[Joint]
) -> dict[str, Agreement]:
    """Return shape to agreement, for every shape that a joint stands for.

    Args:
        positions: (V, 3) metres, and `deltas` (52 + C, V, 3) its shapes.
    """
    chin, lids = _find_chin(data, positions), _find_lids(data)
    found = {}
    for joint in joints:
        for shape, turn in joint.turns.items():
            by_joint = move_by_joint(
                positions, data.joint_weights[:, JOINT_NAMES.index(joint.name)], joint, turn
            )
            apart = np.linalg.norm(by_joint - deltas[ARKIT_NAMES.index(shape)], axis=1)
            rigid = [apart[data.part(name).vertices].max() for name in _RIGID[joint.name]]
            skin = chin if joint.name == "jaw" else lids[joint.name]
            found[shape] = Agreement(rigid=float(max(rigid)), skin=float(apart[skin].max()))
    return found


def move_by_joint(
    positions: FloatArray, weights: FloatArray, joint: Joint, turn: tuple[float, float, float]
) -> FloatArray:
    """Return the moves (V, 3) of a head's vertices when one joint turns: linear blend skinning.

    Args:
        positions: (V, 3) metres.
        weights: (V,) the vertices' shares in the joint.
        turn: rotation vector, degrees.
    """
    arms = positions - joint.position
    turned = weights[:, None] * (arms @ (_rotation(turn).T - np.eye(3)))
    return turned.astype(np.float32)


def _rotation(turn: tuple[float, float, float]) -> NDArray[np.float64]:
    """Return the rotation (3, 3) of a rotation vector in degrees (Rodrigues)."""
    vector = np.radians(turn)
    angle = np.linalg.norm(vector)
    x, y, z = vector / max(float(angle), 1e-12)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    rotation: NDArray[np.float64] = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return rotation


def _find_chin(data: HeadData, positions: FloatArray) -> NDArray[np.int64]:
    rows = list(_CHIN)
    corners = positions[data.landmark_vertices[rows]]
    places = (corners * data.landmark_weights[rows][..., None]).sum(1)
    skin = positions[data.parts[0].vertices]
    distance = np.linalg.norm(skin[:, None] - places, axis=2).min(1)
    outside = np.maximum(data.masks["mouth_interior"], data.masks["lips"]) < 0.5
    return np.flatnonzero((distance < _CHIN_REACH) & outside)


def _find_lids(data: HeadData) -> Mapping[str, NDArray[np.int64]]:
    rim = data.masks["eyelid_rim"] > 0.5
    left = data.positions[data.parts[0].vertices, 0] > 0
    return {"eye_left": np.flatnonzero(rim & left), "eye_right": np.flatnonzero(rim & ~left)}

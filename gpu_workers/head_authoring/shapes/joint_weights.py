"""How far each vertex of the template goes with each joint of the skeleton."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from face3d.head import ARKIT_NAMES, JOINT_NAMES
from gpu_workers.head.model.head_template import PartData
from gpu_workers.head.ops.image import smoothstep
from gpu_workers.head.rigging.jaw_gaze_tongue import JAW_PARTS, find_jaw_shares, find_jaw_turn
from gpu_workers.head.rigging.skeleton import HEAD_JOINT, NECK_JOINT
from gpu_workers.head_authoring.shapes.lid_weights import lid_weights

FloatArray = NDArray[np.float64]

_JAW_OPEN, _MOUTH_CLOSE = ARKIT_NAMES.index("jawOpen"), ARKIT_NAMES.index("mouthClose")
#: The skull's base as a plane, from the nape down to below the chin: metres of y for a metre of z, and the y
#: where it passes the head's joint.
_BASE_SLOPE, _BASE_BELOW_JOINT = -0.46, -0.020
#: Metres below the skull's base over which the head's share falls to nothing, and below the neck's joint
#: over which the neck's does.
_NECK_LENGTH, _COLLAR_LENGTH = 0.090, 0.050


def make_joint_weights(
    parts: tuple[PartData, ...], positions: FloatArray, shapes: FloatArray
) -> NDArray[np.float32]:
    """Return (V, 6) shares in the joints of JOINT_NAMES; rows sum to one.

    Args:
        positions: (V, 3) metres, the template.
        shapes: (52 or more, V, 3) metres, its shapes.
    """
    rows = {part.name: part.vertices for part in parts}
    jaw = _with_jaw(rows, positions, shapes)
    eyes = _with_eyes(parts, positions)
    body, neck = _below_head(positions)
    # What a jaw or an eye takes along, the neck does not bend; the head carries the rest.
    own = jaw + eyes.sum(1)
    body, neck = body * (1 - own), neck * (1 - own)
    columns = {"root": body, "neck": neck, "jaw": jaw, "eye_left": eyes[:, 0], "eye_right": eyes[:, 1]}
    columns["head"] = 1 - sum(columns.values())
    weights = np.stack([columns[name] for name in JOINT_NAMES], axis=1)
    for part in parts:
        # Lashes grow on a lid's vertices, the cap lies on the seam's.
        if part.host_offsets.size or part.name == "neck_cap":
            weights[part.vertices] = part.host_weights @ weights[part.host_vertices]
        elif part.name != "skin":
            weights[part.vertices] = _of_one_joint(weights[part.vertices])
    return np.asarray(weights / weights.sum(1, keepdims=True), np.float32)


def _of_one_joint(weights: FloatArray) -> FloatArray:
    """Return the weights (V, 6) of a part that does not bend: all vertices have their mean."""
    return np.broadcast_to(weights.mean(0), weights.shape)


def _with_jaw(rows: Mapping[str, slice], positions: FloatArray, shapes: FloatArray) -> FloatArray:
    """Return (V,): the skin's share of jawOpen's turn; teeth, gums and tongue turn whole."""
    teeth, skin = rows["teeth_lower"], rows["skin"]
    jaw = find_jaw_turn(positions[teeth], positions[teeth] + shapes[_JAW_OPEN, teeth])
    column = np.zeros(len(positions))
    column[skin] = find_jaw_shares(positions[skin], shapes[:, skin], jaw)[_JAW_OPEN]
    for name in JAW_PARTS:
        column[rows[name]] = 1
    return column


def _with_eyes(parts: tuple[PartData, ...], positions: FloatArray) -> FloatArray:
    """Return (V, 2) for the left and the right eye: eyeball and cornea turn whole, lids go along."""
    rows = {part.name: part.vertices for part in parts}
    columns = np.zeros((len(positions), 2))
    columns[rows["skin"]] = lid_weights(parts[0], positions[rows["skin"]])
    for column, side in enumerate(("left", "right")):
        for name in ("eye", "cornea"):
            columns[rows[f"{name}_{side}"], column] = 1
    return columns


def weigh_below_head(positions: FloatArray) -> FloatArray:
    """Return the weights (V, 6) of places (V, 3) that neither jaw nor eyes move."""
    weights = np.zeros((len(positions), len(JOINT_NAMES)))
    body, neck = _below_head(positions)
    for name, column in (("root", body), ("neck", neck), ("head", 1 - body - neck)):
        weights[:, JOINT_NAMES.index(name)] = column
    return weights


def _below_head(positions: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return shares (V,) of the body below the neck, and of the neck."""
    base = HEAD_JOINT[1] + _BASE_BELOW_JOINT + _BASE_SLOPE * (positions[:, 2] - HEAD_JOINT[2])
    collar = NECK_JOINT[1] + _BASE_SLOPE * (positions[:, 2] - NECK_JOINT[2])
    below_head = smoothstep((base - positions[:, 1]) / _NECK_LENGTH)
    body = smoothstep((collar - positions[:, 1]) / _COLLAR_LENGTH)
    return body, np.maximum(below_head - body, 0)

"""A head's skeleton as glTF has it: joint nodes, a skin, four weighted joints a vertex (section 3.7.3)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from face3d.head import FloatArray, Joint

#: A joint's node: names of nodes are unique in every reader, and `head` is the mesh.
_SUFFIX = "_joint"
_INFLUENCES = 4
_WHOLE = 65535
_AXES = ("x", "y", "z")


def name_joint(name: str) -> str:
    """Return the name of a joint's node."""
    return name + _SUFFIX


def pack_weights(weights: FloatArray) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """Return the joints (N, 4) with the largest shares of each vertex, and these, as shares of 65535.

    What has no share is joint 0.

    Args:
        weights: (N, J), rows sum to one.
    """
    joints = np.argsort(-weights, axis=1, kind="stable")[:, :_INFLUENCES]
    kept = np.take_along_axis(weights, joints, axis=1)
    shares = np.rint(_WHOLE * kept / kept.sum(1, keepdims=True)).astype(np.int64)
    # What rounding lost or gained is the largest share's.
    shares[:, 0] += _WHOLE - shares.sum(1)
    return np.where(shares > 0, joints, 0).astype(np.uint8), shares.astype(np.uint16)


def describe_joints(joints: Sequence[Joint], first: int) -> list[dict[str, Any]]:
    """Return the joints' nodes, to stand in a file's list from number `first`; extras have degrees."""
    names = [joint.name for joint in joints]
    places = {joint.name: joint.position.astype(np.float64) for joint in joints}
    nodes = []
    for joint in joints:
        start = places[joint.parent] if joint.parent else np.zeros(3)
        node: dict[str, Any] = {
            "name": name_joint(joint.name),
            "translation": [round(float(x), 7) for x in places[joint.name] - start],
            "extras": describe_turns(joint),
        }
        children = [first + names.index(other.name) for other in joints if other.parent == joint.name]
        if children:
            node["children"] = children
        nodes.append(node)
    return nodes


def describe_turns(joint: Joint) -> dict[str, Any]:
    """Return a joint's limits, degrees, and the turns that shapes stand for."""
    return {
        "limits_degrees": {axis: list(limit) for axis, limit in zip(_AXES, joint.limits, strict=True)},
        "turns_degrees": {
            # Plus zero: a rounded nothing has no sign.
            shape: [round(angle, 4) + 0.0 for angle in turn]
            for shape, turn in joint.turns.items()
        },
    }


def bind_matrices(joints: Sequence[Joint]) -> FloatArray:
    """Return (J, 16): the inverse bind matrices, column by column; the bind pose is the rest pose."""
    matrices = np.tile(np.eye(4, dtype=np.float32), (len(joints), 1, 1))
    # As in the file a matrix stands column by column: the translation is the last row here.
    for matrix, joint in zip(matrices, joints, strict=True):
        matrix[3, :3] = -joint.position
    return matrices.reshape(len(joints), 16)

"""The skeleton of heads: joints where the shapes turn, and weights that both sides share."""

import numpy as np

from face3d.head import ARKIT_NAMES, JOINT_NAMES
from tests.unit.head.head_support import astronaut_geometry, head_data

MM = 1e-3


def test_joints_stand_in_the_heads_of_template_and_photo() -> None:
    head = astronaut_geometry().head
    joints = {joint.name: joint for joint in head.joints}
    assert tuple(joints) == JOINT_NAMES
    assert {name: joint.parent for name, joint in joints.items()} == {
        "root": None, "neck": "root", "head": "neck", "jaw": "head", "eye_left": "head", "eye_right": "head",
    }  # fmt: skip
    for side in ("left", "right"):
        eye = head.part(f"eye_{side}").positions
        np.testing.assert_allclose(
            joints[f"eye_{side}"].position, 0.5 * (eye.min(0) + eye.max(0)), atol=0.01 * MM
        )
    root, neck, skull, jaw = (joints[name].position for name in JOINT_NAMES[:4])
    assert root[1] < neck[1] < skull[1] < 0
    # The jaw turns below the ear and before the spine.
    assert jaw[2] > skull[2]
    assert jaw[1] > head.part("teeth_lower").positions[:, 1].max()


def test_each_vertex_is_shared_out_among_joints() -> None:
    data = head_data()
    weights = data.joint_weights
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
    assert weights.min() >= 0
    mirrored = weights[data.mirror_vertices][:, [0, 1, 2, 3, 5, 4]]
    np.testing.assert_allclose(weights, mirrored, atol=1e-3)
    named = {name: weights[:, k] for k, name in enumerate(JOINT_NAMES)}
    for part, joint in {
        "teeth_lower": "jaw", "gums_lower": "jaw", "tongue": "jaw", "eye_left": "eye_left",
        "cornea_right": "eye_right", "teeth_upper": "head", "gums_upper": "head",
    }.items():  # fmt: skip
        assert (named[joint][data.part(part).vertices] == 1).all(), part
    face = data.masks["face"] > 0.5
    skin = slice(0, len(face))
    assert (named["neck"] + named["root"])[skin][face].max() < 0.2
    assert named["jaw"][skin][data.masks["scalp"] > 0.5].max() == 0


def test_the_jaw_turns_as_far_as_its_shape() -> None:
    """Lower teeth: the shape at 1.0 and the joint's turn that it stands for take them to one place."""
    head = astronaut_geometry().head
    jaw = next(joint for joint in head.joints if joint.name == "jaw")
    teeth = head.part("teeth_lower")
    vector = np.radians(jaw.turns["jawOpen"])
    angle = np.linalg.norm(vector)
    x, y, z = vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turn = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    by_joint = (teeth.positions - jaw.position) @ turn.T + jaw.position
    by_shape = teeth.positions + teeth.morph_deltas[ARKIT_NAMES.index("jawOpen")]
    assert np.linalg.norm(by_joint - by_shape, axis=1).max() < 0.1 * MM

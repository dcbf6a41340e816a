"""Jaw and eyes move by joint as by shape: linear blend skinning beside the keys at 1.0."""

import numpy as np
import pytest

from bench.quality.joint_agreement import compare_poses, move_by_joint
from face3d.head import Joint
from gpu_workers.head.rigging.skeleton import Skeleton
from tests.unit.head.head_support import astronaut_geometry, head_data
from tests.unit.head.rigging.shapes_support import own_astronaut, own_head

MM = 1e-3
#: Lower teeth, gums and eyeballs go whole with their joints.
RIGID = 0.1 * MM
#: jawOpen's skin bends a little of its own; where skinning lets lids sink into the eyeball, keys lift them.
CHIN, LIDS = 1.0 * MM, 0.32 * MM


@pytest.mark.parametrize("seed", ["astronaut", 0, 6, 11])
def test_joints_move_what_the_shapes_move(seed: int | str) -> None:
    data = head_data()
    if seed == "astronaut":
        head, joints = own_astronaut(), astronaut_geometry().head.joints
    else:
        head = own_head(int(seed))
        joints = Skeleton(data).place(head.neutral.astype(np.float32), 1.0)
    found = compare_poses(data, head.neutral, head.deltas, joints)
    assert len(found) == 9
    for shape, agreement in found.items():
        assert agreement.rigid < RIGID, shape
        assert agreement.skin < (CHIN if shape == "jawOpen" else LIDS), shape


def test_a_joint_turns_its_share_about_its_place() -> None:
    free = (-180.0, 180.0)
    joint = Joint(name="jaw", parent=None, position=np.float32([0, 1, 0]), limits=(free, free, free))
    points = np.float32([[0, 1, 0], [0, 1, 1], [0, 1, 1]])
    moves = move_by_joint(points, np.float32([1, 1, 0.5]), joint, (90.0, 0.0, 0.0))
    np.testing.assert_allclose(moves, [[0, 0, 0], [0, -1, -1], [0, -0.5, -0.5]], atol=1e-6)

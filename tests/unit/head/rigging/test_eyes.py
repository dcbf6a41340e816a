"""Eyes of every head: real size, lids on them, no gap, whatever they look at; by shape and by joint."""

import itertools

import numpy as np
import pytest
import torch

from face3d.head import ARKIT_NAMES, JOINT_NAMES
from gpu_workers.head.rigging.eye_sockets import MARGIN
from gpu_workers.head.rigging.gaze import LOOK_ASIDE, LOOK_UP_DOWN, look_rotation, look_shapes
from tests.unit.head.head_support import astronaut_geometry, head_data
from tests.unit.head.rigging.eye_support import (
    crossed_faces,
    depth_in_cornea,
    gap_rays,
    grid,
    margin_distance,
    pose,
    sphere,
    unusual_head,
)
from tests.unit.head.rigging.shapes_support import EYES, own_astronaut, personal_shapes

pytestmark = pytest.mark.heavy

MM = 0.001
SEEDS = range(4)
SINGLE = ("Up", "Down", "In", "Out")
LOOKS = [(way,) for way in SINGLE] + list(itertools.product(("Up", "Down"), ("In", "Out")))

unusual_heads = pytest.mark.parametrize("seed", SEEDS)


@unusual_heads
@pytest.mark.parametrize("side", EYES)
def test_eyeballs_are_spheres_of_24_mm_under_the_lids(seed: int, side: str) -> None:
    neutral = unusual_head(seed).neutral
    _, radius = sphere(neutral, side)
    assert np.abs(2 * radius - 24 * MM).max() < 0.001 * MM
    off = margin_distance(neutral, side)
    # The middle half of both lids rides on a film of tears; the corners, wider than the sphere, do not.
    assert np.median(np.sort(off)[: len(off) // 2]) < 0.8 * MM
    assert off.min() > 0.2 * MM
    assert off.max() < 6 * MM
    assert depth_in_cornea(neutral, neutral, side, np.array([0, 0, 1.0])) < 0.05 * MM


@unusual_heads
@pytest.mark.parametrize("side", EYES)
def test_no_ray_passes_between_lid_and_eyeball(seed: int, side: str) -> None:
    head = unusual_head(seed)
    assert [gap_rays(head.neutral, side, yaw) for yaw in (-30, 0, 30)] == [0, 0, 0]
    for name in ("eyeBlink", "eyeSquint", "eyeWide", "cheekSquint"):
        assert gap_rays(pose(head, name + side), side) == 0, name


@unusual_heads
@pytest.mark.parametrize("look", LOOKS, ids="+".join)
@pytest.mark.parametrize("side", EYES)
def test_an_eye_that_looks_stays_round_under_its_lids(seed: int, look: tuple[str, ...], side: str) -> None:
    head = unusual_head(seed)
    names = [f"eyeLook{way}{side}" for way in look]
    looking = pose(head, *names)
    centre, _ = sphere(head.neutral, side)
    ball = head_data().part(EYES[side]).vertices
    turn = look_rotation(*names)
    expected = centre + (head.neutral[ball] - centre) @ turn.T
    assert np.abs(looking[ball] - expected).max() < 0.001 * MM
    assert gap_rays(looking, side) == 0
    assert depth_in_cornea(looking, head.neutral, side, turn[:, 2]) < 0.35 * MM
    assert crossed_faces(looking) <= 20


def test_a_look_turns_the_eye_by_the_degrees_that_are_stated() -> None:
    for side in EYES:
        for k in look_shapes(side):
            ahead = look_rotation(ARKIT_NAMES[k])[:, 2]
            aside = "In" in ARKIT_NAMES[k] or "Out" in ARKIT_NAMES[k]
            angle = np.degrees(np.arccos(ahead[2]))
            assert angle == pytest.approx(LOOK_ASIDE if aside else LOOK_UP_DOWN)


@pytest.mark.parametrize("side", EYES)
def test_the_joint_moves_lids_as_the_shape_does(side: str) -> None:
    head = astronaut_geometry().head
    joint = next(one for one in head.joints if one.name == EYES[side])
    for name in (f"eyeLook{way}{side}" for way in SINGLE):
        turn = look_rotation(name)
        np.testing.assert_allclose(np.radians(joint.turns[name]) @ [0, 0, 1], 0, atol=1e-9)
        for part in head.parts:
            share = part.joint_weights[:, JOINT_NAMES.index(joint.name), None]
            by_joint = share * ((part.positions - joint.position) @ (turn.T - np.eye(3)))
            by_shape = part.morph_deltas[ARKIT_NAMES.index(name)]
            limit = 1.5 if part.material == "lashes" else 0.32
            assert np.linalg.norm(by_joint - by_shape, axis=1).max() < limit * MM, part.name


@pytest.mark.parametrize("side", EYES)
def test_lids_go_along_up_and_down_and_little_at_the_corners(side: str) -> None:
    head = own_astronaut()
    lashes = personal_shapes().openings.eyes[side].lids.lashes
    middle = lashes[len(lashes) // 2]
    for way, sign in (("Up", 1), ("Down", -1)):
        moved = head.shape(f"eyeLook{way}{side}")
        assert sign * moved[middle, 1] > 1.8 * MM
        assert np.linalg.norm(moved[lashes[[0, 1, -2, -1]]], axis=1).max() < 0.2 * MM


@unusual_heads
def test_seating_a_seated_head_changes_its_lids_hardly(seed: int) -> None:
    again = torch.from_numpy(unusual_head(seed).neutral.copy())
    personal_shapes().contacts.sockets.seat(again, 1.0)
    moved = np.linalg.norm(again.numpy() - unusual_head(seed).neutral, axis=1)
    for side in EYES:
        own = grid(side)
        assert moved[own.vertices[own.border + MARGIN :]].max() < 0.05 * MM


@pytest.mark.parametrize("side", EYES)
def test_the_astronauts_eyes_are_real_and_closed_behind_their_lids(side: str) -> None:
    head = own_astronaut()
    _, radius = sphere(head.neutral, side)
    assert np.abs(2 * radius - 24 * MM).max() < 0.01 * MM
    assert gap_rays(head.neutral, side) == 0
    for look in LOOKS:
        assert gap_rays(pose(head, *(f"eyeLook{way}{side}" for way in look)), side) == 0, look

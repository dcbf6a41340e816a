"""The head's parts: topology, levels of detail, and that what hangs on lids, jaws and eyes stays there."""

from functools import lru_cache

import numpy as np
import pytest
import torch

from assets.gltf import write_glb
from assets.levels import head_at_level
from assets.preview.raster import rasterise
from assets.preview.scene import aim_camera, pose_head
from face3d.head import ARKIT_NAMES, Camera, Head, MeshPart
from gpu_workers.head.ops.mesh import split_quads
from gpu_workers.head.rigging.attachments import BoundParts, follow_lids
from gpu_workers.head.rigging.skeleton import Skeleton
from gpu_workers.head_authoring.quad_simplification import QuadMesh, coarsen
from tests.unit.head.head_support import astronaut_geometry, head_data
from tests.unit.head_authoring.topology_support import assert_manifold, find_open_loops, share_of_quads

#: Part to its open loops: the neck; crowns are open inside the gum, gums and shells at their hidden rims.
LOOPS = {
    "skin": 1, "eye_left": 0, "eye_right": 0, "cornea_left": 1, "cornea_right": 1, "tongue": 0,
    "teeth_upper": 14, "teeth_lower": 14, "gums_upper": 1, "gums_lower": 1, "lashes_left": 2,
    "lashes_right": 2, "neck_cap": 1,
}  # fmt: skip


@lru_cache(maxsize=1)
def template() -> Head:
    """Return the average adult as a head."""
    data = head_data()
    parts = tuple(
        MeshPart(
            name=part.name,
            material=part.material,
            positions=data.positions[part.vertices],
            quads=part.quads,
            uvs=part.uvs,
            uv_quads=part.uv_quads,
            morph_deltas=np.ascontiguousarray(data.actions[:, part.vertices]),
            joint_weights=data.joint_weights[part.vertices],
            coarse=part.coarse,
        )
        for part in data.parts
    )
    camera = Camera(
        focal=(1.0, 1.0), centre=(0.0, 0.0), rotation=np.eye(3, dtype=np.float32),
        translation=np.zeros(3, np.float32), width=1, height=1,
    )  # fmt: skip
    return Head(
        parts=parts,
        joints=Skeleton(data).place(data.positions, 1.0),
        camera=camera,
        expression=np.zeros(52, np.float32),
        expression_in_base=False,
    )


def heads() -> list[Head]:
    return [template(), astronaut_geometry().head]


def weights(**shapes: float) -> np.ndarray:
    return np.array([shapes.get(name.removesuffix("Left").removesuffix("Right"), 0) for name in ARKIT_NAMES],
                    np.float32)  # fmt: skip


def look_at(head: Head, expression: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of the part and the depth (metres) at each pixel (600 x 600) from the front, -1 and 0
    beside the head; nothing is transparent."""
    side = 600
    camera = aim_camera((side, side), target=(0, -0.018, 0), distance=1.2, field=0.31)
    posed = pose_head(head, camera, weights=expression)
    depth = -posed.positions[:, 2]
    focal = camera.focal[0] / depth
    screen = [side / 2 + focal * posed.positions[:, 0], side / 2 - focal * posed.positions[:, 1]]
    seen = rasterise(np.stack([*screen, depth], axis=1).astype(np.float32), posed.triangles, side, side)
    owner, far = np.full(side * side, -1), np.zeros(side * side)
    owner[seen.pixels] = posed.owners[seen.triangles]
    far[seen.pixels] = (depth[posed.triangles[seen.triangles]] * seen.weights).sum(1)
    return owner, far


def visible(head: Head, expression: np.ndarray | None = None) -> dict[str, int]:
    """Return part to the pixels that show it from the front."""
    owner, _ = look_at(head, expression)
    return {part.name: int((owner == k).sum()) for k, part in enumerate(head.parts)}


@pytest.mark.parametrize("name", LOOPS)
def test_every_part_is_all_quads_and_manifold_with_the_openings_that_it_should_have(name):
    quads = head_data().part(name).quads
    assert share_of_quads(quads) >= 0.95
    assert_manifold(quads)
    assert len(find_open_loops(quads)) == LOOPS[name]


@pytest.mark.parametrize("level", [0, 2])
def test_other_levels_keep_the_openings_and_are_quads(level):
    head = head_at_level(template(), level)
    for part in head.parts:
        assert share_of_quads(part.quads) == 1
        assert_manifold(part.quads)
        assert len(find_open_loops(part.quads)) == LOOPS[part.name]


def test_topology_is_its_own_mirror_image():
    data = head_data()
    quads = np.concatenate([part.quads + part.first for part in data.parts])
    faces = {frozenset(row) for row in quads.tolist()}
    assert {frozenset(row) for row in data.mirror_vertices[quads].tolist()} == faces
    mirrored = data.positions[data.mirror_vertices] * [-1, 1, 1]
    assert np.abs(mirrored - data.positions).max() < 2e-5


def test_the_coarse_skin_is_a_symmetric_quarter_on_the_same_map():
    data = head_data()
    skin, coarse = data.part("skin"), data.part("skin").coarse
    assert 0.22 < len(coarse.quads) / len(skin.quads) < 0.27
    total = sum(len(p.quads if p.coarse is None else p.coarse.quads) for p in data.parts)
    assert 0.22 < total / sum(len(p.quads) for p in data.parts) < 0.30
    own = coarse.vertices[coarse.quads]
    faces = {frozenset(row) for row in own.tolist()}
    assert {frozenset(row) for row in data.mirror_vertices[own].tolist()} == faces
    pairs = set(zip(skin.quads.ravel().tolist(), skin.uv_quads.ravel().tolist(), strict=True))
    corners = zip(own.ravel().tolist(), coarse.uvs[coarse.uv_quads].ravel().tolist(), strict=True)
    assert set(corners) <= pairs, "a vertex carries a uv that is not its own"
    a, b, c = (skin.uvs[coarse.uvs].astype(float)[split_quads(coarse.uv_quads)[:, k]] for k in range(3))
    assert ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0] > 0).all()


def test_the_default_level_leaves_room_for_a_large_picture_in_30_megabytes():
    assert len(write_glb(head_at_level(heads()[1], 0), {})) < 14e6


@pytest.mark.parametrize(("level", "near", "most"), [(0, 0.0003, 0.0015), (2, 0.001, 0.004)])
def test_other_levels_have_the_shape_of_the_cage(level, near, most):
    owner, depth = look_at(template())
    other_owner, other_depth = look_at(head_at_level(template(), level))
    both = (owner == 0) & (other_owner == 0)
    assert both.sum() > 0.97 * (owner == 0).sum()
    difference = np.abs(depth - other_depth)[both]
    assert np.median(difference) < near
    assert np.percentile(difference, 95) < most


def test_a_plain_grid_loses_whole_rows_and_columns():
    """What strips are, on a mesh that needs no judgement: a flat grid stays a grid."""
    side = 9
    y, x = np.meshgrid(np.arange(side) / 8, np.arange(side) / 8, indexing="ij")
    points = np.stack([x.ravel(), y.ravel(), np.zeros(side * side)], axis=1)
    corner = np.arange(side * side).reshape(side, side)
    quads = np.stack([corner[:-1, :-1], corner[:-1, 1:], corner[1:, 1:], corner[1:, :-1]], -1).reshape(-1, 4)
    mesh = QuadMesh(
        positions=points, uvs=points[:, :2], quads=quads, uv_quads=quads,
        mirror=np.arange(side * side), importance=np.ones(side * side),
    )  # fmt: skip
    coarse = coarsen(mesh, 0.25)
    assert len(coarse.quads) in range(12, 21)
    kept = points[coarse.vertices]
    assert len(kept) == len(np.unique(kept[:, 0])) * len(np.unique(kept[:, 1]))
    assert len(find_open_loops(coarse.quads)) == 1


@pytest.mark.parametrize("side", ["left", "right"])
def test_lashes_stay_on_the_lid_and_point_down_when_the_eye_shuts(side):
    data = head_data()
    for head in heads():
        skin, lashes = head.part("skin"), head.part(f"lashes_{side}")
        part = data.part(f"lashes_{side}")
        scale = np.ptp(skin.positions[:, 1]) / np.ptp(data.positions[data.part("skin").vertices][:, 1])
        blink = ARKIT_NAMES.index(f"eyeBlink{side.capitalize()}")
        shut = lashes.positions + lashes.morph_deltas[blink]
        lid = skin.positions[part.host_vertices]
        lid_shut = lid + skin.morph_deltas[blink][part.host_vertices]
        for points, hosts in ((lashes.positions, lid), (shut, lid_shut)):
            reach = np.linalg.norm(points - part.host_weights @ hosts, axis=1)
            length = np.linalg.norm(part.host_offsets, axis=1) * scale
            assert np.abs(reach - length).max() < 0.25 * length.max()
            assert reach[length < 0.0006].max() < 0.0007, "roots lie on the lid"
        upper = slice(0, part.count // 2)
        tips = upper.stop - 21 + np.arange(21)
        # The lid of the corners moves little.
        drop = lashes.positions[tips, 1] - shut[tips, 1]
        assert (drop > 0).all()
        assert np.median(drop) > 0.008
        open_rise = lashes.positions[tips, 1] - lashes.positions[tips % 21, 1]
        shut_rise = shut[tips, 1] - shut[tips % 21, 1]
        assert open_rise.mean() > 0.001
        assert shut_rise.mean() < 0


def test_a_turn_about_the_eyeball_agrees_with_a_rotation():
    from scipy.spatial.transform import Rotation

    rng = np.random.default_rng(4)
    arms, turn = rng.normal(size=(6, 3)), Rotation.from_rotvec([0.3, -0.2, 0.1])
    # The smallest turn between two arms is that about their common normal: choose arms at right angles to it.
    axis = turn.as_rotvec() / np.linalg.norm(turn.as_rotvec())
    arms -= (arms @ axis)[:, None] * axis
    offsets = rng.normal(size=(6, 3))
    poses = torch.from_numpy(np.stack([arms, turn.apply(arms)]))
    found = follow_lids(poses, torch.zeros(2, 3), torch.from_numpy(offsets))
    np.testing.assert_allclose(found, [offsets, turn.apply(offsets)], atol=1e-9)


def test_bound_parts_follow_hosts_that_moved_otherwise_than_the_basis_says():
    data = head_data()
    shift = np.array([0.001, 0.002, 0.003])
    neutral, deltas = data.positions + shift, data.actions.copy()
    bound = BoundParts(data, data.positions, torch.device("cpu"))
    bound.bind(torch.from_numpy(neutral), torch.from_numpy(deltas))
    np.testing.assert_allclose(neutral, data.positions + shift, atol=2e-5)
    for side in ("left", "right"):
        for name in ("lashes", "cornea"):
            rows = data.part(f"{name}_{side}").vertices
            apart = np.abs(deltas[:, rows] - data.actions[:, rows]).max((1, 2))
            # The basis turns eyes about the middle of MakeHuman's, and lashes know only their own eyeball.
            looks = np.array([shape.startswith("eyeLook") for shape in ARKIT_NAMES])
            assert apart[~looks].max() < 2e-4
            assert apart.max() < (1e-3 if name == "lashes" else 2e-4)


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_cornea_lies_over_the_iris_and_follows_the_eye(side):
    for head in heads():
        eye, cornea = head.part(f"eye_{side}"), head.part(f"cornea_{side}")
        centre = 0.5 * (eye.positions.min(0) + eye.positions.max(0))
        ball = np.linalg.norm(eye.positions - centre, axis=1)
        height = np.linalg.norm(cornea.positions - centre, axis=1) - ball.mean()
        front = (cornea.positions - centre)[:, 2] > 0.8 * ball.mean()
        assert height[front].min() > 0.00004
        assert 0.0004 < height.max() < 0.0008
        look = ARKIT_NAMES.index(f"eyeLookDown{side.capitalize()}")
        middle = np.argmin(np.linalg.norm(cornea.uvs - 0.5, axis=1))
        apex = cornea.quads.ravel()[np.flatnonzero(cornea.uv_quads.ravel() == middle)[0]]
        pupil = np.argmax(eye.positions[:, 2])
        difference = cornea.morph_deltas[look][apex] - eye.morph_deltas[look][pupil]
        assert eye.morph_deltas[look][pupil, 1] < -0.001
        assert np.linalg.norm(difference) < 0.001


@pytest.mark.parametrize("level", [0, 1, 2])
def test_lips_hide_the_teeth_at_rest_and_lids_the_eyes_in_a_blink(level):
    for head in heads():
        shown = head_at_level(head, level)
        rest, shut = visible(shown), visible(shown, weights(eyeBlink=1.0))
        assert sum(count for name, count in rest.items() if name.startswith(("teeth", "gums"))) <= 20
        assert min(rest[f"cornea_{side}"] for side in ("left", "right")) > 100
        assert sum(count for name, count in shut.items() if name.startswith(("eye", "cornea"))) <= 4


def test_an_open_smile_shows_single_teeth():
    shown = head_at_level(template(), 0)
    count = visible(shown, weights(jawOpen=0.5, mouthUpperUp=0.8, mouthSmile=0.6))
    assert count["teeth_upper"] > 400
    crowns = head_data().part("teeth_upper")
    assert crowns.uv_islands.max() + 1 == 14

"""The built head: topology, UV layout, basis. Each is what an artist or the texture bake relies on."""

import numpy as np
import pytest
import torch

from face3d.errors import EngineUnavailable
from face3d.head import ARKIT_NAMES
from gpu_workers.head.model.head_template import HEAD_DATA_FILE, load_head_data, save_head_data
from gpu_workers.head.texturing.eyes import locate_iris
from gpu_workers.head_authoring.uv_packing import signed_areas
from tests.unit.head.head_support import head_data
from tests.unit.head_authoring.topology_support import find_open_loops
from tests.unit.head_authoring.uv_quality import count_triangles


def test_missing_or_broken_data_says_what_to_do(tmp_path):
    with pytest.raises(EngineUnavailable, match="build"):
        load_head_data(tmp_path)
    (tmp_path / HEAD_DATA_FILE).write_bytes(b"broken")
    with pytest.raises(EngineUnavailable, match="build"):
        load_head_data(tmp_path)


def test_the_skins_one_opening_is_planar_and_lies_at_the_neck():
    data = head_data()
    (loop,) = find_open_loops(data.part("skin").quads)
    rim = data.positions[loop]
    slope = np.polyfit(rim[:, 2], rim[:, 1], 1)
    assert np.abs(rim[:, 1] - np.polyval(slope, rim[:, 2])).max() < 1e-4
    assert rim[:, 1].max() < -0.09


def test_the_left_eye_is_on_the_persons_left():
    data = head_data()
    assert data.positions[data.part("eye_left").vertices][:, 0].min() > 0
    assert data.positions[data.part("eye_right").vertices][:, 0].max() < 0
    eyes = [data.positions[data.part(name).vertices] for name in ("eye_left", "eye_right")]
    middle = sum(0.25 * (eye.min(0) + eye.max(0)) for eye in eyes)
    # As seen from the front where MakeHuman's eyes are, but smaller and as near to the lids.
    assert np.abs(middle[:2]).max() < 1e-5
    assert 0.003 < middle[2] < 0.008


@pytest.mark.parametrize("material", ["skin", "eyes", "cornea", "mouth", "lashes"])
def test_uvs_lie_in_the_square_unflipped_and_do_not_overlap(material):
    count = np.zeros((1024, 1024), np.int32)
    for part in head_data().parts:
        if part.material != material or (part.name.endswith("_right")):
            continue
        assert part.uvs.min() >= 0
        assert part.uvs.max() <= 1
        assert (signed_areas(part.uvs.astype(float), part.uv_triangles) > 0).all()
        count += count_triangles(part.uvs, part.uv_triangles, part.uv_triangles[:, 0], 1024)[0]
    assert (count > 0).mean() > 0.4
    assert (count > 1).sum() <= 0.001 * (count > 0).sum()


def test_every_action_moves_something_and_the_tongue_comes_out():
    data = head_data()
    length = np.linalg.norm(data.actions, axis=2).max(1)
    assert dict(zip(ARKIT_NAMES, length > 1e-3, strict=True)) == dict.fromkeys(ARKIT_NAMES, True)
    tongue_out = data.actions[ARKIT_NAMES.index("tongueOut")]
    tongue = data.part("tongue")
    tip = np.argmax(data.positions[tongue.vertices][:, 2])
    assert tongue_out[tongue.vertices][tip, 2] > 0.01
    jaw_open = data.actions[ARKIT_NAMES.index("jawOpen")]
    assert jaw_open[data.part("teeth_lower").vertices][:, 1].max() < -0.005
    assert np.abs(jaw_open[data.part("teeth_upper").vertices]).max() < 1e-3


def test_components_are_symmetric_and_keep_the_size():
    data = head_data()
    mirrored = data.identity[:, data.mirror_vertices] * np.array([-1, 1, 1], np.float32)
    assert np.abs(mirrored - data.identity).max() < 2e-5
    points = (data.positions[data.landmark_vertices] * data.landmark_weights[..., None]).sum(1)[:468]
    change = data.identity[0][data.landmark_vertices[:468]] * data.landmark_weights[:468, :, None]
    moved = points + 2 * change.sum(1)
    size = [np.sqrt(((p - p.mean(0)) ** 2).sum()) for p in (points, moved)]
    assert abs(size[1] / size[0] - 1) < 0.01


def test_left_and_right_changes_are_each_others_mirror_image():
    data = head_data()
    names = data.local_change_names
    assert len(data.local_change_pairs) > 30
    for left, right in data.local_change_pairs:
        assert names[left].replace("l-", "r-", 1) == names[right]
    first = data.local_changes[data.local_change_pairs[0][0]]
    mirrored = first[data.mirror_vertices] * np.array([-1, 1, 1], np.float32)
    assert np.abs(mirrored - data.local_changes[data.local_change_pairs[0][1]]).max() < 5e-4


def test_residual_map_takes_a_shift_of_all_landmarks_to_a_shift_of_the_face():
    data = head_data()
    moved = data.residual_map @ np.tile([0.001, 0, 0], (468, 1)).astype(np.float32)
    nose = data.landmark_vertices[1]
    assert np.allclose(moved[nose], [0.001, 0, 0], atol=1e-4)
    neck = data.masks["neck"] > 0.9
    assert np.linalg.norm(moved[neck], axis=1).max() < 2e-4


def test_iris_is_where_it_is_said_to_be():
    data = head_data()
    part = data.part("eye_left")
    positions = data.positions[part.vertices]
    centred = positions - 0.5 * (positions.min(0) + positions.max(0))
    spread = np.linalg.norm(part.uvs - data.iris_uv_centre, axis=1)
    nearest = part.uv_quads.ravel()[np.argmin(spread[part.uv_quads.ravel()])]
    vertex = part.quads.ravel()[np.flatnonzero(part.uv_quads.ravel() == nearest)[0]]
    assert centred[vertex, 2] > 0.9 * np.linalg.norm(centred, axis=1).max()
    assert 0.2 < data.iris_uv_radius < 0.3
    places = locate_iris(data, torch.device("cpu"), 128)
    rim = np.flatnonzero(np.abs(np.linalg.norm(part.uvs - 0.5, axis=1) - data.iris_uv_radius) < 0.01)
    column, row = (
        np.clip(axis * 128, 0, 127).astype(int) for axis in (part.uvs[rim, 0], 1 - part.uvs[rim, 1])
    )
    distance = np.hypot(*places[:, row, column].numpy())
    np.testing.assert_allclose(distance, 1, atol=0.06)
    assert 0.0055 < data.iris_radius < 0.0062


def test_data_survives_saving_and_other_users_may_read_it(tmp_path):
    data = head_data()
    save_head_data(data, tmp_path / HEAD_DATA_FILE)
    again = load_head_data(tmp_path)
    assert np.abs(again.actions - data.actions).max() < 2e-5
    assert np.array_equal(again.positions, data.positions)
    assert again.local_change_names == data.local_change_names
    assert (tmp_path / HEAD_DATA_FILE).stat().st_mode & 0o044 == 0o044
    assert list(tmp_path.iterdir()) == [tmp_path / HEAD_DATA_FILE]

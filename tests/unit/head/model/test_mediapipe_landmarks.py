"""The landmark table: every landmark lies where a face has it, in 3D and not only seen from the front."""

import numpy as np
import pytest

from gpu_workers.head.model.mediapipe_landmarks import (
    FACE_OVAL,
    INNER_LIPS,
    LEFT_BROW,
    LEFT_LIDS,
    RIGHT_BROW,
    RIGHT_LIDS,
    load_correspondence,
)
from tests.unit.head.head_support import head_data


@pytest.fixture(scope="module")
def points():
    data = head_data()
    return (data.positions[data.landmark_vertices] * data.landmark_weights[..., None]).sum(1)


def test_table_is_complete():
    table = load_correspondence()
    assert table.vertices.shape == (478, 3)
    assert np.allclose(table.weights.sum(1), 1, atol=1e-4)
    assert table.weights.min() > -1e-6
    assert np.array_equal(table.mirror[table.mirror], np.arange(478))
    assert ((table.trust > 0) & (table.trust <= 1)).all()


def test_no_point_lies_behind_the_ears(points):
    data = head_data()
    ears = data.positions[: data.parts[0].count][data.masks["ears"] > 0.5]
    assert points[:468, 2].min() > np.median(ears[:, 2])
    # Landmark 7, of the right lower lid, lay on the back of the skull in the first table.
    assert np.linalg.norm(points[7] - points[249] * [-1, 1, 1]) < 0.001


def test_points_are_on_the_outside(points):
    data = head_data()
    inner = np.maximum(data.masks["eye_socket"], data.masks["mouth_interior"])
    assert inner[data.landmark_vertices[:468]].min(1).max() < 0.5


def test_table_is_symmetric(points):
    mirrored = points[load_correspondence().mirror] * [-1, 1, 1]
    assert np.linalg.norm(points - mirrored, axis=1).max() < 0.0005


def test_landmarks_are_in_order_from_forehead_to_chin(points):
    midline = [10, 151, 9, 8, 168, 6, 197, 195, 5, 4, 1]
    assert (np.diff(points[midline, 1]) < 0).all()
    below = [1, 2, 164, 0, 13, 14, 17, 18, 200, 152]
    assert (np.diff(points[below, 1]) < 0).all()
    assert np.abs(points[midline + below, 0]).max() < 0.0005


def test_features_are_where_they_must_be(points):
    data = head_data()
    left = data.positions[data.part("eye_left").vertices]
    eye = 0.5 * (left.min(0) + left.max(0))
    assert points[1, 2] > points[np.r_[10, 152, 61, 291, 33, 263], 2].max() + 0.01, "nose tip foremost"
    # Eye corners at either side of the eyeball, at its height.
    assert points[362, 0] < eye[0] - 0.008
    assert points[263, 0] > eye[0] + 0.008
    assert np.abs(points[[362, 263], 1] - eye[1]).max() < 0.008
    # Upper lid above lower lid above cheek; brow above the upper lid.
    assert points[386, 1] > points[374, 1] + 0.004
    assert points[list(LEFT_BROW), 1].min() > points[list(LEFT_LIDS), 1].max()
    assert points[list(RIGHT_BROW), 1].min() > points[list(RIGHT_LIDS), 1].max()
    # Mouth corners below the nose, above the chin, as far out as the inner corners of the eyes or more.
    assert points[152, 1] < points[291, 1] < points[2, 1]
    assert points[291, 0] > points[362, 0] > 0
    # Lids enclose the eye's middle; the oval encloses everything.
    assert points[list(LEFT_LIDS), 0].min() < eye[0] < points[list(LEFT_LIDS), 0].max()
    oval = points[list(FACE_OVAL)]
    assert (points[:468, 0] <= oval[:, 0].max() + 0.002).all()
    assert (points[:468, 1] >= oval[:, 1].min() - 0.002).all()


def test_lips_stay_apart_when_the_jaw_opens():
    from face3d.head import ARKIT_NAMES

    data = head_data()
    opened = data.positions + 0.5 * data.actions[ARKIT_NAMES.index("jawOpen")]
    points = (opened[data.landmark_vertices] * data.landmark_weights[..., None]).sum(1)
    closed = (data.positions[data.landmark_vertices] * data.landmark_weights[..., None]).sum(1)
    assert points[13, 1] - points[14, 1] > 0.012
    assert closed[13, 1] - closed[14, 1] < 0.004
    upper, lower = points[list(INNER_LIPS[1:10])], points[list(INNER_LIPS[11:])]
    assert upper[:, 1].min() > lower[:, 1].max() - 0.004


def test_irises_are_round_and_in_front_of_their_eyes(points):
    data = head_data()
    for name, rows in (("eye_right", range(468, 473)), ("eye_left", range(473, 478))):
        eye = data.positions[data.part(name).vertices]
        centre, rim = points[rows[0]], points[list(rows[1:])]
        assert np.abs(centre[:2] - 0.5 * (eye.min(0) + eye.max(0))[:2]).max() < 0.001
        assert centre[2] > eye[:, 2].max() - 0.002
        radii = np.linalg.norm((rim - centre)[:, :2], axis=1)
        assert np.allclose(radii, 0.00585, atol=0.0006)

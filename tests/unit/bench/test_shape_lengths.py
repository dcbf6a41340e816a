"""Lengths are those that a known movement of known points has."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bench.quality.length_references import REFERENCES, SOURCES
from bench.quality.shape_lengths import (
    LENGTHS,
    MovingFace,
    count_passing,
    face_of_units,
    find_empty_keys,
    find_rotation,
    measure_lengths,
)
from face3d.head import ARKIT_NAMES, VISEME_NAMES
from gpu_workers.head.model.dense_landmarks import FacePoints
from tests.unit.head.head_support import head_data

_KEY = {name: number for number, name in enumerate(ARKIT_NAMES)}
_EYE = 0.012 * np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], np.float32)
_TOOTH = np.array([[0, 0, 0], [0.004, 0, 0], [0, 0.009, 0]], np.float32)


def _face(**moved: dict[int, tuple[float, float, float]]) -> MovingFace:
    """Return a face whose skin is its landmarks; `moved` names keys, landmarks and millimetres."""
    skin = np.random.default_rng(0).normal(0, 0.02, (478, 3)).astype(np.float32)
    skin[61], skin[291] = (-0.025, 0, 0), (0.025, 0, 0)
    skin[13] = 0
    skin[[129, 358], 1], skin[[84, 17, 314], 1] = 0.02, -0.02
    positions = {
        "skin": skin,
        "eye_left": _EYE + np.float32([0.03, 0, 0]),
        "eye_right": _EYE - np.float32([0.03, 0, 0]),
        "teeth_upper": _TOOTH,
        "teeth_lower": _TOOTH - np.float32([0, 0.009, 0]),
        "tongue": np.array([[0, -0.001, -0.02]], np.float32),
    }
    deltas = {name: np.zeros((52, *points.shape), np.float32) for name, points in positions.items()}
    for key, rows in moved.items():
        for row, millimetres in rows.items():
            deltas["skin"][_KEY[key], row] = np.array(millimetres) / 1000
    vertices = np.repeat(np.arange(478)[:, None], 3, axis=1)
    return MovingFace(
        positions=positions,
        deltas=deltas,
        points=FacePoints(vertices=vertices, weights=np.full((478, 3), 1 / 3, np.float32)),
    )


def test_a_smile_of_known_width_path_and_direction() -> None:
    found = measure_lengths(
        _face(mouthSmileLeft={291: (5, 5, 0)}, mouthSmileRight={61: (-5, 5, 0)}, jawOpen={152: (0, -20, 3)})
    )
    assert found["mouth width gained in a smile"] == pytest.approx(20, abs=0.01)
    assert found["mouth corner's path in a smile"] == pytest.approx(np.hypot(5, 5), abs=0.01)
    assert found["mouth corner's direction in a smile"] == pytest.approx(45, abs=0.01)
    assert found["chin drop"] == pytest.approx(20, abs=0.01)
    assert found["cheek rise in a smile"] == 0


def test_the_gap_of_the_incisors_is_between_their_edges() -> None:
    face = _face()
    face.deltas["teeth_lower"][_KEY["jawOpen"], :, 1] = -0.030
    assert measure_lengths(face)["gap of the incisors"] == pytest.approx(30, abs=0.01)


def test_a_tongue_counts_from_the_upper_lip_once_it_is_out() -> None:
    face = _face()
    face.deltas["tongue"][_KEY["tongueOut"], 0] = (0, 0, 0.038)
    assert measure_lengths(face)["tongue past the upper lip"] == pytest.approx(np.hypot(18, 1), abs=0.01)
    face.deltas["tongue"][_KEY["tongueOut"], 0] = (0, 0, 0.015)
    assert measure_lengths(face)["tongue past the upper lip"] == 0


@pytest.mark.parametrize(
    ("name", "key", "turns"),
    [
        ("gaze outwards", "eyeLookOut", {"left": (0, 30, 0), "right": (0, -30, 0)}),
        ("gaze inwards", "eyeLookIn", {"left": (0, -30, 0), "right": (0, 30, 0)}),
        ("gaze up", "eyeLookUp", {"left": (-30, 0, 0), "right": (-30, 0, 0)}),
        ("gaze down", "eyeLookDown", {"left": (30, 0, 0), "right": (30, 0, 0)}),
    ],
)
def test_a_gaze_is_the_turn_of_the_eyeballs(name, key, turns) -> None:
    face = _face()
    for side, turn in turns.items():
        turned = _EYE @ Rotation.from_rotvec(turn, degrees=True).as_matrix().T.astype(np.float32)
        face.deltas[f"eye_{side}"][_KEY[f"{key}{side.title()}"]] = turned - _EYE
    assert measure_lengths(face)[name] == pytest.approx(30, abs=0.01)


def test_a_rotation_is_found_and_never_a_reflection() -> None:
    turn = Rotation.from_rotvec([0.3, -0.8, 0.2]).as_matrix()
    points = np.random.default_rng(0).normal(size=(20, 3))
    assert np.allclose(find_rotation(points, points @ turn.T + 5), turn)
    assert np.linalg.det(find_rotation(points, points * [-1, 1, 1])) == pytest.approx(1)


def test_empty_keys_are_those_that_move_nothing() -> None:
    face = _face(**{name: {0: (0, 0, 1)} for name in ARKIT_NAMES if name != "cheekPuff"})
    assert find_empty_keys(face) == ["cheekPuff"]
    assert set(find_empty_keys(_face())) == set(ARKIT_NAMES + VISEME_NAMES)


def test_triangles_that_pass_through_others_are_counted_by_key() -> None:
    face = _face(jawOpen=dict.fromkeys((3, 4, 5), (0, 0, -10)))
    face.positions["skin"][:3] = [[-0.01, -0.01, 0], [0.02, -0.01, 0], [-0.01, 0.02, 0]]
    face.positions["skin"][3:6] = [[0, 0, 0.005], [0.004, 0, 0.012], [0, 0.004, 0.012]]
    quads = np.array([[0, 1, 2, 2], [3, 4, 5, 5]], np.int32)
    assert count_passing(face, quads, ["", "jawOpen"]) == {"": 0, "jawOpen": 2}


def test_lengths_of_the_face_units_have_the_signs_and_the_size_of_a_face() -> None:
    found = measure_lengths(face_of_units(head_data()))
    assert 8 < found["lids' gap, open"] < 12
    assert 20 < found["gap of the incisors"] < 45
    assert 15 < found["mouth width gained in a smile"] < 40
    assert found["mouth width gained in a pucker"] < 0
    for name in ("gaze outwards", "gaze inwards", "gaze up", "gaze down", "cheek rise", "upper lip rise"):
        assert found[name] > 0, name


def test_references_belong_to_lengths_and_name_their_sources() -> None:
    names = [length.name for length in LENGTHS]
    assert len(names) == len(set(names)) >= 20
    assert set(REFERENCES) <= set(names)
    assert {source for known in REFERENCES.values() for source in known.sources} == set(SOURCES)


def test_a_length_is_judged_by_ranges_and_not_by_means() -> None:
    jaw, smile = REFERENCES["gap of the incisors"], REFERENCES["mouth width gained in a smile"]
    assert [jaw.judge(value) for value in (27.0, 36.0, 71.0)] == ["no", "yes", "no"]
    assert smile.judge(24.0) == ""
    assert str(jaw) == "36 to 70"

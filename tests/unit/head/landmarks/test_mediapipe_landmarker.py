"""The slim landmark runtime gives what MediaPipe gives, without MediaPipe's shared library."""

import subprocess
import sys

import numpy as np
import pytest

from face3d.errors import EngineUnavailable
from face3d.head import ARKIT_NAMES
from gpu_workers.head.landmarks.face_detection import find_faces, measure_face
from gpu_workers.head.landmarks.mediapipe_landmarker import FaceLandmarker, mirror_scores
from tests.unit.head.head_support import astronaut, engine, head_data, mediapipe_astronaut, model_dir


@pytest.fixture(scope="module")
def landmarker():
    model_dir()
    return engine()._faces()


def test_landmarks_and_scores_equal_mediapipes(landmarker):
    expected = np.array(mediapipe_astronaut()["points"])
    eyes = np.linalg.norm(expected[33, :2] - expected[263, :2])
    (face,) = landmarker.faces(astronaut())
    error = np.linalg.norm(face.points[:, :2] - expected[:, :2], axis=1) / eyes
    assert error.max() < 0.002
    assert np.abs(face.points[:, 2] - expected[:, 2]).max() / eyes < 0.002
    scores = mediapipe_astronaut()["scores"]
    named = dict(zip(ARKIT_NAMES, face.scores.tolist(), strict=True))
    assert named.pop("tongueOut") == 0
    assert max(abs(value - scores[name]) for name, value in named.items()) < 0.005


@pytest.mark.heavy
def test_no_graphics_library_is_needed():
    program = (
        "import sys; import gpu_workers.head.landmarks.mediapipe_landmarker;"
        "from ai_edge_litert import interpreter;"
        "maps = open('/proc/self/maps').read();"
        "assert 'mediapipe' not in sys.modules;"
        "assert 'libEGL' not in maps and 'libGLES' not in maps"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_a_missing_model_is_named(tmp_path):
    with pytest.raises(EngineUnavailable, match="other"):
        FaceLandmarker(tmp_path / "other.task")


def test_scores_mirror_by_name():
    scores = np.arange(52, dtype=np.float32)
    mirrored = dict(zip(ARKIT_NAMES, mirror_scores(scores).tolist(), strict=True))
    assert mirrored["eyeBlinkLeft"] == ARKIT_NAMES.index("eyeBlinkRight")
    assert mirrored["mouthRight"] == ARKIT_NAMES.index("mouthLeft")
    assert mirrored["jawOpen"] == ARKIT_NAMES.index("jawOpen")


def test_a_small_face_in_a_large_picture_is_found(landmarker):
    from PIL import Image

    small = np.asarray(Image.fromarray(astronaut()).resize((300, 300)))
    picture = np.full((1280, 1280, 3), 120, np.uint8)
    picture[640:940, 900:1200] = small
    (face,) = find_faces(landmarker, picture)
    expected = np.array(mediapipe_astronaut()["points"])[1, :2] * 300 / 512 + [900, 640]
    assert np.linalg.norm(face.points[1, :2] - expected) < 3


def test_the_close_look_does_not_prefer_a_side(landmarker):
    picture = astronaut()
    mirror = head_data().landmark_mirror
    plain = measure_face(landmarker, picture, find_faces(landmarker, picture)[0], mirror)
    flipped_picture = np.ascontiguousarray(picture[:, ::-1])
    flipped = measure_face(landmarker, flipped_picture, find_faces(landmarker, flipped_picture)[0], mirror)
    back = (flipped.points * [-1, 1, 1] + [512, 0, 0])[mirror]
    eyes = np.linalg.norm(plain.points[33, :2] - plain.points[263, :2])
    difference = (back - plain.points)[:468, :2] / eyes
    assert np.linalg.norm(difference, axis=1).mean() < 0.008
    assert abs(difference[:, 0].mean()) < 0.003

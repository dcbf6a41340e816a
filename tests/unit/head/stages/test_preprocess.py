"""Preprocess: good photos pass, bad ones are refused with code, value and limit, and the next one works."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from face3d.errors import ErrorCode, RefusedError
from face3d.options import JobOptions
from gpu_workers.photo_limits import PhotoLimits
from tests.unit.head.head_support import (
    LIMITS,
    astronaut,
    engine,
    mediapipe_astronaut,
    model_dir,
    png,
    prepared_astronaut,
)

pytestmark = pytest.mark.heavy


@pytest.fixture(autouse=True)
def _models():
    model_dir()


def refusal(pixels, limits=LIMITS):
    with pytest.raises(RefusedError) as caught:
        engine().preprocess(png(pixels), JobOptions(), limits)
    assert caught.value.value is not None
    assert caught.value.limit is not None
    return caught.value


def face_box():
    points = np.array(mediapipe_astronaut()["points"])[:468, :2]
    return points.min(0).astype(int), points.max(0).astype(int)


def test_the_astronaut_passes():
    prepared = prepared_astronaut()
    assert np.array_equal(prepared.photo, astronaut())
    expected = np.array(mediapipe_astronaut()["points"])
    error = np.linalg.norm(prepared.landmarks[:, :2] - expected[:, :2], axis=1)
    assert error.mean() < 0.02 * 60
    assert prepared.scores.shape == (52,)
    assert prepared.camera[0] > 500
    assert prepared.facts["faces_found"] == 1
    assert abs(prepared.facts["face"]["yaw"]) < 6
    assert prepared.facts["focal_from"] == "prior"


def test_a_large_photo_is_cut_to_the_face_and_keeps_its_optical_axis():
    large = np.full((1600, 2400, 3), 90, np.uint8)
    large[500:1524, 1200:2224] = np.asarray(Image.fromarray(astronaut()).resize((1024, 1024)))
    prepared = engine().preprocess(png(large), JobOptions(input_size=960), LIMITS)
    left, top, right, _ = prepared.facts["photo"]["crop"]
    assert max(prepared.photo.shape) <= 960
    assert right - left < 1200
    scale = prepared.photo.shape[1] / (right - left)
    centre = prepared.camera[1:]
    assert np.allclose(centre, (np.array([1200, 800]) - [left, top]) * scale, atol=2)
    nose = prepared.landmarks[1, :2] / scale + [left, top]
    expected = np.array(mediapipe_astronaut()["points"])[1, :2] * 2 + [1200, 500]
    assert np.linalg.norm(nose - expected) < 4


def test_faces_of_like_size_are_cut_to_pictures_of_one_size():
    sizes = set()
    for side, left in ((1000, 1200), (1024, 900), (1040, 0)):
        large = np.full((1600, 2400, 3), 90, np.uint8)
        large[500 : 500 + side, left : left + side] = np.asarray(
            Image.fromarray(astronaut()).resize((side, side))
        )
        prepared = engine().preprocess(png(large), JobOptions(), LIMITS)
        points = prepared.landmarks[:, :2]
        assert points.min() > 0
        sizes.add(prepared.photo.shape)
    assert len(sizes) == 1
    assert next(iter(sizes))[0] == next(iter(sizes))[1]


def test_exif_turn_and_focal_length_are_used():
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0xA405] = 85
    buffer = io.BytesIO()
    turned = np.ascontiguousarray(np.rot90(astronaut()))
    Image.fromarray(turned).save(buffer, "JPEG", quality=95, exif=exif.tobytes())
    prepared = engine().preprocess(buffer.getvalue(), JobOptions(), LIMITS)
    assert prepared.facts["focal_from"] == "exif"
    assert prepared.camera[0] == pytest.approx(85 / 43.27 * 512 * np.sqrt(2), rel=1e-3)
    difference = prepared.landmarks - prepared_astronaut().landmarks
    assert np.abs(difference[:, :2]).mean() < 1


def test_no_face():
    noise = np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8)
    error = refusal(noise)
    assert error.code is ErrorCode.NO_FACE
    assert refusal(np.full((1, 1, 3), 128, np.uint8)).code is ErrorCode.NO_FACE


def test_two_faces_of_like_size():
    error = refusal(np.concatenate([astronaut(), astronaut()[:, ::-1]], axis=1))
    assert error.code is ErrorCode.SEVERAL_FACES
    assert error.value == 2


def test_a_much_smaller_second_face_is_allowed():
    picture = np.full((512, 700, 3), 120, np.uint8)
    picture[:, :512] = astronaut()
    picture[300:480, 515:695] = np.asarray(Image.fromarray(astronaut()).resize((180, 180)))
    prepared = engine().preprocess(png(picture), JobOptions(), LIMITS)
    assert prepared.landmarks[1, 0] < 512


def test_too_small():
    small = np.asarray(Image.fromarray(astronaut()).resize((256, 256)))
    error = refusal(small)
    assert error.code is ErrorCode.FACE_TOO_SMALL
    assert error.value == pytest.approx(30, abs=1.5)
    assert error.limit == 40


def test_turned_away_is_measured():
    error = refusal(astronaut(), PhotoLimits(max_yaw_degrees=0.01))
    assert error.code is ErrorCode.FACE_TURNED_AWAY
    assert "yaw" in str(error.value)


def test_too_dark():
    dark = (astronaut() * 0.08).astype(np.uint8)
    error = refusal(dark)
    assert error.code is ErrorCode.TOO_DARK


def test_too_blurred():
    blurred = ndimage.gaussian_filter(astronaut(), (4, 4, 0))
    error = refusal(blurred)
    assert error.code is ErrorCode.TOO_BLURRED


def test_covered_by_a_mask():
    covered = astronaut().copy()
    low, high = face_box()
    nose = int(mediapipe_astronaut()["points"][4][1])
    covered[nose - 4 : high[1] + 8, low[0] : high[0]] = (120, 170, 200)
    assert refusal(covered).code is ErrorCode.FACE_COVERED


@pytest.mark.parametrize("change", ["dim", "soft", "jpeg", "roll", "grey"])
def test_ordinary_weaknesses_pass(change):
    picture = astronaut()
    if change == "dim":
        picture = (picture * 0.4).astype(np.uint8)
    elif change == "soft":
        picture = ndimage.gaussian_filter(picture, (1, 1, 0))
    elif change == "jpeg":
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "JPEG", quality=30)
        picture = np.asarray(Image.open(buffer))
    elif change == "roll":
        picture = np.asarray(Image.fromarray(picture).rotate(25, fillcolor=(120, 120, 120)))
    else:
        picture = np.repeat(picture.mean(2, keepdims=True).astype(np.uint8), 3, axis=2)
    prepared = engine().preprocess(png(picture), JobOptions(), LIMITS)
    assert prepared.landmarks.shape == (478, 3)

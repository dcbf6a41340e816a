"""The face models in torch, as a GPU runs them, against LiteRT on the CPU; their cuts against plain ones."""

import zipfile

import numpy as np
import pytest
import torch

from gpu_workers.head.landmarks.crops import Region, crop_region
from gpu_workers.head.landmarks.crops_cuda import sample_regions
from gpu_workers.head.landmarks.mediapipe_landmarker import MODEL_FILE, FaceLandmarker
from gpu_workers.head.landmarks.mediapipe_models import DETECTOR, EXPRESSION, LANDMARKS, HostFaceModels
from gpu_workers.head.landmarks.mediapipe_models_cuda import DeviceFaceModels, _place
from gpu_workers.head.landmarks.photo_rotation import find_upright_face
from gpu_workers.head.landmarks.tflite_runtime import TorchModel, UnknownOperator, _build
from tests.unit.head.head_support import astronaut, head_data, model_dir
from tests.unit.waiting import NoWaiting

CPU = torch.device("cpu")
#: The astronaut's face, leaning; and a region of which a part lies outside the picture.
FACE = Region(225.0, 118.0, 190.0, 190.0, 0.2)
OUTSIDE = Region(20.0, 490.0, 150.0, 130.0, -0.7)


@pytest.fixture(scope="module")
def contents() -> dict[str, bytes]:
    with zipfile.ZipFile(model_dir() / MODEL_FILE) as archive:
        return {name: archive.read(name) for name in (DETECTOR, LANDMARKS, EXPRESSION)}


@pytest.fixture(scope="module")
def plain(contents: dict[str, bytes]) -> HostFaceModels:
    return HostFaceModels(contents)


@pytest.fixture(scope="module")
def device(contents: dict[str, bytes]) -> DeviceFaceModels:
    return DeviceFaceModels(contents, CPU)


def test_the_detector_says_the_same(plain: HostFaceModels, device: DeviceFaceModels) -> None:
    region = Region(256, 256, 512, 512)
    boxes, logits = plain.find(astronaut(), region)
    found, certainty = device.find(torch.tensor(astronaut()), region)
    assert np.abs(found - boxes).max() < 0.01
    assert np.abs(certainty - logits).max() < 0.001


@pytest.mark.parametrize("count", [1, 2, 3])
def test_landmarks_and_scores_are_the_same(
    plain: HostFaceModels, device: DeviceFaceModels, count: int
) -> None:
    regions = [
        Region(FACE.x + 5 * i, FACE.y, FACE.width, FACE.height, FACE.angle - 0.1 * i) for i in range(3)
    ]
    expected = plain.look([(astronaut(), region) for region in regions[:count]])
    found = device.look([(torch.tensor(astronaut()), region) for region in regions[:count]])
    assert len(found) == count
    for mine, other in zip(found, expected, strict=True):
        # Of the region's side; a face is two thirds of it.
        assert np.abs(mine.points - other.points).max() < 2e-5
        assert np.abs(mine.scores - other.scores).max() < 2e-4
        assert mine.logit == pytest.approx(other.logit, abs=0.01)
        assert mine.logit > 3


@pytest.mark.parametrize("region", [FACE, OUTSIDE])
@pytest.mark.parametrize("replicate", [True, False])
def test_cuts_are_the_plain_ones(region: Region, replicate: bool) -> None:
    photo = astronaut()[:, :400]
    flat = torch.tensor(photo).reshape(1, -1, 3)
    # A buffer may be longer than the photo.
    flat = torch.cat([flat, torch.full((1, 99, 3), 255, dtype=torch.uint8)], 1)
    place = torch.tensor([[*_place(region), *photo.shape[:2]]], dtype=torch.float64)
    found = sample_regions(flat, place, 64, replicate=replicate)[0].numpy()
    expected = crop_region(photo, region, 64, replicate=replicate)
    assert np.abs(found - expected).max() <= 1
    assert (found == expected).mean() > 0.999


@pytest.mark.heavy
def test_a_look_waits_for_no_value_of_the_device(device: DeviceFaceModels) -> None:
    """A CUDA graph captures it."""
    photos = torch.tensor(astronaut()).reshape(1, -1, 3).repeat(2, 1, 1)
    places = torch.tensor([[*_place(FACE), 512, 512]] * 2, dtype=torch.float64)
    with torch.inference_mode():
        device._find(photos[:1], places[:1])
        device._look(photos, places)
        with NoWaiting():
            device._find(photos[:1], places[:1])
            device._look(photos, places)


@pytest.mark.heavy
def test_a_turned_photo_is_found_upright_on_a_device_too(
    device: DeviceFaceModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = head_data().landmark_mirror
    host = FaceLandmarker(model_dir() / MODEL_FILE)
    plain = find_upright_face(host, astronaut(), mirror, 0.5)
    monkeypatch.setattr(host, "_models", device)
    for quarters in (0, 1, 2):
        photo = torch.tensor(np.rot90(astronaut(), quarters).copy())
        found = find_upright_face(host, photo, mirror, 0.5)
        assert found.degrees == 90 * quarters
        assert isinstance(found.photo, torch.Tensor)
        assert torch.equal(found.photo, torch.tensor(astronaut()))
        assert found.face is not None
        assert plain.face is not None
        # The device resamples a little otherwise than Pillow.
        assert np.abs(found.face.points - plain.face.points).max() < 1


def test_what_nobody_asks_for_is_left_out(contents: dict[str, bytes]) -> None:
    both = TorchModel(contents[DETECTOR], ("regressors", "classificators"), CPU)
    one = TorchModel(contents[DETECTOR], ("regressors",), CPU)
    assert len(one._steps) < len(both._steps)


def test_an_unknown_operator_is_named() -> None:
    with pytest.raises(UnknownOperator, match="SOFTMAX"):
        _build("SOFTMAX", None, {}, CPU)

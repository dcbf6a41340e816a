"""The landmark models' graphs and the cuts of a photo on the card against the CPU's."""

import math
import zipfile

import numpy as np
import pytest
import torch

from gpu_workers.head.landmarks.crops import Region, crop_region
from gpu_workers.head.landmarks.crops_cuda import sample_regions
from gpu_workers.head.landmarks.dense_crop import cut_face, face_square
from gpu_workers.head.landmarks.dense_network import (
    FACE_NETWORK,
    FACE_NETWORK_SHA256,
    FaceNetwork,
    load_face_network,
)
from gpu_workers.head.landmarks.dense_network_cuda import GraphedFaceNetwork
from gpu_workers.head.landmarks.face_detection import cut_square
from gpu_workers.head.landmarks.mediapipe_landmarker import MODEL_FILE
from gpu_workers.head.landmarks.mediapipe_models import (
    DETECTOR,
    EXPRESSION,
    LANDMARKS,
    HostFaceModels,
    RawFace,
)
from gpu_workers.head.landmarks.mediapipe_models_cuda import DeviceFaceModels, _place
from gpu_workers.head.runtime.device_runtime import DeviceRuntime
from tests.cuda.parity import assert_near
from tests.cuda.scene import CPU, astronaut, landmarks, model_dir

#: The astronaut's face, leaning; and a region of which a part lies outside the picture.
FACE = Region(225.0, 118.0, 190.0, 190.0, 0.2)
#: Pixels of the coarser picture that Lanczos' window reaches to each side.
_LOBES = 3
OUTSIDE = Region(20.0, 490.0, 150.0, 130.0, -0.7)


@pytest.fixture(scope="module")
def contents() -> dict[str, bytes]:
    with zipfile.ZipFile(model_dir() / MODEL_FILE) as archive:
        return {name: archive.read(name) for name in (DETECTOR, LANDMARKS, EXPRESSION)}


@pytest.fixture(scope="module")
def host(contents: dict[str, bytes]) -> HostFaceModels:
    return HostFaceModels(contents)


@pytest.fixture(scope="module")
def models(contents: dict[str, bytes], runtime: DeviceRuntime) -> DeviceFaceModels:
    return DeviceFaceModels(contents, runtime.faces)


def large_photo() -> np.ndarray:
    """Return a photo of more pixels than a graph of one look reads."""
    return np.tile(astronaut(), (7, 7, 1))


@pytest.mark.parametrize("region", [FACE, OUTSIDE], ids=["face", "outside"])
@pytest.mark.parametrize("replicate", [True, False])
@pytest.mark.parametrize("batch", [1, 3, 7])
def test_regions_are_cut_as_on_the_cpu(
    device: torch.device, region: Region, replicate: bool, batch: int
) -> None:
    photo = astronaut()[:, :400]
    regions = [
        Region(region.x + 3 * k, region.y, region.width, region.height, region.angle - 0.1 * k)
        for k in range(batch)
    ]
    places = torch.tensor([[*_place(one), *photo.shape[:2]] for one in regions], dtype=torch.float64)
    flat = torch.from_numpy(photo.copy()).to(device).reshape(1, -1, 3).repeat(batch, 1, 1)
    found = sample_regions(flat, places.to(device), 128, replicate=replicate)
    for one, picture in zip(regions, found, strict=True):
        expected = crop_region(photo, one, 128, replicate=replicate)
        assert_near("region, levels", picture, expected, most=1, mean=0.005)


@pytest.mark.parametrize(
    ("centre", "half"), [((224.3, 121.7), 97.4), ((30.0, 480.0), 120.0), ((256.0, 256.0), 255.5)]
)
@pytest.mark.parametrize("size", [64, 192, 512])
def test_squares_are_resampled_as_by_pillow(
    device: torch.device, centre: tuple[float, float], half: float, size: int
) -> None:
    photo = astronaut()
    found = cut_square(torch.from_numpy(photo).to(device), np.array(centre), half, size)
    expected = cut_square(photo, np.array(centre), half, size)
    assert isinstance(found, torch.Tensor)
    assert found.device == device
    assert_near("whole square, levels", found, expected, most=255, mean=0.05)
    # Of a square that reaches over the photo's border Pillow sees no pixel beside it, and the card does.
    rim = math.ceil(_LOBES * max(1.0, size / (2 * half))) + 1
    middle = slice(rim, size - rim)
    assert_near("square, levels", found[middle, middle], expected[middle, middle], most=2, mean=0.05)


def test_the_face_networks_square_is_cut_as_on_the_cpu(device: torch.device) -> None:
    square, photo = face_square(landmarks()), torch.from_numpy(astronaut())
    found, expected = cut_face(photo.to(device), square, 256), cut_face(photo, square, 256)
    assert_near("square, levels", found, expected, most=1, mean=0.01)


@pytest.mark.parametrize("photo", [astronaut, large_photo], ids=["graph", "too large for a graph"])
def test_the_detector_finds_the_same(host: HostFaceModels, models: DeviceFaceModels, photo: object) -> None:
    picture = photo()
    region = Region(256, 256, 512, 512)
    boxes, logits = host.find(picture, region)
    for _ in range(2):
        found, certainty = models.find(torch.from_numpy(picture).to(models._device), region)
        assert_near("boxes, pixels of the input", found, boxes, most=0.02)
        assert_near("logits", certainty, logits, most=0.01)


@pytest.mark.parametrize("batch", [1, 2, 3, 7])
@pytest.mark.parametrize("photo", [astronaut, large_photo], ids=["graph", "too large for a graph"])
def test_looks_say_the_same(
    host: HostFaceModels, models: DeviceFaceModels, batch: int, photo: object
) -> None:
    picture = photo()
    on_card = torch.from_numpy(picture).to(models._device)
    regions = [
        Region(FACE.x + 5 * k, FACE.y, FACE.width, FACE.height, FACE.angle - 0.05 * k) for k in range(batch)
    ]
    found = models.look([(on_card, region) for region in regions])
    expected = host.look([(picture, region) for region in regions])
    assert len(found) == batch
    for mine, other in zip(found, expected, strict=True):
        assert_same_face(mine, other)


def test_a_small_photo_after_a_large_one_sees_nothing_of_it(
    host: HostFaceModels, models: DeviceFaceModels
) -> None:
    """A graph's buffer keeps the pixels of the photo before behind those of this one."""
    large = np.tile(astronaut(), (2, 3, 1))
    for picture in (large, astronaut()[:300, :350].copy()):
        on_card = torch.from_numpy(picture).to(models._device)
        for one, other in zip(models.look([(on_card, FACE)]), host.look([(picture, FACE)]), strict=True):
            assert_same_face(one, other)


def assert_same_face(found: RawFace, expected: RawFace) -> None:
    assert_near("points, sides of the region", found.points, expected.points, most=1e-4)
    assert_near("scores", found.scores, expected.scores, most=1e-3)
    assert abs(found.logit - expected.logit) < 0.02, (found.logit, expected.logit)


@pytest.mark.parametrize("batch", [1, 3, 7])
def test_the_face_network_says_the_same(runtime: DeviceRuntime, batch: int) -> None:
    """A card computes with 10 bits of mantissa in convolutions (TF32), and the CPU with 23."""
    plain, on_card = (
        load_face_network(FACE_NETWORK, FACE_NETWORK_SHA256, device) for device in (CPU, runtime.device)
    )
    graphed = GraphedFaceNetwork(on_card, runtime.faces)
    square, photo = face_square(landmarks()), torch.from_numpy(astronaut())
    size = plain.plan.input_size
    crop = cut_face(photo, square, size)
    crops = torch.stack([crop.roll(4 * k, 1) for k in range(batch)])
    together = graphed.predict(crops.to(runtime.device))
    alone = [graphed.predict(one[None].to(runtime.device)) for one in crops]
    with torch.inference_mode():
        expected = plain.predict(crops)
        direct = _launched(on_card, crops.to(runtime.device))
    assert_near("points, half sides", together.points, expected.points, most=1e-2)
    assert_near("deviation, logarithm", together.log_deviation, expected.log_deviation, most=0.1)
    assert_near("loadings", together.loadings, expected.loadings, most=0.1)
    replayed = torch.cat([one.points for one in alone])
    assert_near("replays, half sides", replayed, direct, most=1e-4)


def _launched(network: FaceNetwork, crops: torch.Tensor) -> torch.Tensor:
    """Return the points of crops, one after another, without a graph."""
    return torch.cat([network.predict(one[None]).points for one in crops])

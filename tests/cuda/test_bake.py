"""Masks, skin and surface maps on the card against the CPU's; graphs against the same calls without."""

import numpy as np
import pytest
import torch
from PIL import Image

from gpu_workers.head.model.posed_head import HostHead
from gpu_workers.head.ops.image import blur, decode_srgb
from gpu_workers.head.runtime.device_runtime import DeviceRuntime
from gpu_workers.head.runtime.host_transfer import to_host
from gpu_workers.head.segmentation.face_masks import FaceMasks, MaskFinder, find_masks
from gpu_workers.head.texturing.detail_maps import SurfaceMaps
from gpu_workers.head.texturing.map_baker import MapBaker
from gpu_workers.head.texturing.skin_bake import BakeRequest, SkinBake
from tests.cuda.parity import assert_like, assert_near
from tests.cuda.scene import CPU, assembled_astronaut, astronaut, head_data, landmarks


@pytest.fixture(scope="module")
def baker(runtime: DeviceRuntime) -> MapBaker:
    return MapBaker(head_data(), runtime)


@pytest.fixture(scope="module")
def unrecorded(device: torch.device) -> MapBaker:
    """The card without graphs."""
    return MapBaker(head_data(), DeviceRuntime(device))


@pytest.fixture(scope="module")
def reference() -> MapBaker:
    return MapBaker(head_data(), DeviceRuntime(CPU))


def assert_same_masks(found: FaceMasks, expected: FaceMasks) -> None:
    assert found.reduction == expected.reduction
    for name in ("confidence", "skin"):
        # A mask is a threshold of colours: where one lies on it, the pixel may go either way.
        assert_near(name, getattr(found, name), getattr(expected, name), most=1.0, mean=2e-3)
    assert found.glasses == expected.glasses
    assert found.covered == pytest.approx(expected.covered, abs=0.01)


@pytest.mark.parametrize("batch", [1, 3, 7])
def test_a_batch_of_photos_has_the_masks_of_the_cpu(runtime: DeviceRuntime, batch: int) -> None:
    """All are made before one is looked at."""
    finder = MaskFinder(runtime)
    photos = [(np.roll(astronaut(), 4 * k, 1), landmarks() + np.array([4 * k, 0, 0])) for k in range(batch)]
    found = [finder.find(*photo) for photo in photos]
    for photo, masks in zip(photos, found, strict=True):
        assert_same_masks(masks, find_masks(*photo, CPU))


def test_photos_of_other_sizes_have_graphs_of_their_own(runtime: DeviceRuntime) -> None:
    finder = MaskFinder(runtime)
    for width, height in ((512, 512), (700, 512), (1280, 1280), (512, 512)):
        photo = np.array(Image.fromarray(astronaut()).resize((width, height)))
        points = landmarks() * [width / 512, height / 512, width / 512]
        assert_same_masks(finder.find(photo, points), find_masks(photo, points, CPU))


def bake(
    baker: MapBaker, size: int, *, sharpen: bool = True, surface: bool = True
) -> tuple[SkinBake, SurfaceMaps]:
    """Return the maps of the astronaut, on the host; the masks are always the CPU's."""
    masks = find_masks(astronaut(), landmarks(), CPU)
    head = HostHead(assembled_astronaut().head)
    request = BakeRequest(masks=masks, head=head, sharpen=sharpen, size=size)
    with torch.inference_mode(), baker.skin.bake(request) as skin:
        # The surface's graph works in memory of the bake's: what that found is read before.
        kept = to_host(skin)
        with baker.surface.bake(skin.albedo, skin.measures[2]) as maps:
            return kept, to_host(maps)


def assert_same_maps(
    found: tuple[SkinBake, SurfaceMaps],
    expected: tuple[SkinBake, SurfaceMaps],
    *,
    albedo: float,
    surface: float,
) -> None:
    """Compare maps; the last two are the least PSNR, dB."""
    assert_near("photo, linear light", found[0].linear, expected[0].linear, most=1e-2, mean=1e-4)
    assert_near("measures", found[0].measures[:2], expected[0].measures[:2], most=5e-3, mean=5e-3)
    assert_near("density, px/cm", found[0].measures[2], expected[0].measures[2], most=0.5, mean=0.5)
    assert_near("colours", found[0].measures[3:], expected[0].measures[3:], most=5e-3, mean=5e-3)
    assert_like("albedo", found[0].albedo, expected[0].albedo, decibels=albedo)
    for name, peak in (("normal", 255), ("roughness", 255), ("occlusion", 255), ("displacement", 65535)):
        one, other = getattr(found[1], name), getattr(expected[1], name)
        assert_like(name, one, other, decibels=surface, peak=peak)


@pytest.mark.parametrize("size", [1024, 2048, 4096])
def test_the_maps_are_those_of_the_cpu(baker: MapBaker, reference: MapBaker, size: int) -> None:
    assert_same_maps(bake(baker, size), bake(reference, size), albedo=45, surface=40)


@pytest.mark.parametrize("sharpen", [True, False])
def test_graphs_bake_what_the_same_calls_bake(baker: MapBaker, unrecorded: MapBaker, sharpen: bool) -> None:
    found, expected = (bake(one, 1024, sharpen=sharpen) for one in (baker, unrecorded))
    assert_same_maps(found, expected, albedo=60, surface=60)


@pytest.mark.parametrize("batch", [1, 3, 7])
def test_a_batch_of_bakes_is_each_one_alone(
    baker: MapBaker, unrecorded: MapBaker, device: torch.device, batch: int
) -> None:
    """Masks and head come from the card here, as inside a worker; another photo every time."""
    on_card = HostHead(assembled_astronaut().head)
    on_card.posed = on_card.posed.to(device)
    for k in range(batch):
        photo = np.clip(astronaut().astype(int) + 6 * k, 0, 255).astype(np.uint8)
        masks = baker.masks.find(photo, landmarks())
        request = BakeRequest(masks=masks, head=on_card, sharpen=True, size=1024)
        with torch.inference_mode():
            with baker.skin.bake(request) as found:
                kept = to_host(found)
            with unrecorded.skin.bake(request) as plain:
                assert_like(f"albedo {k}", kept.albedo, to_host(plain.albedo), decibels=60)


@pytest.mark.parametrize("sigma", [0.8, 3.0, 12.0])
def test_blurs_are_those_of_the_cpu(device: torch.device, sigma: float) -> None:
    """A card multiplies by a matrix where the CPU convolves; TF32 is off for matrices."""
    picture = decode_srgb(torch.from_numpy(astronaut())).permute(2, 0, 1).contiguous()
    assert_near(
        "linear light",
        decode_srgb(torch.from_numpy(astronaut()).to(device)).permute(2, 0, 1),
        picture,
        most=1e-5,
    )
    assert_near("blurred", blur(picture.to(device), sigma), blur(picture, sigma), most=1e-4)

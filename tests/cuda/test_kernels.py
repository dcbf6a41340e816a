"""Triton's kernels on the card against their references on the CPU."""

import pytest
import torch

from gpu_workers.head.ops.depth_kernel import draw_depth
from gpu_workers.head.runtime.triton_support import triton_available
from gpu_workers.head.texturing.composition import compose_at_once, compose_skin
from tests.cuda.parity import assert_near
from tests.kernel_cases import assert_same_depth, make_layers, make_photo, make_triangles

CPU = torch.device("cpu")


def test_triton_is_here(device: torch.device) -> None:
    """Without it the bake is launched kernel by kernel, and nothing below compares anything."""
    assert triton_available(device), "torch's CUDA build brings Triton; it could not be imported here"


SIZES = [(1, 33, 47), (3, 64, 64), (7, 96, 40), (4000, 480, 360)]


@pytest.mark.parametrize(("count", "height", "width"), SIZES)
def test_the_depth_kernel_sees_what_the_rasteriser_sees(
    device: torch.device, count: int, height: int, width: int
) -> None:
    scene = make_triangles(count, height, width, seed=count)
    given = scene.points.to(device), scene.depth.to(device), scene.corners.int().to(device)
    assert_same_depth(scene, draw_depth(*given, height, width).cpu())


@pytest.mark.parametrize(("small", "size"), [(64, 64), (64, 192), (256, 1024), (1024, 4096)])
def test_the_composition_kernel_paints_what_the_bands_paint(
    device: torch.device, small: int, size: int
) -> None:
    photo, layers = make_photo(200, 160, seed=1), make_layers(small, seed=small)
    expected = compose_skin(photo, layers, size)
    on_card = type(layers)(**{name: value.to(device) for name, value in vars(layers).items()})
    found = torch.empty(size, size, 3, dtype=torch.uint8, device=device)
    compose_at_once(photo.to(device), on_card, found)
    # A code value beside a rounding border, and weights below 1/512, which only the kernel paints.
    assert_near(f"albedo of {size}", found, expected, most=2, mean=0.05)

"""The Triton kernels by Triton's interpreter, on small pictures, against their references."""

import pytest
import torch

from gpu_workers.head.ops.depth_kernel import draw_depth
from gpu_workers.head.runtime.triton_support import triton
from gpu_workers.head.texturing import composition_kernel
from gpu_workers.head.texturing.composition import compose_at_once, compose_skin
from tests.kernel_cases import assert_same_depth, make_layers, make_photo, make_triangles

pytestmark = pytest.mark.triton


def test_triton_is_here() -> None:
    assert triton is not None, "run by `make test-kernels`"


@pytest.mark.parametrize(("count", "height", "width"), [(1, 9, 13), (3, 20, 16), (7, 24, 10), (20, 24, 18)])
def test_the_depth_kernel_sees_what_the_rasteriser_sees(count: int, height: int, width: int) -> None:
    scene = make_triangles(count, height, width, seed=count)
    assert_same_depth(scene, draw_depth(scene.points, scene.depth, scene.corners.int(), height, width))


@pytest.mark.parametrize(("small", "size", "columns"), [(16, 16, 256), (16, 32, 256), (8, 24, 16)])
def test_the_composition_kernel_paints_what_the_bands_paint(
    small: int, size: int, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row is one stretch of the kernel or several, the last one not full."""
    monkeypatch.setattr(composition_kernel, "_COLUMNS", columns)
    photo, layers = make_photo(30, 24, seed=1), make_layers(small, seed=small)
    expected = compose_skin(photo, layers, size)
    found = torch.empty(size, size, 3, dtype=torch.uint8)
    compose_at_once(photo, layers, found)
    apart = (found.int() - expected.int()).abs()
    # A code value beside a rounding border, and weights below 1/512, which only the kernel paints.
    assert int(apart.max()) <= 2, f"{int(apart.max())} at {(apart == apart.max()).nonzero()[0].tolist()}"
    assert float(apart.float().mean()) < 0.05

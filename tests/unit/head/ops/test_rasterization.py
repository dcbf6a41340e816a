"""The batched rasteriser against its plain twin, and in cases whose answer is known."""

import numpy as np
import pytest
import torch

from gpu_workers.head.ops.rasterization import count_tests, interpolate, interpolate_corners, rasterise


def plain(vertices: np.ndarray, triangles: np.ndarray, height: int, width: int, perspective: bool = True):
    """Return triangle, weights and depth of one picture, pixel by pixel in float64."""
    seen = np.full((height, width), -1)
    weights = np.zeros((height, width, 3))
    depth = np.full((height, width), np.inf)
    for number, triangle in enumerate(triangles):
        corners = vertices[triangle].astype(np.float64)
        (ax, ay, _), (bx, by, _), (cx, cy, _) = corners
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < 1e-6 or corners[:, 2].min() <= 0:
            continue
        for row in range(height):
            for column in range(width):
                x, y = column + 0.5, row + 0.5
                b = ((x - ax) * (cy - ay) - (y - ay) * (cx - ax)) / area
                c = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / area
                flat = np.array([1 - b - c, b, c])
                if flat.min() < 0:
                    continue
                own = flat / corners[:, 2] if perspective else flat
                own = own / own.sum()
                near = own @ corners[:, 2]
                if near < depth[row, column]:
                    seen[row, column], weights[row, column], depth[row, column] = number, own, near
    return seen, weights, depth


def random_mesh(seed: int, count: int, size: float) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    vertices = torch.rand(2, count, 3, generator=generator) * torch.tensor([size * 1.4, size * 1.4, 3.0])
    vertices = vertices - torch.tensor([size * 0.2, size * 0.2, 0.0]) + torch.tensor([0.0, 0.0, 0.5])
    return vertices, torch.randint(0, count, (40, 3), generator=generator)


@pytest.mark.heavy
@pytest.mark.parametrize("perspective", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_the_fast_form_sees_what_the_plain_one_sees(seed: int, perspective: bool) -> None:
    vertices, triangles = random_mesh(seed, 30, 24)
    raster = rasterise(vertices, triangles, 20, 26, perspective=perspective)
    for picture in range(2):
        seen, weights, depth = plain(vertices[picture].numpy(), triangles.numpy(), 20, 26, perspective)
        same = raster.triangle[picture].numpy() == seen
        assert same.mean() > 0.995  # the rest: centres within the slack of an edge
        np.testing.assert_allclose(raster.weights[picture].numpy()[same], weights[same], atol=2e-3)
        covered = same & (seen >= 0)
        np.testing.assert_allclose(raster.depth[picture].numpy()[covered], depth[covered], rtol=2e-3)


def test_a_square_of_two_triangles_has_no_hole_and_no_spill() -> None:
    vertices = torch.tensor([[[2.0, 1, 1], [7, 1, 1], [7, 5, 1], [2, 5, 1]]])
    raster = rasterise(vertices, torch.tensor([[0, 1, 2], [0, 2, 3]]), 8, 10)
    expected = torch.zeros(8, 10, dtype=torch.bool)
    expected[1:5, 2:7] = True
    assert torch.equal(raster.covered[0], expected)
    torch.testing.assert_close(raster.weights.sum(-1)[0], expected.float())


@pytest.mark.heavy
def test_a_closed_fan_of_slivers_has_no_hole() -> None:
    angle = torch.linspace(0, 2 * torch.pi, 721)[:-1]
    rim = torch.stack([256 + 240 * angle.cos(), 256 + 240 * angle.sin(), torch.ones(720)], 1)
    vertices = torch.cat([torch.tensor([[256.013, 255.987, 1.0]]), rim])[None]
    index = torch.arange(720)
    fan = torch.stack([torch.zeros_like(index), index + 1, (index + 1) % 720 + 1], 1)
    covered = rasterise(vertices, fan, 512, 512).covered[0]
    y, x = torch.meshgrid(torch.arange(512) + 0.5, torch.arange(512) + 0.5, indexing="ij")
    inside = (x - 256) ** 2 + (y - 256) ** 2 < 239.9**2
    assert bool(covered[inside].all())


def test_the_nearer_triangle_wins_and_equal_depth_goes_to_the_lower_number() -> None:
    far = [[0.0, 0, 2], [8, 0, 2], [0, 8, 2]]
    near = [[0.0, 0, 1], [8, 0, 1], [0, 8, 1]]
    triangles = torch.tensor([[0, 1, 2], [3, 4, 5], [3, 4, 5]])
    raster = rasterise(torch.tensor([far + near]), triangles, 4, 4)
    assert raster.triangle[0, 1, 1] == 1
    assert raster.depth[0, 1, 1] == 1


def test_weights_are_perspective_correct() -> None:
    # An edge from depth 1 to depth 3: its middle on the picture is a quarter of the way in space.
    vertices = torch.tensor([[[0.5, 0.5, 1], [8.5, 0.5, 3], [0.5, 8.5, 1]]])
    raster = rasterise(vertices, torch.tensor([[0, 1, 2]]), 10, 10)
    torch.testing.assert_close(raster.weights[0, 0, 4], torch.tensor([0.75, 0.25, 0.0]))
    torch.testing.assert_close(raster.depth[0, 0, 4], torch.tensor(1.5))


def test_what_lies_behind_the_camera_or_has_no_area_is_left_out() -> None:
    vertices = torch.tensor([[[0.0, 0, -1], [8, 0, 1], [0, 8, 1], [1, 1, 1], [4, 4, 1], [7, 7, 1]]])
    assert not rasterise(vertices, torch.tensor([[0, 1, 2], [3, 4, 5]]), 8, 8).covered.any()
    assert not rasterise(vertices, torch.zeros(0, 3, dtype=torch.int64), 8, 8).covered.any()
    far_out = vertices * torch.tensor([1e12, 1e12, 1.0])
    rasterise(far_out, torch.tensor([[0, 1, 2]]), 8, 8)


def test_back_faces_are_culled_on_request() -> None:
    # Anticlockwise on the screen, whose y points down, is a front face.
    vertices = torch.tensor([[[0.0, 0, 1], [0, 8, 1], [8, 0, 1]]])
    front, back = torch.tensor([[0, 1, 2]]), torch.tensor([[0, 2, 1]])
    assert rasterise(vertices, front, 8, 8, cull_back=True).covered.any()
    assert not rasterise(vertices, back, 8, 8, cull_back=True).covered.any()
    assert rasterise(vertices, back, 8, 8).covered.any()


def test_a_capacity_that_suffices_changes_nothing_and_too_small_a_one_loses_the_last() -> None:
    vertices, triangles = random_mesh(9, 30, 24)
    needed = int(count_tests(vertices, triangles, 20, 26).sum())
    exact = rasterise(vertices, triangles, 20, 26)
    roomy = rasterise(vertices, triangles, 20, 26, capacity=needed + 5000)
    assert torch.equal(exact.triangle, roomy.triangle)
    assert roomy.dropped == exact.dropped == 0
    short = rasterise(vertices, triangles, 20, 26, capacity=needed // 2)
    assert torch.equal(exact.triangle[0], short.triangle[0])
    assert not torch.equal(exact.triangle[1], short.triangle[1])
    assert short.dropped == needed - needed // 2


def test_interpolation_and_its_gradient() -> None:
    vertices = torch.tensor([[[0.0, 0, 1], [9, 0, 2], [0, 9, 1.5]]], requires_grad=True)
    triangle = torch.tensor([[0, 1, 2]])
    raster = rasterise(vertices, triangle, 6, 6)
    values = torch.tensor([[[1.0], [2.0], [4.0]]])
    picture = interpolate(values, triangle, raster)
    torch.testing.assert_close(picture, interpolate_corners(values, raster))
    assert picture[0, 5, 5, 0] == 0
    picture.sum().backward()
    assert vertices.grad is not None
    assert bool(torch.isfinite(vertices.grad).all())
    step, column = 1e-2, 1
    moved = vertices.detach().clone()
    moved[0, 1, column] += step
    seen = rasterise(moved, triangle, 6, 6)
    both = (seen.covered & raster.covered)[..., None]
    slope = ((interpolate(values, triangle, seen) - picture) * both).sum() / step
    torch.testing.assert_close(slope, vertices.grad[0, 1, column], rtol=0.05, atol=0.05)

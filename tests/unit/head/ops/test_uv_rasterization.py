"""The torch rasteriser against a plain twin, and the atlas without holes."""

import numpy as np
import pytest
import torch

from gpu_workers.head.ops.uv_rasterization import interpolate, rasterise, rasterise_atlas


def plain_raster(points, triangles, depth, height, width):
    """The slow twin: all triangles against all pixels; returns the nearest depth."""
    nearest = np.full((height, width), np.inf)
    for triangle in triangles:
        (ax, ay), (bx, by), (cx, cy) = points[triangle].astype(float)
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        if area == 0:
            continue
        for row in range(height):
            for column in range(width):
                x, y = column + 0.5, row + 0.5
                a = ((bx - x) * (cy - y) - (cx - x) * (by - y)) / area
                b = ((cx - x) * (ay - y) - (ax - x) * (cy - y)) / area
                weights = np.array([a, b, 1 - a - b])
                if weights.min() >= 0:
                    nearest[row, column] = min(nearest[row, column], weights @ depth[triangle])
    return nearest


@pytest.mark.parametrize("seed", range(3))
def test_depth_map_agrees_with_its_plain_twin(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.uniform(-4, 28, (20, 2)).astype(np.float32)
    depth = rng.uniform(1, 3, 20).astype(np.float32)
    triangles = rng.integers(0, 20, (25, 3))
    raster = rasterise(torch.from_numpy(points), torch.from_numpy(triangles), 18, 24, torch.from_numpy(depth))
    corners = torch.from_numpy(triangles)[raster.triangle.clamp(min=0)]
    found = (torch.from_numpy(depth)[corners] * raster.weights).sum(-1)
    found = torch.where(raster.triangle >= 0, found, torch.inf).numpy()
    np.testing.assert_allclose(found, plain_raster(points, triangles, depth, 18, 24), atol=1e-4)


def square_chart() -> tuple[torch.Tensor, torch.Tensor]:
    uvs = torch.tensor([[0.25, 0.25], [0.75, 0.25], [0.75, 0.75], [0.25, 0.75]])
    return uvs, torch.tensor([[0, 1, 2], [0, 2, 3]])


def test_atlas_reproduces_linear_values_and_row_zero_is_at_v_one() -> None:
    uvs, triangles = square_chart()
    raster, covered = rasterise_atlas(uvs, triangles, 64)
    assert int(covered.sum()) == 32 * 32
    values = interpolate(uvs, triangles, raster)
    centres = (torch.arange(64) + 0.5) / 64
    torch.testing.assert_close(values[..., 0][covered], centres[None, :].expand(64, 64)[covered])
    torch.testing.assert_close(values[..., 1][covered], (1 - centres)[:, None].expand(64, 64)[covered])


def test_gutter_continues_linearly_then_stays() -> None:
    uvs, triangles = square_chart()
    raster, _ = rasterise_atlas(uvs, triangles, 64, reach=3)
    u = interpolate(uvs, triangles, raster)[32, :, 0]
    # The chart's last texel is column 47; two further on the value has gone on by two texels.
    assert float(u[49]) == pytest.approx((49 + 0.5) / 64, abs=1e-5)
    assert float(u[63]) == pytest.approx((50 + 0.5) / 64, abs=1e-5)


def test_degenerate_triangles_cover_nothing() -> None:
    points = torch.tensor([[1.0, 1.0], [9.0, 9.0], [5.0, 5.0]])
    raster = rasterise(points, torch.tensor([[0, 1, 2], [0, 0, 1]]), 10, 10)
    assert (raster.triangle == -1).all()

"""The map of an atlas has no holes."""

import pytest
import torch

from gpu_workers.head.ops.uv_rasterization import interpolate, rasterise_atlas


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

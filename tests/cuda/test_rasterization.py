"""The batched rasteriser on the card against itself on the CPU: one code, two ways to cut the work."""

import pytest
import torch

from gpu_workers.head.ops.rasterization import interpolate, rasterise
from tests.cuda.parity import assert_near
from tests.cuda.scene import assembled_astronaut, head_data


@pytest.mark.parametrize("batch", [1, 3, 7])
def test_heads_are_drawn_as_on_the_cpu(device: torch.device, batch: int) -> None:
    head, camera = assembled_astronaut().head.parts[0], assembled_astronaut().camera
    triangles = torch.from_numpy(head_data().parts[0].triangles).long()
    placed = torch.from_numpy(head.positions @ camera.rotation.T + camera.translation)
    turned = torch.stack([placed + torch.tensor([0.01 * k, 0.0, 0.02 * k]) for k in range(batch)])
    focal, (x, y) = camera.focal[0], camera.centre
    pixels = torch.stack(
        [
            focal * turned[..., 0] / turned[..., 2] + x,
            focal * turned[..., 1] / turned[..., 2] + y,
            turned[..., 2],
        ],
        dim=-1,
    ).float()
    expected = rasterise(pixels, triangles, 256, 320)
    found = rasterise(pixels.to(device), triangles.to(device), 256, 320)
    same = found.triangle.cpu() == expected.triangle
    share = float((~same).float().mean())
    print(f"{share:.2e} of the pixels see another triangle")
    assert share < 1e-4
    assert_near(
        "depth, m",
        found.depth.cpu()[same & expected.covered],
        expected.depth[same & expected.covered],
        most=1e-5,
    )
    drawn = interpolate(turned.float().to(device), triangles.to(device), found).cpu()
    plain = interpolate(turned.float(), triangles, expected)
    assert_near("positions, m", drawn[same], plain[same], most=1e-4)

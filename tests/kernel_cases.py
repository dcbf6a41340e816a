"""Inputs of the Triton kernels, the same for a card and for Triton's interpreter on a CPU."""

from dataclasses import dataclass

import torch
from torch import Tensor

from gpu_workers.head.ops.rasterization import draw_depth
from gpu_workers.head.texturing.composition import SkinLayers

#: Depths of this and more are nothing's; depths nearer to each other are the same.
_FAR, _SAME_DEPTH = 1e3, 1e-5


@dataclass(frozen=True, kw_only=True)
class Triangles:
    """Triangles before a camera: some behind others, some partly outside, some without area."""

    #: (V, 2) pixels, (V,) depth, (M, 3) int64.
    points: Tensor
    depth: Tensor
    corners: Tensor
    height: int
    width: int


def make_triangles(count: int, height: int, width: int, seed: int) -> Triangles:
    """Return random triangles of up to a third of the picture."""
    random = torch.Generator().manual_seed(seed)
    centre = torch.rand(count, 1, 2, generator=random) * 1.2 - 0.1
    reach = torch.rand(count, 1, 1, generator=random) ** 2 / 3
    points = (centre + (torch.rand(count, 3, 2, generator=random) - 0.5) * reach) * torch.tensor(
        [width, height]
    )
    # One in ten has two corners in one place.
    points[::10, 1] = points[::10, 0]
    return Triangles(
        points=points.reshape(-1, 2),
        depth=0.3 + torch.rand(3 * count, generator=random),
        corners=torch.arange(3 * count).view(count, 3),
        height=height,
        width=width,
    )


def assert_same_depth(scene: Triangles, found: Tensor) -> None:
    """Compare a depth map (H, W) of the kernel with that of the rasteriser.

    Fused multiply-adds decide otherwise at a pixel centre that lies on an edge: one pixel in ten thousand,
    and one, may be covered for one of both only.
    """
    placed = torch.cat([scene.points, scene.depth[:, None]], 1)[None]
    expected = draw_depth(placed, scene.corners, scene.height, scene.width, perspective=False)[0]
    covered, drawn = expected < _FAR, found < _FAR
    differing = int((covered != drawn).sum())
    assert differing <= 1e-4 * covered.numel() + 1, f"{differing} pixels are covered for one of both only"
    apart = (found - expected)[covered & drawn].abs()
    if len(apart):
        share = float((apart > _SAME_DEPTH).float().mean())
        assert share <= 1e-3, f"depth is another at {share:.2%} of pixels, by up to {float(apart.max()):.3g}"


def make_photo(height: int, width: int, seed: int) -> Tensor:
    """Return (3, H, W) in linear light: soft shapes with fine grain."""
    random = torch.Generator().manual_seed(seed)
    small = torch.rand(1, 3, 9, 7, generator=random)
    soft = torch.nn.functional.interpolate(small, (height, width), mode="bicubic", align_corners=False)[0]
    return (soft + 0.05 * torch.randn(3, height, width, generator=random)).clamp(0, 1)


def make_layers(small: int, seed: int) -> SkinLayers:
    """Return layers (C, L, L) in which every part of the composition has a say somewhere."""
    random = torch.Generator().manual_seed(seed)
    across = (torch.arange(small) + 0.5) / small
    grid = torch.stack(torch.meshgrid(across, across, indexing="xy"))

    def soft(channels: int, low: float, high: float) -> Tensor:
        coarse = torch.rand(1, channels, 6, 6, generator=random)
        large = torch.nn.functional.interpolate(coarse, (small, small), mode="bicubic", align_corners=True)
        return (low + (high - low) * large[0]).contiguous()

    def share(low: float, high: float) -> Tensor:
        return soft(1, low, high).clamp(0, 1)

    return SkinLayers(
        # A few texels look beside the photo: its border goes on.
        coordinates=grid * 1.1 - 0.05 + 0.01 * soft(2, -1, 1),
        direct=share(-0.5, 1.2),
        mirrored=share(-0.5, 1.2),
        gain=soft(3, 0.7, 1.3),
        mirror_gain=soft(3, 0.7, 1.3),
        completion=soft(3, 0.0, 0.9).clamp(0, 1),
        pores=soft(1, 0.0, 0.08),
        scalp=share(-0.6, 1.1),
        hair=torch.tensor([0.05, 0.03, 0.02]),
    )

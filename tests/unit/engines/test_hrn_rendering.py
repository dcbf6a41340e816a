"""What stands in for nvdiffrast and PyTorch3D in engine hrn, against plain twins and known cases."""

import numpy as np
import pytest
import torch

from gpu_workers.engines.hrn import rendering


def clip_space_mesh(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return clip coordinates (1, 30, 4) of points before a camera that looks along -z, and 40 triangles."""
    generator = torch.Generator().manual_seed(seed)
    place = torch.rand(1, 30, 3, generator=generator) * torch.tensor([3.0, 3.0, 2.0])
    x, y, depth = (place - torch.tensor([1.5, 1.5, -2.0])).unbind(-1)
    z = (6 * depth - 10) / 4
    return torch.stack([x, y, z, depth], -1), torch.randint(0, 30, (40, 3), generator=generator)


def plain_rasterize(position: np.ndarray, triangles: np.ndarray, side: int) -> np.ndarray:
    """Return (side, side, 4) pixel by pixel, by ray and plane in homogeneous coordinates."""
    out = np.zeros((side, side, 4))
    best = np.full((side, side), np.inf)
    for number, triangle in enumerate(triangles):
        corners = position[triangle].astype(np.float64)
        # Weights of the corners before division: the pixel lies where they mix to (x w, y w, w).
        matrix = corners[:, [0, 1, 3]].T
        if abs(np.linalg.det(matrix)) < 1e-9:
            continue
        inverse = np.linalg.inv(matrix)
        for row in range(side):
            for column in range(side):
                at = [2 * (column + 0.5) / side - 1, 2 * (row + 0.5) / side - 1, 1]
                weights = inverse @ at
                if weights.min() < 0:
                    continue
                weights /= weights.sum()
                depth = weights @ corners[:, 3]
                if depth < best[row, column]:
                    best[row, column] = depth
                    out[row, column] = [*weights[:2], weights @ corners[:, 2] / depth, number + 1]
    return out


@pytest.mark.parametrize("seed", range(3))
def test_rasterize_sees_what_the_plain_twin_sees(seed: int) -> None:
    position, triangles = clip_space_mesh(seed)
    drawn, _ = rendering.rasterize(rendering.RasterizeCudaContext(), position, triangles, [24, 24])
    expected = plain_rasterize(position[0].numpy(), triangles.numpy(), 24)
    same = drawn[0, ..., 3].numpy() == expected[..., 3]
    assert same.mean() > 0.995  # the rest: centres within the slack of an edge
    np.testing.assert_allclose(drawn[0].numpy()[same], expected[same], atol=5e-3)


def test_row_0_of_rasterize_is_the_lower_border_and_empty_pixels_are_0() -> None:
    low = torch.tensor([[[-1.0, -1, 0, 1], [1, -1, 0, 1], [-1, 0, 0, 1]]])
    drawn, _ = rendering.rasterize(rendering.RasterizeCudaContext(), low, torch.tensor([[0, 1, 2]]), [8, 8])
    assert drawn[0, 0, 0, 3] == 1
    assert not drawn[0, 7].any()


def test_interpolate_gives_vertex_values_and_their_gradient() -> None:
    position, triangles = clip_space_mesh(5)
    drawn, _ = rendering.rasterize(rendering.RasterizeCudaContext(), position, triangles, [16, 16])
    depth = position[0, :, 3:].clone().requires_grad_()
    mixed, _ = rendering.interpolate(depth, drawn, triangles)
    expected = position[0, :, 2] * 4 / 6 + 10 / 6
    covered = drawn[0, ..., 3] > 0
    torch.testing.assert_close(expected, position[0, :, 3])
    torch.testing.assert_close((mixed[0, ..., 0] > 0), covered)
    mixed.sum().backward()
    torch.testing.assert_close(depth.grad.sum(), covered.sum().float())


def plain_texture(texture: np.ndarray, u: float, v: float) -> np.ndarray:
    height, width = texture.shape[:2]
    x, y = u * width - 0.5, v * height - 0.5
    column, row = int(np.floor(x)), int(np.floor(y))
    total = np.zeros(texture.shape[2])
    for i in (0, 1):
        for j in (0, 1):
            weight = (1 - abs(x - column - i)) * (1 - abs(y - row - j))
            total += weight * texture[(row + j) % height, (column + i) % width]
    return total


def test_texture_is_bilinear_wraps_around_and_passes_gradients() -> None:
    generator = torch.Generator().manual_seed(1)
    texture = torch.rand(1, 5, 7, 3, generator=generator, requires_grad=True)
    places = torch.rand(1, 6, 6, 2, generator=generator) * 3 - 1
    read = rendering.texture(texture, places)
    for row in range(6):
        for column in range(6):
            u, v = places[0, row, column].tolist()
            expected = plain_texture(texture[0].detach().numpy(), u, v)
            np.testing.assert_allclose(read[0, row, column].detach(), expected, atol=1e-4)
    read.sum().backward()
    # Every read is a mean, so the weights sum to the number of reads.
    torch.testing.assert_close(texture.grad.sum(), torch.tensor(3.0 * 36))


def test_rasterize_meshes_looks_from_the_other_side_and_counts_through_the_batch() -> None:
    # PyTorch3D's x runs to the left and y up: this triangle fills the upper left corner.
    vertices = torch.tensor([[[1.0, 1, 1], [-1, 1, 1], [1, -1, 1]]]).expand(2, -1, -1)
    meshes = rendering.Meshes(verts=vertices, faces=torch.tensor([[[0, 1, 2]]]).expand(2, -1, -1))
    number, depth, weights, _ = rendering.rasterize_meshes(meshes, image_size=8, blur_radius=0.0)
    assert number[0, 0, 0, 0] == 0
    assert number[1, 0, 0, 0] == 1
    assert number[0, 7, 7, 0] == -1
    assert depth[0, 0, 0, 0] == 1
    torch.testing.assert_close(weights[0, 0, 0, 0], torch.tensor([0.875, 0.0625, 0.0625]))


def test_overlapping_boxes_are_suppressed_best_first() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30], [0, 0, 10, 4]])
    scores = torch.tensor([0.6, 0.9, 0.5, 0.8])
    assert rendering.suppress_overlaps(boxes, scores, 0.4).tolist() == [1, 3, 2]
    assert rendering.suppress_overlaps(boxes[:0], scores[:0], 0.4).tolist() == []

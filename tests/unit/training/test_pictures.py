"""Parts of the pictures against plain twins: file faults, normals, light, shadows, sky."""

import numpy as np
import pytest
import torch
from scipy.fft import dctn, idctn

from gpu_workers.head.ops.mesh import vertex_normals as plain_normals
from gpu_workers.training.synthetic_photos import camera_effects
from gpu_workers.training.synthetic_photos.occlusion import openness
from gpu_workers.training.synthetic_photos.random_appearance import LightLook, sample_looks
from gpu_workers.training.synthetic_photos.scene import vertex_normals
from gpu_workers.training.synthetic_photos.shading import cast_shadows, lit_share, shade
from gpu_workers.training.synthetic_photos.textures import load_material, sample_noise

pytestmark = pytest.mark.heavy


def cube() -> tuple[np.ndarray, np.ndarray]:
    """Return (8, 3) and (12, 3): anticlockwise seen from outside, sides of 0.1."""
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float) * 0.1 - 0.05
    quads = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    return corners, np.array([t for a, b, c, d in quads for t in ([a, b, c], [a, c, d])])


def lights(count: int, seed: int = 0) -> LightLook:
    return sample_looks(count, torch.Generator().manual_seed(seed)).light


def test_quantisation_is_that_of_cosines_in_blocks() -> None:
    picture = torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    strength = torch.tensor([2.0, 0.0])
    fast = camera_effects._quantise(picture, strength)
    torch.testing.assert_close(fast[1], picture[1])
    index = np.arange(8)
    steps = (1 + index[:, None] + index) * camera_effects._STEP * 2.0
    for channel in range(3):
        for row in range(0, 16, 8):
            for column in range(0, 24, 8):
                block = picture[0, channel, row : row + 8, column : column + 8].numpy()
                rounded = np.round(dctn(block, norm="ortho") / steps) * steps
                np.testing.assert_allclose(
                    fast[0, channel, row : row + 8, column : column + 8],
                    idctn(rounded, norm="ortho"),
                    atol=1e-5,
                )


@pytest.mark.parametrize("deviation", [0.0, 0.6, 1.0, 1.7, 2.2])
def test_blur_spreads_a_point_by_its_deviation(deviation: float) -> None:
    picture = torch.zeros(1, 3, 32, 32)
    picture[..., 16, 16] = 1
    blurred = camera_effects._blur(picture, torch.tensor([deviation]))[0, 0].double()
    place = torch.arange(32).double() - 16
    assert blurred.sum() == pytest.approx(1, abs=1e-5)
    assert (blurred.sum(0) * place**2).sum() == pytest.approx(deviation**2, abs=1e-4)


def test_normals_are_those_of_the_plain_form() -> None:
    corners, triangles = cube()
    fast = vertex_normals(torch.from_numpy(corners).float()[None], torch.from_numpy(triangles))[0]
    np.testing.assert_allclose(fast, plain_normals(corners, triangles), atol=1e-6)
    assert bool((fast * torch.from_numpy(corners).float() > 0).all()), "they look outwards"


def test_light_from_the_front_is_brightest_where_the_surface_faces_it() -> None:
    light = lights(1)
    flat = {name: torch.ones(1, 1, 3) for name in ("openness", "lit", "power")}
    towards = light.direction[0, 0]
    away = torch.nn.functional.normalize(torch.linalg.cross(towards, torch.tensor([0.3, 0.9, 0.1])), dim=0)
    normal = torch.stack([towards, 0.7071 * (towards + away), -towards], 1).view(3, 1, 1, 3)
    view = torch.tensor([0.0, 0.0, -1.0]).view(3, 1, 1, 1).expand(3, 1, 1, 3)
    only_key = LightLook(**{**vars(light), "ambient": 0 * light.ambient, "wrap": 0 * light.wrap})
    only_key.colour[:, 1] = 0
    colour = torch.full((3, 1, 1, 3), 0.5)
    out = shade(only_key, colour, normal, view, gloss=torch.zeros(1, 1, 3), **flat)
    assert bool((out[:, 0, 0, 0] > out[:, 0, 0, 1]).all())
    assert bool((out[:, 0, 0, 1] > out[:, 0, 0, 2]).all())
    torch.testing.assert_close(out[:, 0, 0, 0], 0.5 * only_key.colour[0, 0])


def test_what_lies_behind_the_cube_is_in_its_shadow() -> None:
    corners, triangles = cube()
    light = lights(1, seed=3)
    vertices = torch.from_numpy(corners).float()[None]
    shadows = cast_shadows(vertices, torch.from_numpy(triangles), light, None)
    towards = light.direction[0, 0]
    places = torch.stack([towards * 0.12, -towards * 0.12, torch.zeros(3)], 1)
    share = lit_share(shadows, places.view(3, 1, 1, 3), towards.view(3, 1, 1, 1).expand(3, 1, 1, 3))
    assert share[0, 0].tolist() == [1.0, 0.0, 0.0]


def test_a_hollow_sees_less_sky_than_a_corner() -> None:
    corners, triangles = cube()
    # A lid 1 cm above the top face hides most of its sky.
    lid = corners[[1, 3, 5, 7]] * [1.6, 1.6, 1] + [0, 0, 0.01]
    both = np.concatenate([corners, lid])
    closed = np.concatenate([triangles, [[8, 10, 11], [8, 11, 9], [8, 11, 10], [8, 9, 11]]])
    free, covered = openness(corners, triangles), openness(both, closed)
    assert free.min() > 0.9
    top = corners[:, 2] > 0
    assert (covered[:8][top] < free[top] - 0.15).all()
    np.testing.assert_allclose(covered[:8][~top], free[~top], atol=0.1)


def test_noise_goes_on_without_a_seam() -> None:
    noise = load_material(None, torch.device("cpu")).noise
    assert noise.shape == (4, 256, 256)
    torch.testing.assert_close(noise.std((1, 2)), torch.ones(4), rtol=0.05, atol=0)
    x = torch.tensor([0.999, 1.001, -0.25, 0.25]).view(1, 1, 4)
    sampled = sample_noise(noise, x, torch.full_like(x, 0.5))
    torch.testing.assert_close(sampled[..., 0], sampled[..., 1], rtol=0, atol=0.02)
    torch.testing.assert_close(sampled[..., 2], sampled[..., 3], rtol=0, atol=1e-3)

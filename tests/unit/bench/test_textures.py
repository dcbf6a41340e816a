"""The figures of texture quality: where the right answer is known, and those of the astronaut."""

import numpy as np
import pytest
from skimage.color import rgb2lab

from bench.quality.textures import light_like, measure_border, measure_seams, measure_texture
from face3d.options import JobOptions
from gpu_workers.engines.null.head import make_head
from tests.unit.head.head_support import engine, prepared_astronaut

pytestmark = pytest.mark.heavy


def test_light_of_the_albedos_own_kind_is_found_again() -> None:
    rng = np.random.default_rng(3)
    albedo = rng.uniform(0.1, 0.8, (24, 24, 3)).astype(np.float32)
    normals = rng.normal(size=(24, 24, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    photo = albedo * (0.6 + 0.3 * normals[..., 1:2] + 0.1 * normals[..., :1] * normals[..., 2:])
    face = np.ones((24, 24), bool)
    np.testing.assert_allclose(light_like(photo, albedo, normals, face), photo, atol=1e-4)


def test_a_border_counts_with_its_step_and_a_plain_map_with_none() -> None:
    shown = np.zeros((200, 200), np.float32)
    shown[:, :100] = 1
    everywhere = np.ones((200, 200), bool)
    lab = np.full((200, 200, 3), (60, 15, 18), np.float32)
    assert measure_border(lab, shown, everywhere) < 0.01
    lab[:, 100:, 0] = 66
    assert 3 < measure_border(lab, shown, everywhere) < 6


def test_seams_of_an_even_map_do_not_show_and_those_of_a_ramp_do() -> None:
    skin = make_head().part("skin")
    even = np.full((256, 256, 3), (60, 15, 18), np.float32)
    assert measure_seams(even, skin, np.zeros((8, 8), np.float32)) < 0.01
    even[..., 0] = np.linspace(30, 90, 256)[None]
    assert measure_seams(even, skin, np.zeros((8, 8), np.float32)) > 5


def test_the_astronauts_skin_has_no_visible_border_and_no_seams() -> None:
    options = JobOptions(texture_size=1024)
    prepared = prepared_astronaut()
    geometry = engine().geometry(prepared, options)
    texture = engine().texture(prepared, geometry, options)
    quality = measure_texture(prepared, geometry.head, texture, engine().map_baker())
    assert quality.border_step < 2
    assert quality.seam_step < 1
    assert quality.difference < 8
    assert rgb2lab(texture.skin[600:660, 100:160] / 255.0)[..., 0].mean() > 50

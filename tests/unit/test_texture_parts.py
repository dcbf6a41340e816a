"""The pieces of the bake, each against what a person would expect of it."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from gpu_workers.engines.anny.texture_compose import SkinLayers, compose_skin, encode_srgb
from gpu_workers.engines.anny.texture_eyes import find_iris_colour, paint_eyes, prepare_eyes
from gpu_workers.engines.anny.texture_fill import make_noise, push_pull
from gpu_workers.engines.anny.texture_light import find_light_gain
from gpu_workers.engines.anny.texture_photo import decode_srgb, sample_picture


def test_srgb_survives_the_round_trip() -> None:
    values = torch.arange(256, dtype=torch.uint8)
    torch.testing.assert_close(encode_srgb(decode_srgb(values)), values)


def test_push_pull_keeps_the_known_and_continues_it() -> None:
    known = torch.zeros(1, 64, 64)
    known[:, :, :20] = 1
    values = torch.where(known > 0, torch.tensor([0.8, 0.4, 0.2])[:, None, None], torch.nan).nan_to_num(99.0)
    filled = push_pull(values, known)
    expected = torch.tensor([0.8, 0.4, 0.2])[:, None, None].expand(3, 64, 64)
    torch.testing.assert_close(filled, expected, atol=1e-4, rtol=0)


def test_push_pull_between_two_sides_is_smooth() -> None:
    known = torch.zeros(1, 64, 64)
    known[:, :, :16] = known[:, :, 48:] = 1
    values = torch.zeros(1, 64, 64)
    values[:, :, 48:] = 1
    middle = push_pull(values, known)[0, 32]
    assert float(middle[:16].max()) < 0.05
    assert float(middle[48:].min()) > 0.95
    assert float((middle[1:] - middle[:-1]).abs().max()) < 0.2


def test_noise_tiles() -> None:
    noise = make_noise(128, 2.0)
    inner = (noise[:, 1:] - noise[:, :-1]).abs().mean()
    seam = (noise[:, 0] - noise[:, -1]).abs().mean()
    assert float(seam) < 1.5 * float(inner)
    assert float(noise.std()) == pytest.approx(1, abs=1e-3)


def sphere(size: int = 96) -> tuple[torch.Tensor, torch.Tensor]:
    axis = torch.linspace(-1, 1, size)
    y, x = torch.meshgrid(-axis, axis, indexing="ij")
    z = (1 - x**2 - y**2).clamp(min=0).sqrt()
    normal = torch.stack([x, y, z])
    return functional.normalize(normal, dim=0), ((x**2 + y**2) < 0.8)[None].float()


def test_light_from_the_side_is_evened() -> None:
    normal, weight = sphere()
    shade = 0.6 + 0.4 * normal[:1]
    colour = torch.tensor([0.5, 0.3, 0.2])[:, None, None] * shade
    gain = find_light_gain(colour, normal, weight)
    inside = weight[0] > 0
    before = colour[0][inside].std() / colour[0][inside].mean()
    after = (colour * gain)[0][inside]
    assert float(after.std() / after.mean()) < 0.55 * float(before)


def test_a_beard_is_not_taken_for_shade() -> None:
    normal, weight = sphere()
    colour = torch.full((3, 96, 96), 0.4)
    colour[:, 60:75, 35:60] = 0.05
    gain = find_light_gain(colour, normal, weight)
    assert float((gain[0][weight[0] > 0] - 1).abs().max()) < 0.12


def make_layers(size: int) -> SkinLayers:
    generator = torch.Generator().manual_seed(0)
    axis = (torch.arange(size) + 0.5) / size
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    direct = torch.zeros(1, size, size)
    direct[:, 8:40, 4:30] = 1
    mirrored = torch.zeros(1, size, size)
    mirrored[:, 8:40, 34:60] = 0.7
    return SkinLayers(
        coordinates=torch.stack([0.2 + 0.6 * x, 0.1 + 0.7 * y]),
        direct=direct,
        mirrored=mirrored,
        gain=torch.full((3, size, size), 0.9),
        mirror_gain=torch.full((3, size, size), 0.8),
        completion=torch.rand(3, size, size, generator=generator) * 0.2 + 0.3,
        pores=torch.zeros(1, size, size),
        scalp=torch.zeros(1, size, size),
        hair=torch.zeros(3),
    )


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_banded_composition_equals_the_plain_twin(factor: int) -> None:
    """The slow twin enlarges whole maps and blends them in one go."""
    small = 128
    layers = make_layers(small)
    photo = torch.rand(3, 50, 40, generator=torch.Generator().manual_seed(1))

    def enlarge(maps: torch.Tensor) -> torch.Tensor:
        return functional.interpolate(maps[None], scale_factor=factor, mode="bilinear", align_corners=False)[
            0
        ]

    expected = enlarge(layers.completion)
    for weight, coordinates, gain in (
        (layers.mirrored, layers.coordinates.flip(-1), layers.mirror_gain),
        (layers.direct, layers.coordinates, layers.gain),
    ):
        seen = sample_picture(photo, enlarge(coordinates), mode="bicubic").clamp(0, 1) * enlarge(gain)
        expected = expected + (seen - expected) * enlarge(weight)
    found = compose_skin(photo, layers, small * factor).int()
    assert int((found - encode_srgb(expected).permute(1, 2, 0).int()).abs().max()) <= 1


def test_mirror_image_shows_the_other_side() -> None:
    layers = make_layers(64)
    photo = torch.zeros(3, 64, 64)
    photo[0, :, :32] = 1
    baked = compose_skin(photo, layers, 64).int()
    assert baked[20, 10, 0] > 200, "left of the photo is red"
    assert baked[20, 50, 0] > baked[20, 50, 1] + 60, "and so is its mirror image"


def test_hair_covers_the_scalp_only() -> None:
    layers = make_layers(64)
    scalp = torch.zeros(1, 64, 64)
    scalp[:, 48:] = 1
    hairy = SkinLayers(**{**vars(layers), "scalp": scalp, "hair": torch.tensor([0.0, 0.0, 0.6])})
    plain = compose_skin(torch.zeros(3, 8, 8), layers, 64).int()
    baked = compose_skin(torch.zeros(3, 8, 8), hairy, 64).int()
    assert (baked[:48] == plain[:48]).all()
    assert (baked[50:, :, 2] > baked[50:, :, 0]).all()


def test_iris_has_the_photos_colour_and_a_dark_pupil() -> None:
    photo = torch.full((3, 200, 300), 0.5)
    landmarks = np.zeros((478, 3), np.float32)
    rows, columns = torch.meshgrid(torch.arange(200) + 0.5, torch.arange(300) + 0.5, indexing="ij")
    for first, x in ((468, 80.0), (473, 210.0)):
        landmarks[first : first + 5, :2] = [[x, 100], [x + 14, 100], [x, 86], [x - 14, 100], [x, 114]]
        distance = torch.hypot(rows - 100, columns - x)
        photo[:, distance < 14] = torch.tensor([0.02, 0.05, 0.12])[:, None]
        photo[:, distance < 5] = 0.005
    iris = find_iris_colour(photo, landmarks)
    assert iris[2] > 1.5 * iris[1] > 1.5 * iris[0]
    axis = (torch.arange(256) - 127.5) / 256 / 0.2
    eyes = paint_eyes(iris, prepare_eyes(torch.stack(torch.meshgrid(axis, -axis, indexing="xy"))))
    assert float(eyes[:, 128, 128].max()) < 0.02, "pupil"
    ring = eyes[:, 128, 128 + int(0.14 * 256)]
    assert ring[2] > ring[0], "iris"
    assert float(eyes[:, 128, 128 + int(0.3 * 256)].min()) > 0.3, "sclera"


def test_without_an_iris_in_the_photo_the_eyes_are_brown() -> None:
    iris = find_iris_colour(torch.zeros(3, 20, 20), np.full((478, 2), -50, np.float32))
    assert iris[0] > iris[1] > iris[2] > 0

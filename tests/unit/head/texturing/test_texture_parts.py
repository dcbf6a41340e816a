"""The pieces of the bake, each against what a person would expect of it."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from gpu_workers.head.ops.image import decode_srgb, sample_picture
from gpu_workers.head.ops.inpainting import make_noise, push_pull
from gpu_workers.head.segmentation.eye_mouth_openings import draw_openings, soften_openings
from gpu_workers.head.texturing.composition import SkinLayers, compose_skin, encode_srgb
from gpu_workers.head.texturing.delighting import find_light_gain
from gpu_workers.head.texturing.eyes import find_iris_colour, paint_eyes, prepare_eyes
from gpu_workers.head.texturing.mouth import MouthPaint, find_tooth_tint, paint_mouth


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


def face_points(*, open_mouth: float) -> np.ndarray:
    """Return (478, 2) pixels of a face 60 px between the outer corners of the eyes, in 200 x 160."""
    points = np.full((478, 2), -1000.0)
    upper = (33, 246, 161, 160, 159, 158, 157, 173, 133)
    lower = (33, 7, 163, 144, 145, 153, 154, 155, 133)
    upper_left = (362, 398, 384, 385, 386, 387, 388, 466, 263)
    lower_left = (362, 382, 381, 380, 374, 373, 390, 249, 263)
    along, bow = np.linspace(0, 1, 9), np.sin(np.linspace(0, np.pi, 9))
    for x, edges in ((50, (upper, lower)), (90, (upper_left, lower_left))):
        for edge, sign in zip(edges, (-1, 1), strict=True):
            points[list(edge)] = np.stack([x + 20 * along, 60 + sign * 3.5 * bow], 1)
    above = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
    below = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
    along, bow = np.linspace(0, 1, 11), np.sin(np.linspace(0, np.pi, 11))
    for edge, sign in ((above, -1), (below, 1)):
        points[list(edge)] = np.stack([62 + 36 * along, 120 + sign * open_mouth / 2 * bow], 1)
    return points


def round_openings(points: np.ndarray) -> np.ndarray:
    drawn = draw_openings(points, 60.0, (200, 160))
    return soften_openings(torch.from_numpy(drawn), torch.tensor(60.0)).numpy()


def test_eyes_lashes_and_teeth_are_no_skin() -> None:
    points = face_points(open_mouth=8)
    around = round_openings(points)
    assert around.shape == (200, 160)
    for x in (60, 100):
        assert around[60, x] < 0.05, "the eye"
        assert around[54, x] < 0.3, "the lashes above it"
        assert around[50, x] > 0.9, "the fold of the lid"
        assert around[67, x] > 0.9, "below the eye"
    assert around[120, 80] < 0.05, "between the lips"
    assert around[120 - 8, 80] > 0.9
    assert around[120 + 9, 80] > 0.9
    assert around[90, 80] == pytest.approx(1)
    assert (around < 0.5).mean() < 0.05


def test_a_closed_mouth_loses_its_dark_line_only() -> None:
    around = round_openings(face_points(open_mouth=0))
    assert around[120, 80] < 0.5
    assert around[116, 80] > 0.9
    assert around[125, 80] > 0.9


def test_teeth_take_the_hue_of_those_in_the_photo() -> None:
    points = face_points(open_mouth=14)
    yellow = torch.tensor([0.62, 0.55, 0.38])
    photo = torch.full((3, 200, 160), 0.1)
    photo[:, 114:121, 62:98] = yellow[:, None, None]
    photo[:, 121:128, 62:98] = torch.tensor([0.25, 0.06, 0.06])[:, None, None]
    tint = find_tooth_tint(photo, points)
    white = find_tooth_tint(photo * 0 + torch.tensor([0.6, 0.6, 0.59])[:, None, None], points)
    assert tint[2] < 0.9 < white[2]
    assert float(torch.tensor([0.2126, 0.7152, 0.0722]) @ tint) == pytest.approx(1, abs=1e-4)
    paint = MouthPaint(rest=torch.zeros(3, 4, 4), teeth=torch.full((3, 4, 4), 0.5))
    assert torch.allclose(paint_mouth(tint, paint)[:, 0, 0], 0.5 * tint)


@pytest.mark.parametrize("open_mouth", [0.0, 14.0])
def test_without_teeth_in_the_photo_they_keep_their_own_colour(open_mouth: float) -> None:
    """A shut mouth, or one that shows a tongue only."""
    red = torch.tensor([0.30, 0.05, 0.05])[:, None, None].expand(3, 200, 160)
    assert find_tooth_tint(red, face_points(open_mouth=open_mouth)).tolist() == [1, 1, 1]


def iris_of(colour: tuple[float, float, float]) -> torch.Tensor:
    landmarks = np.zeros((478, 3), np.float32)
    for first, x in ((468, 80.0), (473, 210.0)):
        landmarks[first : first + 5, :2] = [[x, 100], [x + 14, 100], [x, 86], [x - 14, 100], [x, 114]]
    return find_iris_colour(torch.tensor(colour)[:, None, None].expand(3, 200, 300), landmarks)


def test_no_iris_is_purple() -> None:
    red, green, blue = iris_of((0.05, 0.03, 0.05)).tolist()
    assert green >= 0.99 * (red * blue) ** 0.5
    assert iris_of((0.02, 0.05, 0.12))[2] > 0.1, "blue stays blue"
    # What is too dark to tell is brown.
    dark = iris_of((0.008, 0.008, 0.009))
    assert dark[0] > dark[1] > dark[2]


def test_the_white_of_the_eye_reddens_to_the_corners_and_darkens_under_the_lid() -> None:
    axis = (torch.arange(256) - 127.5) / 256 * 6
    places = torch.stack(torch.meshgrid(axis, -axis, indexing="xy"))
    eyes = paint_eyes(torch.tensor([0.1, 0.06, 0.03]), prepare_eyes(places))
    x, y = places
    near = (x.abs() > 1.15) & (x.abs() < 1.35) & (y.abs() < 0.25)
    corner = (x.abs() > 2.3) & (x.abs() < 2.6) & (y.abs() < 0.25)
    ratio = [float(eyes[0][where].mean() / eyes[2][where].mean()) for where in (near, corner)]
    assert ratio[1] > ratio[0] + 0.1
    lid = (y > 1.2) & (y < 1.4) & (x.abs() < 0.5)
    below = (y < -1.15) & (y > -1.25) & (x.abs() < 0.3)
    assert eyes[:, lid].mean() < 0.6 * eyes[:, near].mean()
    assert eyes[:, below].mean() < 0.9 * eyes[:, near].mean()
    assert float(eyes[:, near].min()) > 0.25, "no vessel is a dark line"

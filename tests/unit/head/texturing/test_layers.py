"""Skin, glasses, light, and where seen skin meets completed skin: each where the right answer is known."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from gpu_workers.head.ops.multiband_blending import blend_bands
from gpu_workers.head.segmentation import skin_color_model
from gpu_workers.head.segmentation.face_masks import find_masks
from gpu_workers.head.segmentation.skin_color_model import rate_skin
from gpu_workers.head.texturing.delighting import even_locally
from tests.unit.head.head_support import astronaut, engine, prepared_astronaut

pytestmark = pytest.mark.heavy

SIDE = 64
CPU = torch.device("cpu")


def plain_blend(front: np.ndarray, back: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The reference implementation of `blend_bands` for one channel: two whole Laplacian pyramids."""

    def shrink(picture: np.ndarray) -> np.ndarray:
        half = len(picture) // 2
        return np.array(
            [[picture[2 * r : 2 * r + 2, 2 * c : 2 * c + 2].mean() for c in range(half)] for r in range(half)]
        )

    def grow(picture: np.ndarray) -> np.ndarray:
        size = len(picture)
        place = np.clip((np.arange(2 * size) + 0.5) / 2 - 0.5, 0, size - 1)
        rows = np.array([np.interp(place, np.arange(size), row) for row in picture])
        return np.array([np.interp(place, np.arange(size), column) for column in rows.T]).T

    first, second, share = np.log(front), np.log(back), weight
    if len(front) == 16:
        return np.exp(second + share * (first - second))
    coarse = plain_blend(np.exp(shrink(first)), np.exp(shrink(second)), shrink(share))
    bands = [picture - grow(shrink(picture)) for picture in (first, second)]
    return np.exp(grow(np.log(coarse)) + share * bands[0] + (1 - share) * bands[1])


def test_bands_blend_like_two_plain_pyramids() -> None:
    rng = np.random.default_rng(1)
    front, back = rng.uniform(0.05, 0.9, (2, SIDE, SIDE))
    weight = rng.uniform(0, 1, (SIDE, SIDE))
    pictures = [torch.from_numpy(picture)[None] for picture in (front, back, weight)]
    np.testing.assert_allclose(blend_bands(*pictures)[0].numpy(), plain_blend(front, back, weight), rtol=1e-9)


def test_a_step_between_two_tones_becomes_a_slope() -> None:
    front, back = torch.full((3, 256, 256), 0.2), torch.full((3, 256, 256), 0.4)
    weight = torch.zeros(1, 256, 256)
    weight[..., :128] = 1
    met = blend_bands(front, back, weight)
    assert float(met[..., 0].max()) == pytest.approx(0.2, rel=1e-4)
    assert float(met[..., -1].min()) == pytest.approx(0.4, rel=1e-4)
    row = met[0, 128].log()
    assert float((row[1:] - row[:-1]).abs().max()) < 0.1 * np.log(2)


def test_skin_in_hard_shadow_is_skin_and_hair_of_the_same_lightness_is_not() -> None:
    rng = np.random.default_rng(2)
    lab = np.empty((3, 80, 80), np.float32)
    lab[:] = np.array([25, 3, 8], np.float32)[:, None, None]
    lab[:, 20:60, 20:40] = np.array([70, 16, 18], np.float32)[:, None, None]
    lab[:, 20:60, 40:60] = np.array([30, 18, 20], np.float32)[:, None, None]
    lab += rng.normal(0, 1.5, lab.shape)
    inside = np.zeros((80, 80), bool)
    inside[28:52, 28:52] = True
    foreign = np.ones((80, 80), bool)
    foreign[15:65, 15:65] = False
    given = [torch.from_numpy(picture) for picture in (lab, inside, foreign, np.zeros_like(inside))]
    rating = rate_skin(*given, torch.full((80, 80), 0.5))
    assert rating[22:58, 22:38].mean() > 0.9
    assert rating[22:58, 43:58].mean() > 0.9
    assert rating[:16].mean() < 0.05


def shadowed(shade: tuple[float, float, float]) -> tuple[Tensor, Tensor, float]:
    """Return skin whose right half is multiplied, the light's factor, and what is left of the step."""
    base = torch.tensor([0.4, 0.22, 0.16])
    even = base[:, None, None].expand(3, 128, 128).clone()
    even[..., 64:] *= torch.tensor(shade)[:, None, None]
    factor = even_locally(even, base, torch.ones(1, 128, 128), torch.ones(128, 128))
    bright, dark = ((even * factor)[:, 64, column].mean() for column in (20, 108))
    return even, factor, float(dark / bright)


def test_warm_shadow_is_lifted_and_a_beard_is_left() -> None:
    shadow = shadowed((0.32, 0.28, 0.25))[2]
    beard = shadowed((0.22, 0.30, 0.36))[2]
    assert shadow > 0.5
    assert beard < 0.45


def test_lips_keep_their_colour() -> None:
    base = torch.tensor([0.4, 0.22, 0.16])
    lips = (base * torch.tensor([0.5, 0.3, 0.35]))[:, None, None].expand(3, 64, 64)
    factor = even_locally(lips, base, torch.ones(1, 64, 64), torch.zeros(64, 64))
    torch.testing.assert_close(factor, torch.ones_like(factor))


def with_glasses(photo: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return the photo with a dark frame drawn round both eyes."""
    picture = Image.fromarray(photo)
    draw = ImageDraw.Draw(picture)
    eyes = float(np.linalg.norm(points[33] - points[263]))
    width = max(2, round(0.035 * eyes))
    middles = [(points[a] + points[b]) / 2 + [0, 0.04 * eyes] for a, b in ((33, 133), (362, 263))]
    for x, y in middles:
        box = (x - 0.26 * eyes, y - 0.2 * eyes, x + 0.26 * eyes, y + 0.2 * eyes)
        draw.ellipse(box, outline=(20, 20, 24), width=width)
    bridge = (middles[0][0] + 0.25 * eyes, middles[0][1], middles[1][0] - 0.25 * eyes, middles[1][1])
    draw.line(bridge, fill=(20, 20, 24), width=width)
    return np.asarray(picture)


def test_glasses_are_seen_and_are_no_skin() -> None:
    landmarks = prepared_astronaut().landmarks
    photo = astronaut()
    assert not find_masks(photo, landmarks, CPU).glasses
    masks = find_masks(with_glasses(photo, landmarks[:, :2].astype(np.float64)), landmarks, CPU)
    assert masks.glasses
    assert masks.covered > find_masks(photo, landmarks, CPU).covered + 0.1
    column, row = (landmarks[6, :2] / masks.reduction).astype(int)
    assert masks.confidence[row - 3 : row + 4, column].min() < 0.1


def test_hair_over_the_forehead_is_not_painted() -> None:
    landmarks = prepared_astronaut().landmarks
    masks = find_masks(astronaut(), landmarks, CPU)
    column, row = (landmarks[10, :2] / masks.reduction).astype(int)
    assert masks.confidence[row - 2 : row + 2, column].max() < 0.3
    column, row = (landmarks[50, :2] / masks.reduction).astype(int)
    assert masks.confidence[row - 2 : row + 2, column].min() > 0.9


def test_shut_lids_show_no_lashes() -> None:
    from face3d.options import JobOptions

    options = JobOptions(texture_size=1024)
    prepared = prepared_astronaut()
    texture = engine().texture(prepared, engine().geometry(prepared, options), options)
    atlas = engine().map_baker().atlas
    lids = texture.skin[(atlas.upper_lids > 0.7).numpy()].astype(float).mean(1)
    tone = texture.skin[520:700, 480:544].astype(float).mean()
    assert (lids < 0.6 * tone).mean() < 0.05
    assert texture.facts["glasses"] is False
    assert 0 <= texture.facts["covered"] < 0.2


def test_densities_equal_those_of_each_component_alone():
    """The reference implementation: (x - m)^T P (x - m) component by component, in double precision."""
    rng = np.random.default_rng(0)
    pixels = rng.uniform(0, 100, (2000, 3)).astype(np.float32)
    means = rng.uniform(20, 80, (5, 3)).astype(np.float32)
    spreads = [np.diag(rng.uniform(4, 60, 3)) + rng.uniform(0, 2) for _ in range(5)]
    precisions = np.stack([np.linalg.inv(one) for one in spreads]).astype(np.float32)
    weights = rng.normal(size=5).astype(np.float32)
    mixture = skin_color_model.Mixture(*map(torch.from_numpy, (means, precisions, weights)))
    found = skin_color_model.log_densities(torch.from_numpy(pixels.T.copy()), mixture)
    for part in range(5):
        moved = pixels.astype(np.float64) - means[part]
        expected = weights[part] - 0.5 * ((moved @ precisions[part].astype(np.float64)) * moved).sum(1)
        np.testing.assert_allclose(found[part], expected, rtol=1e-5, atol=2e-3)

"""The bust's map goes on where the skin's ends."""

from functools import lru_cache

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from gpu_workers.head.texturing.bust import BUST_SIZE, BustPaint, paint_bust, prepare_bust
from tests.unit.head.head_support import head_data

pytestmark = pytest.mark.heavy

#: Code values of 255 by which the maps may differ at the same place of the seam, in the mean and at most.
MEAN_STEP, LARGEST_STEP = 1.5, 6.0


@lru_cache(maxsize=1)
def constants() -> BustPaint:
    return prepare_bust(head_data(), torch.device("cpu"))


@lru_cache(maxsize=1)
def skin_map() -> np.ndarray:
    """Return (1024, 1024, 3) uint8: skin of patches, and of another tone on the other side."""
    rng = np.random.default_rng(3)
    patches = np.stack([gaussian_filter(rng.normal(size=(1024, 1024)), 6) for _ in range(3)], -1)
    tone = np.array([205, 160, 135]) + np.linspace(-12, 12, 1024)[None, :, None]
    return np.clip(tone + 8 * patches / patches.std(), 0, 255).astype(np.uint8)


def look_up(picture: np.ndarray, uvs: np.ndarray) -> np.ndarray:
    """Return the nearest texels' colours (N, 3) as floats."""
    size = len(picture)
    column = np.clip((uvs[:, 0] * size).astype(int), 0, size - 1)
    row = np.clip(((1 - uvs[:, 1]) * size).astype(int), 0, size - 1)
    return picture[row, column].astype(float)


def along_seam() -> tuple[np.ndarray, np.ndarray]:
    """Return uvs (N, 2) on the skin's and on the bust's map of the same places along the seam."""
    data = head_data()
    skin, bust = data.part("skin"), data.bust.part
    number = {int(vertex): k for k, vertex in enumerate(bust.host_vertices)}
    on_skin, on_bust = [], []
    for quad, uv in zip(skin.quads, skin.uv_quads, strict=True):
        for k in range(4):
            a, b = int(quad[k]), int(quad[(k + 1) % 4])
            if a in number and b in number:
                for share in (0.25, 0.5, 0.75):
                    on_skin.append((1 - share) * skin.uvs[uv[k]] + share * skin.uvs[uv[(k + 1) % 4]])
                    on_bust.append((1 - share) * bust.uvs[number[a]] + share * bust.uvs[number[b]])
    return np.array(on_skin), np.array(on_bust)


def test_colour_makes_no_step_at_the_seam() -> None:
    bust = paint_bust(torch.from_numpy(skin_map()), constants()).numpy()
    on_skin, on_bust = along_seam()
    step = np.abs(look_up(bust, on_bust) - look_up(skin_map(), on_skin))
    assert len(step) == 3 * 42
    assert step.mean() < MEAN_STEP
    assert step.max() < LARGEST_STEP


def test_the_chest_has_the_neck_s_mean_tone() -> None:
    bust = paint_bust(torch.from_numpy(skin_map()), constants()).numpy().astype(float)
    on_skin, _ = along_seam()
    tone = look_up(skin_map(), on_skin).mean(0)
    chest = bust[int(0.9 * BUST_SIZE) :, BUST_SIZE // 2 - 100 : BUST_SIZE // 2 + 100].reshape(-1, 3)
    np.testing.assert_allclose(chest.mean(0), tone, atol=6)
    assert 1 < chest.std(0).mean() < 12, "skin has grain"


def test_the_layout_fills_its_square_without_a_fold() -> None:
    part = head_data().bust.part
    a, b, c = (part.uvs[part.uv_triangles[:, k]].astype(float) for k in range(3))
    area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    assert area.min() > 0
    assert part.uvs.min() > 0
    assert part.uvs.max() < 1
    assert area.sum() / 2 > 0.6
    assert part.uv_islands.max() + 1 == 4, "the surface and three caps"

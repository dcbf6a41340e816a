"""A smile's folds leave the skin of a head that does not smile; what is the person's own stays."""

from functools import lru_cache

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFilter

from face3d.head import ARKIT_NAMES
from face3d.options import JobOptions
from gpu_workers.head.model.posed_head import measure_smile
from gpu_workers.head.texturing import layers
from gpu_workers.head.texturing.smile_folds import fade_smile
from tests.unit.head.head_support import engine, prepared_astronaut
from tests.unit.head.texturing.painted_head import SIDE, SKIN, bake_painted, plain_skin, texel

pytestmark = pytest.mark.heavy

#: Landmarks along the fold from nose to mouth, on either side; of a cheek that a smile raises; of one beside.
FOLDS, CHEEK, BESIDE = ((206, 216, 212), (426, 436, 432)), 205, 50


def plain(side: int = 192) -> torch.Tensor:
    """(3, side, side) linear light, with a skin's grain."""
    grain = torch.from_numpy(np.random.default_rng(1).normal(1, 0.01, (1, side, side)).astype(np.float32))
    return torch.tensor(SKIN)[:, None, None] * grain


def fade(even: torch.Tensor, amount: float = 1.0) -> torch.Tensor:
    """Return the skin without a smile, as far as its own colour is kept."""
    trust = torch.ones_like(even[:1])
    factor, _ = fade_smile(even, torch.tensor(SKIN), trust, amount * trust)
    return even * factor


def darken(even: torch.Tensor, where: torch.Tensor, tint: tuple[float, float, float]) -> torch.Tensor:
    return torch.where(where, even * torch.tensor(tint)[:, None, None], even)


def contrast(even: torch.Tensor, where: torch.Tensor) -> float:
    """How much darker, as a logarithm, a place is than the whole."""
    light = even.log().mean(0)
    return float(light.median() - light[where].median())


def grid() -> tuple[torch.Tensor, torch.Tensor]:
    rows, columns = torch.meshgrid(torch.arange(192), torch.arange(192), indexing="ij")
    return rows, columns


@pytest.mark.parametrize("width", [2, 4, 8])
@pytest.mark.parametrize("slope", [0.0, 0.4, 1.3])
def test_a_fold_goes_whatever_its_width_and_direction(width, slope):
    rows, columns = grid()
    across = (columns - 96 - slope * (rows - 96)) / (1 + slope**2) ** 0.5
    fold = (across.abs() <= width / 2) & ((rows - 96).abs() < 48)
    even = darken(plain(), fold, (0.62, 0.5, 0.45))
    middle = fold & ((rows - 96).abs() < 36)
    assert contrast(fade(even), middle) < 0.3 * contrast(even, middle)
    half = contrast(fade(even, 0.5), middle)
    assert 0.4 < half / contrast(even, middle) < 0.65
    outside = across.abs() > width / 2 + 6
    torch.testing.assert_close(fade(even)[:, outside], even[:, outside], rtol=0.06, atol=0)


@pytest.mark.parametrize("radius", [1.5, 3, 6])
def test_moles_and_freckles_stay(radius):
    rows, columns = grid()
    mole = (rows - 96) ** 2 + (columns - 90) ** 2 <= radius**2
    even = darken(plain(), mole, (0.5, 0.35, 0.3))
    assert contrast(fade(even), mole) > 0.85 * contrast(even, mole)


def test_a_moustache_stays():
    """Hairs are lines too; many, and of no warmer hue than what lies beside them."""
    rows, columns = grid()
    hairs = ((columns + rows // 5) % 5 < 2) & ((rows - 96).abs() < 20) & ((columns - 96).abs() < 40)
    even = darken(plain(), hairs, (0.4, 0.45, 0.5))
    assert contrast(fade(even), hairs) > 0.8 * contrast(even, hairs)


def test_nothing_changes_without_a_smile():
    even = plain()
    trust = torch.ones_like(even[:1])
    factor, lost = fade_smile(even, torch.tensor(SKIN), trust, 0 * trust)
    assert bool((factor == 1).all())
    assert bool((lost == 0).all())


def weigh(**weights: float) -> np.ndarray:
    found = np.zeros(len(ARKIT_NAMES), np.float32)
    for name, value in weights.items():
        found[[ARKIT_NAMES.index(name + side) for side in ("Left", "Right")]] = value
    return found


def test_a_face_at_rest_does_not_smile_and_a_smirk_does_on_one_side():
    assert measure_smile(weigh(mouthSmile=0.2, eyeSquint=0.5), False) == (0, 0)
    assert measure_smile(weigh(mouthSmile=0.8, cheekSquint=0.2), False) == (1, 1)
    assert measure_smile(weigh(mouthSmile=0.8, cheekSquint=0.2), True) == (0, 0)
    smirk = weigh()
    smirk[ARKIT_NAMES.index("mouthSmileLeft")] = 0.6
    left, right = measure_smile(smirk, False)
    assert left > 0.5
    assert right == 0


@lru_cache(maxsize=1)
def painted() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A smiling person's albedo with a mole on each cheek; where folds are, and moles, in 0..1."""
    folds, moles = Image.new("L", (SIDE, SIDE)), Image.new("L", (SIDE, SIDE))
    for line in FOLDS:
        ImageDraw.Draw(folds).line([texel(landmark) for landmark in line], fill=255, width=6)
    for landmark in (CHEEK, BESIDE):
        x, y = texel(landmark)
        ImageDraw.Draw(moles).ellipse((x - 5, y - 5, x + 5, y + 5), fill=255)
    fold, mole = (
        np.asarray(picture.filter(ImageFilter.GaussianBlur(1)), np.float32) / 255
        for picture in (folds, moles)
    )
    albedo = plain_skin() * (1 - mole[..., None] * np.array([0.45, 0.6, 0.65], np.float32))
    return albedo, fold, mole


@lru_cache(maxsize=3)
def bake_smile(expression: str, *, folded: bool = True) -> np.ndarray:
    """Return the albedo, linear, that is baked from a render of the astronaut's head with painted skin."""
    albedo, fold, _ = painted()
    skin = albedo * (1 - folded * fold[..., None] * np.array([0.4, 0.52, 0.58], np.float32))
    return bake_painted(skin, expression)


def depth_of(albedo: np.ndarray, mark: np.ndarray) -> float:
    """How much darker marks are than the skin round them, a logarithm."""
    light = np.log(np.maximum(albedo, 1e-3)).mean(-1)
    near = np.asarray(Image.fromarray((mark * 255).astype(np.uint8)).filter(ImageFilter.MaxFilter(25)))
    return float(np.median(light[(near > 0) & (mark < 0.02)]) - np.median(light[mark > 0.7]))


def test_the_neutral_of_a_smiling_render_has_no_fold_and_all_moles():
    _, fold, mole = painted()
    smiling, neutral = bake_smile("photo"), bake_smile("neutral")
    before, after, true = (
        depth_of(albedo, fold) for albedo in (smiling, neutral, bake_smile("photo", folded=False))
    )
    assert before - true > 0.25
    assert after - true < 0.4 * (before - true)
    assert depth_of(neutral, mole) > 0.75 * depth_of(smiling, mole) > 0.3


def test_a_neutral_photo_is_baked_as_if_smiles_had_no_folds(monkeypatch):
    prepared, options = prepared_astronaut(), JobOptions(expression="photo", texture_size=SIDE)
    geometry = engine().geometry(prepared, options)
    with_folds = engine().texture(prepared, geometry, options)

    def keep(even, base, bare, amount):
        return torch.ones_like(even), torch.zeros_like(bare)

    monkeypatch.setattr(layers, "fade_smile", keep)
    without = engine().texture(prepared, geometry, options)
    np.testing.assert_array_equal(with_folds.skin, without.skin)
    np.testing.assert_array_equal(with_folds.surface.normal, without.surface.normal)

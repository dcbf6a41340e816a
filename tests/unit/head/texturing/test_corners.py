"""Corners of mouth and eyes: shade and lashes do not stay on skin that moves; hidden lips are red too."""

from functools import lru_cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gpu_workers.head.model.mediapipe_landmarks import OUTER_EYE_CORNERS
from gpu_workers.head.texturing.layers import find_dark_corners
from tests.unit.head.head_support import engine
from tests.unit.head.texturing.painted_head import SIDE, SKIN, bake_painted, plain_skin, texel

pytestmark = pytest.mark.heavy

#: Texels to the side from a landmark to its stain.
ASIDE = 12
#: Landmarks of the cheeks' middles.
CHEEKS = (50, 280)
STAIN, LIPS = (0.35, 0.28, 0.25), (0.85, 0.55, 0.6)


def stains() -> np.ndarray:
    """(SIDE, SIDE) where dark stains are painted: just outside of corners, and on the cheeks."""
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    found = np.zeros((SIDE, SIDE), bool)
    for landmark in (*OUTER_EYE_CORNERS, *CHEEKS):
        x, y = texel(landmark)
        x += ASIDE * np.sign(x - SIDE / 2)
        found |= (columns - x) ** 2 + (rows - y) ** 2 <= 5**2
    return found


@lru_cache(maxsize=1)
def baked() -> np.ndarray:
    lips = engine().map_baker().atlas.masks["lips"].numpy()[..., None]
    skin = plain_skin() * (1 - lips + lips * np.array(LIPS, np.float32))
    skin[stains()] *= np.array(STAIN, np.float32)
    return bake_painted(skin, "neutral")


def darkness(albedo: np.ndarray, landmark: int) -> float:
    """How dark the stain beside a landmark is, a logarithm, to the skin round it."""
    x, y = texel(landmark)
    x += ASIDE * np.sign(x - SIDE / 2)
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    distance = np.hypot(columns - x, rows - y)
    light = np.log(np.maximum(albedo, 1e-3)).mean(-1)
    outwards = (columns - x) * np.sign(x - SIDE / 2) > 0
    return float(np.median(light[(distance > 14) & (distance < 22) & outwards]) - light[distance < 3].mean())


@pytest.mark.parametrize("landmark", OUTER_EYE_CORNERS)
def test_what_is_dark_beside_an_eye_goes(landmark):
    assert darkness(baked(), landmark) < 0.3 * -np.log(np.array(STAIN)).mean()


@pytest.mark.parametrize("landmark", CHEEKS)
def test_a_mark_on_a_cheek_stays(landmark):
    assert darkness(baked(), landmark) > 0.4 * -np.log(np.array(STAIN)).mean()


@pytest.mark.parametrize(
    ("tint", "goes"),
    [
        ((0.5, 0.42, 0.38), True),
        ((0.14, 0.15, 0.18), True),
        ((0.5, 0.6, 0.75), False),
        ((0.95, 0.9, 0.9), False),
    ],
    ids=["shade", "black", "beard", "skin"],
)
def test_shade_in_a_mouths_corner_goes_and_a_beard_stays(tint, goes):
    skin = torch.tensor(SKIN)[:, None, None].expand(3, 64, 64).clone()
    shaded = skin.clone()
    shaded[:, 20:32, 20:32] *= torch.tensor(tint)[:, None, None]
    shaded[:, 20:32, 48:60] *= torch.tensor(tint)[:, None, None]
    corners = torch.zeros(64, 64)
    corners[:, :40] = 1
    atlas = SimpleNamespace(corners=corners, masks={"lips": torch.zeros(64, 64)})
    found = find_dark_corners(shaded, skin, torch.tensor(SKIN), atlas)[0]
    assert (found[26, 26] > 0.8) == goes
    assert goes or found[26, 26] < 0.4
    assert found[:, 44:].max() == 0
    assert found[50, 20] == 0


def test_hidden_lips_are_as_red_as_those_that_are_seen():
    lips = engine().map_baker().atlas.masks["lips"].numpy()
    main = engine().map_baker().atlas.main.numpy() & (lips > 0.95)
    red = np.log(baked()[..., 0] / baked()[..., 1]) - np.log(SKIN[0] / SKIN[1])
    assert np.quantile(red[main], 0.1) > 0.5 * np.log(LIPS[0] / LIPS[1])

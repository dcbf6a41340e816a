"""Sheets show every key once, and each picture shows the expression that stands below it."""

from collections import Counter

import numpy as np
import pytest

from bench.quality import shape_sheets
from bench.quality.shape_sheets import (
    COMBINATIONS,
    Framing,
    Sheet,
    Shot,
    draw_shapes,
    lay_out,
    list_sheets,
    weigh,
)
from face3d.head import ARKIT_NAMES, VISEME_NAMES
from face3d.stage_results import BakedMaps
from face3d.visemes import VISEME_RECIPES
from gpu_workers.engines.null.head import make_head


def test_every_key_is_shown_once_alone_and_eight_combinations() -> None:
    shots = [shot for sheet in list_sheets() for shot in sheet.shots]
    keys = ARKIT_NAMES + VISEME_NAMES
    assert Counter(shot.label for shot in shots if shot.label in keys) == Counter(keys)
    assert len(COMBINATIONS) == 8
    assert set(COMBINATIONS) <= {shot.label for shot in shots}
    assert all(len(set(shot.yaws)) == 2 for shot in shots)


def test_a_name_without_its_side_is_both_sides() -> None:
    (sheet,) = list_sheets(0.5, only=["jawOpen+mouthSmile"])
    assert sheet.shots[1].weights == {"jawOpen": 0.5, "mouthSmileLeft": 0.5, "mouthSmileRight": 0.5}


def test_a_viseme_is_the_sum_of_its_recipe() -> None:
    (sheet,) = list_sheets(0.5, only=["viseme_U"])
    assert sheet.shots[1].weights == {key: 0.5 * w for key, w in VISEME_RECIPES["viseme_U"].items()}
    assert sheet.shots[1].is_sum


def test_an_unknown_key_is_named() -> None:
    with pytest.raises(ValueError, match="mouthGrin"):
        list_sheets(only=["jawOpen+mouthGrin"])


def test_a_right_key_is_seen_from_the_right() -> None:
    (sheet,) = list_sheets(only=["cheekSquintRight", "cheekSquintLeft", "cheekSquint"])
    assert [shot.yaws[1] for shot in sheet.shots[1:]] == [-45, 45, 45]


def test_pictures_stand_in_rows(monkeypatch) -> None:
    monkeypatch.setattr(shape_sheets, "TILE", 8)
    tiles = [(str(shade), np.full((8, 8, 3), shade, np.uint8)) for shade in range(10, 80, 10)]
    picture = np.asarray(lay_out(tiles))
    assert picture.shape == (2 * (8 + shape_sheets.LABEL), 6 * 8, 3)
    assert [picture[4, 8 * column + 4, 0] for column in range(6)] == [10, 20, 30, 40, 50, 60]
    assert picture[8 + shape_sheets.LABEL + 4, 4, 0] == 70


def test_a_shot_shows_its_weights(monkeypatch) -> None:
    monkeypatch.setattr(shape_sheets, "TILE", 48)
    head = make_head()
    moving = int(np.argmax([np.abs(head.parts[0].morph_deltas[k]).max() for k in range(52)]))
    framing = Framing(target=(0.0, 0.0, 0.0), field=0.3)
    shots = tuple(
        Shot(label=str(value), weights={ARKIT_NAMES[moving]: value}, framing=framing) for value in (0.0, 1.0)
    )
    texture = BakedMaps(skin=np.full((16, 16, 3), (200, 40, 40), np.uint8))
    picture = np.asarray(draw_shapes(head, texture, Sheet(name="s", shots=shots))).astype(int)
    still, moved = (picture[:48, 48 * column : 48 * (column + 1)] for column in (0, 2))
    assert np.abs(still - moved).max() > 10


def test_weights_stand_in_the_keys_order() -> None:
    assert weigh({"tongueOut": 0.25})[-1] == 0.25
    assert weigh({}).shape == (52,)

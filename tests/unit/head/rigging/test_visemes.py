"""Recipes of visemes and expressions do with the face what speech and feeling do."""

import numpy as np
import pytest

from face3d.head import ARKIT_NAMES, VISEME_NAMES
from face3d.visemes import VISEME_RECIPES, VRM_RECIPES
from tests.unit.head.head_support import head_data
from tests.unit.head.rigging.shapes_support import own_head, skin_crossings

pytestmark = pytest.mark.heavy

MM = 0.001
seeds = pytest.mark.parametrize("seed", [None, 2])


def at(pose, landmark):
    data = head_data()
    return (pose[data.landmark_vertices[landmark]] * data.landmark_weights[landmark][:, None]).sum(0) / MM


def speak(seed, viseme):
    return own_head(seed).pose(**VISEME_RECIPES[f"viseme_{viseme}"])


def opening(pose):
    """Return how far the lips are apart in the middle, mm."""
    return at(pose, 13)[1] - at(pose, 14)[1]


def width(pose):
    return at(pose, 291)[0] - at(pose, 61)[0]


def jaw_drop(seed, viseme):
    teeth = head_data().part("teeth_lower").vertices
    return (own_head(seed).neutral - speak(seed, viseme))[teeth, 1].max() / MM


@seeds
def test_lips_meet_for_p_and_part_for_vowels(seed):
    rest = opening(own_head(seed).neutral)
    assert opening(speak(seed, "PP")) < rest + 0.8
    assert opening(speak(seed, "aa")) > 8
    assert opening(speak(seed, "aa")) > opening(speak(seed, "E")) > opening(speak(seed, "I")) > rest + 0.5


@seeds
def test_round_vowels_are_narrow_and_spread_ones_wide(seed):
    rest = width(own_head(seed).neutral)
    for name in ("O", "U", "CH", "RR"):
        assert width(speak(seed, name)) < rest - 2, name
    for name in ("E", "I", "SS"):
        assert width(speak(seed, name)) > rest + 1, name


@seeds
def test_teeth_close_for_s_and_sh_and_lips_show_them(seed):
    rest = opening(own_head(seed).neutral)
    for name in ("SS", "CH"):
        assert jaw_drop(seed, name) < 3, name
        assert opening(speak(seed, name)) > rest + 2, name


@seeds
def test_the_lower_lip_goes_to_the_upper_teeth_for_f(seed):
    pose, rest = speak(seed, "FF"), own_head(seed).neutral
    teeth = rest[head_data().part("teeth_upper").vertices] / MM
    edge = teeth[np.abs(teeth[:, 0]) < 7, 1].min()
    assert abs(at(pose, 14)[1] - edge) < 2.5
    # The upper lip makes room.
    assert at(pose, 13)[1] > at(rest, 13)[1] + 0.5
    assert jaw_drop(seed, "FF") < 1


@seeds
def test_the_tongue_is_between_the_teeth_for_th_and_behind_them_for_d(seed):
    tongue, teeth = (head_data().part(name).vertices for name in ("tongue", "teeth_upper"))
    front = own_head(seed).neutral[teeth, 2].max()
    assert speak(seed, "TH")[tongue, 2].max() > front
    assert speak(seed, "TH")[tongue, 2].max() > speak(seed, "DD")[tongue, 2].max() + 1 * MM


@pytest.mark.parametrize("name", VISEME_NAMES)
def test_no_viseme_passes_through_itself(name):
    assert skin_crossings(own_head(2).pose(**VISEME_RECIPES[name])) <= 20


def test_expressions_do_what_they_are_called():
    head = own_head(2)

    def shown(name):
        return head.pose(**VRM_RECIPES[name])

    corner, brow = 291, 336
    assert at(shown("happy"), corner)[1] > at(head.neutral, corner)[1] + 5
    assert at(shown("sad"), corner)[1] < at(head.neutral, corner)[1] - 2
    assert at(shown("angry"), brow)[1] < at(head.neutral, brow)[1] - 3.5
    assert at(shown("surprised"), brow)[1] > at(head.neutral, brow)[1] + 5
    assert opening(shown("surprised")) > 5
    for name in ("blink", "blinkLeft"):
        assert at(shown(name), 386)[1] - at(shown(name), 374)[1] < 1.5
    assert at(shown("blinkRight"), 386)[1] - at(shown("blinkRight"), 374)[1] > 5
    iris = head_data().landmark_vertices[473]
    for name, axis, sign in (("lookUp", 1, 1), ("lookDown", 1, -1), ("lookLeft", 0, 1), ("lookRight", 0, -1)):
        assert sign * (shown(name) - head.neutral)[iris, axis].mean() > 2 * MM, name
    assert np.array_equal(shown("neutral"), head.neutral)


def test_recipes_name_shapes_and_weights_that_there_are():
    for recipe in (*VISEME_RECIPES.values(), *VRM_RECIPES.values()):
        assert set(recipe) <= set(ARKIT_NAMES)
        assert all(0 < weight <= 1 for weight in recipe.values())
    assert tuple(VISEME_RECIPES) == VISEME_NAMES

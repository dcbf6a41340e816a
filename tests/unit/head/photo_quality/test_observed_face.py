"""Nothing is measured on what a photo does not show: scale, iris colour, teeth, expression."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch

from assets.manifest import grade
from face3d.artifact_format import dump_result, load_result
from face3d.head import ARKIT_NAMES
from face3d.observed import EyeState, Observed
from face3d.options import JobOptions
from face3d.quality import ReasonCode, judge
from face3d.stage_results import BakedMaps, PreprocessedPhoto
from face3d.states import Quality
from gpu_workers.head.texturing.eyes import find_iris_colour
from tests.corpus import drawing, filters
from tests.corpus.bases import Base, real_face
from tests.unit.head.head_support import (
    LIMITS,
    astronaut_geometry,
    engine,
    model_dir,
    png,
    prepared_astronaut,
)

pytestmark = pytest.mark.heavy

SMALL = JobOptions(texture_size=1024)


@pytest.fixture(autouse=True)
def _models():
    model_dir()


def prepare(base: Base, options: JobOptions = SMALL) -> PreprocessedPhoto:
    return engine().preprocess(png(base.pixels), options, LIMITS)


def codes(facts: dict) -> set[str]:
    return {reason["code"] for reason in facts["quality_reasons"]}


@lru_cache(maxsize=1)
def plain_texture() -> BakedMaps:
    return engine().texture(prepared_astronaut(), astronaut_geometry(), SMALL)


def test_eyes_that_are_not_seen_give_neither_scale_nor_colour():
    for change, code in ((drawing.sunglasses, "eyes_covered"), (drawing.shut_eyes, "eyes_shut")):
        prepared = prepare(change(real_face()))
        geometry = engine().geometry(prepared, SMALL)
        assert geometry.facts["scale_from"] == "template"
        assert geometry.facts["scale"] == 1
        assert code in codes(geometry.facts)
        assert prepared.observed.coloured_irises == (False, False)
    texture = engine().texture(prepared, geometry, SMALL)
    assert texture.facts["iris_colour"] is None
    brown, plain = (result.eyes for result in (texture, plain_texture()))
    assert not np.array_equal(brown, plain)


def test_one_eye_that_is_seen_tells_the_scale_of_both():
    assert astronaut_geometry().facts["scale_from"] == "iris"
    geometry = engine().geometry(prepare(drawing.eye_patch(real_face())), SMALL)
    assert geometry.facts["scale_from"] == "iris"
    assert geometry.facts["scale"] == pytest.approx(astronaut_geometry().facts["scale"], abs=0.03)


def test_an_iris_that_is_not_seen_has_no_say():
    photo = torch.zeros(3, 60, 120)
    photo[0, :, :60], photo[2, :, 60:] = 0.2, 0.2
    points = np.zeros((478, 2), np.float32)
    for first, x in ((468, 30), (473, 90)):
        points[first : first + 5] = np.array([x, 30]) + 10 * np.array(
            [[0, 0], [1, 0], [0, 1], [-1, 0], [0, -1]]
        )
    right, left, none = (
        find_iris_colour(photo, points, seen) for seen in ((True, False), (False, True), (False, False))
    )
    assert right[0] > right[2]
    assert left[2] > left[0]
    torch.testing.assert_close(none / none.sum(), find_iris_colour(photo[..., :1], points) / none.sum())


def test_a_tinted_or_grey_photo_gives_no_colours():
    assert not prepare(filters.grey(real_face())).observed.colours
    prepared = prepare(filters.tinted(real_face(), (0.45, 0.8, 1.0)))
    assert not prepared.observed.colours
    texture = engine().texture(prepared, engine().geometry(prepared, SMALL), SMALL)
    assert texture.facts["iris_colour"] is None
    assert texture.facts["skin_tone"] is None
    teeth, others = (result.mouth for result in (texture, plain_texture()))
    assert not np.array_equal(teeth, others), "the astronaut's teeth have a tint of their own"


def test_scores_of_hidden_parts_are_not_believed():
    prepared = prepare(drawing.microphone(real_face()))
    scores = dict(zip(ARKIT_NAMES, prepared.scores, strict=True))
    assert not any(value for name, value in scores.items() if name.startswith(("mouth", "jaw")))
    assert any(value for name, value in scores.items() if name.startswith("eye"))
    hidden = Observed(eyes=(EyeState.HIDDEN, EyeState.SHUT))
    kept = dict(zip(ARKIT_NAMES, hidden.keep_scores(np.ones(52, np.float32)), strict=True))
    assert kept["eyeBlinkRight"] == 0
    assert kept["eyeBlinkLeft"] == 1, "that it is shut is seen"


def test_what_was_observed_reaches_the_later_stages():
    seen = Observed(eyes=(EyeState.SHUT, EyeState.HIDDEN), mouth=False, tongue=True, colours=False)
    prepared = replace(prepared_astronaut(), observed=seen)
    assert load_result(PreprocessedPhoto, dump_result(prepared)).observed == seen
    assert replace(seen, eyes=(EyeState.OPEN, EyeState.HIDDEN)).irises == (True, False)
    assert not seen.teeth


def test_frames_that_stay_in_the_texture_are_graded():
    prepared = prepare(drawing.spectacles(real_face(), (190, 60, 60)))
    geometry = engine().geometry(prepared, SMALL)
    assert {"glasses", "glasses_frame_remains"} <= codes(geometry.facts)
    assert geometry.facts["quality"] == "review"
    # One that could be left out, but whose pixels the masks do not find.
    reasons = [reason.facts() for reason in judge(ReasonCode.GLASSES, 3.0)]
    bare = prepared_astronaut()
    believed = replace(bare, facts={**bare.facts, "reasons": reasons})
    texture = engine().texture(believed, astronaut_geometry(), SMALL)
    assert texture.facts["glasses"] is False
    assert codes(texture.facts) == {"glasses_frame_remains"}
    assert grade(astronaut_geometry().facts, texture.facts) is Quality.REVIEW


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_photo_that_is_not_upright_is_turned_and_the_manifest_says_so(quarters):
    prepared = prepare(filters.turned(real_face(), quarters))
    geometry = engine().geometry(prepared, SMALL)
    assert geometry.facts["photo_turned_degrees"] == 90 * quarters
    assert "photo_turned" in codes(geometry.facts)
    assert np.array_equal(prepared.photo, prepared_astronaut().photo)
    difference = prepared.landmarks - prepared_astronaut().landmarks
    assert np.abs(difference).max() < 1e-3
    assert geometry.facts["scale"] == pytest.approx(astronaut_geometry().facts["scale"], abs=1e-3)


def test_a_photo_that_is_upright_is_looked_at_once(monkeypatch):
    from gpu_workers.head.landmarks import photo_rotation

    looks = []
    find = photo_rotation.find_faces
    monkeypatch.setattr(photo_rotation, "find_faces", lambda *given: looks.append(1) or find(*given))
    prepare(real_face())
    assert len(looks) == 1
    assert "photo_turned_degrees" not in astronaut_geometry().facts

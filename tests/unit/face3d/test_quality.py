"""The table of reasons: limits are strict, values are told from them, the verdict follows from it alone."""

import re
from pathlib import Path

import numpy as np
import pytest

from assets.manifest import collect_reasons, grade, list_labels
from face3d.errors import RefusedError
from face3d.quality import REASONS, ReasonCode, judge, read_reason, state, tell_apart, verdict_of
from face3d.states import Quality
from gpu_workers.head.photo_quality.image_quality import (
    MAX_COVERED,
    MAX_DISAGREEMENT,
    MIN_BRIGHTNESS,
    MIN_PRESENCE,
    MIN_SHARPNESS,
    FaceQuality,
    refuse_bad_face,
)
from gpu_workers.photo_limits import PhotoLimits

MEASURED = [code for code, kind in REASONS.items() if kind.usable is not None]
GOOD_FACE = {
    "eye_distance_px": 200.0,
    "yaw": 0.0,
    "pitch": 0.0,
    "roll": 0.0,
    "sharpness": 0.4,
    "brightness": 130.0,
    "covered": 0.0,
    "disagreement": 0.005,
    "presence": 1.0,
}
REFUSALS = [
    ("eye_distance_px", "face_too_small", PhotoLimits().min_eye_distance_px, -1),
    ("yaw", "face_turned_away", PhotoLimits().max_yaw_degrees, 1),
    ("pitch", "face_turned_away", PhotoLimits().max_pitch_degrees, 1),
    ("brightness", "too_dark", MIN_BRIGHTNESS, -1),
    ("sharpness", "too_blurred", MIN_SHARPNESS, -1),
    ("covered", "face_covered", MAX_COVERED, 1),
    ("disagreement", "landmarks_uncertain", MAX_DISAGREEMENT, 1),
    ("presence", "face_unclear", MIN_PRESENCE, -1),
]


def steps(limit: float, direction: int) -> list[float]:
    """Return values beyond a limit, from the very next number on."""
    nearest = float(np.nextafter(limit, direction * np.inf))
    return [
        nearest,
        *(limit + direction * abs(limit or 1) * share for share in (1e-9, 1e-4, 0.003, 0.04, 0.5)),
    ]


@pytest.mark.parametrize("code", MEASURED)
def test_a_value_is_a_reason_only_beyond_its_limit_and_is_told_from_it(code: ReasonCode) -> None:
    kind = REASONS[code]
    direction = -1 if kind.below else 1
    for limit in {kind.usable, kind.review} - {None}:
        assert all(reason.limit != limit for reason in judge(code, limit))
        for value in steps(limit, direction):
            (reason,) = judge(code, value)
            assert reason.value != reason.limit
            assert kind.beyond(reason.value, reason.limit), "what is shown is beyond the limit, too"


@pytest.mark.parametrize("code", MEASURED)
def test_worse_values_have_no_better_verdict(code: ReasonCode) -> None:
    kind = REASONS[code]
    assert kind.review is None or kind.usable == kind.review or kind.beyond(kind.review, kind.usable)


@pytest.mark.parametrize(("measure", "code", "limit", "direction"), REFUSALS)
def test_a_refusal_never_shows_its_limit_as_the_value(
    measure: str, code: str, limit: float, direction: int
) -> None:
    refuse_bad_face(FaceQuality(**{**GOOD_FACE, measure: limit}), PhotoLimits())
    for value in steps(limit, direction):
        with pytest.raises(RefusedError) as caught:
            refuse_bad_face(FaceQuality(**{**GOOD_FACE, measure: value}), PhotoLimits())
        assert caught.value.code.value == code
        assert caught.value.value != caught.value.limit
        shown, allowed = (
            float(re.findall(r"-?[\d.]+(?:e-?\d+)?", str(x))[0])
            for x in (caught.value.value, caught.value.limit)
        )
        assert (abs(shown) - allowed) * direction > 0


def test_each_check_has_a_sentence_and_a_code_of_its_own() -> None:
    said = set()
    for measure, code, limit, direction in REFUSALS:
        with pytest.raises(RefusedError) as caught:
            refuse_bad_face(
                FaceQuality(**{**GOOD_FACE, measure: limit + 2 * direction * limit}), PhotoLimits()
            )
        said.add((code, caught.value.message))
    assert len(said) == len({code for _, code, _, _ in REFUSALS})
    assert len({message for _, message in said}) == len(said)


def test_labels_and_sentences_are_each_of_one_reason() -> None:
    assert set(REASONS) == set(ReasonCode)
    for field in ("label", "message"):
        assert len({getattr(kind, field) for kind in REASONS.values()}) == len(REASONS)
    assert all(kind.message.endswith(".") for kind in REASONS.values())


def test_numbers_close_to_a_limit_get_more_digits() -> None:
    assert tell_apart(0.0224, 0.022, 3) == 0.0224
    assert tell_apart(0.0302, 0.022, 3) == 0.03
    assert tell_apart(0.022, 0.022, 3) == 0.022


def test_the_verdict_is_that_of_the_worst_reason() -> None:
    turned = state(ReasonCode.PHOTO_TURNED, value=90, limit=0)
    small, shut = judge(ReasonCode.SMALL_FACE, 80.0), judge(ReasonCode.EYES_COVERED, 2)
    assert verdict_of([]) is Quality.GOOD
    assert verdict_of([turned]) is Quality.GOOD
    assert verdict_of([turned, *small]) is Quality.USABLE
    assert verdict_of([*shut, *small]) is Quality.REVIEW


def test_stages_add_reasons_and_the_worst_statement_of_each_counts() -> None:
    mild, grave = (judge(ReasonCode.SMALL_FACE, value)[0] for value in (80.0, 50.0))
    frame = judge(ReasonCode.GLASSES_FRAME_REMAINS, 3.0)[0]
    geometry = {"quality": "usable", "quality_reasons": [mild.facts()]}
    texture = {"quality_reasons": [grave.facts(), frame.facts()]}
    assert read_reason(mild.facts()) == mild
    assert collect_reasons(geometry, texture) == [grave, frame]
    assert grade(geometry, texture) is Quality.REVIEW
    assert grade(geometry, {}) is Quality.USABLE


def test_reasons_of_an_earlier_version_are_words_and_keep_their_verdict() -> None:
    before = {"quality": "usable", "quality_reasons": ["small face"]}
    assert grade(before, {}) is Quality.USABLE
    assert list_labels(before, {}) == ["small face"]
    assert collect_reasons(before) == []
    assert grade({}, {}) is Quality.REVIEW


def test_the_page_shows_the_table() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "quality.md").read_text()
    rows = {
        cells[1].strip("` "): cells
        for line in page.splitlines()
        if line.startswith("| `") and len(cells := [cell.strip() for cell in line.split("|")]) == 7
    }
    for code, kind in REASONS.items():
        _, _, message, measure, usable, review, *_ = rows[code.value]
        assert (message, measure) == (kind.message, kind.measure)
        sign = "<" if kind.below else ">"
        assert usable == (
            "" if kind.usable is None or kind.usable == kind.review else f"{sign} {kind.usable:g}"
        )
        assert review == ("" if kind.review is None else f"{sign} {kind.review:g}")

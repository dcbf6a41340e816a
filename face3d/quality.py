"""What may speak against an asset: one table of reasons; the verdict follows from it and from nothing else.

Whoever measures (an engine's stages) hands in values; the table says at which limit a value is a reason,
in which words, and how much it weighs. docs/reference/quality.md shows it, and a test compares both.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from face3d.states import Quality

#: From the best to the worst.
VERDICTS = (Quality.GOOD, Quality.USABLE, Quality.REVIEW)
#: Digits with which a number is told from its limit, at most.
_MOST_DIGITS = 12


class ReasonCode(StrEnum):
    """Codes that customers see in the manifest's `quality_reasons`."""

    # The photo.
    PHOTO_TURNED = "photo_turned"
    SMALL_FACE = "small_face"
    SOFT_FOCUS = "soft_focus"
    OVEREXPOSED = "overexposed"
    UNDEREXPOSED = "underexposed"
    LOW_CONTRAST = "low_contrast"
    COLOUR_CAST = "colour_cast"
    NO_COLOUR = "no_colour"
    FACE_CUT_OFF = "face_cut_off"
    # The pose and the face.
    HEAD_TURNED = "head_turned"
    HEAD_TILTED = "head_tilted"
    STRONG_EXPRESSION = "strong_expression"
    EYES_SHUT = "eyes_shut"
    EYE_SHUT = "eye_shut"
    TONGUE_OUT = "tongue_out"
    # What lies before it.
    EYES_COVERED = "eyes_covered"
    EYE_COVERED = "eye_covered"
    GLASSES = "glasses"
    GLASSES_FRAME_REMAINS = "glasses_frame_remains"
    MOUTH_COVERED = "mouth_covered"
    FOREHEAD_COVERED = "forehead_covered"
    FACE_PARTLY_COVERED = "face_partly_covered"
    # The reconstruction.
    LANDMARKS_UNCERTAIN = "landmarks_uncertain"
    LANDMARKS_FIT_BADLY = "landmarks_fit_badly"
    UNUSUAL_SHAPE = "unusual_shape"
    SECOND_PHOTO_SAME_SIDE = "second_photo_same_side"
    SECOND_PHOTO_NOT_FOUND = "second_photo_not_found"
    FRONT_DISAGREES = "front_disagrees"
    NOTHING_RECONSTRUCTED = "nothing_reconstructed"


@dataclass(frozen=True, kw_only=True)
class ReasonKind:
    """A row of the table."""

    #: A few words, as `quality.reasons` of the manifest has always listed them.
    label: str
    #: A sentence for a person.
    message: str
    #: What is measured, and in which unit.
    measure: str
    #: Beyond the first a head is `usable`, beyond the second it needs `review`; None: never.
    usable: float | None = None
    review: float | None = None
    #: Values beyond a limit are those above it, or those below it.
    below: bool = False
    #: Digits after the point that are shown, more where they are needed to tell a value from its limit.
    digits: int = 2

    def beyond(self, value: float, limit: float | None) -> bool:
        """Return whether a value is strictly beyond a limit."""
        return limit is not None and (value < limit if self.below else value > limit)


@dataclass(frozen=True, kw_only=True)
class QualityReason:
    """One reason of one asset."""

    code: ReasonCode
    label: str
    message: str
    #: What the verdict is for this reason alone; `good` for what is only told.
    verdict: Quality
    value: float | None = None
    #: The limit that the value is beyond.
    limit: float | None = None

    def facts(self) -> dict[str, Any]:
        """Return the reason as JSON-able facts."""
        return {**asdict(self), "code": self.code.value, "verdict": self.verdict.value}


_K = ReasonKind
#: Limits and where they come from: docs/reference/quality.md.
REASONS: Mapping[ReasonCode, ReasonKind] = {
    ReasonCode.PHOTO_TURNED: _K(
        label="photo turned upright",
        message="The photo lay on its side or upside down and was turned.",
        measure="degrees clockwise by which it was turned",
        digits=0,
    ),
    ReasonCode.SMALL_FACE: _K(
        label="small face",
        message="The face is small in the photo, so that fine shapes and skin are not resolved.",
        measure="pixels between the outer corners of the eyes",
        usable=100.0, review=55.0, below=True, digits=1,
    ),
    ReasonCode.SOFT_FOCUS: _K(
        label="soft focus",
        message="The face is not sharp.",
        measure="ratio of fine to coarse contrast",
        usable=0.20, review=0.14, below=True, digits=3,
    ),
    ReasonCode.OVEREXPOSED: _K(
        label="overexposed",
        message="Parts of the face are blown out to white: their colour and shape are lost.",
        measure="share of the skin's colour values that are clipped",
        usable=0.22, review=0.45,
    ),
    ReasonCode.UNDEREXPOSED: _K(
        label="underexposed",
        message="The photo is too dark to show the colours of skin and eyes.",
        measure="brightness of the lightest twentieth of the face and what is round it, 0 to 255",
        usable=100.0, review=72.0, below=True, digits=1,
    ),
    ReasonCode.LOW_CONTRAST: _K(
        label="low contrast",
        message="The photo is flat, as through fog: light and dark hardly differ.",
        measure="difference between the face's dark and light parts, of 255",
        usable=58.0, review=40.0, below=True, digits=1,
    ),
    ReasonCode.COLOUR_CAST: _K(
        label="colour cast",
        message="The photo has a strong tint: the skin has a colour that skin does not have in plain light.",
        measure="distance in CIELAB of the skin's hue from hues of skin",
        usable=9.0, review=16.0, digits=1,
    ),
    ReasonCode.NO_COLOUR: _K(
        label="no colour",
        message="The photo is black and white, or of one tint: the colours of skin and eyes are unknown.",
        measure="spread of the colours of the face beyond what lightness tells, CIELAB",
        usable=0.7, review=0.7, below=True,
    ),
    ReasonCode.FACE_CUT_OFF: _K(
        label="face cut off",
        message="The edge of the photo cuts off a part of the face.",
        measure="share of the face beyond the edge",
        usable=0.02, review=0.10,
    ),
    ReasonCode.HEAD_TURNED: _K(
        label="head turned",
        message="The head is turned to the side.",
        measure="degrees",
        usable=12.0, review=20.0, digits=1,
    ),
    ReasonCode.HEAD_TILTED: _K(
        label="head tilted",
        message="The head looks up or down.",
        measure="degrees",
        usable=18.0, review=23.0, digits=1,
    ),
    ReasonCode.STRONG_EXPRESSION: _K(
        label="strong expression",
        message="A strong expression has to be taken out of the neutral face.",
        measure="weight of jawOpen or mouthSmile, 0 to 1",
        usable=0.5,
    ),
    ReasonCode.EYES_SHUT: _K(
        label="eyes shut",
        message="Both eyes are shut: their colour and the head's true size are not measured.",
        measure="eyes that are shut",
        usable=1.0, digits=0,
    ),
    ReasonCode.EYE_SHUT: _K(
        label="one eye shut",
        message="One eye is shut; what is said of both comes from the other.",
        measure="eyes that are shut",
        usable=0.0, digits=0,
    ),
    ReasonCode.TONGUE_OUT: _K(
        label="tongue out",
        message="The tongue is out: lips and chin lie behind it and are guessed.",
        measure="share of the open mouth that has a tongue's colour, while one hangs below the lips",
        usable=0.28, review=0.28,
    ),
    ReasonCode.EYES_COVERED: _K(
        label="eyes covered",
        message="Something hides both eyes, as sunglasses do: their colour and the head's true size are not "
        "measured.",
        measure="eyes that are hidden",
        usable=1.0, review=1.0, digits=0,
    ),
    ReasonCode.EYE_COVERED: _K(
        label="one eye covered",
        message="Something hides one eye; what is said of both comes from the other.",
        measure="eyes that are hidden",
        usable=0.0, review=0.0, digits=0,
    ),
    ReasonCode.GLASSES: _K(
        label="glasses",
        message="The person wears spectacles: their frame hides skin, which is completed.",
        measure="contrast of a frame over the nose's bridge and round both eyes, 1 is the deepest wrinkle's",
        usable=1.40,
    ),
    ReasonCode.GLASSES_FRAME_REMAINS: _K(
        label="glasses frame remains",
        message="The spectacles' frame cannot be told from brows or skin: parts of it stay in the texture.",
        measure="contrast of a frame that stays: one that lies on the brows, or is not darker than skin",
        usable=1.40, review=1.40,
    ),
    ReasonCode.MOUTH_COVERED: _K(
        label="mouth covered",
        message="Something hides the mouth: its shape, expression and teeth are guessed.",
        measure="how far the lips stand out, of the face's contrast",
        usable=0.10, review=0.10, below=True, digits=3,
    ),
    ReasonCode.FOREHEAD_COVERED: _K(
        label="forehead covered",
        message="A hat, a band or hair hides most of the forehead, which is completed.",
        measure="share of the forehead that has not the skin's colour",
        usable=0.62,
    ),
    ReasonCode.FACE_PARTLY_COVERED: _K(
        label="face partly covered",
        message="A part of the face has not the skin's colour: something lies before it.",
        measure="share of the face",
        usable=0.15, review=0.27,
    ),
    ReasonCode.LANDMARKS_UNCERTAIN: _K(
        label="partly covered or uncertain",
        message="The face's points come out elsewhere in the mirrored photo: something hides or distorts it.",
        measure="mean distance of the points, share of the eye distance",
        usable=0.014, review=0.018, digits=3,
    ),
    ReasonCode.LANDMARKS_FIT_BADLY: _K(
        label="landmarks fit badly",
        message="The head does not meet the photo's points well.",
        measure="mean distance of the points, share of the eye distance",
        usable=0.02, review=0.035, digits=3,
    ),
    ReasonCode.UNUSUAL_SHAPE: _K(
        label="unusual shape",
        message="The head's shape is far from most people's: look whether it is the person's.",
        measure="largest coefficient, standard deviations",
        usable=2.0,
    ),
    ReasonCode.SECOND_PHOTO_SAME_SIDE: _K(
        label="second photo shows the same side",
        message="The second photo shows the same side as the first and tells no depth.",
        measure="degrees between both",
        usable=5.0, below=True, digits=1,
    ),
    ReasonCode.SECOND_PHOTO_NOT_FOUND: _K(
        label="second photo not found in the first",
        message="Too little of the first photo was found in the second: another face, light or person.",
        measure="spots of skin found in both",
        usable=1.0, below=True, digits=0,
    ),
    ReasonCode.FRONT_DISAGREES: _K(
        label="the model's front and the landmarks disagree",
        message="The face that engine hrn's model sees and the landmarks do not agree.",
        measure="millimetres",
        usable=10.0, review=10.0, digits=1,
    ),
    ReasonCode.NOTHING_RECONSTRUCTED: _K(
        label="engine null reconstructs nothing",
        message="Engine null reconstructs nothing: it is for load and fault tests.",
        measure="",
    ),
}  # fmt: skip
#: Reasons that stand without a measured value.
_PLAIN = {ReasonCode.NOTHING_RECONSTRUCTED: Quality.REVIEW, ReasonCode.PHOTO_TURNED: Quality.GOOD}


def judge(code: ReasonCode, value: float) -> list[QualityReason]:
    """Return the reason that a value is, or nothing: it counts only strictly beyond its limit."""
    kind = REASONS[code]
    for verdict, limit in ((Quality.REVIEW, kind.review), (Quality.USABLE, kind.usable)):
        if limit is not None and kind.beyond(value, limit):
            return [state(code, verdict, value=tell_apart(value, limit, kind.digits), limit=limit)]
    return []


def state(
    code: ReasonCode,
    verdict: Quality | None = None,
    *,
    value: float | None = None,
    limit: float | None = None,
) -> QualityReason:
    """Return a reason that stands without being measured against a limit."""
    kind = REASONS[code]
    return QualityReason(
        code=code,
        label=kind.label,
        message=kind.message,
        verdict=verdict or _PLAIN[code],
        value=value,
        limit=limit,
    )


def verdict_of(reasons: Iterable[QualityReason]) -> Quality:
    """Return the worst verdict of all reasons, `good` without any."""
    return VERDICTS[max((VERDICTS.index(reason.verdict) for reason in reasons), default=0)]


def read_reason(fact: Mapping[str, Any]) -> QualityReason:
    """Return the reason that `QualityReason.facts` was made of.

    Raises:
        ValueError, KeyError, TypeError: it is none.
    """
    return QualityReason(**{**fact, "code": ReasonCode(fact["code"]), "verdict": Quality(fact["verdict"])})


def tell_apart(value: float, limit: float, digits: int) -> float:
    """Return a value rounded to so many digits, or to as many more as tell it from a limit."""
    for more in range(digits, _MOST_DIGITS):
        rounded = round(value, more)
        if value == limit or (rounded != limit and (rounded < limit) == (value < limit)):
            return rounded
    return value

"""What speaks against a photo, by the table of face3d/quality.py."""

from face3d.quality import REASONS, QualityReason, ReasonCode, judge, state, verdict_of
from face3d.states import Quality
from gpu_workers.head.photo_quality.eye_detection import EyeState
from gpu_workers.head.photo_quality.glasses_detection import Spectacles
from gpu_workers.head.photo_quality.image_quality import FaceQuality
from gpu_workers.head.photo_quality.observed_face import FaceLook

#: In a blown-out photo edges of white areas look like thin lines: only clear ones are a frame then.
_FRAME_IN_GLARE = 4.0


def list_reasons(
    quality: FaceQuality, look: FaceLook, spectacles: Spectacles, turned_degrees: int
) -> list[QualityReason]:
    """Return what speaks against a photo, the pose and the size first.

    Args:
        turned_degrees: clockwise, by which the photo was turned upright.
    """
    light = look.light
    found = (
        [state(ReasonCode.PHOTO_TURNED, Quality.GOOD, value=turned_degrees, limit=0)]
        if turned_degrees
        else []
    )
    for code, value in (
        (ReasonCode.SMALL_FACE, quality.eye_distance_px),
        (ReasonCode.HEAD_TURNED, abs(quality.yaw)),
        (ReasonCode.HEAD_TILTED, abs(quality.pitch)),
        (ReasonCode.FACE_CUT_OFF, light.cut_off),
        (ReasonCode.SOFT_FOCUS, quality.sharpness),
        (ReasonCode.OVEREXPOSED, light.clipped),
        (ReasonCode.UNDEREXPOSED, light.lightest),
    ):
        found += judge(code, value)
    codes = {reason.code for reason in found}
    # A photo that is dark or blown out is flat and off colour too: one fault is named once.
    if not codes & {ReasonCode.OVEREXPOSED, ReasonCode.UNDEREXPOSED}:
        flat = judge(ReasonCode.LOW_CONTRAST, light.contrast)
        # Fog takes the colours, too.
        grey = [] if verdict_of(flat) is Quality.REVIEW else judge(ReasonCode.NO_COLOUR, light.colours)
        found += flat
        found += grey or judge(ReasonCode.COLOUR_CAST, light.cast)
    found += _hidden_parts(look, spectacles, blurred=_is_blurred(quality))
    found += judge(ReasonCode.FACE_PARTLY_COVERED, quality.covered)
    found += judge(ReasonCode.LANDMARKS_UNCERTAIN, quality.disagreement)
    return found


def _is_blurred(quality: FaceQuality) -> bool:
    """Return whether a face is so blurred that eyes and mouth cannot be told from what hides them."""
    kind = REASONS[ReasonCode.SOFT_FOCUS]
    return kind.beyond(quality.sharpness, kind.review)


def _hidden_parts(look: FaceLook, spectacles: Spectacles, *, blurred: bool) -> list[QualityReason]:
    eyes = look.observed.eyes
    shut, hidden = (sum(eye is kind for eye in eyes) for kind in (EyeState.SHUT, EyeState.HIDDEN))
    found = []
    for count, both, one in (
        (shut, ReasonCode.EYES_SHUT, ReasonCode.EYE_SHUT),
        (hidden, ReasonCode.EYES_COVERED, ReasonCode.EYE_COVERED),
    ):
        if not blurred:
            found += judge(both if count > 1 else one, count)
    glare = look.light.clipped > (REASONS[ReasonCode.OVEREXPOSED].usable or 0)
    if hidden < len(eyes) and (not glare or spectacles.frame > _FRAME_IN_GLARE):
        found += judge(ReasonCode.GLASSES, spectacles.frame)
        found += judge(ReasonCode.GLASSES_FRAME_REMAINS, spectacles.remaining)
    if look.observed.tongue:
        found += judge(ReasonCode.TONGUE_OUT, look.tongue)
    elif not blurred and not glare:
        found += judge(ReasonCode.MOUTH_COVERED, look.mouth)
    found += judge(ReasonCode.FOREHEAD_COVERED, look.light.forehead_covered)
    return found

"""What of a face a photo shows: the one place that decides it. Whoever measures a part of it asks here.

Iris size and colour, the teeth's tint, the expression of eyes and mouth: each is measured only on what was
observed; else the template, a plain colour or a neutral expression stands.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from face3d.head import ARKIT_NAMES
from face3d.observed import Observed
from face3d.quality import REASONS, ReasonCode
from gpu_workers.head.photo_quality.eye_detection import see_eyes
from gpu_workers.head.photo_quality.face_patch import FacePatch
from gpu_workers.head.photo_quality.lighting import FaceLight, measure_light
from gpu_workers.head.photo_quality.mouth_detection import see_mouth, tongue_share

_BLINKS = tuple(ARKIT_NAMES.index(f"eyeBlink{side}") for side in ("Right", "Left"))


@dataclass(frozen=True)
class FaceLook:
    """What was observed, and the measurements that decided it."""

    observed: Observed
    light: FaceLight
    #: See mouth_detection.py.
    mouth: float
    tongue: float


def observe(patch: FacePatch, scores: NDArray[np.floating]) -> FaceLook:
    """Look at a face.

    Args:
        scores: (52,) in ARKIT_NAMES' order.
    """
    light = measure_light(patch)
    right, left = _BLINKS
    mouth = see_mouth(patch, colours=believable_colours(light))
    mouth_seen = not _beyond(ReasonCode.MOUTH_COVERED, mouth)
    # Where all is clipped, skin is as red as a tongue; a red thing before the mouth hides its line.
    glare = _beyond(ReasonCode.OVEREXPOSED, light.clipped)
    tongue = tongue_share(patch) if mouth_seen and not glare else 0.0
    observed = Observed(
        eyes=see_eyes(patch, (float(scores[right]), float(scores[left]))),
        mouth=mouth_seen,
        tongue=_beyond(ReasonCode.TONGUE_OUT, tongue),
        colours=believable_colours(light),
    )
    return FaceLook(observed=observed, light=light, mouth=mouth, tongue=tongue)


def believable_colours(light: FaceLight) -> bool:
    """Return whether colours of a photo tell those of the person."""
    return not any(
        REASONS[code].beyond(value, REASONS[code].review)
        for code, value in (
            (ReasonCode.OVEREXPOSED, light.clipped),
            (ReasonCode.UNDEREXPOSED, light.lightest),
            (ReasonCode.COLOUR_CAST, light.cast),
            (ReasonCode.NO_COLOUR, light.colours),
        )
    )


def _beyond(code: ReasonCode, value: float) -> bool:
    return REASONS[code].beyond(value, REASONS[code].usable)

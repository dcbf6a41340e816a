"""What of a face a photo shows: the one place that decides it. Whoever measures a part of it asks here.

Iris size and colour, the teeth's tint, the expression of eyes and mouth: each is measured only on what was
observed; else the template, a plain colour or a neutral expression stands.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from face3d.head import ARKIT_NAMES
from face3d.messages import Array
from face3d.quality import REASONS, ReasonCode
from gpu_workers.head.photo_quality.eye_detection import EyeState, see_eyes
from gpu_workers.head.photo_quality.face_patch import FacePatch
from gpu_workers.head.photo_quality.lighting import FaceLight, measure_light
from gpu_workers.head.photo_quality.mouth_detection import see_mouth, tongue_share

#: Name of the tensor in which it travels.
OBSERVED = "observed"
_BLINKS = tuple(ARKIT_NAMES.index(f"eyeBlink{side}") for side in ("Right", "Left"))
_EYE_SCORES = tuple(
    np.array([name.startswith("eye") and name.endswith(side) for name in ARKIT_NAMES])
    for side in ("Right", "Left")
)
_MOUTH_SCORES = np.array([name.startswith(("mouth", "jaw", "cheek", "tongue")) for name in ARKIT_NAMES])
_STATES = (EyeState.OPEN, EyeState.SHUT, EyeState.HIDDEN)


@dataclass(frozen=True, kw_only=True)
class Observed:
    """What a photo shows; everything, unless it was looked at."""

    #: The person's right and left eye.
    eyes: tuple[EyeState, EyeState] = (EyeState.OPEN, EyeState.OPEN)
    #: Whether lips and what is between them are seen.
    mouth: bool = True
    #: Whether a tongue hangs out of the mouth: then neither teeth nor lower lip are seen.
    tongue: bool = False
    #: Whether the photo's colours are those of the person: not blown out, dark, tinted or grey.
    colours: bool = True

    @property
    def irises(self) -> tuple[bool, bool]:
        """Whether the size of the right and of the left iris can be measured."""
        right, left = (state is EyeState.OPEN for state in self.eyes)
        return right, left

    @property
    def coloured_irises(self) -> tuple[bool, bool]:
        """Whether the colour of the right and of the left iris can be measured."""
        right, left = self.irises
        return right and self.colours, left and self.colours

    @property
    def teeth(self) -> bool:
        """Whether the teeth's tint can be measured, if any show."""
        return self.mouth and self.colours and not self.tongue

    def keep_scores(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return expression scores (52,) without those of parts that are hidden: they were guessed."""
        guessed = np.zeros(len(scores), bool)
        for state, own in zip(self.eyes, _EYE_SCORES, strict=True):
            guessed |= own & (state is EyeState.HIDDEN)
        guessed |= _MOUTH_SCORES & (not self.mouth)
        return np.where(guessed, np.float32(0), scores).astype(np.float32)

    def to_tensor(self) -> NDArray[np.uint8]:
        """Return (5,) uint8, as later stages read it."""
        numbers = [*(_STATES.index(state) for state in self.eyes), self.mouth, self.tongue, self.colours]
        return np.array(numbers, np.uint8)


def read_observed(tensors: Mapping[str, Array]) -> Observed:
    """Return what `Observed.to_tensor` was made of; everything is observed where nothing was stated."""
    if OBSERVED not in tensors:
        return Observed()
    right, left, mouth, tongue, colours = (int(number) for number in tensors[OBSERVED])
    return Observed(
        eyes=(_STATES[right], _STATES[left]), mouth=bool(mouth), tongue=bool(tongue), colours=bool(colours)
    )


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

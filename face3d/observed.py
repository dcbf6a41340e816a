"""What of a face a photo shows, so that only that is measured.

Where iris size and colour, the teeth's tint or the expression of eyes and mouth were not observed, the
template, a plain colour or a neutral expression stands.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from face3d.head import ARKIT_NAMES

_EYE_SCORES = tuple(
    np.array([name.startswith("eye") and name.endswith(side) for name in ARKIT_NAMES])
    for side in ("Right", "Left")
)
_MOUTH_SCORES = np.array([name.startswith(("mouth", "jaw", "cheek", "tongue")) for name in ARKIT_NAMES])


class EyeState(StrEnum):
    """What a photo shows of an eye."""

    OPEN = "open"
    SHUT = "shut"
    HIDDEN = "hidden"


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

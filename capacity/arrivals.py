"""When photos come: single ones at random moments, and bursts."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from capacity.simulation import BATCH, INTERACTIVE, FloatArray

DAY_SECONDS = 86_400.0
OFFICE_SECONDS = 8 * 3600.0

#: One run simulates about so many photos, and at most so many days.
_PHOTOS, _DAYS = 10_000, 10.0


class Pattern(StrEnum):
    """How a day's photos are spread."""

    #: Poisson, evenly over 24 hours, no bursts.
    STEADY = "steady"
    #: The same, and bursts at random moments.
    BURST = "burst"
    #: Singles and bursts within eight hours.
    OFFICE = "office"


@dataclass(frozen=True, kw_only=True)
class Arrivals:
    """What comes within the time that is simulated."""

    #: Seconds, ascending, shape (photos,).
    moments: FloatArray
    #: INTERACTIVE for singles, BATCH for photos of a burst, shape (photos,).
    tiers: NDArray[np.int64]
    #: Moments of the bursts.
    bursts: FloatArray
    #: Seconds that are simulated; of an office day only its open hours count.
    horizon: float


def single_rate(*, photos_per_day: int, burst: int, bursts_per_day: int, pattern: Pattern) -> float:
    """Return the mean of single photos a second, while there are any."""
    singles = photos_per_day - (0 if pattern is Pattern.STEADY else burst * bursts_per_day)
    return max(0, singles) / (OFFICE_SECONDS if pattern is Pattern.OFFICE else DAY_SECONDS)


def make_arrivals(
    rng: np.random.Generator, *, photos_per_day: int, burst: int, bursts_per_day: int, pattern: Pattern
) -> Arrivals:
    """Draw the arrivals of up to ten days, or of a shorter time where photos are many.

    A shortened time holds one burst at least, so that it errs on the busy side.
    """
    day = OFFICE_SECONDS if pattern is Pattern.OFFICE else DAY_SECONDS
    days = min(_DAYS, _PHOTOS / photos_per_day)
    horizon = days * day
    bursts = 0
    if pattern is not Pattern.STEADY and burst and bursts_per_day:
        bursts = max(1, round(bursts_per_day * days))
    rate = single_rate(
        photos_per_day=photos_per_day, burst=burst, bursts_per_day=bursts_per_day, pattern=pattern
    )
    # Poisson: given their number, the moments are uniform and independent.
    singles = rng.uniform(0.0, horizon, rng.poisson(rate * horizon))
    starts = np.sort(rng.uniform(0.0, horizon, bursts))
    moments = np.concatenate([singles, np.repeat(starts, burst)])
    tiers = np.repeat(np.array([INTERACTIVE, BATCH]), [len(singles), bursts * burst])
    order = np.argsort(moments, kind="stable")
    return Arrivals(moments=moments[order], tiers=tiers[order], bursts=starts, horizon=horizon)

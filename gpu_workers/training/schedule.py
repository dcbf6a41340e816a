"""How far a training is, by the clock or by steps, and the learning rate there."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

#: Steps in which the learning rate rises, and the share of the training after which it falls.
_WARM_UP = 300
_FALL_FROM = 0.35


@dataclass
class Budget:
    """The end of a run and of the whole training: seconds, or steps if `steps` is given.

    Attributes:
        seconds: of this run, from `began` on.
        total_seconds: of the whole training, all its runs together.
        spent: seconds of the runs before this one.
        steps: stop at this step instead, which is the whole training's last.
    """

    seconds: float
    total_seconds: float
    spent: float = 0.0
    steps: int | None = None
    clock: Callable[[], float] = time.monotonic
    began: float | None = None

    def __post_init__(self) -> None:
        if self.began is None:
            self.began = self.clock()

    @property
    def elapsed(self) -> float:
        """Seconds of this run."""
        return self.clock() - (self.began or 0.0)

    def progress(self, step: int) -> float:
        """Return the share of the whole training that is done, 0..1."""
        if self.steps is not None:
            return min(1.0, step / max(self.steps, 1))
        return min(1.0, (self.spent + self.elapsed) / max(self.total_seconds, 1e-6))

    def over(self, step: int) -> bool:
        """Return whether this run should end."""
        return step >= self.steps if self.steps is not None else self.elapsed >= self.seconds


def learning_rate(peak: float, progress: float, step: int) -> float:
    """Return the rate: a linear rise, a plateau, then half a cosine down to a thousandth of the peak."""
    rise = min(1.0, (step + 1) / _WARM_UP)
    fall = max(0.0, (progress - _FALL_FROM) / (1 - _FALL_FROM))
    return peak * rise * max(1e-3, 0.5 * (1 + math.cos(math.pi * fall)))

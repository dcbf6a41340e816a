"""Random numbers for a batch: one row a head, from one generator on one device."""

import math

import torch
from torch import Tensor

from gpu_workers.training.constants import constant


class Dice:
    """Draws (B, ...) tensors.

    Args:
        generator: decides everything that is drawn; its device is that of the draws.
        batch: B.
    """

    def __init__(self, generator: torch.Generator, batch: int) -> None:
        self.generator = generator
        self.batch = batch
        self.device = generator.device

    def uniform(self, low: float = 0.0, high: float = 1.0, *shape: int) -> Tensor:
        """Return (B, *shape) uniform in low..high."""
        draw = torch.rand(self.batch, *shape, generator=self.generator, device=self.device)
        return draw * (high - low) + low

    def normal(self, deviation: float = 1.0, *shape: int) -> Tensor:
        """Return (B, *shape) of mean 0."""
        return torch.randn(self.batch, *shape, generator=self.generator, device=self.device) * deviation

    def factor(self, deviation: float, *shape: int) -> Tensor:
        """Return (B, *shape) log-normal about 1."""
        return self.normal(deviation, *shape).exp()

    def log_uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Return (B, *shape) in low..high, each octave equally likely."""
        return self.uniform(math.log(low), math.log(high), *shape).exp()

    def chance(self, probability: float, *shape: int) -> Tensor:
        """Return (B, *shape) of ones with that probability, else zeros."""
        return (self.uniform(0, 1, *shape) < probability).float()

    def index(self, count: int, *shape: int) -> Tensor:
        """Return (B, *shape) int64 in 0..count - 1."""
        size = (self.batch, *shape)
        return torch.randint(0, count, size, generator=self.generator, device=self.device)

    def one_of(self, rows: tuple[tuple[float, ...], ...]) -> Tensor:
        """Return (B, C), each a random one of the rows."""
        return constant(rows, self.device)[self.index(len(rows))]

"""New rendered crops for every step, on the training's device; nothing waits for it."""

import logging
import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from gpu_workers.training.synthetic_photos.random_appearance import Looks
from gpu_workers.training.synthetic_photos.random_heads import RandomHeads
from gpu_workers.training.synthetic_photos.render import Capacity, PictureMaker
from gpu_workers.training.targets import TargetMaker, Targets

log = logging.getLogger(__name__)

#: Room in the rasteriser's lists beyond the mean need: always, and for the chance of a small batch.
_ROOM, _CHANCE = 1.05, 2.0


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Crops and what the network should say of them."""

    #: (B, S, S, 3) uint8 sRGB.
    crops: Tensor
    targets: Targets
    #: () see gpu_workers.head.ops.rasterization.Raster.
    dropped: Tensor

    @property
    def planes(self) -> Tensor:
        """(B, 3, S, S) 0..1, channels last in memory."""
        planes = self.crops.permute(0, 3, 1, 2).float() / 255
        return planes.contiguous(memory_format=torch.channels_last)


class BatchMaker:
    """Draws batches of one size.

    Args:
        size: pixels a side of a crop.
        batch: B.
        supersample: drawn so many times larger, then averaged.
        fused: draw with compiled kernels, if that works on this machine.
    """

    def __init__(
        self,
        maker: PictureMaker,
        targets: TargetMaker,
        size: int,
        batch: int,
        supersample: float = 2,
        *,
        fused: bool = False,
    ) -> None:
        self.maker = maker
        self.targets = targets
        self.size = size
        self.batch = batch
        self.supersample = supersample
        self._capacity = self._measure_capacity() if maker.device.type == "cuda" or fused else None
        if fused:
            self._compile()

    def _compile(self) -> None:
        """Switch to compiled kernels, and back if a first batch fails: they need what not every host has."""
        began = time.monotonic()
        self.maker.compile()
        try:
            self.draw(torch.Generator(self.maker.device).manual_seed(5))
        except Exception as error:
            log.warning("drawing kernel by kernel, for compiling failed: %s", str(error).splitlines()[:1])
            self.maker.compile(on=False)
        else:
            log.info("compiled the drawing in %.0f s", time.monotonic() - began)

    def _measure_capacity(self) -> Capacity:
        generator = torch.Generator(self.maker.device).manual_seed(5)
        heads, looks = self.maker.sample(256, generator)
        counts = self.maker.count_tests(heads, looks, round(self.size * self.supersample)).tolist()
        room = _ROOM + _CHANCE / math.sqrt(self.batch)
        return Capacity(*(math.ceil(count / 256 * self.batch * room) for count in counts))

    def draw(self, generator: torch.Generator) -> Batch:
        """Return the generator's next batch."""
        return self.draw_these(*self.maker.sample(self.batch, generator), generator)

    def draw_these(self, heads: RandomHeads, looks: Looks, generator: torch.Generator) -> Batch:
        """Return the crops of B heads with B looks; the generator draws the grain."""
        pictures = self.maker.render(
            heads, looks, self.size, generator, supersample=self.supersample, capacity=self._capacity
        )
        return Batch(
            crops=pictures.pixels,
            targets=self.targets.make(heads, pictures.vertices),
            dropped=pictures.dropped,
        )

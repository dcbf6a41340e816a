"""The training loop: one new batch a step, AdamW, a moving average, logs that wait for the device rarely."""

import copy
import csv
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gpu_workers.head.landmarks.dense_network import FaceNetwork, use_channels_last
from gpu_workers.training.batches import Batch, BatchMaker
from gpu_workers.training.checkpoint import load_checkpoint, save_checkpoint
from gpu_workers.training.losses import measure_losses
from gpu_workers.training.schedule import Budget, learning_rate
from gpu_workers.training.synthetic_photos.vertex_map import VertexMap
from gpu_workers.training.team import Team
from gpu_workers.training.validation import Errors, measure_errors

log = logging.getLogger(__name__)

_WEIGHT_DECAY = 0.02
_BETAS = (0.9, 0.99)
_CLIP = 5.0
#: The average forgets slowly, but not what came in the first steps.
_AVERAGE, _AVERAGE_START = 0.9995, 20
_COLUMNS = ("plane", "depth", "correlation", "millimetres", "gradient", "dropped")


@dataclass(frozen=True, kw_only=True)
class TrainerOptions:
    """How to train."""

    out: Path
    peak_rate: float = 1.2e-3
    #: Steps between rows of the log, which wait for the device, and between validations.
    log_every: int = 100
    validate_every: int = 2000
    #: Seconds between checkpoints.
    save_seconds: float = 120.0


class Trainer:
    """Trains one network.

    Args:
        network: on the device of the batches.
        batches: where crops come from.
        generator: of the batches; its state is part of a checkpoint.
        surface: the map from points to the surface.
        known: batches for validation.
        options: how.
        team: the processes that train it together.
    """

    def __init__(
        self,
        network: FaceNetwork,
        batches: BatchMaker,
        generator: torch.Generator,
        surface: VertexMap,
        known: Sequence[Batch],
        options: TrainerOptions,
        team: Team | None = None,
    ) -> None:
        self.network = network.train()
        use_channels_last(network)
        self.average = copy.deepcopy(network).eval()
        self.step = 0
        self.images = 0
        self._batches, self._generator, self._surface = batches, generator, surface
        self._known, self._options = list(known), options
        self._team = team or Team()
        self._on_gpu = batches.maker.device.type == "cuda"
        self._optimiser = _make_optimiser(network, options.peak_rate)
        self._sums = torch.zeros(len(_COLUMNS), device=batches.maker.device)

    def start_from_mean(self) -> None:
        """Let the untrained network answer with the mean face of the known batches."""
        mean = torch.cat([batch.targets.points for batch in self._known]).mean(0)
        count = mean.numel()
        with torch.no_grad():
            for network in (self.network, self.average):
                network.answer.bias[:count] = mean.flatten()

    def run(self, budget: Budget) -> Errors | None:
        """Train until the budget is over; return the errors of the average network if this process leads."""
        # Devices of one kind may differ in a last bit of the mean face.
        self._team.follow([*self.network.state_dict().values(), *self.average.state_dict().values()])
        if self.step == 0:
            # What the mean face, the answer of an untrained network, is worth.
            self._validate_if_leading(budget)
        saved, logged, seen = budget.elapsed, budget.elapsed, self.images
        while True:
            over, progress = self._team.agree([budget.over(self.step), budget.progress(self.step)])
            if over:
                break
            rate = learning_rate(self._options.peak_rate, progress, self.step)
            self.train_step(self._batches.draw(self._generator), rate)
            if self.step % self._options.log_every == 0:
                values = (self._sums / self._options.log_every).tolist()
                self._sums.zero_()
                speed = (self.images - seen) / max(budget.elapsed - logged, 1e-9)
                logged, seen = budget.elapsed, self.images
                if self._team.leads:
                    self._write_log(budget, rate, speed, values)
            if self.step % self._options.validate_every == 0:
                self._validate_if_leading(budget)
            if budget.elapsed - saved > self._options.save_seconds:
                saved = budget.elapsed
                self.save(budget)
        self.save(budget)
        return self._validate_if_leading(budget)

    def train_step(self, batch: Batch, rate: float) -> None:
        """Take one step; nothing here waits for the device."""
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        planes = batch.planes
        with torch.autocast(planes.device.type, torch.bfloat16, enabled=self._on_gpu):
            estimate = self.network(planes)
        losses = measure_losses(estimate, batch.targets, self._surface)
        self._optimiser.zero_grad(set_to_none=True)
        losses.total.backward()  # type: ignore[no-untyped-call]
        self._team.average([p.grad for p in self.network.parameters() if p.grad is not None])
        gradient = nn.utils.clip_grad_norm_(self.network.parameters(), _CLIP)
        self._optimiser.step()
        self.step += 1
        self.images += len(planes) * self._team.size
        self._follow()
        parts = [losses.plane, losses.depth, losses.correlation, losses.millimetres, gradient]
        self._sums += torch.stack([*(part.detach().float() for part in parts), batch.dropped.float()])

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average towards the network."""
        keep = min(_AVERAGE, (1 + self.step) / (_AVERAGE_START + self.step))
        own: list[Tensor] = list(self.average.parameters())
        other: list[Tensor] = list(self.network.parameters())
        torch._foreach_lerp_(own, other, 1 - keep)
        for mine, theirs in zip(self.average.buffers(), self.network.buffers(), strict=True):
            mine.copy_(theirs)

    def _validate_if_leading(self, budget: Budget) -> Errors | None:
        return self.validate(budget) if self._team.leads else None

    def validate(self, budget: Budget) -> Errors:
        """Measure the average network on the known heads, and write it down."""
        errors = measure_errors(self.average, self._known, self._surface)
        row = {"step": self.step, "images": self.images, "seconds": round(budget.spent + budget.elapsed, 1)}
        _append(self._options.out / "validation.csv", row | errors.row())
        log.info(
            "step %d, %.2f M images: %.2f %%IOD (depth %.2f), surface %.3f mm, calibration %.2f %.2f %.2f",
            self.step,
            self.images / 1e6,
            errors.landmarks_iod,
            errors.depth_iod,
            errors.surface_mm,
            errors.calibration_plane,
            errors.calibration_depth,
            errors.calibration_joint,
        )
        return errors

    def save(self, budget: Budget) -> None:
        """Write the checkpoint, if this process leads."""
        if not self._team.leads:
            return
        state = {
            "plan": self.network.plan.to_json(),
            "step": self.step,
            "images": self.images,
            "seconds": budget.spent + budget.elapsed,
        }
        save_checkpoint(self.checkpoint_path, self._networks(), self._optimiser, self._generator, state)

    def resume(self) -> float:
        """Go on from the checkpoint; return the seconds that were spent before it.

        The generator's state is the first process's; the others begin new sequences, of the step's number.

        Raises:
            ConfigurationError: there is none, or it is of another network.
        """
        state: dict[str, Any] = load_checkpoint(
            self.checkpoint_path, self._networks(), self._optimiser, self._generator
        )
        self.step, self.images = int(state["step"]), int(state["images"])
        if not self._team.leads:
            self._generator.manual_seed(self._team.seed(self.step))
        return float(state["seconds"])

    @property
    def checkpoint_path(self) -> Path:
        """Where the checkpoint lies."""
        return self._options.out / "checkpoint.safetensors"

    def _networks(self) -> dict[str, nn.Module]:
        return {"network": self.network, "average": self.average}

    def _write_log(self, budget: Budget, rate: float, speed: float, values: list[float]) -> None:
        row = {
            "step": self.step,
            "images": self.images,
            "seconds": round(budget.spent + budget.elapsed, 1),
            "images_per_second": round(speed, 1),
            "learning_rate": f"{rate:.3e}",
        }
        row |= {name: round(value, 5) for name, value in zip(_COLUMNS, values, strict=True)}
        _append(self._options.out / "log.csv", row)
        if values[-1] > 0:
            log.warning("the rasteriser dropped %.0f pixel tests a step: its lists are too small", values[-1])


def _make_optimiser(network: FaceNetwork, rate: float) -> torch.optim.AdamW:
    decayed = [p for p in network.parameters() if p.dim() > 1 and p is not network.modes]
    free = [p for p in network.parameters() if p.dim() <= 1 or p is network.modes]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": _WEIGHT_DECAY},
        {"params": free, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rate, betas=_BETAS, fused=True)


def _append(path: Path, row: dict[str, Any]) -> None:
    """Add a row to a CSV file, with a header if it is new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)

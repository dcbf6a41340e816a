"""Several processes that train one network, one device each; alone, every function here does nothing.

Started by `python -m torch.distributed.run --nproc-per-node N -m ...`, which tells each process its rank by
the environment. Each draws batches of its own; gradients are averaged, so that N processes with a batch of B
take the steps of one with a batch of N B (normalisations see B). The first one decides when to stop, logs,
validates and writes.
"""

import os
from collections.abc import Sequence
from datetime import timedelta

import torch
from torch import Tensor, distributed

#: Seeds of two ranks differ by this, so that no two draw the same heads.
_SEED_STEP = 7919
#: Preparing and compiling differ between processes by less.
_PATIENCE = timedelta(minutes=15)


class Team:
    """The processes of one training. `Team()` is one alone.

    Args:
        rank: this process's number.
        size: how many there are.
        device: of this one's network; decides how gradients travel.
        meeting: where the processes find each other, a URL of torch.distributed; by default the environment.
    """

    def __init__(
        self, rank: int = 0, size: int = 1, device: torch.device | None = None, meeting: str = "env://"
    ) -> None:
        self.rank, self.size = rank, size
        self._host: distributed.ProcessGroup | None = None
        if size > 1:
            on_gpu = device is not None and device.type == "cuda"
            distributed.init_process_group(
                "nccl" if on_gpu else "gloo", meeting, rank=rank, world_size=size, timeout=_PATIENCE
            )
            self._host = distributed.new_group(backend="gloo", timeout=_PATIENCE)

    @property
    def leads(self) -> bool:
        """Whether this process decides, logs and writes."""
        return self.rank == 0

    def seed(self, seed: int) -> int:
        """Return this process's own seed."""
        return seed + _SEED_STEP * self.rank

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Give tensors the mean of all processes, in place; on a GPU without waiting for it."""
        if self.size == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        distributed.all_reduce(flat)
        flat /= self.size
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        shaped = [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]
        torch._foreach_copy_(list(tensors), shaped)

    def follow(self, tensors: Sequence[Tensor]) -> None:
        """Give tensors the first process's values, in place."""
        if self.size > 1:
            for tensor in tensors:
                distributed.broadcast(tensor, 0)

    def agree(self, values: Sequence[float]) -> list[float]:
        """Return the first process's values; they travel between hosts, no device waits."""
        if self._host is None:
            return list(values)
        shared = torch.tensor(values, dtype=torch.float64)
        distributed.broadcast(shared, 0, group=self._host)
        agreed: list[float] = shared.tolist()
        return agreed

    def close(self) -> None:
        """Leave the team; everyone must."""
        if self.size > 1:
            distributed.destroy_process_group()


def join_team(device: str) -> tuple[Team, torch.device]:
    """Return the team that the environment names (alone without one) and this process's device.

    Args:
        device: as asked for; of several CUDA devices each process takes the one of its local rank.
    """
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    own = torch.device(device)
    if own.type == "cuda" and size > 1:
        own = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(own)
    return Team(rank, size, own), own

"""Small constants on a device, sent there once: sending one from the host makes the host wait."""

from functools import lru_cache

import torch
from torch import Tensor

Numbers = tuple[float, ...] | tuple[tuple[float, ...], ...]


@lru_cache(maxsize=256)
def constant(values: Numbers, device: torch.device) -> Tensor:
    """Return the numbers as a tensor, float32 or int64; never write into it."""
    return torch.tensor(values, device=device)

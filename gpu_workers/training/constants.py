"""Small constants on a device, sent there once: sending one from the host makes the host wait."""

from functools import lru_cache

import torch
from torch import Tensor

Row = tuple[float, ...]
Numbers = Row | tuple[Row, ...]


def constant(values: Numbers, device: torch.device) -> Tensor:
    """Return the numbers as a tensor, float32, or int64 if they are whole; never write into it."""
    if torch.compiler.is_compiling():
        # A compiled function takes numbers in its own text.
        return _write_out(values, device)
    return _send_once(values, device)


@lru_cache(maxsize=256)
def _send_once(values: Numbers, device: torch.device) -> Tensor:
    return torch.tensor(values, device=device)


def _write_out(values: Numbers, device: torch.device) -> Tensor:
    parts = [
        _write_out(value, device) if isinstance(value, tuple) else torch.full((), value, device=device)
        for value in values
    ]
    return torch.stack(parts)

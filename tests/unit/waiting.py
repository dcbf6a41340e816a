"""A guard against operations that on a GPU make the host wait for the device."""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class NoWaiting(TorchDispatchMode):
    """Refuses reading values, sizes that depend on them, and new constants sent from the host."""

    FORBIDDEN = (
        *("_local_scalar_dense", "nonzero", "masked_select", "lift_fresh", "unique"),
        *("is_nonzero", "equal."),
    )

    def __init__(self, also_allowed: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.also_allowed = also_allowed

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(function)
        assert not any(word in name for word in self.FORBIDDEN) or name in self.also_allowed, name
        if "index" in name and len(args) > 1 and isinstance(args[1], list):
            assert not any(i is not None and i.dtype == torch.bool for i in args[1]), name
        return function(*args, **(kwargs or {}))

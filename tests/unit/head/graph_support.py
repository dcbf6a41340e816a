"""Graphs without a GPU: what is captured is run again, and writes to the tensors of the first time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from gpu_workers.head.runtime.cuda_graphs import GraphPool
from gpu_workers.head.runtime.device_runtime import DeviceRuntime
from gpu_workers.head.runtime.structures import list_tensors

CPU = torch.device("cpu")


class RepeatedCall:
    """A captured call that runs the function again."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self.result = function()

    def replay(self) -> Any:
        with torch.inference_mode():
            for place, value in zip(list_tensors(self.result), list_tensors(self._function()), strict=True):
                if place.data_ptr() != value.data_ptr():
                    place.copy_(value)
        return self.result


class EagerPool(GraphPool):
    """A pool of the CPU that captures."""

    def __init__(self) -> None:
        super().__init__(CPU)
        self.captures = True
        #: How many functions were captured.
        self.captured = 0

    @contextmanager
    def use(self) -> Iterator[None]:
        with self.lock:
            yield

    def capture(self, function: Callable[[], Any]) -> Any:
        self.captured += 1
        return RepeatedCall(function)


def eager_runtime() -> DeviceRuntime:
    """Return a runtime of the CPU that takes the ways of a GPU's graphs."""
    runtime = DeviceRuntime(CPU)
    runtime.graphs = True
    runtime.faces, runtime.heads, runtime.masks, runtime.maps = (EagerPool() for _ in range(4))
    return runtime

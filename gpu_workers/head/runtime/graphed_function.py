"""A function of tensors as CUDA graphs: captured once for each kind of inputs, replayed after that.

The one place that knows how inputs reach a graph, which graphs are kept, and whose memory the results are.
"""

import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from gpu_workers.head.runtime.cuda_graphs import CapturedCall, GraphPool
from gpu_workers.head.runtime.host_transfer import Staging, to_host
from gpu_workers.head.runtime.structures import map_tensors

Result = TypeVar("Result")

#: Bytes to a multiple of which inputs begin: as the allocator aligns tensors of their own.
_ALIGNMENT = 512


@dataclass(frozen=True)
class Resident:
    """A tensor that a graph uses where it lies: the graph belongs to that memory, and keeps it."""

    tensor: Tensor


class GraphedFunction(Generic[Result]):
    """A function, replayed as a graph where its pool captures, else called as it is; by any thread.

    Args:
        function: takes tensors on the pool's device and values that can be hashed; returns a tensor or a
            structure of them. It never waits for the device and decides nothing by a tensor's values.
        pool: memory, stream and lock that it shares with other functions.
        keep: kinds of inputs (shapes and types of tensors, other values) whose graphs are kept; of more, the
            one that was not called for longest goes.
    """

    def __init__(self, function: Callable[..., Result], pool: GraphPool, *, keep: int = 8) -> None:
        self._function, self._pool, self._keep = function, pool, keep
        self._graphs: OrderedDict[tuple[object, ...], _Graph[Result]] = OrderedDict()

    def __call__(self, *inputs: object) -> Result:
        """Return the function's result, which is the caller's.

        Args:
            inputs: tensors of the device, or of the host: those go there by page-locked memory, neighbours
                as one copy, without a wait; `Resident` ones; other values.
        """
        with self.lend(*inputs) as result:
            if not self._pool.captures:
                return result
            return map_tensors(torch.clone, result)

    def fetch(self, *inputs: object) -> Result:
        """Return the result on the host; waits for it."""
        with self.lend(*inputs) as result:
            found = to_host(result)
            lent = found is result and self._pool.captures
            return map_tensors(torch.clone, found) if lent else found

    @contextmanager
    def lend(self, *inputs: object) -> Iterator[Result]:
        """Yield the function's result in the graph's own memory: another call's once the context ends.

        Nothing else of the pool runs in other threads meanwhile.
        """
        if not self._pool.captures:
            yield self._function(*(_as_argument(value, self._pool.device) for value in inputs))
            return
        with self._pool.use():
            yield self._find(inputs).replay(inputs)

    def _find(self, inputs: Sequence[object]) -> "_Graph[Result]":
        key = tuple(_describe(value) for value in inputs)
        if key not in self._graphs:
            self._graphs[key] = _Graph(self._function, self._pool, inputs)
            while len(self._graphs) > self._keep:
                self._graphs.popitem(last=False)
        self._graphs.move_to_end(key)
        return self._graphs[key]


class _Graph(Generic[Result]):
    """The graph of one kind of inputs, which it copies to where it reads them."""

    def __init__(self, function: Callable[..., Result], pool: GraphPool, inputs: Sequence[object]) -> None:
        self._function, self._pool = function, pool
        tensors = [value for value in inputs if isinstance(value, Tensor)]
        self._edges = [0, *itertools.accumulate(_aligned(tensor.nbytes) for tensor in tensors)]
        # Outside of inference mode: such tensors may be written to in every mode.
        with torch.inference_mode(False):
            self._memory = torch.zeros(self._edges[-1], dtype=torch.uint8, device=pool.device)
            self._places = _lay_out(self._memory, tensors, self._edges)
        places = iter(self._places)
        self._arguments = [
            next(places) if isinstance(value, Tensor) else _as_argument(value, pool.device)
            for value in inputs
        ]
        #: First and last of neighbours on the host to what sends them.
        self._staging: dict[tuple[int, int], tuple[Staging, list[Tensor]]] = {}
        self._call: CapturedCall[Result] | None = None

    def replay(self, inputs: Sequence[object]) -> Result:
        """Return the result for inputs of this kind, in the memory of the last one's."""
        self._fill([value for value in inputs if isinstance(value, Tensor)])
        if self._call is None:
            self._call = self._pool.capture(lambda: self._function(*self._arguments))
        return self._call.replay()

    def _fill(self, sources: Sequence[Tensor]) -> None:
        numbers = range(len(sources))
        for on_host, group in itertools.groupby(numbers, lambda number: sources[number].device.type == "cpu"):
            run = list(group)
            if on_host:
                self._send(run[0], run[-1] + 1, sources)
                continue
            for number in run:
                source, place = sources[number], self._places[number]
                if source.device == place.device:
                    # Of another stream perhaps, which must not reuse the memory before it is read.
                    source.record_stream(torch.cuda.current_stream(source.device))
                place.copy_(source)

    def _send(self, first: int, stop: int, sources: Sequence[Tensor]) -> None:
        if (first, stop) not in self._staging:
            start, end = self._edges[first], self._edges[stop]
            edges = [edge - start for edge in self._edges[first:stop]]
            with torch.inference_mode(False):
                staging = Staging(self._memory[start:end])
                self._staging[first, stop] = staging, _lay_out(staging.host, sources[first:stop], edges)
        staging, targets = self._staging[first, stop]
        staging.wait()
        for target, source in zip(targets, sources[first:stop], strict=True):
            target.copy_(source)
        staging.send()


def _lay_out(memory: Tensor, like: Sequence[Tensor], starts: Sequence[int]) -> list[Tensor]:
    """Return views of bytes (N,), shaped and typed like some tensors."""
    return [
        memory[start : start + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
        for tensor, start in zip(like, starts, strict=False)
    ]


def _aligned(count: int) -> int:
    return -(-count // _ALIGNMENT) * _ALIGNMENT


def _as_argument(value: object, device: torch.device) -> Any:
    if isinstance(value, Resident):
        return value.tensor
    return value.to(device, non_blocking=True) if isinstance(value, Tensor) else value


def _describe(value: object) -> tuple[object, ...]:
    """Return what a graph depends on: of a tensor all but its numbers."""
    if isinstance(value, Resident):
        tensor = value.tensor
        return "resident", tensor.data_ptr(), tensor.shape, tensor.dtype, tensor.stride()
    if isinstance(value, Tensor):
        return "tensor", value.shape, value.dtype
    return "value", type(value), value

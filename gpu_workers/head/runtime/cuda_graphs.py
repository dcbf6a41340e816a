"""CUDA graphs: many small kernels launched as one, on inputs and outputs that stay where they are."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, wraps
from typing import Any, Generic, ParamSpec, TypeVar, cast

import torch

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

#: Runs before a capture: the libraries then have chosen their kernels and made their constants.
_WARM_UPS = 3
#: While one thread captures, another must not: a capture begins with a wait for the whole device.
_capture_lock = threading.RLock()
#: Of a thread that captures: the constants that were read, `held`.
_capturing = threading.local()


def graph_constant(
    maxsize: int,
) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Return a decorator: an LRU cache of tensors made once, which captured calls that read them keep.

    A graph knows no more of a tensor than its address: what it reads must outlive its place in the cache.

    Args:
        maxsize: entries; more than one captured call reads.
    """

    def decorate(make: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        cached = cast(Callable[Parameters, Result], lru_cache(maxsize=maxsize)(make))

        @wraps(make)
        def find(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
            value = cached(*args, **kwargs)
            held = getattr(_capturing, "held", None)
            if held is not None:
                held.append(value)
            return value

        return find

    return decorate


def waits_for_values(tensor: torch.Tensor) -> bool:
    """Tell whether the host waits when it asks for a tensor's values: code that is captured must not ask."""
    return tensor.is_cuda


class GraphPool:
    """Graphs that are replayed one after another, so that they may share the memory they work in."""

    def __init__(self) -> None:
        #: Hold it from writing a graph's inputs until its results are copied or no longer needed.
        self.lock = threading.RLock()
        self._places: dict[int, tuple[Any, torch.cuda.Stream]] = {}

    def find(self, device: torch.device) -> tuple[Any, torch.cuda.Stream]:
        """Return a device's memory and the stream of its captures: memory is reused on one stream only."""
        index = device.index if device.index is not None else torch.cuda.current_device()
        with self.lock:
            if index not in self._places:
                self._places[index] = torch.cuda.graph_pool_handle(), make_stream(index)
            return self._places[index]


#: What looks at a face, fits its head, masks its photo, bakes its maps: of several photos side by side.
FACES, HEADS, MASKS, MAPS = GraphPool(), GraphPool(), GraphPool(), GraphPool()


class CapturedCall(Generic[Result]):
    """A function without arguments, captured: its tensors must be the same at every call.

    Args:
        function: reads and writes tensors that outlive it or come from a `graph_constant`, never waits for
            the device, makes no decision that depends on a tensor's values.
        device: a CUDA device.
        pool: the caller holds its lock, here and at every replay.
    Raises:
        RuntimeError: the function cannot be captured.
    """

    def __init__(self, function: Callable[[], Result], device: torch.device, pool: GraphPool) -> None:
        with _capture_lock, torch.cuda.device(device):
            handle, stream = pool.find(device)
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(_WARM_UPS):
                    function()
            torch.cuda.current_stream().wait_stream(stream)
            torch.cuda.synchronize()
            self._graph = torch.cuda.CUDAGraph()
            # torch's own capture stream belongs to the first device that ever captured.
            self._constants: list[object] = []
            _capturing.held = self._constants
            try:
                with torch.cuda.graph(
                    self._graph, pool=handle, stream=stream, capture_error_mode="thread_local"
                ):
                    #: What the function returned; every replay writes it anew.
                    self.result = function()
            finally:
                del _capturing.held
            # The warm-ups' memory is not the graph's.
            torch.cuda.empty_cache()

    def replay(self) -> Result:
        """Run the captured kernels, and return the same result tensors; hold the pool's lock meanwhile."""
        self._graph.replay()
        return self.result


def run_side_by_side(device: torch.device, *tasks: Callable[[], None]) -> None:
    """Run tasks that write to different places; on CUDA on streams of their own, in a graph as its branches.

    The current stream goes on when all have ended. What a task allocates stays its own; what it is given must
    be kept by the caller meanwhile.
    """
    if device.type != "cuda":
        for task in tasks:
            task()
        return
    first, *others = tasks
    current = torch.cuda.current_stream(device)
    streams = _side_streams(device, len(others))
    for task, stream in zip(others, streams, strict=True):
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            task()
    first()
    for stream in streams:
        current.wait_stream(stream)


@lru_cache(maxsize=64)
def _side_streams(device: torch.device, count: int) -> list[torch.cuda.Stream]:
    return [make_stream(device) for _ in range(count)]


def make_stream(device: torch.device | int) -> torch.cuda.Stream:
    """Return a new stream of a device."""
    stream: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    return stream


@contextmanager
def beside(device: torch.device, lane: str) -> Iterator[None]:
    """Do what follows on a stream of its own, so that it does not queue behind other threads' work.

    What it reads must be complete before. At the end its results are complete; on a CPU nothing changes.

    Args:
        lane: what is done one after another has one name.
    """
    if device.type != "cuda":
        yield
        return
    stream = _lane(device, lane)
    with torch.cuda.device(device), torch.cuda.stream(stream):
        yield
        stream.synchronize()


@lru_cache(maxsize=64)
def _lane(device: torch.device, lane: str) -> torch.cuda.Stream:  # noqa: ARG001
    return make_stream(device)

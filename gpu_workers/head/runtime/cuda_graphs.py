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
    """Graphs of a device that are replayed one after another, so that they share the memory they work in.

    Args:
        graphs: capture; without, functions are called as they are. Only CUDA devices capture.
    """

    def __init__(self, device: torch.device, *, graphs: bool = True) -> None:
        self.device = device
        self.captures = graphs and device.type == "cuda"
        #: Held from writing a graph's inputs until its results are copied or no longer needed.
        self.lock = threading.RLock()
        #: The memory, and the stream of its captures: memory is reused on one stream only.
        self._place: tuple[Any, torch.cuda.Stream] | None = None
        #: When the last holder's work has ended.
        self._used: torch.cuda.Event | None = None

    @contextmanager
    def use(self) -> Iterator[None]:
        """Hold the pool if it captures; the current stream first waits for the last holder's work."""
        if not self.captures:
            yield
            return
        with self.lock, torch.cuda.device(self.device):
            stream = torch.cuda.current_stream(self.device)
            if self._used is None:
                self._used = torch.cuda.Event()  # type: ignore[no-untyped-call]
            else:
                stream.wait_event(self._used)
            try:
                yield
            finally:
                self._used.record(stream)

    def capture(self, function: Callable[[], Result]) -> "CapturedCall[Result]":
        """Return a captured function; hold the pool here and at every replay."""
        if self._place is None:
            self._place = torch.cuda.graph_pool_handle(), make_stream(self.device)
        return CapturedCall(function, self.device, *self._place)


class CapturedCall(Generic[Result]):
    """A function without arguments, captured: its tensors must be the same at every call.

    Args:
        function: reads and writes tensors that outlive it or come from a `graph_constant`, never waits for
            the device, makes no decision that depends on a tensor's values.
        device: a CUDA device.
        memory: handle of the memory that graphs share.
        stream: the one stream of all captures in that memory.
    Raises:
        RuntimeError: the function cannot be captured.
    """

    def __init__(
        self, function: Callable[[], Result], device: torch.device, memory: Any, stream: torch.cuda.Stream
    ) -> None:
        with _capture_lock, torch.cuda.device(device):
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
                    self._graph, pool=memory, stream=stream, capture_error_mode="thread_local"
                ):
                    #: What the function returned; every replay writes it anew.
                    self.result = function()
            finally:
                del _capturing.held
            # The warm-ups' memory is not the graph's.
            torch.cuda.empty_cache()

    def replay(self) -> Result:
        """Run the captured kernels, and return the same result tensors."""
        self._graph.replay()
        return self.result


class SideStreams:
    """Streams of a device on which tasks run side by side; in a graph its branches."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._streams: list[torch.cuda.Stream] = []

    def run(self, *tasks: Callable[[], None]) -> None:
        """Run tasks that write to different places; on a CPU one after another.

        The current stream goes on when all have ended. What a task allocates stays its own; what it is given
        must be kept by the caller meanwhile.
        """
        if self._device.type != "cuda":
            for task in tasks:
                task()
            return
        first, *others = tasks
        while len(self._streams) < len(others):
            self._streams.append(make_stream(self._device))
        current = torch.cuda.current_stream(self._device)
        streams = self._streams[: len(others)]
        for task, stream in zip(others, streams, strict=True):
            stream.wait_stream(current)
            with torch.cuda.stream(stream):
                task()
        first()
        for stream in streams:
            current.wait_stream(stream)


def make_stream(device: torch.device | int) -> torch.cuda.Stream:
    """Return a new stream of a device."""
    stream: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    return stream

"""What an engine keeps of its device besides tensors: graph pools, streams, and its say over CPU threads."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from gpu_workers.head.runtime.cuda_graphs import GraphPool, make_stream


class DeviceRuntime:
    """A device as one engine uses it; its parts share this object.

    Args:
        graphs: on CUDA, replay graphs; without, launch kernel by kernel.
    """

    def __init__(self, device: torch.device, *, graphs: bool = False) -> None:
        self.device = device
        self.graphs = graphs and device.type == "cuda"
        #: What looks at a face, fits its head, masks its photo, bakes its maps: for several photos at once.
        self.faces, self.heads, self.masks, self.maps = (GraphPool(device, graphs=graphs) for _ in range(4))
        self._streams: dict[str, torch.cuda.Stream] = {}
        self._lock = threading.Lock()

    @contextmanager
    def beside(self, lane: str) -> Iterator[None]:
        """Do what follows on a stream of its own, so that it does not queue behind other threads' work.

        What it reads must be complete before. At the end its results are complete; on a CPU nothing changes.

        Args:
            lane: what is done one after another has one name.
        """
        if self.device.type != "cuda":
            yield
            return
        with self._lock:
            if lane not in self._streams:
                self._streams[lane] = make_stream(self.device)
            stream = self._streams[lane]
        with torch.cuda.device(self.device), torch.cuda.stream(stream):
            yield
            stream.synchronize()

    @contextmanager
    def one_thread(self) -> Iterator[None]:
        """Keep torch to one CPU thread: small matrices gain nothing from more, and lose on busy cores."""
        before = torch.get_num_threads()
        if self.device.type != "cpu" or before == 1:
            yield
            return
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)

"""Device memory: admission by a budget, measured peaks, and what an out-of-memory error looks like."""

import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from face3d.states import StageName
from gpu_workers.profiles import expected_peak_mb

#: A measured peak counts this much more: allocators round up, and the next photo is not the same.
_MARGIN = 1.15


@dataclass(eq=False)
class Admission:
    """Work that is on the device; `alone` stays true while nothing else joined it."""

    alone: bool


class MemoryBudget:
    """Admits work while its memory fits, first come first served; what is larger than all is admitted alone.

    Args:
        total_mb: what all work may take together; None: no limit is known, everything is admitted.
    """

    def __init__(self, total_mb: float | None) -> None:
        self.total_mb = total_mb
        self._used = 0.0
        self._holders: list[Admission] = []
        self._queue: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def admit(self, need_mb: float) -> Iterator["Admission"]:
        """Wait until the work fits and hold its memory."""
        ticket = object()
        need = need_mb if self.total_mb is None else min(need_mb, self.total_mb)
        with self._changed:
            self._queue.append(ticket)
            self._changed.wait_for(lambda: self._queue[0] is ticket and self._fits(need))
            self._queue.popleft()
            self._used += need
            admission = Admission(alone=not self._holders)
            for other in self._holders:
                other.alone = False
            self._holders.append(admission)
            self._changed.notify_all()
        try:
            yield admission
        finally:
            with self._changed:
                self._used -= need
                self._holders.remove(admission)
                self._changed.notify_all()

    @contextmanager
    def admit_alone(self) -> Iterator[None]:
        """Wait until nothing else works on the device, and keep it so."""
        ticket = object()
        with self._changed:
            self._queue.append(ticket)
            self._changed.wait_for(lambda: self._queue[0] is ticket and not self._holders)
            # It stays at the head of the queue: nobody else is admitted.
        try:
            yield
        finally:
            with self._changed:
                self._queue.popleft()
                self._changed.notify_all()

    def _fits(self, need: float) -> bool:
        return self.total_mb is None or not self._holders or self._used + need <= self.total_mb


class PeakTable:
    """Memory that one job of a stage needs: expected at first, then the largest measured."""

    def __init__(self) -> None:
        self._measured: dict[tuple[StageName, str, int], float] = {}
        self._lock = threading.Lock()

    def need_mb(self, stage: StageName, engine: str, texture_size: int) -> float:
        """Return what one job needs, MB."""
        with self._lock:
            measured = self._measured.get((stage, engine, texture_size))
        return expected_peak_mb(stage, engine, texture_size) if measured is None else measured * _MARGIN

    def observe(self, stage: StageName, engine: str, texture_size: int, peak_mb: float) -> None:
        """Note a job's peak, MB, measured while it was alone on the device."""
        key = (stage, engine, texture_size)
        with self._lock:
            self._measured[key] = max(peak_mb, self._measured.get(key, 0.0))


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that host or device memory ran out; asks no GPU library to be loaded."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    message = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in message or "can't allocate" in message)


def release_cached_memory() -> None:
    """Give torch's unused blocks back to the device."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def reset_peak() -> None:
    """Begin to measure the peak of the allocator."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()


def read_peak_mb() -> float | None:
    """Return the allocator's peak since `reset_peak`, MB; None without a GPU in use."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    return float(torch.cuda.max_memory_allocated() / 2**20)

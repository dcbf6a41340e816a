"""Concurrent calls of one process share a pass: gathered by a bounded wait, answered one by one."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from gpu_workers.memory import is_out_of_memory, release_cached_memory

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(kw_only=True)
class _Entry(Generic[Item, Result]):
    item: Item
    future: "Future[tuple[Result, int]]" = field(default_factory=Future)


class Batcher(Generic[Item, Result]):
    """Runs one batch at a time; what arrives meanwhile forms the next one.

    The caller whose turn it is leads: it waits up to `wait_seconds` for others, and not at all when `expects`
    says that none can come, then works for all.

    Args:
        work: takes 1 to `largest` items, returns a result for each, in order.
        largest: items in one pass.
        wait_seconds: longest time that a call waits for others.
        expects: whether another call may come soon.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Sequence[Result]],
        *,
        largest: int,
        wait_seconds: float = 0.004,
        expects: Callable[[int], bool] = lambda _waiting: True,
    ) -> None:
        self._work = work
        self._largest = max(1, largest)
        self._wait_seconds = wait_seconds
        self._expects = expects
        self._turn = threading.Lock()
        self._arrived = threading.Condition()
        self._waiting: deque[_Entry[Item, Result]] = deque()

    def call(self, item: Item) -> tuple[Result, int]:
        """Return the item's result, and how many items shared its pass.

        Raises:
            Exception: what the work raised for this item alone.
        """
        entry: _Entry[Item, Result] = _Entry(item=item)
        with self._arrived:
            self._waiting.append(entry)
            self._arrived.notify_all()
        while not entry.future.done():
            # Whoever gets the turn finds its own item done, or leads a batch that may hold it.
            with self._turn:
                if not entry.future.done():
                    self._run(self._gather())
        return entry.future.result()

    def _gather(self) -> list[_Entry[Item, Result]]:
        deadline = time.monotonic() + self._wait_seconds
        with self._arrived:
            while len(self._waiting) < self._largest and self._expects(len(self._waiting)):
                left = deadline - time.monotonic()
                if left <= 0 or not self._arrived.wait(left):
                    break
            return [self._waiting.popleft() for _ in range(min(self._largest, len(self._waiting)))]

    def _run(self, batch: list[_Entry[Item, Result]]) -> None:
        """Work for a batch; one that fails is halved when memory ran out, else taken apart."""
        try:
            results = self._work([entry.item for entry in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"{len(results)} results for {len(batch)} items")
        except Exception as error:
            if len(batch) == 1:
                batch[0].future.set_exception(error)
                return
            without_memory = is_out_of_memory(error)
        else:
            for entry, result in zip(batch, results, strict=True):
                entry.future.set_result((result, len(batch)))
            return
        # Only here are the error's frames gone, and the tensors that they held.
        if without_memory:
            release_cached_memory()
            parts = [batch[: len(batch) // 2], batch[len(batch) // 2 :]]
        else:
            parts = [[entry] for entry in batch]
        for part in parts:
            self._run(part)

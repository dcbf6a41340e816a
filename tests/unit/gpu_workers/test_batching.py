"""Concurrent calls share a pass; each gets its own answer."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from gpu_workers.batching import Batcher

#: Long enough that only the batch being full ends the wait.
PATIENT = 30.0


class Doubler:
    """Doubles numbers; refuses odd batches or large ones as told, and remembers what it was asked."""

    def __init__(self, *, most: int = 100, bad: int | None = None) -> None:
        self.batches: list[list[int]] = []
        self.most = most
        self.bad = bad

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.batches.append(sorted(items))
        if len(items) > self.most:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        if self.bad in items:
            raise ValueError("bad photo")
        return [2 * item for item in items]


def call_together(call: Callable[[int], object], count: int) -> list[object]:
    """Call from as many threads at once; return results or errors in order."""
    barrier = threading.Barrier(count)

    def one(item: int) -> object:
        barrier.wait()
        try:
            return call(item)
        except Exception as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_concurrent_calls_share_a_pass() -> None:
    work = Doubler()
    batcher = Batcher(work, largest=4, wait_seconds=PATIENT)
    assert call_together(batcher.call, 4) == [(0, 4), (2, 4), (4, 4), (6, 4)]
    assert work.batches == [[0, 1, 2, 3]]


def test_a_lone_call_does_not_wait_for_nobody() -> None:
    batcher = Batcher(Doubler(), largest=4, wait_seconds=PATIENT, expects=lambda waiting: waiting < 1)
    assert batcher.call(3) == (6, 1)


def test_the_wait_is_bounded() -> None:
    batcher = Batcher(Doubler(), largest=4, wait_seconds=0.01)
    assert batcher.call(3) == (6, 1)


def test_no_pass_is_larger_than_allowed() -> None:
    work = Doubler()
    results = call_together(Batcher(work, largest=2, wait_seconds=PATIENT).call, 6)
    assert [result[0] for result in results] == [0, 2, 4, 6, 8, 10]  # type: ignore[index]
    assert [len(batch) for batch in work.batches] == [2, 2, 2]


def test_one_bad_photo_fails_alone() -> None:
    work = Doubler(bad=1)
    results = call_together(Batcher(work, largest=3, wait_seconds=PATIENT).call, 3)
    assert results[0] == (0, 1)
    assert isinstance(results[1], ValueError)
    assert results[2] == (4, 1)
    assert work.batches[0] == [0, 1, 2]


def test_a_batch_without_memory_is_halved() -> None:
    work = Doubler(most=2)
    results = call_together(Batcher(work, largest=4, wait_seconds=PATIENT).call, 4)
    assert results == [(0, 2), (2, 2), (4, 2), (6, 2)]
    assert [len(batch) for batch in work.batches] == [4, 2, 2]


def test_a_pass_that_loses_results_fails_as_a_whole_and_is_taken_apart() -> None:
    def forgetful(items: Sequence[int]) -> list[int]:
        return [2 * items[0]]

    results = call_together(Batcher(forgetful, largest=2, wait_seconds=PATIENT).call, 2)
    assert results == [(0, 1), (2, 1)]


def test_the_next_call_after_an_error_is_served() -> None:
    batcher = Batcher(Doubler(bad=1), largest=1)
    with pytest.raises(ValueError, match="bad photo"):
        batcher.call(1)
    assert batcher.call(2) == (4, 1)

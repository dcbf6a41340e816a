"""Processes that reconstruct photos side by side, each on its place: one card, or two for a chain."""

import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from face3d.options import JobOptions
from gpu_workers.engines.anny.engine import AnnyEngine
from gpu_workers.process_settings import prepare_process
from gpu_workers.serving.in_process import OneShotReconstructor


@dataclass(frozen=True)
class Place:
    """Where one process works: the devices of geometry and of texture; the same one replicates a card."""

    geometry: str
    texture: str
    #: The host's cores that the process may use; empty: all, shared with the other processes.
    cores: tuple[int, ...] = ()


@dataclass(frozen=True)
class Timed:
    """One photo's way: its place's number in the fleet, seconds to its PNG bytes."""

    place: int
    seconds: float


@dataclass
class _Process:
    number: int
    one_shot: OneShotReconstructor
    photos: Sequence[bytes]
    threads: int


_process: list[_Process] = []


class Fleet:
    """Running processes, one a place."""

    def __init__(self, pools: Sequence[ProcessPoolExecutor]) -> None:
        self._pools = pools

    def run(self, count: int) -> tuple[list[Timed], float]:
        """Reconstruct photos, each process its share at once; return each one's time, and photos a second."""
        started = time.perf_counter()
        shares = [
            pool.submit(_work, range(first, count, len(self._pools)))
            for first, pool in enumerate(self._pools)
        ]
        timed = [one for share in shares for one in share.result()]
        return timed, len(timed) / (time.perf_counter() - started)


@contextmanager
def open_fleet(
    places: Sequence[Place], *, model_dir: Path, photos: Sequence[bytes], threads: int
) -> Iterator[Fleet]:
    """Yield processes that are warm.

    Args:
        threads: photos in flight in each.
    """
    context = multiprocessing.get_context("spawn")
    pools = [
        ProcessPoolExecutor(
            1,
            mp_context=context,
            initializer=_start,
            initargs=(number, place, model_dir, list(photos), threads, _encoder_threads(place, places)),
        )
        for number, place in enumerate(places)
    ]
    try:
        fleet = Fleet(pools)
        # Each process starts at its first task.
        fleet.run(len(photos) // 4)
        yield fleet
    finally:
        for pool in pools:
            pool.shutdown()


def _encoder_threads(place: Place, places: Sequence[Place]) -> int:
    """Return a process's part of the cores that it shares with the others of its place."""
    cores = len(place.cores) or len(os.sched_getaffinity(0))
    return max(1, cores // sum(other.cores == place.cores for other in places))


def _start(number: int, place: Place, model_dir: Path, photos: list[bytes], threads: int, cores: int) -> None:
    if place.cores:
        os.sched_setaffinity(0, place.cores)

    def open_engine(device: str) -> AnnyEngine:
        engine = AnnyEngine(model_dir, device=device)
        engine.warm_up()
        prepare_process(device)
        return engine

    engine: Any = open_engine(place.geometry)
    baker = engine if place.texture == place.geometry else open_engine(place.texture)
    _process.append(_Process(number, OneShotReconstructor(engine, cores, baker), photos, threads))


def _work(numbers: Sequence[int]) -> list[Timed]:
    process = _process[0]

    def reconstruct(number: int) -> Timed:
        photo = process.photos[number % len(process.photos)]
        return Timed(process.number, process.one_shot.reconstruct(photo, JobOptions()).marks["png"])

    with ThreadPoolExecutor(process.threads) as pool:
        return list(pool.map(reconstruct, numbers))

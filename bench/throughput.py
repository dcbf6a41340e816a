"""Photos a second offline: all photos at hand, several in flight in one or more processes on a card."""

import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

from bench.report import card_memory, describe_run, table, write_csv
from face3d.options import JobOptions
from gpu_workers.engines.anny.engine import AnnyEngine
from web.one_shot import OneShotReconstructor

_state: list[tuple[OneShotReconstructor, JobOptions, list[bytes], int]] = []


def bench_throughput(
    *,
    model_dir: Path,
    device: str,
    photos: Sequence[bytes],
    options: JobOptions,
    shapes: Sequence[tuple[int, int]],
    rounds: int,
    csv: Path | None,
    say: Callable[[str], None],
) -> None:
    """Measure and print.

    Args:
        shapes: (processes, photos in flight in each) to try.
        rounds: each takes all photos.
    """
    described = describe_run(n=len(photos) * rounds, device=device)
    say(described)
    lines, rows = [], []
    for processes, threads in shapes:
        rates = []
        cores = max(1, len(os.sched_getaffinity(0)) // processes)
        with ProcessPoolExecutor(
            processes,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start,
            initargs=(model_dir, device, options, list(photos), threads, cores),
        ) as pool:
            _run(pool, processes, len(photos) // 4)
            memory = f"{card_memory(device):.0f}" if device != "cpu" else ""
            for number in range(rounds):
                started = time.perf_counter()
                ends = _run(pool, processes, len(photos))
                rates.append(len(ends) / (time.perf_counter() - started))
                rows += [
                    {"processes": processes, "in_flight": threads, "round": number, "seconds": f"{end:.4f}"}
                    for end in ends
                ]
        lines.append(
            [str(processes), str(threads), f"{statistics.median(rates):.1f}", f"{min(rates):.1f}", memory]
        )
    say(table(("processes", "in flight each", "photos/s", "slowest round", "card MB by NVML"), lines))
    if csv is not None:
        write_csv(csv, described, rows)


def _run(pool: ProcessPoolExecutor, processes: int, count: int) -> list[float]:
    """Give each process its share at once, and return the seconds that each photo took."""
    shares: list[Future[list[float]]] = [
        pool.submit(_work, range(first, count, processes)) for first in range(processes)
    ]
    return [second for share in shares for second in share.result()]


def _start(
    model_dir: Path, device: str, options: JobOptions, photos: list[bytes], threads: int, cores: int
) -> None:
    # Threads inside one photo's models would only take turns with other photos.
    engine = AnnyEngine(model_dir, device=device, landmark_threads=1)
    engine.warm_up()
    _state.append((OneShotReconstructor(engine, cores), options, photos, threads))


def _work(numbers: Sequence[int]) -> list[float]:
    one_shot, options, photos, threads = _state[0]

    def reconstruct(number: int) -> float:
        return one_shot.reconstruct(photos[number], options).marks["png"]

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(reconstruct, numbers))

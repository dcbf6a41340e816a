"""An open loop: photos come at their moments, whatever became of those before; latency counts from there."""

import contextlib
import itertools
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from queue import LifoQueue
from typing import Literal

import numpy as np
import psutil

from bench.gpu.http import MapClient, ServerMissing, serve
from bench.pipeline.stack_run import open_stack
from bench.report import card_memory, card_utilisation, describe_run, percentile, table, write_csv

Arrivals = Literal["steady", "poisson"]
Way = Literal["http", "event"]
#: Photos before anything counts.
_WARM_UPS = 24
#: Requests that may be under way at once before the client itself makes photos wait.
_CLIENTS = 32
_SAMPLE_SECONDS = 2.0


def plan_arrivals(rate: float, seconds: float, arrivals: Arrivals, seed: int = 1) -> list[float]:
    """Return the moments, seconds from the start, at which photos come.

    Args:
        rate: photos a second.
        arrivals: `steady` keeps equal distances; `poisson` has exponential ones with the same mean.
    """
    count = max(2, round(rate * seconds))
    if arrivals == "steady":
        return [number / rate for number in range(count)]
    gaps = np.random.default_rng(seed).exponential(1 / rate, count)
    return [float(moment) for moment in gaps.cumsum() - gaps[0]]


def bench_soak(
    *,
    model_dir: Path,
    device: str,
    photos: Sequence[bytes],
    way: Way,
    rate: float,
    seconds: float,
    arrivals: Arrivals,
    csv: Path | None,
    say: Callable[[str], None],
) -> None:
    """Measure and print.

    Args:
        way: `http`, one request to a process with the engine; `event`, S3 PUT to webhook through the stack
            (formats=glb, texture-format=jpeg).
    """
    due = plan_arrivals(rate, seconds, arrivals)
    described = describe_run(n=len(due), device=device)
    say(f"{described}; {way}, {arrivals}, {rate:g} a second for {seconds:g} s")
    if way == "http":
        latencies, errors, watch = _soak_http(model_dir, device, photos, due)
    else:
        latencies, errors, watch = _soak_event(device, photos, due)
    good = [value for value in latencies if value is not None]
    middle = statistics.median(good)
    tails = [percentile(good, share) for share in (0.95, 0.99)]
    jitter = statistics.mean(abs(b - a) for a, b in itertools.pairwise(good))
    figures = [f"{1000 * value:.1f}" for value in (middle, *tails, max(good), jitter)]
    head = ("P50, ms", "P95, ms", "P99, ms", "largest, ms", "jitter, ms", "P95 / P50", "errors", "n")
    say(table(head, [[*figures, f"{tails[0] / middle:.2f}", str(errors), str(len(due))]]))
    say(watch.describe())
    if csv is not None:
        rows = [
            {"due": f"{moment:.3f}", "ms": "" if value is None else f"{1000 * value:.3f}"}
            for moment, value in zip(due, latencies, strict=True)
        ]
        write_csv(csv, described, rows)


def _soak_http(
    model_dir: Path, device: str, photos: Sequence[bytes], due: Sequence[float]
) -> tuple[list[float | None], int, "_Watch"]:
    with serve(model_dir, device) as (url, process):
        # The last one back is the next to go: its memory is warm.
        clients: LifoQueue[MapClient] = LifoQueue()
        for _ in range(_CLIENTS):
            clients.put(MapClient(url))

        def ask(photo: bytes) -> float:
            client = clients.get()
            try:
                return client.ask(photo, "png")
            finally:
                clients.put(client)

        for number in range(_WARM_UPS):
            ask(photos[number % len(photos)])
        with _Watch.over(device, [process.pid]) as watch:
            latencies = _send_on_time(ask, photos, due)
    return latencies, latencies.count(None), watch


def _send_on_time(
    ask: Callable[[bytes], float], photos: Sequence[bytes], due: Sequence[float]
) -> list[float | None]:
    begun = time.perf_counter()

    def send(number: int) -> float | None:
        time.sleep(max(0.0, begun + due[number] - time.perf_counter()))
        late = time.perf_counter() - begun - due[number]
        try:
            return late + ask(photos[number % len(photos)])
        except (OSError, HTTPException, ServerMissing):
            return None

    with ThreadPoolExecutor(_CLIENTS) as pool:
        return list(pool.map(send, range(len(due))))


def _soak_event(
    device: str, photos: Sequence[bytes], due: Sequence[float]
) -> tuple[list[float | None], int, "_Watch"]:
    options = {"formats": "glb", "texture-format": "jpeg"}
    with open_stack(engine="anny", device=device, photos=photos, options=options) as run:
        run.at_once(_WARM_UPS)
        pids = [process.pid for process in run.stack.processes()]
        pids += [process.pid for process in run.launchers.values()]
        with _Watch.over(device, pids) as watch:
            keys = run.scheduled(due)
        seconds = zip(keys, run.seconds(keys), strict=True)
        latencies = [value if run.receiver.succeeded(key) else None for key, value in seconds]
        return latencies, latencies.count(None), watch


@dataclass
class _Watch:
    """Memory and utilisation while the load runs."""

    device: str
    pids: Sequence[int]
    resident_mb: list[float] = field(default_factory=list)
    card_mb: list[float] = field(default_factory=list)
    card_busy: list[float] = field(default_factory=list)
    host_busy: list[float] = field(default_factory=list)

    @classmethod
    @contextmanager
    def over(cls, device: str, pids: Sequence[int]) -> Iterator["_Watch"]:
        """Sample until the context ends."""
        watch, ended = cls(device, pids), threading.Event()

        def work() -> None:
            psutil.cpu_percent()
            watch.sample()
            while not ended.wait(_SAMPLE_SECONDS):
                watch.sample()

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            yield watch
        finally:
            ended.set()
            thread.join()

    def sample(self) -> None:
        """Look once."""
        self.resident_mb.append(resident_mb(self.pids))
        self.host_busy.append(psutil.cpu_percent())
        if self.device != "cpu":
            self.card_mb.append(card_memory(self.device))
            self.card_busy.append(card_utilisation(self.device))

    def describe(self) -> str:
        """Return memory at the first and the last quarter of the time, and mean utilisation."""

        def ends(values: Sequence[float]) -> str:
            quarter = max(1, len(values) // 4)
            first, last = (statistics.median(part) for part in (values[:quarter], values[-quarter:]))
            return f"{first:.0f} MB in the first quarter, {last:.0f} MB in the last"

        # The first reading has nothing to compare with.
        parts = [f"resident memory: {ends(self.resident_mb)}"]
        parts.append(f"host's cores busy: {statistics.mean(self.host_busy[1:] or [0.0]):.0f} %")
        if self.card_mb:
            parts.append(f"card memory by NVML: {ends(self.card_mb)}")
            parts.append(f"card busy by NVML: {statistics.mean(self.card_busy):.0f} %")
        return "; ".join(parts)


def resident_mb(pids: Sequence[int]) -> float:
    """Return what processes and their descendants hold, MB, each once; shared pages count in each."""
    family: dict[int, psutil.Process] = {}
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            family |= {one.pid: one for one in (process, *process.children(recursive=True))}
    total = 0.0
    for process in family.values():
        with contextlib.suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss / 1e6
    return total

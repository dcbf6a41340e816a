"""Runs the stages of engines on one device: admission by memory, shared passes, and the way down.

When memory runs out a batch is halved; a job is tried again alone on the device; then with lighter options,
one step after the other; then OutOfDeviceMemory sends it to another GPU type. The worker lives on.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import structlog

from face3d.errors import OutOfDeviceMemory
from face3d.options import JobOptions
from face3d.stage_results import BakedMaps, FittedHead, PreprocessedPhoto
from face3d.states import StageName
from gpu_workers.batching import Batcher
from gpu_workers.engines.base import BatchingEngine, Engine
from gpu_workers.memory import (
    MemoryBudget,
    PeakTable,
    is_out_of_memory,
    read_peak_mb,
    release_cached_memory,
    reset_peak,
)
from gpu_workers.profiles import lighter_options

log = structlog.get_logger(__name__)

_Photo = tuple[PreprocessedPhoto, JobOptions]
Result = TypeVar("Result", FittedHead, BakedMaps)


@dataclass(frozen=True, kw_only=True)
class StageRun(Generic[Result]):
    """A stage's result and how it came about."""

    result: Result
    options: JobOptions
    #: Jobs that shared the pass.
    batch: int = 1

    def describe(self) -> dict[str, Any]:
        """Return what the manifest tells of the run."""
        return {"sharpen": self.options.sharpen, "compile": self.options.compile, "batch": self.batch}


class DeviceExecutor:
    """One process's way to its device; safe to call from several threads.

    Args:
        budget_mb: what all jobs may take together; None: no limit is known.
        largest_batch: jobs in one pass of geometry.
        wait_seconds: how long a pass of geometry waits for others.
        running: how many attempts of a stage this process works on; a pass waits for those still to come.
    """

    def __init__(
        self,
        *,
        budget_mb: float | None = None,
        largest_batch: int = 1,
        wait_seconds: float = 0.004,
        running: Callable[[StageName], int] = lambda _stage: 1,
    ) -> None:
        self.budget = MemoryBudget(budget_mb)
        self.peaks = PeakTable()
        self._largest_batch = largest_batch
        self._wait_seconds = wait_seconds
        self._running = running
        self._batchers: dict[str, Batcher[_Photo, FittedHead]] = {}
        self._lock = threading.Lock()

    def geometry(
        self, engine: Engine, prepared: PreprocessedPhoto, options: JobOptions, stated: Sequence[str]
    ) -> StageRun[FittedHead]:
        """Fit a head, together with the photos of other jobs that are at the same point.

        Raises:
            OutOfDeviceMemory: not even alone and with the lightest options.
        """

        def alone(lighter: JobOptions) -> FittedHead:
            return engine.geometry(prepared, lighter)

        def shared() -> StageRun[FittedHead]:
            if self._largest_batch > 1 and isinstance(engine, BatchingEngine):
                result, batch = self._batcher(engine).call((prepared, options))
                return StageRun(result=result, options=options, batch=batch)
            with self._admit(StageName.GEOMETRY, engine, options):
                return StageRun(result=alone(options), options=options)

        return self._descend(shared, alone, options, stated)

    def texture(
        self,
        engine: Engine,
        prepared: PreprocessedPhoto,
        geometry: FittedHead,
        options: JobOptions,
        stated: Sequence[str],
    ) -> StageRun[BakedMaps]:
        """Bake the maps.

        Raises:
            OutOfDeviceMemory: not even alone and with the lightest options.
        """

        def alone(lighter: JobOptions) -> BakedMaps:
            return engine.texture(prepared, geometry, lighter)

        def admitted() -> StageRun[BakedMaps]:
            with self._admit(StageName.TEXTURE, engine, options):
                return StageRun(result=alone(options), options=options)

        return self._descend(admitted, alone, options, stated)

    @contextmanager
    def _admit(self, stage: StageName, engine: Engine, options: JobOptions, jobs: int = 1) -> Iterator[None]:
        need = jobs * self.peaks.need_mb(stage, engine.name, options.texture_size)
        with self.budget.admit(need) as admission:
            if admission.alone:
                reset_peak()
            yield
            peak = read_peak_mb()
            if peak is not None and jobs == 1 and admission.alone:
                self.peaks.observe(stage, engine.name, options.texture_size, peak)

    def _batcher(self, engine: BatchingEngine) -> Batcher[_Photo, FittedHead]:
        def work(photos: Sequence[_Photo]) -> list[FittedHead]:
            with self._admit(StageName.GEOMETRY, engine, photos[0][1], len(photos)):
                return engine.geometry_batch([photo for photo, _ in photos], [wish for _, wish in photos])

        with self._lock:
            if engine.name not in self._batchers:
                self._batchers[engine.name] = Batcher(
                    work,
                    largest=self._largest_batch,
                    wait_seconds=self._wait_seconds,
                    expects=lambda waiting: self._running(StageName.GEOMETRY) > waiting,
                )
            return self._batchers[engine.name]

    def _descend(
        self,
        first: Callable[[], StageRun[Result]],
        alone: Callable[[JobOptions], Result],
        options: JobOptions,
        stated: Sequence[str],
    ) -> StageRun[Result]:
        """Try as planned, then alone, then lighter and lighter."""
        try:
            return first()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            log.warning("device.out_of_memory", step="as planned")
        with self.budget.admit_alone():
            for lighter in (options, *lighter_options(options, stated)):
                release_cached_memory()
                try:
                    return StageRun(result=alone(lighter), options=lighter)
                except Exception as error:
                    if not is_out_of_memory(error):
                        raise
                    log.warning(
                        "device.out_of_memory",
                        step="alone",
                        compile=lighter.compile,
                        sharpen=lighter.sharpen,
                        input_size=lighter.input_size,
                    )
            release_cached_memory()
        raise OutOfDeviceMemory

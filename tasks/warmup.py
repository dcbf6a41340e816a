"""What a process does before it takes work: engine, first run of its kernels, golden self-test."""

import threading
import time

import structlog

from face3d.settings import Settings
from face3d.worker_spec import WorkerSpec
from gpu_workers.engines.registry import load_engine
from gpu_workers.process_settings import prepare_process
from gpu_workers.profiles import apply_profile, profile_of
from gpu_workers.selftest import find_fault
from gpu_workers.stage_heartbeats import count_warm, tell_unfit, tell_warm
from tasks.base import largest_batch

log = structlog.get_logger(__name__)

#: A worker whose processes are not warm by then says that it is ready all the same: some of it may work.
_WARM_SECONDS = 300.0
_LOOK_SECONDS = 0.1

_cold_start: float | None = None


def cold_start_seconds() -> float | None:
    """Return how long this process's warm-up took; None in one that has none."""
    return _cold_start


def warm_up(settings: Settings) -> None:
    """Build the default engine and test the device; never fails: jobs that need the engine will say so.

    Then the worker is told that this process is warm: it is not ready before all of them are.
    """
    try:
        _warm_up(settings)
    finally:
        tell_warm(settings.worker.watch_dir)


def _warm_up(settings: Settings) -> None:
    global _cold_start  # noqa: PLW0603 - one a process
    started = time.perf_counter()
    worker = settings.worker
    try:
        load_engine(settings.engine, settings, worker.device)
        prepare_process(worker.device)
        apply_profile(profile_of(worker.gpu_type))
    except Exception:
        # Jobs that need it will say so, by code; others may use another engine.
        log.exception("engine.unavailable", engine=settings.engine)
        return
    # The first run of a kernel compiles or loads it: the test warms what it tests.
    fault = check_engine(settings)
    if fault is not None:
        tell_unfit(worker.watch_dir, fault)
    _cold_start = round(time.perf_counter() - started, 3)
    log.info("worker.warm", engine=settings.engine, cold_start_seconds=_cold_start)


def wait_until_warm(worker: WorkerSpec, stopped: threading.Event) -> None:
    """Wait until all forked processes of this worker have warmed up; not where no launcher started it.

    Args:
        stopped: ends the wait.
    """
    folder, processes = worker.watch_dir, worker.slots
    if folder is None:
        return
    deadline = time.monotonic() + _WARM_SECONDS
    while count_warm(folder) < processes and not stopped.wait(_LOOK_SECONDS):
        if time.monotonic() > deadline:
            log.warning("worker.not_warm", warm=count_warm(folder), processes=processes)
            return


def check_engine(settings: Settings) -> str | None:
    """Run the golden self-test on this process's device; return what is wrong, or None."""
    worker = settings.worker
    engine = load_engine(settings.engine, settings, worker.device)
    fault = find_fault(engine, settings.model_dir, largest_batch=largest_batch(worker))
    if fault is not None:
        log.error("selftest.failed", reason=fault)
    return fault

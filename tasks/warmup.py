"""What a process does before it takes work: engine, first run of its kernels, golden self-test."""

import time

import structlog

from face3d.settings import Settings
from gpu_workers.engines.registry import load_engine
from gpu_workers.profiles import apply_profile, profile_of
from gpu_workers.selftest import find_fault
from gpu_workers.watch import tell_unfit, watch_dir
from tasks.base import largest_batch, worker_identity

log = structlog.get_logger(__name__)

_cold_start: float | None = None


def cold_start_seconds() -> float | None:
    """Return how long this process's warm-up took; None in one that has none."""
    return _cold_start


def warm_up(settings: Settings) -> None:
    """Build the default engine and test the device; never fails: jobs that need the engine will say so."""
    global _cold_start  # noqa: PLW0603 - one a process
    started = time.perf_counter()
    identity = worker_identity(settings)
    try:
        load_engine(settings.engine, settings, identity.device)
        apply_profile(profile_of(identity.gpu_type))
    except Exception:
        # Jobs that need it will say so, by code; others may use another engine.
        log.exception("engine.unavailable", engine=settings.engine)
        return
    # The first run of a kernel compiles or loads it: the test warms what it tests.
    fault = check_engine(settings)
    if fault is not None:
        tell_unfit(watch_dir(), fault)
    _cold_start = round(time.perf_counter() - started, 3)
    log.info("worker.warm", engine=settings.engine, cold_start_seconds=_cold_start)


def check_engine(settings: Settings) -> str | None:
    """Run the golden self-test on this process's device; return what is wrong, or None."""
    engine = load_engine(settings.engine, settings, worker_identity(settings).device)
    fault = find_fault(engine, settings.model_dir, largest_batch=largest_batch(settings))
    if fault is not None:
        log.error("selftest.failed", reason=fault)
    return fault

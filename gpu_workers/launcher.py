"""Starts the Celery workers of one or all devices, starts them again when they die, kills the stuck ones.

The launcher touches no CUDA: only its children do, one a device. On a broker without urgency across queues a
worker leaves the interactive queues to a companion.
"""

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from face3d.errors import ConfigurationError, Face3DError
from face3d.extras import require_extra
from face3d.logs import configure_logs
from face3d.queues import StageQueue, queue_name
from face3d.settings import Settings, get_settings
from face3d.states import GPU_STAGES, STAGES, PriorityClass, StageName
from face3d.worker_spec import Pool, WorkerSpec
from gpu_workers.decoding.client import check_sandbox
from gpu_workers.gpu_catalog import GpuType, cpu_slots, gpu_type
from gpu_workers.health import detect_gpu_type
from gpu_workers.nvml import count_gpus
from gpu_workers.photo_limits import PhotoLimits
from gpu_workers.profiles import jobs_at_once, profile_of
from gpu_workers.stage_heartbeats import forget_running, oldest_seconds

log = structlog.get_logger(__name__)

#: Pauses before a child that died is started again, seconds; the last one repeats.
_RESTART_SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True, kw_only=True)
class WorkerPlan:
    """One Celery worker to run."""

    worker: WorkerSpec
    queues: tuple[StageQueue, ...]


def plan_workers(
    *,
    device: str,
    stages: Sequence[StageName],
    gpu: GpuType,
    slots: int | None,
    host: str,
    interactive_slots: bool,
) -> list[WorkerPlan]:
    """Return the Celery workers that serve one device.

    Args:
        device: `cpu` or `cuda:<index>`.
        gpu: the type that its queues are bound to; a CPU may pose as any type in tests.
        slots: tasks at once; by type when None.
        interactive_slots: whether slots of their own must consume the interactive queues, half as many again.
    Raises:
        ConfigurationError: a GPU type's worker was given a stage that has no queue there.
    """
    if gpu.name != "cpu":
        strangers = [stage.value for stage in stages if stage not in GPU_STAGES]
        if strangers:
            raise ConfigurationError(
                f"Stages {', '.join(strangers)} run on `cpu` workers only; "
                f"a {gpu.name} worker serves {', '.join(sorted(s.value for s in GPU_STAGES))}."
            )
    if slots is None:
        profile = profile_of(gpu.name)
        slots = cpu_slots() if gpu.name == "cpu" else jobs_at_once(gpu.memory_gb * 1024, profile)
    # CUDA does not survive a fork, and jobs of one process share passes: a GPU's tasks are threads.
    pool: Pool = "prefork" if gpu.name == "cpu" else "threads"
    reserved = max(1, slots // 2) if interactive_slots else 0

    def plan(label: str, classes: Sequence[PriorityClass], count: int) -> WorkerPlan:
        place = gpu.name if device == "cpu" else f"{gpu.name}-{device.replace(':', '')}"
        worker = WorkerSpec(
            name=f"{label}{place}@{host}",
            gpu_type=gpu.name,
            device=device,
            stages=tuple(stage.value for stage in stages),
            slots=count,
            pool=pool,
            memory_share=count / (slots + reserved),
        )
        queues = tuple(
            StageQueue(stage=stage, gpu_type=gpu.name, priority_class=priority_class)
            for priority_class in classes
            for stage in stages
        )
        return WorkerPlan(worker=worker, queues=queues)

    if not interactive_slots:
        return [plan("", (PriorityClass.INTERACTIVE, PriorityClass.BATCH), slots)]
    # RabbitMQ hands out messages for each queue apart, before a slot is free: a worker that consumed both
    # classes would hold an interactive message behind eight of the batch.
    return [
        plan("", (PriorityClass.BATCH,), slots),
        plan("interactive-", (PriorityClass.INTERACTIVE,), reserved),
    ]


def worker_command(plan: WorkerPlan, log_level: str) -> list[str]:
    """Return the command line of a plan's Celery worker."""
    return [
        sys.executable, "-m", "celery", "-A", "tasks.app", "worker",
        "--hostname", plan.worker.name,
        "--queues", ",".join(map(queue_name, plan.queues)),
        "--pool", plan.worker.pool,
        "--concurrency", str(plan.worker.slots),
        "--loglevel", log_level,
        "--without-gossip", "--without-mingle",
        "-E",
    ]  # fmt: skip


def library_environment(threads: int) -> dict[str, str]:
    """Return the environment of numeric libraries, which use so many threads; to be set before they load.

    BLAS gets one: our matrices are small, and sixteen threads that wait for each other cost a stage ten times
    its work.
    """
    return {
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        # Threads that wait must sleep: spinning ones take the cores from the slot beside them, and a bake
        # that takes 4 s took 30 s.
        "OMP_WAIT_POLICY": "passive",
        "GOMP_SPINCOUNT": "0",
        # cuBLAS takes 32 MB for each of its handles (a thread each) on each stream; our products need less.
        "CUBLAS_WORKSPACE_CONFIG": ":4096:2",
    }


def worker_environment(worker: WorkerSpec) -> dict[str, str]:
    """Return the environment of a worker's processes: who they are, and how their libraries work."""
    cores = len(os.sched_getaffinity(0))
    # A lone photo on a small machine may use two cores; a GPU's host has nothing large to compute.
    threads = max(min(cores, 2), cores // worker.slots) if worker.gpu_type == "cpu" else 1
    return {
        **library_environment(threads),
        **worker.environment(),
        # CUDA then counts the cards as NVML does.
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    }


class Child:
    """A Celery worker that is started again when it dies, and killed when a stage overruns.

    Args:
        limit_seconds: how long a stage may run in a threads pool; Celery itself ends forked children.
    """

    def __init__(self, plan: WorkerPlan, log_level: str, limit_seconds: float) -> None:
        self._plan = plan
        self._log_level = log_level
        self._limit_seconds = limit_seconds
        self._folder = Path(tempfile.mkdtemp(prefix="face3d-worker-"))
        self._worker = replace(plan.worker, watch_dir=self._folder)
        self._deaths = 0
        self._start_at = 0.0
        self._started_at = 0.0
        self._process: subprocess.Popen[bytes] | None = None

    def tend(self) -> None:
        """Start the worker if it is due; kill it when it is stuck."""
        now = time.monotonic()
        if self._process is not None:
            code = self._process.poll()
            if code is None:
                self._end_overrun(self._process)
                return
            self._process = None
            forget_running(self._folder)
            if now - self._started_at > 60:
                self._deaths = 0
            wait = _RESTART_SECONDS[min(self._deaths, len(_RESTART_SECONDS) - 1)]
            self._deaths += 1
            self._start_at = now + wait
            log.error("worker.died", worker=self._worker.name, exit_code=code, restart_in=wait)
        if now >= self._start_at:
            self._started_at = now
            self._process = subprocess.Popen(
                worker_command(self._plan, self._log_level),
                env={**os.environ, **worker_environment(self._worker)},
            )
            log.info("worker.started", worker=self._worker.name, pid=self._process.pid)

    def _end_overrun(self, process: subprocess.Popen[bytes]) -> None:
        if not self._worker.has_threads:
            return
        seconds = oldest_seconds(self._folder)
        if seconds is not None and seconds > self._limit_seconds:
            # A thread cannot be killed. The leases run out, and the relay counts a death against the stage.
            log.error("worker.overrun", worker=self._worker.name, seconds=round(seconds, 1))
            process.kill()

    def terminate(self) -> None:
        """Ask the worker to finish its tasks and end."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def join(self, deadline: float) -> None:
        """Wait for the worker until a monotonic deadline, then kill it; its leases are given back by then."""
        if self._process is not None:
            try:
                self._process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.error("worker.killed", worker=self._worker.name)
                self._process.kill()
                self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def run(plans: Sequence[WorkerPlan], settings: Settings) -> int:
    """Run workers until SIGTERM or SIGINT, then drain them."""
    stopping = False

    def stop(_number: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    limit = settings.stage_limit_seconds + settings.overrun_grace_seconds
    children = [Child(plan, settings.log_level, limit) for plan in plans]
    while not stopping:
        for child in children:
            child.tend()
        time.sleep(0.2)
    for child in children:
        child.terminate()
    deadline = time.monotonic() + settings.drain_seconds
    for child in children:
        child.join(deadline)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `python -m gpu_workers.launcher` and of `face3d worker`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--device", default="cpu", help="cpu, or the index of an NVIDIA GPU")
    where.add_argument("--all-devices", action="store_true", help="one worker for each NVIDIA GPU")
    parser.add_argument("--stages", default=None, help="comma-separated; all that the type serves by default")
    parser.add_argument("--gpu-type", default=None, help="bind to this type's queues; detected by default")
    parser.add_argument("--slots", type=int, default=None, help="tasks at once; by type by default")
    parser.add_argument("--host", default=socket.gethostname(), help="second half of the worker's name")
    chosen = parser.parse_args(arguments)
    settings = get_settings()
    configure_logs(settings)
    try:
        # Without it every child would die at its start, again and again.
        require_extra("worker")
        plans = plans_from_arguments(chosen, settings)
        if any(StageName.PREPROCESS in plan.worker.stages for plan in plans):
            check_sandbox(PhotoLimits.from_settings(settings))
    except Face3DError as error:
        log.error("worker.refused", reason=error.message)
        return 2
    return run(plans, settings)


def plans_from_arguments(chosen: argparse.Namespace, settings: Settings) -> list[WorkerPlan]:
    """Return the plans for a command line.

    Raises:
        ConfigurationError: a device, type or stage is not there.
    """
    if chosen.all_devices:
        count = count_gpus()
        if count == 0:
            raise ConfigurationError("There is no NVIDIA GPU here; `--device cpu` runs without one.")
        devices = [f"cuda:{index}" for index in range(count)]
    elif chosen.device == "cpu":
        devices = ["cpu"]
    else:
        devices = [f"cuda:{str(chosen.device).removeprefix('cuda:')}"]
    return [plan for device in devices for plan in _plans_of_device(device, chosen, settings)]


def _plans_of_device(device: str, chosen: argparse.Namespace, settings: Settings) -> list[WorkerPlan]:
    name: str | None = chosen.gpu_type or settings.gpu_type
    gpu = gpu_type(name) if name else detect_gpu_type(device)
    served = STAGES if gpu.name == "cpu" else tuple(stage for stage in STAGES if stage in GPU_STAGES)
    try:
        stages = [StageName(s) for s in chosen.stages.split(",")] if chosen.stages else list(served)
    except ValueError as error:
        raise ConfigurationError(f"Stages are {', '.join(STAGES)}.") from error
    return plan_workers(
        device=device,
        stages=stages,
        gpu=gpu,
        slots=chosen.slots or settings.worker_slots,
        host=chosen.host,
        interactive_slots=not settings.urgency_across_queues,
    )


if __name__ == "__main__":
    sys.exit(main())

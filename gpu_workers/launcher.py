"""Starts the Celery worker of one device, and starts it again when it dies.

The launcher touches no CUDA: only its child does. On a broker without urgency across queues the worker gets a
companion with one slot that consumes interactive queues only.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from face3d.errors import ConfigurationError, Face3DError
from face3d.logs import configure_logs
from face3d.settings import Settings, get_settings
from face3d.states import GPU_STAGES, STAGES, StageName, Tier
from gpu_workers.health import detect_gpu_type
from gpu_workers.types import GpuType, cpu_slots, gpu_type

log = structlog.get_logger(__name__)

#: Pauses before a child that died is started again, seconds; the last one repeats.
_RESTART_SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0)

#: Time that running tasks get after SIGTERM before the child is killed, seconds.
DRAIN_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class WorkerPlan:
    """One Celery worker to run."""

    name: str
    queues: tuple[str, ...]
    stages: tuple[StageName, ...]
    slots: int
    pool: str
    device: str
    gpu_type: str


def plan_workers(
    *,
    device: str,
    stages: Sequence[StageName],
    gpu: GpuType,
    slots: int | None,
    host: str,
    interactive_slot: bool,
) -> list[WorkerPlan]:
    """Return the Celery workers that serve one device.

    Args:
        device: `cpu` or `cuda:<index>`.
        gpu: the type that its queues are bound to; a CPU may pose as any type in tests.
        slots: tasks at once; by type when None.
        interactive_slot: whether a slot of its own must consume the interactive queues only.
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
        slots = cpu_slots() if device == "cpu" else gpu.slots
    # CUDA does not survive a fork, so a GPU's tasks are threads of one process.
    pool = "prefork" if device == "cpu" else "threads"

    def plan(label: str, tiers: Sequence[Tier], count: int) -> WorkerPlan:
        place = gpu.name if device == "cpu" else f"{gpu.name}-{device.replace(':', '')}"
        return WorkerPlan(
            name=f"{label}{place}@{host}",
            queues=tuple(f"{stage.value}.{gpu.name}.{tier.value}" for tier in tiers for stage in stages),
            stages=tuple(stages),
            slots=count,
            pool=pool,
            device=device,
            gpu_type=gpu.name,
        )

    plans = [plan("", (Tier.INTERACTIVE, Tier.BATCH), slots)]
    if interactive_slot:
        plans.append(plan("interactive-", (Tier.INTERACTIVE,), 1))
    return plans


def worker_command(plan: WorkerPlan, log_level: str) -> list[str]:
    """Return the command line of a plan's Celery worker."""
    return [
        sys.executable, "-m", "celery", "-A", "tasks.app", "worker",
        "--hostname", plan.name,
        "--queues", ",".join(plan.queues),
        "--pool", plan.pool,
        "--concurrency", str(plan.slots),
        "--loglevel", log_level,
        "--without-gossip", "--without-mingle",
        "-E",
    ]  # fmt: skip


def worker_environment(plan: WorkerPlan) -> dict[str, str]:
    """Return the environment by which a worker's processes know who they are."""
    return {
        "FACE3D_WORKER_NAME": plan.name,
        "FACE3D_DEVICE": plan.device,
        "FACE3D_GPU_TYPE": plan.gpu_type,
        "FACE3D_STAGES": ",".join(stage.value for stage in plan.stages),
        "FACE3D_SLOTS": str(plan.slots),
        # Threads that wait must sleep: spinning ones take the cores from the slot beside them, and a bake
        # that takes 4 s took 30 s.
        "OMP_WAIT_POLICY": "passive",
        "GOMP_SPINCOUNT": "0",
    }


class Child:
    """A Celery worker that is started again when it dies."""

    def __init__(self, plan: WorkerPlan, log_level: str) -> None:
        self.plan = plan
        self._log_level = log_level
        self._deaths = 0
        self._start_at = 0.0
        self._started_at = 0.0
        self._process: subprocess.Popen[bytes] | None = None

    def tend(self) -> None:
        """Start the worker if it is due."""
        now = time.monotonic()
        if self._process is not None:
            code = self._process.poll()
            if code is None:
                return
            self._process = None
            if now - self._started_at > 60:
                self._deaths = 0
            wait = _RESTART_SECONDS[min(self._deaths, len(_RESTART_SECONDS) - 1)]
            self._deaths += 1
            self._start_at = now + wait
            log.error("worker.died", worker=self.plan.name, exit_code=code, restart_in=wait)
        if now >= self._start_at:
            self._started_at = now
            self._process = subprocess.Popen(
                worker_command(self.plan, self._log_level),
                env={**os.environ, **worker_environment(self.plan)},
            )
            log.info("worker.started", worker=self.plan.name, pid=self._process.pid)

    def terminate(self) -> None:
        """Ask the worker to finish its tasks and end."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def join(self, deadline: float) -> None:
        """Wait for the worker until a monotonic deadline, then kill it; its leases run out."""
        if self._process is None:
            return
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            log.error("worker.killed", worker=self.plan.name)
            self._process.kill()
            self._process.wait()


def run(plans: Sequence[WorkerPlan], settings: Settings) -> int:
    """Run workers until SIGTERM or SIGINT, then drain them."""
    stopping = False

    def stop(_number: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    children = [Child(plan, settings.log_level) for plan in plans]
    while not stopping:
        for child in children:
            child.tend()
        time.sleep(0.2)
    for child in children:
        child.terminate()
    deadline = time.monotonic() + DRAIN_SECONDS
    for child in children:
        child.join(deadline)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `python -m gpu_workers.launcher` and of `face3d worker`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu", help="cpu, or the index of an NVIDIA GPU")
    parser.add_argument("--stages", default=None, help="comma-separated; all that the type serves by default")
    parser.add_argument("--gpu-type", default=None, help="bind to this type's queues; detected by default")
    parser.add_argument("--slots", type=int, default=None, help="tasks at once; by type by default")
    parser.add_argument("--host", default=socket.gethostname(), help="second half of the worker's name")
    chosen = parser.parse_args(arguments)
    settings = get_settings()
    configure_logs(settings)
    try:
        plans = plans_from_arguments(chosen, settings)
    except Face3DError as error:
        log.error("worker.refused", reason=error.message)
        return 2
    return run(plans, settings)


def plans_from_arguments(chosen: argparse.Namespace, settings: Settings) -> list[WorkerPlan]:
    """Return the plans for a command line.

    Raises:
        ConfigurationError: a device, type or stage is not there.
    """
    device = "cpu" if chosen.device == "cpu" else f"cuda:{str(chosen.device).removeprefix('cuda:')}"
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
        interactive_slot=not settings.urgency_across_queues,
    )


if __name__ == "__main__":
    sys.exit(main())

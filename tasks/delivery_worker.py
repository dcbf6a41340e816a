"""The worker that sends webhooks: threads, since it only waits for other people's servers."""

import os
import socket
import sys

from face3d.queues import DELIVERY_QUEUE
from face3d.settings import get_settings
from face3d.worker_spec import WorkerSpec

_THREADS = 32


def main() -> None:
    """Become a Celery worker of the delivery queue."""
    worker = WorkerSpec(
        name=f"delivery@{socket.gethostname()}", stages=(DELIVERY_QUEUE,), slots=_THREADS, pool="threads"
    )
    os.execve(  # noqa: S606 - no shell is meant
        sys.executable,
        [
            sys.executable, "-m", "celery", "-A", "tasks.app", "worker",
            "--hostname", worker.name,
            "--queues", DELIVERY_QUEUE,
            "--pool", worker.pool,
            "--concurrency", str(worker.slots),
            "--loglevel", get_settings().log_level,
            "--without-gossip", "--without-mingle",
            "-E",
        ],
        {**os.environ, **worker.environment()},
    )  # fmt: skip


if __name__ == "__main__":
    main()

"""The worker that sends webhooks: threads, since it only waits for other people's servers."""

import os
import socket
import sys

from face3d.settings import get_settings
from tasks.broker import DELIVERY_QUEUE

_THREADS = 32


def main() -> None:
    """Become a Celery worker of the delivery queue."""
    name = f"delivery@{socket.gethostname()}"
    os.environ |= {
        "FACE3D_WORKER_NAME": name,
        "FACE3D_STAGES": DELIVERY_QUEUE,
        "FACE3D_SLOTS": str(_THREADS),
        "FACE3D_GPU_TYPE": "cpu",
        "FACE3D_DEVICE": "cpu",
    }
    os.execv(  # noqa: S606 - no shell is meant
        sys.executable,
        [
            sys.executable, "-m", "celery", "-A", "tasks.app", "worker",
            "--hostname", name,
            "--queues", DELIVERY_QUEUE,
            "--pool", "threads",
            "--concurrency", str(_THREADS),
            "--loglevel", get_settings().log_level,
            "--without-gossip", "--without-mingle",
            "-E",
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()

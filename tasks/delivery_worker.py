"""The worker that sends webhooks: threads, since it only waits for other people's servers."""

import os
import socket
import sys

from tasks.broker import DELIVERY_QUEUE

_THREADS = 8


def main() -> None:
    """Become a Celery worker of the delivery queue."""
    os.execv(  # noqa: S606 - no shell is meant
        sys.executable,
        [
            sys.executable, "-m", "celery", "-A", "tasks.app", "worker",
            "--hostname", f"delivery@{socket.gethostname()}",
            "--queues", DELIVERY_QUEUE,
            "--pool", "threads",
            "--concurrency", str(_THREADS),
            "--loglevel", "INFO",
            "--without-gossip", "--without-mingle",
            "-E",
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()

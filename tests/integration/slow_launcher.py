"""The product's launcher, whose children are slow workers; see slow_worker.py."""

import sys

from gpu_workers import launcher

_command = launcher.worker_command


def _slow_command(plan: launcher.WorkerPlan, log_level: str) -> list[str]:
    return [
        "tests.integration.slow_worker" if part == "tasks.app" else part for part in _command(plan, log_level)
    ]


if __name__ == "__main__":
    launcher.worker_command = _slow_command
    sys.exit(launcher.main())

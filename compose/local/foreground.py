"""The stack in the foreground of a terminal, and its end from elsewhere."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from compose.local.lock import find_holder
from compose.local.stack import Stack

#: The longest that a stack takes to stop: its workers end their running tasks first.
DOWN_SECONDS = 90.0


def run_until_interrupted(stack: Stack, on_ready: Callable[[Stack], None]) -> None:
    """Start a stack, call `on_ready`, wait for Ctrl-C, SIGTERM or SIGHUP, stop it.

    Raises:
        StackRunning, StackFailed, ConfigurationError: see `Stack.start`.
    """
    interrupted = threading.Event()
    with _interrupts(interrupted):
        try:
            with stack:
                on_ready(stack)
                while not interrupted.wait(3600):
                    pass
        except KeyboardInterrupt:
            pass


@contextmanager
def _interrupts(interrupted: threading.Event) -> Iterator[None]:
    """Turn the first interrupt into KeyboardInterrupt; later ones do not disturb the stop."""

    def handle(_number: int, _frame: FrameType | None) -> None:
        if not interrupted.is_set():
            interrupted.set()
            raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop_running(state_dir: Path) -> bool:
    """Stop the stack that runs on this folder, if any, and wait for its end.

    Returns:
        Whether one ran.
    Raises:
        TimeoutError: it has not stopped in time.
    """
    running = find_holder(state_dir)
    if running is None:
        return False
    os.kill(running.pid, signal.SIGTERM)
    deadline = time.monotonic() + DOWN_SECONDS
    while find_holder(state_dir) is not None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the stack of process {running.pid} has not stopped")
        time.sleep(0.2)
    return True

"""A Python that has imported what our programs import, and forks one of them for each start.

A relay or a worker spends most of its start on imports, of modules that are the same each time. What reads
settings when it is imported (the Celery app, the stages) is not imported here: a fork has settings of its
own. A fork is a process like any other; only its command line is this module's.
"""

import atexit
import contextlib
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

#: What takes long to import and depends on no setting.
_MODULES = (
    "assets.manifest", "assets.maps", "assets.package", "boto3", "celery.app.control", "celery.apps.worker",
    "celery.bin.celery", "celery.concurrency.prefork", "celery.concurrency.thread", "celery.worker.autoscale",
    "celery.worker.components", "celery.worker.consumer", "celery.worker.consumer.delayed_delivery",
    "celery.worker.strategy", "celery.worker.worker", "db.leases", "db.results", "gpu_workers.engines.base",
    "gpu_workers.engines.null.engine", "gpu_workers.health", "gpu_workers.launcher", "gpu_workers.selftest",
    "kombu.transport.pyamqp", "kombu.transport.redis", "psycopg", "s3transfer.manager",
    "sqlalchemy.dialects.postgresql.psycopg", "tasks.relay", "tasks.warmup", "tasks.webhook_client",
)  # fmt: skip


class WarmProcess:
    """A fork of the warm Python; what a test does with a `subprocess.Popen` it does with this."""

    def __init__(self, python: "WarmPython", pid: int, args: Sequence[str]) -> None:
        self._python = python
        self.pid = pid
        self.args = list(args)
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit status, None while it runs."""
        if self.returncode is None:
            self.returncode = self._python.status(self.pid)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return the exit status."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (status := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
            time.sleep(0.01)
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


class WarmPython:
    """The way to the warm process; made on first use, one in each process of tests."""

    def __init__(self) -> None:
        mine, its = socket.socketpair()
        with its:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(its.fileno())], pass_fds=[its.fileno()]
            )
        self._socket, self._lines = mine, mine.makefile("r")
        self._lock = threading.Lock()
        self._ended: dict[int, int] = {}
        atexit.register(self.close)

    def start(self, args: Sequence[str], *, env: dict[str, str], cwd: Path, log: Path) -> WarmProcess:
        """Run a module as `python -m` does, with both outputs in a file.

        Args:
            args: "-m", the module's name, its arguments.
        """
        request = {"args": list(args), "env": env, "cwd": str(cwd), "log": str(log)}
        pid = self._ask(request)
        return WarmProcess(self, pid, [sys.executable, *args])

    def status(self, pid: int) -> int | None:
        """Return the exit status of a fork, None while it runs."""
        if pid not in self._ended:
            status = self._ask({"status": pid})
            if status is None:
                return None
            self._ended[pid] = status
        return self._ended[pid]

    def close(self) -> None:
        """End the warm process; what it forked lives on."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._lines.close()
        self._socket.close()
        self._process.wait()

    def _ask(self, request: dict[str, Any]) -> Any:
        with self._lock:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            return json.loads(self._lines.readline())


_python: WarmPython | None = None


def warm_python() -> WarmPython:
    """Return this process's warm Python."""
    global _python  # noqa: PLW0603
    if _python is None:
        _python = WarmPython()
    return _python


def _serve(requests: socket.socket) -> dict[str, Any]:
    """Fork at each request; return the request in the fork, and end the process when nobody asks any more."""
    ended: dict[int, int] = {}
    bell, ring = socket.socketpair()
    for end in (bell, ring):
        end.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(ring.fileno(), warn_on_full_buffer=False)
    lines = requests.makefile("rb", buffering=0)
    with selectors.DefaultSelector() as selector:
        selector.register(requests, selectors.EVENT_READ)
        selector.register(bell, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in selector.select()}
            if bell in ready:
                bell.recv(4096)
            # A fork that nobody waits for would be a zombie.
            with contextlib.suppress(ChildProcessError):
                while (found := os.waitpid(-1, os.WNOHANG))[0]:
                    ended[found[0]] = os.waitstatus_to_exitcode(found[1])
            if requests not in ready:
                continue
            line = lines.readline()
            if not line:
                os._exit(0)
            request = json.loads(line)
            if "status" in request:
                answer = ended.get(request["status"])
            else:
                answer = os.fork()
                if answer == 0:
                    break
            requests.sendall(json.dumps(answer).encode() + b"\n")
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for one in (lines, requests, bell, ring):
        one.close()
    return request


def _become(request: dict[str, Any]) -> None:
    """Be the program of a request."""
    os.environ.clear()
    os.environ.update(request["env"])
    tempfile.tempdir = None
    os.chdir(request["cwd"])
    output = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    os.close(output)
    os.execv = _become_python  # type: ignore[assignment]
    _run(request["args"])


def _run(args: Sequence[str]) -> None:
    option, module, *rest = args
    assert option == "-m"
    sys.argv = [module, *rest]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _become_python(path: str, argv: Sequence[str]) -> NoReturn:
    """Do what `os.execv` of another Python program does, without its imports."""
    assert path == sys.executable
    _run(argv[1:])
    sys.exit(0)


def main() -> None:
    """Import, then fork until nobody asks any more."""
    for name in _MODULES:
        importlib.import_module(name)
    # A program is no module that others have imported.
    del sys.modules["tasks.relay"]
    with socket.socket(fileno=int(sys.argv[1])) as requests:
        request = _serve(requests)
    _become(request)


if __name__ == "__main__":
    main()

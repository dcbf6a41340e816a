"""Starts services in parallel as their dependencies allow, keeps them alive, stops them in reverse order."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from compose.local.logs import log_tail, rotate
from compose.local.orphans import ProcessMark, RunRecord
from compose.local.ports import listens
from compose.local.service import RUN_MARK, STACK_MARK, Service, Step, spawn
from compose.local.vigil import Vigil
from face3d.errors import Face3DError

POLL_SECONDS = 0.05
#: How often the logs' sizes are looked at.
LOG_SECONDS = 60.0
#: A service that dies is started again after these pauses (the last one repeats).
RESTART_PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
#: A service that lived this long is forgiven its earlier deaths.
HEALTHY_SECONDS = 60.0
#: Deaths of a service before it was ever ready, after which the start fails.
EARLY_DEATHS = 3


class StackFailed(Face3DError):
    """The local stack did not start."""


@dataclass
class _Child:
    service: Service
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    ready: bool = False
    ever_ready: bool = False
    deaths: int = 0
    next_start: float = 0.0
    #: Told to end, to be started anew: it is killed then.
    kill_at: float | None = None
    vigil: Vigil | None = None


class Supervisor:
    """Runs services and steps; every method may be called from any thread.

    Args:
        items: what to run.
        record: where the processes' pids are kept.
        report: told one line at each change.
    """

    def __init__(
        self, items: Sequence[Service | Step], record: RunRecord, report: Callable[[str], None] | None = None
    ) -> None:
        self._children = {item.name: _Child(item) for item in items if isinstance(item, Service)}
        self._steps = {item.name: item for item in items if isinstance(item, Step)}
        self._futures: dict[str, Future[None]] = {}
        self._done: set[str] = set()
        self._record = record
        self._report = report or (lambda _line: None)
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._changed = threading.Condition(self._lock)
        self._failure: StackFailed | None = None
        self._started = False
        self._logs_due = 0.0
        self._told: str | None = None
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self._pool = ThreadPoolExecutor(max_workers=4, thread_name_prefix="step")
        watched = [child for child in self._children.values() if child.service.work is not None]
        # A thread each: one that hangs is no reason not to look after another.
        self._askers = ThreadPoolExecutor(max_workers=max(1, len(watched)), thread_name_prefix="vigil")
        for child in watched:
            child.vigil = self._begin_vigil(child.service)
        self._watchdog: subprocess.Popen[bytes] | None = None

    # -- for callers

    def start(self) -> None:
        """Start everything and return when all is ready.

        Raises:
            StackFailed: a step failed, or a service died or was not ready in time; all is stopped again.
        """
        self._start_watchdog()
        self._thread.start()
        try:
            with self._changed:
                while not (self._failure or self._all_ready()):
                    self._changed.wait(1.0)
        except BaseException:
            self.stop()
            raise
        if self._failure is not None:
            failure = self._failure
            self.stop()
            raise failure
        self._started = True

    def stop(self) -> None:
        """Stop all services, those first that others do not need; idempotent."""
        self._stopping.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join()
        # Who asks a server that does not answer ends when that is stopped.
        self._askers.shutdown(wait=False, cancel_futures=True)
        self._pool.shutdown(wait=True, cancel_futures=True)
        running = {name: child for name, child in self._children.items() if child.process is not None}
        while running:
            needed = {name for child in running.values() for name in self._needs(child.service)}
            batch = [child for name, child in running.items() if name not in needed]
            self._stop_children(batch or list(running.values()))
            running = {name: child for name, child in running.items() if child.process is not None}
        if self._watchdog is not None:
            # Killed, not closed: at the pipe's end it would look for processes that are gone.
            self._watchdog.kill()
            self._watchdog.wait()
            if self._watchdog.stdin is not None:
                self._watchdog.stdin.close()
            self._watchdog = None
        self._record.clear()

    def names(self) -> list[str]:
        """Return the names of the services."""
        return list(self._children)

    def pid(self, name: str) -> int | None:
        """Return the pid of a service, None while it does not run."""
        with self._lock:
            process = self._children[name].process
            return process.pid if process is not None else None

    # -- the supervising thread

    def _watch(self) -> None:
        while not self._stopping.is_set():
            try:
                self._rotate_logs()
                with self._changed:
                    self._tick()
                self._probe()
            except StackFailed as failure:
                self._give_up(failure)
            except Exception as error:
                if not self._started:
                    self._give_up(StackFailed(f"The stack could not be started: {error!r}."))
                else:
                    # A watcher that ended would leave servers with nobody to start them anew.
                    self._tell_once(f"a look at the services failed and is repeated: {error!r}")
            else:
                self._told = None
            with self._changed:
                self._changed.notify_all()
            self._stopping.wait(POLL_SECONDS if not self._all_ready() else 0.25)

    def _tell_once(self, line: str) -> None:
        if line != self._told:
            self._told = line
            self._report(line)

    def _give_up(self, failure: StackFailed) -> None:
        self._failure = failure
        self._stopping.set()

    def _rotate_logs(self) -> None:
        if time.monotonic() < self._logs_due:
            return
        self._logs_due = time.monotonic() + LOG_SECONDS
        for child in self._children.values():
            with contextlib.suppress(OSError):
                rotate(child.service.log)

    def _tick(self) -> None:
        for name, step in self._steps.items():
            future = self._futures.get(name)
            if future is None and self._met(step.after):
                self._futures[name] = self._pool.submit(step.run)
            elif future is not None and future.done() and name not in self._done:
                error = future.exception()
                if error is not None:
                    raise StackFailed(f"{name}: {error}") from error
                self._done.add(name)
                self._report(f"{name} done")
        for child in self._children.values():
            self._tend(child)

    def _tend(self, child: _Child) -> None:
        service, now = child.service, time.monotonic()
        if child.process is None:
            if now >= child.next_start and self._met(service.after):
                marks = {STACK_MARK: str(self._record.state_dir), RUN_MARK: self._record.run_id}
                child.process, child.started, child.ready = spawn(service, marks), now, False
                child.kill_at = None
                self._record.processes[service.name] = ProcessMark.of(child.process.pid, service.stop_signal)
                self._record.save()
            return
        status = child.process.poll()
        if status is not None:
            _kill_group(child.process.pid)
            child.deaths = 1 if now - child.started > HEALTHY_SECONDS else child.deaths + 1
            child.process, child.ready = None, False
            child.next_start = now + RESTART_PAUSES[min(child.deaths, len(RESTART_PAUSES)) - 1]
            if not child.ever_ready and child.deaths >= EARLY_DEATHS:
                reason = f"{service.name} ended with status {status} while starting. Its log, {service.log}:"
                raise StackFailed(f"{reason}\n{log_tail(service.log)}")
            self._report(f"{service.name} ended with status {status}; starting it again")
        elif not child.ever_ready and now - child.started > service.start_seconds:
            raise StackFailed(_not_ready(service))
        elif child.kill_at is not None:
            if now > child.kill_at:
                _kill_group(child.process.pid)
        elif child.ever_ready and child.vigil is not None and child.vigil.look():
            child.process.send_signal(service.stop_signal)
            child.kill_at = now + service.stop_seconds

    def _begin_vigil(self, service: Service) -> Vigil | None:
        return Vigil(service.name, service.work, self._askers, self._report) if service.work else None

    def _probe(self) -> None:
        """Ask the starting services whether they are ready, without the lock: a probe may take a second."""
        for child in self._children.values():
            process = child.process
            if process is None or child.ready or self._stopping.is_set() or not child.service.ready():
                continue
            if child.service.port is not None and not listens(process.pid, child.service.port):
                continue
            with self._changed:
                if child.process is process and process.poll() is None:
                    child.ready = child.ever_ready = True
                    seconds = time.monotonic() - child.started
                    self._report(f"{child.service.name} ready after {seconds:.1f} s")
                    self._changed.notify_all()

    def _met(self, names: Sequence[str]) -> bool:
        return all(
            name in self._done or (name in self._children and self._children[name].ready) for name in names
        )

    def _all_ready(self) -> bool:
        children = self._children.values()
        return len(self._done) == len(self._steps) and all(child.ready for child in children)

    def _needs(self, item: Service | Step) -> set[str]:
        """Return the services that an item needs, also through steps."""
        found: set[str] = set()
        for name in item.after:
            if name in self._children:
                found.add(name)
            elif name in self._steps:
                found |= self._needs(self._steps[name])
        return found

    def _stop_children(self, children: Sequence[_Child]) -> None:
        for child in children:
            if child.process is not None:
                with contextlib.suppress(ProcessLookupError):
                    child.process.send_signal(child.service.stop_signal)
        started = time.monotonic()
        for child in children:
            if child.process is not None:
                # Told twice: a signal that comes while a server still installs its handlers may be lost.
                if not _ended(child.process, started + child.service.stop_seconds / 2):
                    child.process.send_signal(child.service.stop_signal)
                    _ended(child.process, started + child.service.stop_seconds)
                _kill_group(child.process.pid)
                child.process.wait()
                child.process, child.ready = None, False
                self._report(f"{child.service.name} stopped")

    def _start_watchdog(self) -> None:
        self._watchdog = subprocess.Popen(
            [
                *(sys.executable, "-m", "compose.local.watchdog"),
                *(str(self._record.state_dir), self._record.run_id),
            ],
            cwd=Path(__file__).resolve().parent.parent.parent,
            env={**os.environ, STACK_MARK: str(self._record.state_dir)},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )


def _not_ready(service: Service) -> str:
    return (
        f"{service.name} was not ready after {service.start_seconds:.0f} s. "
        f"Its log, {service.log}:\n{log_tail(service.log)}"
    )


def _ended(process: subprocess.Popen[bytes], deadline: float) -> bool:
    """Wait for a process's end until the deadline (monotonic seconds); return whether it came."""
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return False
    return True


def _kill_group(pid: int) -> None:
    """Kill what a dead leader left in its process group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)

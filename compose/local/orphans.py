"""The record of a run, and the end of what an earlier run left behind.

A process counts as the stack's when the record names its pid with its start time, when it lies in the
session of such a process, or when its environment carries the stack's mark. Pids alone are never trusted:
they are reused.
"""

import contextlib
import json
import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from compose.local.accounts import write_private
from compose.local.service import RUN_MARK, STACK_MARK

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, kw_only=True)
class ProcessMark:
    """A process as the record knows it."""

    pid: int
    #: Seconds since the epoch, as psutil computes them.
    started: float
    stop_signal: int = signal.SIGTERM

    @classmethod
    def of(cls, pid: int, stop_signal: int = signal.SIGTERM) -> "ProcessMark":
        """Return the mark of a living process (start time 0 when it is gone already)."""
        try:
            return cls(pid=pid, started=psutil.Process(pid).create_time(), stop_signal=stop_signal)
        except psutil.NoSuchProcess:
            return cls(pid=pid, started=0.0, stop_signal=stop_signal)

    def process(self) -> psutil.Process | None:
        """Return the process if this very one still lives."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < 1.0
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


@dataclass(kw_only=True)
class RunRecord:
    """Which processes belong to a run: `<state_dir>/run.json`."""

    state_dir: Path
    run_id: str
    processes: dict[str, ProcessMark] = field(default_factory=dict)

    def save(self) -> None:
        """Write the record."""
        document = {
            "boot_id": _BOOT_ID.read_text().strip(),
            "run_id": self.run_id,
            "processes": {name: vars(mark) for name, mark in self.processes.items()},
        }
        write_private(self.state_dir / "run.json", json.dumps(document, indent=1))

    def clear(self) -> None:
        """Forget all processes."""
        self.processes.clear()
        self.save()


def load_record(state_dir: Path) -> RunRecord | None:
    """Return the record of the last run on this boot of the machine, or None."""
    try:
        document: dict[str, Any] = json.loads((state_dir / "run.json").read_text())
        if document["boot_id"] != _BOOT_ID.read_text().strip():
            return None
        marks = {name: ProcessMark(**mark) for name, mark in document["processes"].items()}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return RunRecord(state_dir=state_dir, run_id=document["run_id"], processes=marks)


def find_processes(
    state_dir: Path, record: RunRecord | None, run_id: str | None = None
) -> list[psutil.Process]:
    """Return all living processes of a stack but this one.

    Args:
        run_id: only those of this run.
    """
    marks = record.processes.values() if record else ()
    leaders = {mark.pid for mark in marks if mark.process()}
    # While a session has members its number is no pid of a stranger, even when its leader is gone.
    sessions = {mark.pid for mark in marks if mark.pid in leaders or not psutil.pid_exists(mark.pid)}
    name, value = (STACK_MARK, str(state_dir)) if run_id is None else (RUN_MARK, run_id)
    found = []
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        with contextlib.suppress(psutil.Error, OSError):
            ours = process.pid in leaders or os.getsid(process.pid) in sessions - {os.getsid(0)}
            if (ours or process.environ().get(name) == value) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def stop_orphans(
    state_dir: Path, *, run_id: str | None = None, grace_seconds: float = 10.0, spare: tuple[int, ...] = ()
) -> int:
    """Stop what an earlier run left: stop signals first, SIGKILL after the grace period.

    Args:
        run_id: only processes of this run; None: of any run on this state folder.
        spare: pids to leave alone.
    Returns:
        How many processes were found.
    """
    record = load_record(state_dir)
    if record is not None and run_id is not None and record.run_id != run_id:
        record = None
    orphans = [p for p in find_processes(state_dir, record, run_id) if p.pid not in spare]
    for mark in record.processes.values() if record else ():
        process = mark.process()
        if process is not None and process.pid not in spare:
            with contextlib.suppress(psutil.Error):
                process.send_signal(mark.stop_signal)
    leaders = [m.process() for m in record.processes.values()] if record else []
    psutil.wait_procs([p for p in leaders if p is not None and p.pid not in spare], timeout=grace_seconds)
    deadline = time.monotonic() + grace_seconds
    while time.monotonic() < deadline:
        left = [p for p in find_processes(state_dir, record, run_id) if p.pid not in spare]
        if not left:
            break
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, timeout=0.5)
    return len(orphans)

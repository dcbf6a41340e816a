"""A local stack of its own for a benchmark: uploads by S3, webhooks, workers on CPU or on a card."""

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psutil
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from compose.local import ALL, Stack, temporary_state_dir
from compose.local.programs import ROOT, program_environment
from db.session import make_session_factory
from db.webhooks import add_endpoint
from face3d.errors import Face3DError
from face3d.options import METADATA_PREFIX
from face3d.settings import Settings
from storage.client import Storage

#: Photos uploaded at once.
_UPLOADERS = 4
#: Seconds that one job may take before the benchmark gives up, and a card's worker until it takes work.
_PATIENCE, _START = 120.0, 300.0
#: Stages of the CPU's workers where a card does the rest.
_HOST_STAGES = "preprocess,packaging"


class JobsMissing(Face3DError):
    """Jobs of the benchmark did not end ready in time."""


class Receiver:
    """Notes when the webhook of each key arrived."""

    def __init__(self) -> None:
        self.arrived: dict[str, float] = {}
        self._states: dict[str, str] = {}
        self._changed = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                now = time.perf_counter()
                document = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with receiver._changed:
                    receiver.arrived.setdefault(document["data"]["key"], now)
                    receiver._states[document["data"]["key"]] = document["data"]["state"]
                    receiver._changed.notify_all()
                self.send_response(204)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def wait_for(self, keys: Sequence[str], seconds: float = _PATIENCE) -> None:
        """Wait until the webhooks of all keys came and said ready.

        Raises:
            JobsMissing: not all came, or one was no success.
        """
        self.wait_for_end(keys, seconds)
        failed = sum(not self.succeeded(key) for key in keys)
        if failed:
            raise JobsMissing(f"{failed} of {len(keys)} jobs failed.")

    def wait_for_end(self, keys: Sequence[str], seconds: float = _PATIENCE) -> None:
        """Wait until the webhooks of all keys came, whatever they said.

        Raises:
            JobsMissing: not all came.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: all(key in self.arrived for key in keys), seconds):
                missing = sum(key not in self.arrived for key in keys)
                raise JobsMissing(f"{missing} of {len(keys)} webhooks did not come within {seconds:.0f} s.")

    def succeeded(self, key: str) -> bool:
        """Tell whether the key's webhook said ready."""
        return self._states.get(key) == "ready"


@dataclass(kw_only=True)
class StackRun:
    """A running stack and what is sent through it."""

    stack: Stack
    sessions: sessionmaker[Session]
    receiver: Receiver
    photos: Sequence[bytes]
    #: Option name to text.
    options: Mapping[str, str]
    storage: Storage
    #: Key to the moment when its PUT began.
    sent: dict[str, float] = field(default_factory=dict)
    #: Workers beside the stack's own services.
    launchers: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def keys(self, count: int) -> list[str]:
        """Return the next keys to send; they are sent by `put`, and none is given twice."""
        first = len(self.sent)
        names = [f"bench/{number:06d}" for number in range(first, first + count)]
        self.sent.update(dict.fromkeys(names, 0.0))
        return names

    def put(self, key: str) -> None:
        """PUT the key's photo."""
        self.sent[key] = time.perf_counter()
        self.storage.put(
            self.stack.settings.bucket_inbox,
            key,
            self.photos[int(key.rpartition("/")[2]) % len(self.photos)],
            content_type="image/jpeg",
            metadata={METADATA_PREFIX + name: value for name, value in self.options.items()},
        )

    def seconds(self, keys: Sequence[str]) -> list[float]:
        """Return the seconds from the PUT's begin to the webhook of each key."""
        return [self.receiver.arrived[key] - self.sent[key] for key in keys]

    def one_by_one(self, count: int) -> list[str]:
        """Send photos one after another, each when the one before is done; return their keys."""
        keys = self.keys(count)
        for key in keys:
            self.put(key)
            self.receiver.wait_for([key])
        return keys

    def at_once(self, count: int) -> list[str]:
        """Send photos as fast as the storage takes them, and wait for all; return their keys."""
        keys = self.keys(count)
        with ThreadPoolExecutor(_UPLOADERS) as pool:
            list(pool.map(self.put, keys))
        self.receiver.wait_for(keys, _PATIENCE + 2 * count)
        return keys

    def scheduled(self, due: Sequence[float]) -> list[str]:
        """Open loop: send each photo at its second from now, whatever became of the others; return keys.

        `sent` then holds the moments that were scheduled. Jobs that failed are left to the caller to count.
        """
        keys = self.keys(len(due))
        begun = time.perf_counter()

        def send(key: str, moment: float) -> None:
            time.sleep(max(0.0, begun + moment - time.perf_counter()))
            self.put(key)
            self.sent[key] = begun + moment

        with ThreadPoolExecutor(_UPLOADERS) as pool:
            list(pool.map(send, keys, due))
        self.receiver.wait_for_end(keys)
        return keys

    def stage_seconds(self, keys: Sequence[str]) -> dict[str, dict[str, float]]:
        """Return key to stage to the seconds of its attempt."""
        found: dict[str, dict[str, float]] = {}
        for key, stage, seconds, _ in self._attempts(keys):
            found.setdefault(key, {})[stage] = float(seconds)
        return found

    def step_seconds(self, keys: Sequence[str]) -> dict[str, list[float]]:
        """Return `<stage>: <step>` to the seconds of each attempt; `rest` is leases, commits and waiting."""
        found: dict[str, list[float]] = {}
        for _, stage, seconds, steps in self._attempts(keys):
            rest = float(seconds) - sum(steps.values())
            for step, value in (*steps.items(), ("rest", rest)):
                found.setdefault(f"{stage}: {step}", []).append(float(value))
        return found

    def _attempts(self, keys: Sequence[str]) -> Sequence[Any]:
        with self.sessions() as session:
            return session.execute(
                text(
                    "SELECT j.key, a.stage, extract(epoch FROM a.finished_at - a.started_at), a.timings"
                    "  FROM attempts a JOIN jobs j ON j.id = a.job_id"
                    " WHERE j.key = ANY(:keys) ORDER BY a.started_at"
                ),
                {"keys": list(keys)},
            ).all()

    def cpu_seconds(self) -> dict[str, float]:
        """Return the CPU seconds of each service and launcher with its descendants, and of this process."""
        pids = {name: self.stack.supervisor.pid(name) for name in sorted(ALL)}
        pids |= {name: process.pid for name, process in self.launchers.items()}
        seconds = {"client": sum(psutil.Process().cpu_times()[:2])}
        for name, pid in pids.items():
            if pid is not None:
                family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
                seconds[name] = sum(sum(one.cpu_times()[:2]) for one in family)
        return seconds


@contextmanager
def open_stack(
    *,
    engine: str,
    device: str,
    photos: Sequence[bytes],
    options: Mapping[str, str],
    broker: str | None = None,
) -> Iterator[StackRun]:
    """Yield a run whose workers are up; everything is stopped and deleted at the end.

    Args:
        device: `cpu`; a CUDA device, whose worker then does geometry and texture; or `cuda:all`.
        broker: URL of a broker that runs already; the stack's own Valkey when None.
    """
    folder = temporary_state_dir()
    overrides = {
        "engine": engine,
        "webhook_allow_private": "true",
        "model_dir": str(Settings().model_dir),
        "log_level": "WARNING",
    }
    if broker is not None:
        overrides["broker_url"] = broker
    services = ALL if device == "cpu" else ALL - {"workers"}
    try:
        with Stack(folder, overrides=overrides, services=services) as stack:
            receiver = Receiver()
            sessions = make_session_factory(stack.settings)
            with sessions.begin() as session:
                add_endpoint(session, receiver.url)
            run = StackRun(
                stack=stack,
                sessions=sessions,
                receiver=receiver,
                photos=photos,
                options={"engine": engine, **options},
                storage=Storage.from_settings(stack.settings),
            )
            try:
                if device != "cpu":
                    _start_launchers(run, device)
                yield run
            finally:
                _stop(run.launchers.values())
                sessions.kw["bind"].dispose()
                receiver.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _start_launchers(run: StackRun, device: str) -> None:
    index = device.partition(":")[2] or "0"
    places = {
        "workers on the host": ["--device", "cpu", "--stages", _HOST_STAGES],
        "workers on the card": ["--all-devices"] if index == "all" else ["--device", index],
    }
    for name, arguments in places.items():
        run.launchers[name] = subprocess.Popen(
            [sys.executable, "-m", "gpu_workers.launcher", *arguments],
            cwd=ROOT,
            env=program_environment(run.stack.layout),
        )
    deadline = time.monotonic() + _START
    while time.monotonic() < deadline:
        with run.sessions() as session:
            served = session.scalars(
                text("SELECT DISTINCT jsonb_array_elements_text(stages) FROM workers WHERE state = 'ready'")
            )
            if {"geometry", "packaging"} <= set(served):
                return
        time.sleep(0.2)
    raise JobsMissing(f"The workers did not take work within {_START:.0f} s.")


def _stop(processes: "Iterable[subprocess.Popen[bytes]]") -> None:
    started = list(processes)
    for process in started:
        process.terminate()
    for process in started:
        process.wait(60)

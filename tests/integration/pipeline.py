"""The running pipeline for tests: relay, delivery and stage workers as processes, and a webhook receiver."""

import contextlib
import http.server
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import text

from db import acceptance, queries, webhooks
from db.models import Job
from db.session import make_session_factory
from face3d.options import parse_options
from face3d.queues import StageQueue, queue_name
from face3d.settings import ROOT, Settings
from face3d.states import STAGES, TERMINAL_JOB_STATES, PriorityClass
from storage.client import Storage
from tests.integration.warm_python import WarmProcess, warm_python

#: A process that a test started.
AnyProcess = WarmProcess | subprocess.Popen[bytes]

#: Short enough for a test; the ratios are those of the defaults.
QUICK = {
    "FACE3D_ENGINE": "null",
    "FACE3D_LEASE_SECONDS": "2",
    "FACE3D_LEASE_RENEW_SECONDS": "0.5",
    "FACE3D_LOST_DISPATCH_SECONDS": "2",
    "FACE3D_RELAY_POLL_SECONDS": "0.2",
    "FACE3D_WORKER_TIMEOUT_SECONDS": "3",
    "FACE3D_HEARTBEAT_SECONDS": "0.3",
    "FACE3D_WEBHOOK_ALLOW_PRIVATE": "true",
    "FACE3D_WEBHOOK_RETRY_SECONDS": "[0.5, 0.5, 0.5]",
}


@dataclass
class Received:
    """One webhook request."""

    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        """The parsed body."""
        document: dict[str, Any] = json.loads(self.body)
        return document


class Receiver:
    """A customer's webhook endpoint; `statuses` are answered first, then 200."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.statuses: list[int] = []
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.received.append(Received(headers, body))
                self.send_response(receiver.statuses.pop(0) if receiver.statuses else 200)
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@dataclass
class Pipeline:
    """Processes around one set of servers."""

    settings: Settings
    env_file: Path
    logs: Path
    environment: Mapping[str, str]
    receiver: Receiver = field(default_factory=Receiver)
    processes: list[WarmProcess] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sessions = make_session_factory(self.settings)
        self.storage = Storage.from_settings(self.settings)

    def start(self, *arguments: str, **environment: str) -> WarmProcess:
        """Start a Python module as `python -m` does, with the pipeline's settings."""
        process = warm_python().start(
            arguments,
            cwd=ROOT,
            env={
                **os.environ,
                **self.environment,
                "FACE3D_ENV_FILE": str(self.env_file),
                **environment,
            },
            log=self.logs / f"{len(self.processes)}-{arguments[1].replace('.', '_')}.log",
        )
        self.processes.append(process)
        return process

    def start_relay(self) -> WarmProcess:
        """Start a relay."""
        return self.start("-m", "tasks.relay")

    def start_delivery(self) -> WarmProcess:
        """Start a delivery worker."""
        return self.start("-m", "tasks.delivery_worker")

    def start_worker(
        self, name: str, *, wait: str = "", gpu_type: str = "cpu", slots: int = 2, stages: str | None = None
    ) -> WarmProcess:
        """Start a stage worker and wait for its heartbeat; `wait` as in slow_worker."""
        served = stages.split(",") if stages else [stage.value for stage in STAGES]
        queues = [
            queue_name(StageQueue(stage=stage, gpu_type=gpu_type, priority_class=priority_class))
            for priority_class in PriorityClass
            for stage in STAGES
            if stage.value in served
        ]
        process = self.start(
            "-m", "celery", "-A", "tests.integration.slow_worker", "worker", "-n", f"{name}@test",
            "-Q", ",".join(queues), "-P", "prefork", "-c", str(slots), "-E", "-l", "INFO",
            "--without-gossip", "--without-mingle",
            FACE3D_TEST_WAIT=wait,
            FACE3D_WORKER_NAME=f"{name}@test",
            FACE3D_GPU_TYPE=gpu_type,
            FACE3D_DEVICE="cpu",
            FACE3D_SLOTS=str(slots),
            FACE3D_STAGES=",".join(served),
        )  # fmt: skip
        until(lambda: self._beats(f"{name}@test"), f"worker {name} beats", seconds=40)
        return process

    def _beats(self, name: str) -> bool:
        return bool(self.query("SELECT 1 FROM workers WHERE name = :name", name=name))

    def query(self, sql: str, **values: Any) -> list[Any]:
        """Return the rows of a query."""
        with self.sessions() as session:
            return list(session.execute(text(sql), values).all())

    def submit(self, key: str = "photo.jpg", data: bytes = b"x" * 1000, **options: str) -> str:
        """PUT a photo and accept it as an event would; return the job's id."""
        etag = self.storage.put(self.settings.bucket_inbox, key, data, content_type="image/jpeg")
        with self.sessions.begin() as session:
            return acceptance.accept(
                session,
                bucket=self.settings.bucket_inbox,
                key=key,
                etag=etag,
                size=len(data),
                content_type="image/jpeg",
                options=parse_options(options, defaults={"engine": "null"}),
                source="event",
            ).job_id

    def job(self, job_id: str) -> Job:
        """Return a job with its stages and attempts."""
        with self.sessions() as session:
            return queries.find(session, job_id)

    def wait_for_stage(self, job_id: str, stage: str, state: str, seconds: float = 30) -> None:
        """Wait until a stage is in a state."""
        until(
            lambda: any(s.name == stage and s.state == state for s in self.job(job_id).stages),
            f"{stage} is {state}",
            seconds=seconds,
        )

    def wait_for_attempt(self, job_id: str, stage: str, number: int, seconds: float = 30) -> None:
        """Wait until that attempt of a stage holds the lease."""
        until(
            lambda: any(
                s.name == stage and s.state == "running" and s.attempt == number
                for s in self.job(job_id).stages
            ),
            f"attempt {number} of {stage} runs",
            seconds=seconds,
        )

    def wait_for_end(self, job_id: str, seconds: float = 40) -> Job:
        """Wait until a job has ended and return it."""
        until(
            lambda: self.job(job_id).state in TERMINAL_JOB_STATES,
            f"job {job_id} ends",
            seconds=seconds,
        )
        return self.job(job_id)

    def wait_for_webhooks(self, count: int, seconds: float = 20) -> list[Received]:
        """Wait for that many webhook requests and return all."""
        until(lambda: len(self.receiver.received) >= count, f"{count} webhook requests", seconds=seconds)
        return self.receiver.received

    def close(self) -> None:
        """Kill what was started."""
        for process in self.processes:
            kill_tree(process)
        self.receiver.close()
        self.sessions.kw["bind"].dispose()


def until(condition: Callable[[], bool], what: str, *, seconds: float) -> None:
    """Wait until a condition holds; fail, naming it, when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.05)


def tree(process: AnyProcess) -> list[psutil.Process]:
    """Return a process and all its descendants."""
    try:
        parent = psutil.Process(process.pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def kill_tree(process: AnyProcess) -> None:
    """Kill a process and all its descendants with SIGKILL."""
    if process.poll() is None:
        # A child that it forks meanwhile would live on, with its connections.
        process.send_signal(signal.SIGSTOP)
    for one in tree(process):
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    process.wait()


@contextlib.contextmanager
def frozen(process: AnyProcess) -> Iterator[None]:
    """Freeze a process tree, and thaw it at the end."""
    members = tree(process)
    for one in members:
        os.kill(one.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for one in members:
            os.kill(one.pid, signal.SIGCONT)


@contextlib.contextmanager
def open_pipeline(settings: Settings, env_file: Path, logs: Path, **environment: str) -> Iterator[Pipeline]:
    """A relay, a delivery worker and a receiver around these servers; the test starts the stage workers."""
    made = Pipeline(settings=settings, env_file=env_file, logs=logs, environment={**QUICK, **environment})
    with made.sessions.begin() as session:
        webhooks.add_endpoint(session, made.receiver.url)
    made.start_relay()
    made.start_delivery()
    try:
        yield made
    finally:
        made.close()


def assert_one_asset_and_one_webhook(pipeline: Pipeline, job_id: str) -> None:
    job = pipeline.wait_for_end(job_id)
    assert job.state == "ready", (job.error_code, job.error_message)
    assert [stage.state for stage in job.stages] == ["done"] * 4
    received = pipeline.wait_for_webhooks(1)
    time.sleep(1.0)
    assert {request.headers["webhook-id"] for request in received} == {received[0].headers["webhook-id"]}
    assert received[0].document["type"] == "asset.ready"
    assert received[0].document["data"]["job_id"] == job_id
    names = {
        info.key.removeprefix(job.asset_prefix or "?")
        for info in pipeline.storage.list(pipeline.settings.bucket_assets, f"{job_id}/")
        if info.key.startswith(job.asset_prefix or "?")
    }
    assert {"head.glb", "manifest.json", "preview.png"} <= names

"""The whole way of a photo on a local stack of its own: S3 PUT to webhook, by stage, and at full load."""

import shutil
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import text

from bench.report import describe_run, summary_row, table
from compose.local import ALL, Stack, temporary_state_dir
from db.session import make_session_factory
from db.webhooks import add_endpoint
from face3d.errors import Face3DError
from face3d.options import METADATA_PREFIX
from face3d.settings import Settings
from face3d.states import STAGES
from storage.client import Storage

#: Photos uploaded at once in the throughput part.
_UPLOADERS = 4

#: Seconds that one job may take before the benchmark gives up.
_PATIENCE = 120.0


class JobsMissing(Face3DError):
    """Jobs of the benchmark did not end ready in time."""


class _Receiver:
    """Notes when the webhook of each key arrived."""

    def __init__(self) -> None:
        import json

        self.arrived: dict[str, float] = {}
        self.states: dict[str, str] = {}
        self.changed = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                now = time.perf_counter()
                document = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with receiver.changed:
                    receiver.arrived.setdefault(document["data"]["key"], now)
                    receiver.states[document["data"]["key"]] = document["data"]["state"]
                    receiver.changed.notify_all()
                self.send_response(204)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def wait_for(self, keys: Sequence[str], seconds: float) -> None:
        """Wait until the webhooks of all keys came.

        Raises:
            JobsMissing: not all came, or one was no success.
        """
        with self.changed:
            if not self.changed.wait_for(lambda: all(key in self.arrived for key in keys), seconds):
                missing = sum(key not in self.arrived for key in keys)
                raise JobsMissing(f"{missing} of {len(keys)} webhooks did not come within {seconds:.0f} s.")
        failed = [key for key in keys if self.states[key] != "ready"]
        if failed:
            raise JobsMissing(f"{len(failed)} of {len(keys)} jobs failed; see `face3d jobs`.")


@dataclass(kw_only=True)
class _Run:
    settings: Settings
    storage: Storage
    receiver: _Receiver
    photos: Sequence[bytes]
    options: dict[str, str]
    sent: dict[str, float]

    def put(self, number: int) -> str:
        """PUT one photo, and return its key."""
        key = f"bench/{number:06d}"
        self.sent[key] = time.perf_counter()
        self.storage.put(
            self.settings.bucket_inbox,
            key,
            self.photos[number % len(self.photos)],
            content_type="image/jpeg",
            metadata={METADATA_PREFIX + name: value for name, value in self.options.items()},
        )
        return key

    def seconds(self, keys: Sequence[str]) -> list[float]:
        """Return the seconds from the PUT's begin to the webhook of each key."""
        return [self.receiver.arrived[key] - self.sent[key] for key in keys]


def bench_pipeline(
    *,
    engine: str,
    photos: Sequence[bytes],
    sequential: int,
    load: int,
    options: dict[str, str],
    say: Callable[[str], None],
) -> None:
    """Measure and print.

    Args:
        photos: file contents, used in turn.
        sequential: photos sent one after another.
        load: photos sent as fast as the storage takes them; 0 leaves that part out.
        options: option name to text, beside the engine.
        say: takes each finished piece of the report.
    """
    folder = temporary_state_dir()
    overrides = {
        "engine": engine,
        "webhook_allow_private": "true",
        "model_dir": str(Settings().model_dir),
        "log_level": "WARNING",
    }
    try:
        started = time.monotonic()
        with Stack(folder, overrides=overrides) as stack:
            say(describe_run(n=sequential + load))
            say(f"stack up in {time.monotonic() - started:.1f} s; engine {engine}")
            receiver = _Receiver()
            sessions = make_session_factory(stack.settings)
            with sessions.begin() as session:
                add_endpoint(session, receiver.url)
            run = _Run(
                settings=stack.settings,
                storage=Storage.from_settings(stack.settings),
                receiver=receiver,
                photos=photos,
                options={"engine": engine, **options},
                sent={},
            )
            warm = _warm_up(run)
            say(_one_by_one(run, sessions, first=warm, count=sequential))
            if load:
                say(_at_once(run, stack, first=warm + sequential, count=load))
            sessions.kw["bind"].dispose()
            receiver.server.shutdown()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _warm_up(run: _Run, rounds: int = 3, at_once: int = 4) -> int:
    """Let every worker process do its first jobs; return how many were sent."""
    for index in range(rounds):
        keys = [run.put(index * at_once + number) for number in range(at_once)]
        run.receiver.wait_for(keys, _PATIENCE * at_once)
    return rounds * at_once


def _one_by_one(run: _Run, sessions: Any, *, first: int, count: int) -> str:
    keys = []
    for number in range(first, first + count):
        keys.append(run.put(number))
        run.receiver.wait_for(keys[-1:], _PATIENCE)
    with sessions() as session:
        rows = session.execute(
            text(
                "SELECT a.stage, extract(epoch FROM a.finished_at - a.started_at)"
                "  FROM attempts a JOIN jobs j ON j.id = a.job_id WHERE j.key = ANY(:keys)"
            ),
            {"keys": keys},
        ).all()
    by_stage = {stage: [float(s) for name, s in rows if name == stage] for stage in STAGES}
    lines = [summary_row(stage, by_stage[stage]) for stage in STAGES]
    lines.append(summary_row("PUT to webhook", run.seconds(keys)))
    return "One photo at a time, ms\n" + table(("", "median", "P95", "max", "n"), lines)


def _at_once(run: _Run, stack: Stack, *, first: int, count: int) -> str:
    before = _cpu_seconds(stack)
    started = time.perf_counter()
    with ThreadPoolExecutor(_UPLOADERS) as pool:
        keys = list(pool.map(run.put, range(first, first + count)))
    uploaded = time.perf_counter()
    run.receiver.wait_for(keys, _PATIENCE + count * 2)
    ended = max(run.receiver.arrived[key] for key in keys)
    after = _cpu_seconds(stack)
    used = {name: 1000 * (after[name] - before.get(name, 0.0)) / count for name in after}
    rows = [[name, f"{value:.1f}"] for name, value in sorted(used.items(), key=lambda item: -item[1])]
    rows.append(["all", f"{sum(used.values()):.1f}"])
    return (
        f"{count} photos at once: {count / (ended - started):.1f} jobs a second, first PUT to last webhook "
        f"(uploads took {uploaded - started:.1f} s)\n" + table(("component", "CPU-ms a job"), rows)
    )


def _cpu_seconds(stack: Stack) -> dict[str, float]:
    """Return the CPU seconds of each service with its descendants, and of this benchmark."""
    seconds = {"benchmark (S3 client, webhook receiver)": sum(psutil.Process().cpu_times()[:2])}
    for name in sorted(ALL):
        pid = stack.supervisor.pid(name)
        if pid is None:
            continue
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        seconds[name] = sum(sum(one.cpu_times()[:2]) for one in family)
    return seconds


def load_photos(folder: Path | None, fallback: Path) -> list[bytes]:
    """Return the photos of a folder, or the one that stands in for them.

    Raises:
        JobsMissing: the folder holds none.
    """
    if folder is None:
        return [fallback.read_bytes()]
    suffixes = {".jpg", ".jpeg", ".png", ".webp"}
    photos = [path.read_bytes() for path in sorted(folder.rglob("*")) if path.suffix.lower() in suffixes]
    if not photos:
        raise JobsMissing(f"{folder} holds no photo.")
    return photos

"""A real run for the plan to be checked against, and what one job costs each component.

`python -m bench.plan_run PHOTO FILE [ENGINE SHARE]` sends a photo many times through a local stack of its own
(one at a time, at random moments, all at once) and writes latencies, stages' times and counters as JSON.
"""

import argparse
import json
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import redis
from sqlalchemy import text

from bench.report import describe_run
from compose.local import ALL, Stack, temporary_state_dir
from db.session import make_session_factory
from db.webhooks import add_endpoint
from face3d.errors import Face3DError
from face3d.options import METADATA_PREFIX
from face3d.settings import Settings
from storage.client import Storage

#: Photos of each part: before measuring, one at a time, at random moments, all at once.
_WARM, _ALONE, _RANDOM, _AT_ONCE = 16, 30, 90, 200
#: Mean photos a second of the part at random moments.
_RANDOM_RATE = 3.0
_UPLOADERS = 4
_PATIENCE_SECONDS = 120.0
#: The database publishes its counters with a delay.
_COUNTERS_SETTLE_SECONDS = 2.0


class RunIncomplete(Face3DError):
    """Webhooks of the run did not come in time, or said that a job failed."""


class _Hooks:
    """Notes when the webhook of each key came."""

    def __init__(self) -> None:
        self.came: dict[str, float] = {}
        self.failed = False
        self.changed = threading.Condition()
        hooks = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                now = time.perf_counter()
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with hooks.changed:
                    hooks.failed |= body["data"]["state"] != "ready"
                    hooks.came.setdefault(body["data"]["key"], now)
                    hooks.changed.notify_all()
                self.send_response(204)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def wait(self, keys: list[str]) -> None:
        with self.changed:
            done = self.changed.wait_for(lambda: all(key in self.came for key in keys), _PATIENCE_SECONDS)
            if not done or self.failed:
                raise RunIncomplete


class _Cores:
    """Watches how many of this machine's cores other people's processes left over."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.restart()

    def restart(self) -> None:
        self.begun, self.ours, self.all = time.perf_counter(), _ours(self.stack), _busy_seconds()

    def left(self) -> float:
        """Return cores minus what others used, since the last start."""
        others = (_busy_seconds() - self.all) - (_ours(self.stack) - self.ours)
        return float(psutil.cpu_count()) - others / (time.perf_counter() - self.begun)


class _Sender:
    """Uploads photos under numbered keys and knows when each was due."""

    def __init__(self, settings: Settings, hooks: _Hooks, photo: bytes, engine: str) -> None:
        self.settings, self.hooks, self.photo = settings, hooks, photo
        self.metadata = {METADATA_PREFIX + "engine": engine}
        self.storage = Storage.from_settings(settings)
        self.count = 0

    def keys(self, count: int) -> list[str]:
        self.count += count
        return [f"plan/{number:06d}" for number in range(self.count - count, self.count)]

    def put(self, key: str) -> None:
        self.storage.put(
            self.settings.bucket_inbox, key, self.photo, content_type="image/png", metadata=self.metadata
        )

    def alone(self, count: int) -> tuple[list[str], list[float]]:
        """One at a time; return keys and seconds from the PUT's begin to the webhook."""
        keys, seconds = self.keys(count), []
        for key in keys:
            begun = time.perf_counter()
            self.put(key)
            self.hooks.wait([key])
            seconds.append(self.hooks.came[key] - begun)
        return keys, seconds

    def scheduled(self, due: list[float]) -> list[float]:
        """Open loop: each PUT at its second, whatever became of the others; seconds count from there."""
        keys = self.keys(len(due))
        begun = time.perf_counter()

        def send(key: str, moment: float) -> None:
            time.sleep(max(0.0, begun + moment - time.perf_counter()))
            self.put(key)

        with ThreadPoolExecutor(_UPLOADERS) as pool:
            list(pool.map(send, keys, due))
        self.hooks.wait(keys)
        return [self.hooks.came[key] - begun - moment for key, moment in zip(keys, due, strict=True)]


def main(photo: Path, path: Path, engine: str, scale: float) -> None:
    """Run all parts and write the file.

    Args:
        photo: the PNG file that is sent every time.
        path: the JSON file to write.
        engine: null or anny.
        scale: share of the photos of each part that is sent.
    """
    alone, scattered, at_once = (max(2, int(scale * n)) for n in (_ALONE, _RANDOM, _AT_ONCE))
    with _stack(engine) as stack:
        hooks = _Hooks()
        sessions = make_session_factory(stack.settings)
        with sessions.begin() as session:
            add_endpoint(session, hooks.url)
        sender = _Sender(stack.settings, hooks, photo.read_bytes(), engine)
        sender.scheduled([0.0] * max(4, int(scale * _WARM)))
        cores = _Cores(stack)
        left = {}
        keys, one_by_one = sender.alone(alone)
        left["alone"] = cores.left()
        with sessions() as session:
            rows = session.execute(
                text(
                    "SELECT a.stage, extract(epoch FROM a.finished_at - a.started_at) FROM attempts a"
                    " JOIN jobs j ON j.id = a.job_id WHERE j.key = ANY(:keys) ORDER BY a.started_at"
                ),
                {"keys": keys},
            ).all()
        stages: dict[str, list[float]] = {}
        for stage, seconds in rows:
            stages.setdefault(stage, []).append(round(float(seconds), 4))
        due = np.random.default_rng(1).exponential(1 / (_RANDOM_RATE * scale), scattered).cumsum()
        cores.restart()
        poisson = sender.scheduled([float(moment) for moment in due])
        left["poisson"] = cores.left()
        before = _counters(stack, sender.storage)
        cores.restart()
        burst = sender.scheduled([0.0] * at_once)
        left["burst"] = cores.left()
        after = _counters(stack, sender.storage)
        sessions.kw["bind"].dispose()
        hooks.server.shutdown()
    about, _, _ = describe_run(n=alone + scattered + at_once).rpartition("; command: ")
    result = {
        "run": f"{about}; command: python -m bench.plan_run {photo.name} FILE {engine} {scale:g}",
        "engine": engine,
        "cores_left": {part: round(value, 2) for part, value in left.items()},
        "alone_seconds": _rounded(one_by_one),
        "stage_seconds": stages,
        "poisson_due": _rounded([float(moment) for moment in due]),
        "poisson_seconds": _rounded(poisson),
        "burst_seconds": _rounded(burst),
        "a_job": {name: round((after[name] - before.get(name, 0.0)) / at_once, 4) for name in sorted(after)},
    }
    path.write_text(json.dumps(result) + "\n")


@contextmanager
def _stack(engine: str) -> Iterator[Stack]:
    folder = temporary_state_dir()
    overrides = {
        "engine": engine,
        "webhook_allow_private": "true",
        "model_dir": str(Settings().model_dir),
        "log_level": "WARNING",
    }
    try:
        with Stack(folder, overrides=overrides) as stack:
            yield stack
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _counters(stack: Stack, storage: Storage) -> dict[str, float]:
    """Return running totals: CPU milliseconds, rows, commits, WAL bytes, messages, objects and bytes."""
    totals = _cpu_milliseconds(stack)
    time.sleep(_COUNTERS_SETTLE_SECONDS)
    settings = stack.settings
    with make_session_factory(settings)() as session:
        row = session.execute(
            text(
                "SELECT xact_commit, tup_inserted, tup_updated, tup_deleted,"
                " pg_current_wal_lsn() - '0/0'::pg_lsn FROM pg_stat_database"
                " WHERE datname = current_database()"
            )
        ).one()
    names = ("db.commits", "db.inserted", "db.updated", "db.deleted", "db.wal_bytes")
    totals |= {name: float(value) for name, value in zip(names, row, strict=True)}
    broker = redis.Redis.from_url(settings.broker_url.get_secret_value())
    commands: Any = broker.info("commandstats")
    for command in ("lpush", "publish"):
        totals[f"broker.{command}"] = float(commands.get(f"cmdstat_{command}", {}).get("calls", 0))
    stats: Any = broker.info("stats")
    totals["broker.commands"] = float(stats["total_commands_processed"])
    broker.close()
    for bucket in (settings.bucket_inbox, settings.bucket_work, settings.bucket_assets):
        sizes = [info.size for info in storage.list(bucket)]
        totals[f"s3.{bucket.removeprefix('face3d-')}.objects"] = float(len(sizes))
        totals[f"s3.{bucket.removeprefix('face3d-')}.bytes"] = float(sum(sizes))
    return totals


def _busy_seconds() -> float:
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq + times.steal)


def _ours(stack: Stack) -> float:
    return sum(_cpu_milliseconds(stack).values()) / 1000


def _cpu_milliseconds(stack: Stack) -> dict[str, float]:
    def seconds(process: psutil.Process) -> float:
        return float(sum(process.cpu_times()[:2]))

    totals = {"cpu_ms.client": 1000 * seconds(psutil.Process())}
    for name in sorted(ALL):
        pid = stack.supervisor.pid(name)
        if pid is not None:
            family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
            totals[f"cpu_ms.{name}"] = 1000 * sum(seconds(one) for one in family)
    return totals


def _rounded(values: list[float]) -> list[float]:
    return [round(value, 4) for value in values]


if __name__ == "__main__":
    _parser = argparse.ArgumentParser(prog="python -m bench.plan_run")
    _parser.add_argument("photo", type=Path, help="a PNG file, sent every time")
    _parser.add_argument("file", type=Path, help="the JSON file to write")
    _parser.add_argument("engine", nargs="?", default="null", help="null or anny")
    _parser.add_argument("share", nargs="?", default=1.0, type=float, help="share of the photos of each part")
    _given = _parser.parse_args()
    main(_given.photo, _given.file, _given.engine, _given.share)

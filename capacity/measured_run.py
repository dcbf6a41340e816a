"""A real run for the plan to be checked against, and what one job costs each component.

`python -m capacity.measured_run PHOTO FILE [ENGINE SHARE]` sends a photo many times through a local stack of
its own (one at a time, at random moments, all at once) and writes latencies, stages' times and counters
as JSON.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import redis
from sqlalchemy import text

from bench.pipeline.stack_run import StackRun, open_stack
from bench.report import describe_run

#: Photos of each part: before measuring, one at a time, at random moments, all at once.
_WARM, _ALONE, _RANDOM, _AT_ONCE = 16, 30, 90, 200
#: Mean photos a second of the part at random moments.
_RANDOM_RATE = 3.0
#: The database publishes its counters with a delay.
_COUNTERS_SETTLE_SECONDS = 2.0


class _Cores:
    """Watches how many of this machine's cores other people's processes left over."""

    def __init__(self, run: StackRun) -> None:
        self.run = run
        self.restart()

    def restart(self) -> None:
        self.begun, self.ours, self.all = time.perf_counter(), _ours(self.run), _busy_seconds()

    def left(self) -> float:
        """Return cores minus what others used, since the last start."""
        others = (_busy_seconds() - self.all) - (_ours(self.run) - self.ours)
        return float(psutil.cpu_count()) - others / (time.perf_counter() - self.begun)


def main(photo: Path, path: Path, engine: str, scale: float) -> None:
    """Run all parts and write the file.

    Args:
        photo: the PNG file that is sent every time.
        path: the JSON file to write.
        engine: null or anny.
        scale: share of the photos of each part that is sent.
    """
    alone, scattered, at_once = (max(2, int(scale * n)) for n in (_ALONE, _RANDOM, _AT_ONCE))
    with open_stack(engine=engine, device="cpu", photos=[photo.read_bytes()], options={}) as run:
        run.scheduled([0.0] * max(4, int(scale * _WARM)))
        cores = _Cores(run)
        left = {}
        keys = run.one_by_one(alone)
        one_by_one = run.seconds(keys)
        left["alone"] = cores.left()
        stages: dict[str, list[float]] = {}
        for times in run.stage_seconds(keys).values():
            for stage, seconds in times.items():
                stages.setdefault(stage, []).append(round(seconds, 4))
        due = np.random.default_rng(1).exponential(1 / (_RANDOM_RATE * scale), scattered).cumsum()
        cores.restart()
        poisson = run.seconds(run.scheduled([float(moment) for moment in due]))
        left["poisson"] = cores.left()
        before = _counters(run)
        cores.restart()
        burst = run.seconds(run.scheduled([0.0] * at_once))
        left["burst"] = cores.left()
        after = _counters(run)
    about, _, _ = describe_run(n=alone + scattered + at_once).rpartition("; command: ")
    result = {
        "run": f"{about}; command: python -m capacity.measured_run {photo.name} FILE {engine} {scale:g}",
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


def _counters(run: StackRun) -> dict[str, float]:
    """Return running totals: CPU milliseconds, rows, commits, WAL bytes, messages, objects and bytes."""
    totals = {f"cpu_ms.{name}": 1000 * seconds for name, seconds in run.cpu_seconds().items()}
    time.sleep(_COUNTERS_SETTLE_SECONDS)
    settings = run.stack.settings
    with run.sessions() as session:
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
        sizes = [info.size for info in run.storage.list(bucket)]
        totals[f"s3.{bucket.removeprefix('face3d-')}.objects"] = float(len(sizes))
        totals[f"s3.{bucket.removeprefix('face3d-')}.bytes"] = float(sum(sizes))
    return totals


def _busy_seconds() -> float:
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq + times.steal)


def _ours(run: StackRun) -> float:
    return sum(run.cpu_seconds().values())


def _rounded(values: list[float]) -> list[float]:
    return [round(value, 4) for value in values]


if __name__ == "__main__":
    _parser = argparse.ArgumentParser(prog="python -m capacity.measured_run")
    _parser.add_argument("photo", type=Path, help="a PNG file, sent every time")
    _parser.add_argument("file", type=Path, help="the JSON file to write")
    _parser.add_argument("engine", nargs="?", default="null", help="null or anny")
    _parser.add_argument("share", nargs="?", default=1.0, type=float, help="share of the photos of each part")
    _given = _parser.parse_args()
    main(_given.photo, _given.file, _given.engine, _given.share)

"""Our own processes as services: web, relay, workers, Flower."""

import os
import sys
from pathlib import Path

from compose.local.layout import Layout
from compose.local.probes import DatabaseShows, Probe, http_answers
from compose.local.service import Service

ROOT = Path(__file__).resolve().parent.parent.parent

#: Needs of every process of ours.
PREPARED = ("migrations", "buckets", "valkey")

RELAY_LISTENS = (
    "SELECT 1 FROM pg_stat_activity WHERE application_name = 'face3d-relay' AND %s::timestamptz <= now()"
)
WORKER_BEATS = "SELECT 1 FROM workers WHERE heartbeat_at > %s AND NOT jsonb_exists(stages, 'delivery')"
DELIVERY_BEATS = "SELECT 1 FROM workers WHERE heartbeat_at > %s AND jsonb_exists(stages, 'delivery')"


def program_services(layout: Layout) -> tuple[Service, ...]:
    """Return the services `web`, `relay`, `delivery`, `workers` and `flower`."""
    return (
        _program(
            layout,
            "web",
            ("web",),
            http_answers(layout.ports["web"], "/healthz"),
            port=layout.ports["web"],
        ),
        _program(layout, "relay", ("tasks.relay",), DatabaseShows(layout.database_url, RELAY_LISTENS)),
        _program(
            layout,
            "delivery",
            ("tasks.delivery_worker",),
            DatabaseShows(layout.database_url, DELIVERY_BEATS),
        ),
        # A worker ends its running task first; the launcher kills one that takes longer than 30 s.
        _program(
            layout,
            "workers",
            ("gpu_workers.launcher",),
            DatabaseShows(layout.database_url, WORKER_BEATS),
            stop_seconds=35.0,
            # It is ready when all its processes are warm.
            start_seconds=300.0,
        ),
        _flower(layout),
    )


def program_environment(layout: Layout) -> dict[str, str]:
    """Return the environment of our own processes: the caller's, with this stack's settings.

    Settings that stack.env names are dropped from the caller's environment, where they would win.
    """
    names = {line.split("=", 1)[0] for line in layout.env_file.read_text().splitlines() if "=" in line}
    kept = {name: value for name, value in os.environ.items() if name not in names}
    return {**kept, "FACE3D_ENV_FILE": str(layout.env_file), "PYTHONUNBUFFERED": "1"}


def _program(
    layout: Layout,
    name: str,
    arguments: tuple[str, ...],
    ready: Probe,
    *,
    port: int | None = None,
    extra_env: dict[str, str] | None = None,
    stop_seconds: float = 10.0,
    start_seconds: float = 60.0,
) -> Service:
    return Service(
        name=name,
        argv=(sys.executable, "-m", *arguments),
        env={**program_environment(layout), **(extra_env or {})},
        cwd=ROOT,
        log=layout.logs / f"{name}.log",
        ready=ready,
        port=port,
        forget=ready.forget if isinstance(ready, DatabaseShows) else lambda: None,
        after=PREPARED,
        stop_seconds=stop_seconds,
        start_seconds=start_seconds,
    )


def _flower(layout: Layout) -> Service:
    port = layout.ports["flower"]
    return _program(
        layout,
        "flower",
        (
            "celery",
            "-A",
            "tasks.app",
            "flower",
            "--address=127.0.0.1",
            f"--port={port}",
            "--purge_offline_workers=60",
        ),
        http_answers(port, "/healthcheck"),
        port=port,
        # By environment: the process list is public.
        extra_env={"FLOWER_BASIC_AUTH": f"face3d:{layout.credentials['flower_password']}"},
    )

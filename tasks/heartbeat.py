"""Heartbeats of a worker: what it serves and how it is, once a second, from Celery's main process."""

import os
import threading
import time
from typing import Any

import structlog
from celery import signals

from db import workers
from db.session import make_session_factory
from face3d.settings import Settings, get_settings
from face3d.states import STAGES
from gpu_workers.engines.registry import load_engine
from gpu_workers.health import read_health, read_memory_mb
from tasks.base import worker_identity
from tasks.broker import DELIVERY_QUEUE

log = structlog.get_logger(__name__)


class Heart:
    """Beats in a thread until it is stopped."""

    def __init__(self, settings: Settings, *, stages: list[str], slots: int) -> None:
        self._settings = settings
        self._stages = stages
        self._slots = slots
        self._state = "ready"
        self._stopped = threading.Event()
        self._identity = worker_identity(settings)
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begin to beat."""
        self._thread.start()

    def drain(self) -> None:
        """Say that no new work is taken."""
        self._state = "draining"

    def stop(self) -> None:
        """Stop, and forget the worker: it ended in order."""
        self._stopped.set()
        self._thread.join(timeout=5)
        try:
            with make_session_factory(self._settings).begin() as session:
                workers.remove(session, self._identity.name)
        except Exception:
            log.warning("heartbeat.farewell_failed", exc_info=True)

    def _run(self) -> None:
        while not self._stopped.is_set():
            started = time.monotonic()
            try:
                with make_session_factory(self._settings).begin() as session:
                    workers.beat(
                        session,
                        name=self._identity.name,
                        gpu_type=self._identity.gpu_type,
                        device=self._identity.device,
                        stages=self._stages,
                        slots=self._slots,
                        memory_mb=read_memory_mb(self._identity.device),
                        state=self._state,
                        health=read_health(self._identity.device),
                    )
            except Exception:
                log.warning("heartbeat.failed", exc_info=True)
            self._stopped.wait(max(0.0, self._settings.heartbeat_seconds - (time.monotonic() - started)))


_heart: Heart | None = None


def served_stages() -> list[str]:
    """Return what this worker serves, as whoever started it says: stages, or the delivery queue."""
    known = {*STAGES, DELIVERY_QUEUE}
    return [name for name in os.environ.get("FACE3D_STAGES", "").split(",") if name in known]


@signals.worker_ready.connect
def _start(**_: Any) -> None:
    global _heart  # noqa: PLW0603 - one worker a process
    stages = served_stages()
    if not stages:
        return
    _heart = Heart(get_settings(), stages=stages, slots=int(os.environ.get("FACE3D_SLOTS", "1")))
    _heart.start()


@signals.worker_shutting_down.connect
def _drain(**_: Any) -> None:
    if _heart is not None:
        _heart.drain()


@signals.worker_shutdown.connect
def _stop(**_: Any) -> None:
    if _heart is not None:
        _heart.stop()


@signals.worker_process_init.connect
def _warm_up(**_: Any) -> None:
    """Build the default engine in each child before it takes work."""
    if not set(served_stages()) & set(STAGES):
        return
    settings = get_settings()
    try:
        load_engine(settings.engine, settings, os.environ.get("FACE3D_DEVICE", "cpu"))
    except Exception:
        # Jobs that need it will say so, by code; others may use another engine.
        log.exception("engine.unavailable", engine=settings.engine)

"""Heartbeats of a warm worker: what it serves and how it is, once a second, from Celery's main process.

The heart also decides when the worker takes no more work: on SIGTERM, and by itself when its device is unfit.
"""

import threading
import time
from typing import Any

import structlog
from celery import Celery, signals

from db import recovery, workers
from db.session import make_session_factory
from face3d.errors import ConfigurationError
from face3d.outages import Outage
from face3d.settings import Settings, get_settings
from face3d.worker_spec import WorkerSpec
from gpu_workers.health import HealthJudge, describe_host, open_probe
from gpu_workers.stage_heartbeats import read_unfit
from tasks.artifacts import open_cache
from tasks.base import get_runtime
from tasks.warmup import check_engine, cold_start_seconds, wait_until_warm, warm_up

log = structlog.get_logger(__name__)

#: Left of the drain's time when leases are given back: the launcher kills at its end.
_HAND_BACK_SECONDS = 3.0


class Heart:
    """Beats in a thread until it is stopped."""

    def __init__(self, app: Celery, settings: Settings, *, queues: list[str]) -> None:
        self._app = app
        self._settings = settings
        self._queues = queues
        self._stopping = False
        #: Why the worker takes no work, by its own decision.
        self._unfit: str | None = None
        self._stopped = threading.Event()
        self._worker = settings.worker
        self._cache = open_cache(settings)
        self._probe = open_probe(self._worker.device)
        self._reading = self._probe.read()
        self._judge = HealthJudge(throttle_seconds=settings.throttle_seconds)
        self._threads = [threading.Thread(target=self._run, name="heartbeat", daemon=True)]
        if _warms_itself(self._worker) and settings.selftest_seconds > 0:
            self._threads.append(threading.Thread(target=self._test, name="self-test", daemon=True))

    def start(self) -> None:
        """Begin to beat."""
        for thread in self._threads:
            thread.start()

    def drain(self) -> None:
        """Say that no new work is taken; give back what is not done when the time is nearly over."""
        self._stopping = True
        wait = max(0.0, self._settings.drain_seconds - _HAND_BACK_SECONDS)
        timer = threading.Timer(wait, self._hand_back)
        timer.daemon = True
        timer.start()

    def stop(self) -> None:
        """Stop, and forget the worker: it ended in order."""
        self._stopped.set()
        self._threads[0].join(timeout=5)
        try:
            with make_session_factory(self._settings).begin() as session:
                workers.remove(session, self._worker.name)
        except Exception:
            log.warning("heartbeat.farewell_failed", exc_info=True)

    def _hand_back(self) -> None:
        try:
            sessions = make_session_factory(self._settings)
            with sessions() as session:
                held = recovery.held_by(session, worker=self._worker.name)
            for lease in held:
                with sessions.begin() as session:
                    handed = recovery.hand_back(session, lease)
                if handed:
                    log.warning("lease.handed_back", job_id=lease.job_id, stage=lease.stage.value)
        except Exception:
            log.warning("worker.hand_back_failed", exc_info=True)

    def _run(self) -> None:
        outage, cache = Outage(log, "heartbeat"), Outage(log, "cache")
        # Forked children warm up while this process consumes already; a threads pool did it before.
        if self._worker.serves_stages and not self._worker.has_threads:
            wait_until_warm(self._worker, self._stopped)
        while not self._stopped.is_set():
            started = time.monotonic()
            try:
                self._beat()
            except Exception as error:
                outage.failed(error)
            else:
                outage.ended()
            try:
                # A relay sweeps its own host only, and a worker without work puts nothing in.
                self._cache.sweep()
            except OSError as error:
                cache.failed(error)
            else:
                cache.ended()
            self._stopped.wait(max(0.0, self._settings.heartbeat_seconds - (time.monotonic() - started)))

    def _beat(self) -> None:
        try:
            self._reading = self._probe.read()
        except ConfigurationError as error:
            # The card fell off the bus: what it last said is all there is.
            self._judge.condemn(error.message)
        reading = self._reading
        fault = read_unfit(self._worker.watch_dir)
        if fault is not None:
            self._judge.condemn(fault)
        self._obey(self._judge.judge(reading))
        reason = "told to stop" if self._stopping else self._unfit
        cold_start = cold_start_seconds()
        with make_session_factory(self._settings).begin() as session:
            workers.beat(
                session,
                name=self._worker.name,
                gpu_type=self._worker.gpu_type,
                device=self._worker.device,
                stages=self._worker.stages,
                slots=self._worker.slots,
                memory_mb=reading.memory_total_mb,
                state="ready" if reason is None else "draining",
                reason=reason,
                health={
                    **reading.describe(),
                    **describe_host(),
                    **({} if cold_start is None else {"cold_start_seconds": cold_start}),
                },
            )

    def _obey(self, reason: str | None) -> None:
        """Stop taking work when the device became unfit, and take it again when it recovered."""
        if (reason is None) != (self._unfit is None) and not self._stopping:
            # Celery changes what it consumes only in its own loop, which a command reaches.
            command = "add_consumer" if reason is None else "cancel_consumer"
            for queue in self._queues:
                self._app.control.broadcast(
                    command, arguments={"queue": queue}, destination=[self._worker.name]
                )
            log.warning("worker.fit" if reason is None else "worker.unfit", reason=reason or self._unfit)
        self._unfit = reason

    def _test(self) -> None:
        while not self._stopped.wait(self._settings.selftest_seconds):
            fault = check_engine(self._settings)
            if fault is not None:
                self._judge.condemn(fault)


_heart: Heart | None = None


def _warms_itself(worker: WorkerSpec) -> bool:
    """Tell whether this process runs the stages itself, and not children that it forks."""
    return worker.serves_stages and worker.has_threads


@signals.worker_ready.connect
def _start(sender: Any, **_: Any) -> None:
    global _heart  # noqa: PLW0603 - one worker a process
    settings = get_settings()
    if not settings.worker.stages:
        return
    queues = [queue.name for queue in sender.app.amqp.queues.consume_from.values()]
    _heart = Heart(sender.app, settings, queues=queues)
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
def _warm_child(**_: Any) -> None:
    """Make a forked child ready before it takes work."""
    if get_settings().worker.serves_stages:
        warm_up(get_settings())


@signals.worker_init.connect
def _warm_process(**_: Any) -> None:
    """Make the process of a threads pool ready before it consumes; one that forks must stay cold."""
    if _warms_itself(get_settings().worker):
        warm_up(get_settings())
        get_runtime(get_settings())

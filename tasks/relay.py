"""`face3d relay`: carries what the database decided to the broker, and mends what got lost.

Any number may run. Publishing takes rows with SKIP LOCKED, so relays share it; the periodic work is done by
the one that holds an advisory lock. Woken by NOTIFY, and by a poll where no notice came.
"""

import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import psycopg
import structlog
from celery import Celery
from sqlalchemy import make_url
from sqlalchemy.orm import Session, sessionmaker

from db import leases, outbox, webhooks, workers
from db.notices import RELAY_CHANNEL
from db.session import make_session_factory
from face3d.logs import configure_logs
from face3d.sealing import SecretBox
from face3d.settings import Settings, get_settings
from storage.client import Storage
from tasks.artifacts import open_cache
from tasks.broker import declare_dead_letters, queue_depth
from tasks.chain import job_chain
from tasks.delivery_queue import publish_due
from tasks.retention import erase_expired, tidy_jobs
from tasks.sweep import sweep_inbox

log = structlog.get_logger(__name__)

#: Rows that are published in one transaction.
_BATCH = 50

#: Any constant: the advisory lock of the relay that does the periodic work.
_LEADER_LOCK = 0x0FACE3D


def publish_chains(app: Celery, sessions: sessionmaker[Session]) -> int:
    """Publish the chains that are due; return how many."""
    with sessions.begin() as session:
        publications = outbox.claim_publications(session, limit=_BATCH)
        # The router notes the queue in the stage's row from a transaction of its own, so ours must not hold
        # the job's rows: claiming locks outbox rows only.
        for publication in publications:
            job_chain(app, publication).apply_async()
            log.info(
                "chain.published",
                job_id=publication.job_id,
                dispatch=publication.dispatch,
                stages=len(publication.stages),
            )
    return len(publications)


def publish_deliveries(app: Celery, sessions: sessionmaker[Session], settings: Settings) -> int:
    """Publish the webhook messages that are due and have a place; return how many."""
    return publish_due(app, sessions, settings)


def expire_leases(sessions: sessionmaker[Session], settings: Settings) -> int:
    """Take the leases that ran out; return how many."""
    with sessions.begin() as session:
        taken = leases.expire(session, poison_limit=settings.poison_limit)
    for job_id, stage in taken:
        log.warning("lease.expired", job_id=job_id, stage=stage)
    return len(taken)


def mend_lost_dispatches(app: Celery, sessions: sessionmaker[Session], settings: Settings) -> int:
    """Publish chains again whose message got lost; return how many.

    A message counts as lost when its queue is empty, when a later one of the same queue started, when its
    publication never reached the router, or when no live worker serves its queue while another type's does.
    """
    with sessions() as session:
        overdue = outbox.find_overdue(session, older_than_seconds=settings.lost_dispatch_seconds)
        served = {
            stage: {
                facts.gpu_type
                for facts in workers.type_facts(
                    session, stage, timeout_seconds=settings.worker_timeout_seconds
                )
            }
            for stage in {item.stage for item in overdue}
        }
        forced = {
            item.job_id: (request.gpu_type if request else "any")
            for item in overdue
            for request in [workers.stage_request(session, item.job_id, item.stage)]
        }
    depths: dict[str, int] = {}
    lost = []
    for item in overdue:
        if item.queue is None or item.overtaken:
            lost.append(item)
            continue
        if item.queue not in depths:
            depths[item.queue] = queue_depth(app, item.queue)
        gpu_type = item.queue.split(".")[1]
        elsewhere = served[item.stage] - {gpu_type}
        stranded = gpu_type not in served[item.stage] and bool(elsewhere) and forced[item.job_id] == "any"
        if depths[item.queue] == 0 or stranded:
            lost.append(item)
    with sessions.begin() as session:
        count = outbox.redispatch_lost(session, lost)
    if count:
        log.warning("dispatch.lost", count=count)
    return count


@dataclass
class _Chore:
    """Periodic work of the leading relay."""

    name: str
    every_seconds: float
    run: Callable[[], object]
    due_at: float = field(default=0.0)


class Relay:
    """The relay process."""

    def __init__(self, app: Celery, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._sessions = make_session_factory(settings)
        self._storage = Storage.from_settings(settings)
        self._cache = open_cache(settings)
        self._stopping = threading.Event()
        self._notices: psycopg.Connection | None = None
        self._leader: psycopg.Connection | None = None
        self._chores_at = 0.0
        self._blind_until = 0.0
        self._leading = False
        self._urgent = [
            _Chore("expire_leases", min(settings.lease_seconds / 6, 5.0), self._expire_leases),
            _Chore("lost_dispatches", min(settings.lost_dispatch_seconds / 3, 5.0), self._mend),
        ]
        self._slow = [
            _Chore("sweep_inbox", settings.sweep_seconds, self._sweep),
            _Chore("forget_dead_workers", 60.0, self._forget_dead_workers),
            _Chore("sweep_cache", 60.0, self._cache.sweep),
            _Chore("tidy_jobs", 60.0, self._tidy_jobs),
            _Chore("retention", 600.0, self._retention),
            _Chore("seal_secrets", 600.0, self._seal_secrets),
        ]

    def stop(self, *_: object) -> None:
        """Ask the loop to end after its present round."""
        self._stopping.set()

    def run(self) -> None:
        """Publish and mend until stopped; faults of database or broker are logged and outlived."""
        log.info("relay.started")
        # Listing a large bucket takes minutes: not in the thread that publishes.
        slow = threading.Thread(target=self._run_slow_chores, name="slow-chores", daemon=True)
        slow.start()
        while not self._stopping.is_set():
            try:
                self._wait()
                self._publish_all()
                if time.monotonic() >= self._chores_at:
                    self._chores_at = time.monotonic() + min(1.0, self._settings.relay_poll_seconds)
                    self._leading = self._leads()
                    if self._leading:
                        self._do_chores(self._urgent)
            except Exception:
                log.exception("relay.round_failed")
                # While the database was away nobody could renew a lease: no worker is to blame.
                self._blind_until = time.monotonic() + self._settings.lease_seconds
                self._leading = False
                self._disconnect()
                self._stopping.wait(1.0)
        slow.join(timeout=5.0)
        self._disconnect()
        log.info("relay.stopped")

    def _run_slow_chores(self) -> None:
        while not self._stopping.wait(0.5):
            if self._leading:
                self._do_chores(self._slow)

    def _publish_all(self) -> None:
        while publish_chains(self._app, self._sessions) == _BATCH:
            pass
        # Each round takes places, which are freed by answers only: it ends.
        while publish_deliveries(self._app, self._sessions, self._settings):
            pass

    def _connect(self) -> psycopg.Connection:
        url = make_url(self._settings.database_url.get_secret_value()).set(drivername="postgresql")
        return psycopg.connect(
            url.render_as_string(hide_password=False), autocommit=True, application_name="face3d-relay"
        )

    def _wait(self) -> None:
        """Wait for a notice, for the poll's time, or for the next chore."""
        if self._notices is None or self._notices.closed:
            self._notices = self._connect()
            self._notices.execute(f"LISTEN {RELAY_CHANNEL}")
            return
        for _ in self._notices.notifies(timeout=self._settings.relay_poll_seconds, stop_after=1):
            pass

    def _leads(self) -> bool:
        """Return whether this relay holds the leader's lock; it is lost with the connection."""
        if self._leader is None or self._leader.closed:
            self._leader = self._connect()
        answer = self._leader.execute(
            "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = %(id)s"
            " AND pid = pg_backend_pid()) OR pg_try_advisory_lock(%(id)s)",
            {"id": _LEADER_LOCK},
        ).fetchone()
        return bool(answer and answer[0])

    def _do_chores(self, chores: Sequence[_Chore]) -> None:
        for chore in chores:
            now = time.monotonic()
            if now < chore.due_at or self._stopping.is_set():
                continue
            chore.due_at = now + chore.every_seconds
            try:
                chore.run()
            except Exception:
                log.exception("relay.chore_failed", chore=chore.name)

    def _disconnect(self) -> None:
        for connection in (self._notices, self._leader):
            if connection is not None:
                connection.close()
        self._notices = self._leader = None

    def _expire_leases(self) -> None:
        if time.monotonic() < self._blind_until:
            return
        expire_leases(self._sessions, self._settings)

    def _mend(self) -> None:
        mend_lost_dispatches(self._app, self._sessions, self._settings)

    def _sweep(self) -> None:
        sweep_inbox(self._storage, self._sessions, self._settings)

    def _forget_dead_workers(self) -> None:
        with self._sessions.begin() as session:
            workers.forget_dead(session, silent_seconds=600.0)

    def _tidy_jobs(self) -> None:
        tidy_jobs(self._storage, self._sessions, self._settings, self._cache)

    def _retention(self) -> None:
        erase_expired(self._storage, self._sessions, self._settings, self._cache)

    def _seal_secrets(self) -> None:
        box = SecretBox.from_settings(self._settings)
        if not box.seals:
            return
        with self._sessions.begin() as session:
            changed = webhooks.seal_secrets(session, box)
        if changed:
            log.info("webhook.secrets_sealed", endpoints=changed)


def main() -> int:
    """Entry point of `python -m tasks.relay` and of `face3d relay`."""
    from tasks.app import app

    settings = get_settings()
    configure_logs(settings)
    declare_dead_letters(app, settings.broker_kind)
    relay = Relay(app, settings)
    signal.signal(signal.SIGTERM, relay.stop)
    signal.signal(signal.SIGINT, relay.stop)
    relay.run()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

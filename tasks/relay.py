"""`face3d relay`: carries what the database decided to the broker, and repairs what got lost.

Any number may run. Publishing claims rows with SKIP LOCKED, so relays share it; the periodic work is done by
the one that leads. Woken by NOTIFY, and by a poll where no notice came. It waits for nobody's row lock, and
for the broker for seconds at most: while that is away, what needs the database alone goes on.
"""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import psycopg
import structlog
from celery import Celery
from kombu.exceptions import OperationalError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from db import outbox, recovery, relay_health, webhooks, workers
from db.leases import Lease
from db.notices import RELAY_CHANNEL
from db.outbox import OverdueDispatch
from db.session import make_session_factory
from face3d.errors import Face3DError
from face3d.logs import configure_logs
from face3d.outages import Outage
from face3d.queues import StageQueue, queue_name
from face3d.sealing import SecretBox
from face3d.settings import Settings, get_settings
from storage.client import Storage
from tasks.artifacts import open_cache
from tasks.broker import declare_dead_letters, drop_connections, queue_depth, restore_bindings
from tasks.delivery_queue import publish_due
from tasks.leadership import Leadership, connect
from tasks.leasing import SecondLook
from tasks.leftovers import abort_stale_uploads, age_inbox
from tasks.periodic import PeriodicTask, do_due
from tasks.publication import BATCH, BrokerUnavailable, publish_chains
from tasks.retention import ROUND, collect_garbage, end_endless, erase_expired
from tasks.sweep import sweep_inbox

log = structlog.get_logger(__name__)

_Item = TypeVar("_Item", Lease, OverdueDispatch)

#: The longest that a worker waits for a renewal (db/session.py); a shorter freeze is seen by a second look.
_RENEWAL_SECONDS = 30.0

#: Pause after the broker took no message.
_BROKER_PAUSE_SECONDS = 1.0

#: Pause between two notes of a relay that it made a round.
_TELL_SECONDS = 2.0


def expire_leases(
    sessions: sessionmaker[Session], settings: Settings, second_look: SecondLook | None = None
) -> int:
    """Take the leases that ran out, those that a second look confirms; return how many."""
    with sessions() as session:
        found = recovery.find_expired(session)
    if second_look is not None:
        found = second_look.confirm(found)

    def take(lease: Lease) -> bool:
        with sessions.begin() as session:
            taken = recovery.expire(session, lease, poison_limit=settings.poison_limit)
        if taken:
            log.warning("lease.expired", job_id=lease.job_id, stage=lease.stage.value)
        return taken

    return _each(found, take, "lease.not_expired")


def _each(items: Sequence[_Item], act: Callable[[_Item], bool], failed: str) -> int:
    """Act on each item by itself, so that one that fails stops no other; return how many acts were real."""
    count = 0
    for item in items:
        try:
            count += act(item)
        except Exception as error:
            if isinstance(error, DBAPIError) and error.connection_invalidated:
                raise
            log.exception(failed, job_id=item.job_id)
    return count


def repair_lost_dispatches(app: Celery, sessions: sessionmaker[Session], settings: Settings) -> int:
    """Publish chains again whose message got lost; return how many.

    A message counts as lost when its queue is empty, when a later one of the same queue started, when its
    publication never reached the router, or when no live worker serves its queue while another type's does.
    """
    if restore_bindings(app, settings.broker_kind):
        log.warning("broker.bindings_restored")
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
    depths: dict[StageQueue, int] = {}
    lost = []
    for item in overdue:
        queue = item.queue
        if queue is None or item.overtaken:
            lost.append(item)
            continue
        if queue not in depths:
            depths[queue] = queue_depth(app, queue_name(queue))
        elsewhere = served[item.stage] - {queue.gpu_type}
        stranded = (
            queue.gpu_type not in served[item.stage] and bool(elsewhere) and forced[item.job_id] == "any"
        )
        if depths[queue] == 0 or stranded:
            lost.append(item)

    def send_again(item: OverdueDispatch) -> bool:
        with sessions.begin() as session:
            sent = outbox.redispatch_lost(session, item)
        if sent:
            queue = queue_name(item.queue) if item.queue else None
            log.warning("dispatch.lost", job_id=item.job_id, stage=item.stage.value, queue=queue)
        return sent

    return _each(lost, send_again, "dispatch.not_repaired")


class SweepIncomplete(Face3DError):
    """Some objects of the inbox could not be taken; all others were."""


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
        self._leadership = Leadership(settings)
        self._tasks_at = 0.0
        self._blind_until = 0.0
        self._round_began = time.monotonic()
        self._second_look = SecondLook(settings)
        self._publish_at = 0.0
        self._urgent = [
            PeriodicTask("expire_leases", min(settings.lease_seconds / 12, 2.5), self._expire_leases),
            PeriodicTask("lost_dispatches", min(settings.lost_dispatch_seconds / 3, 5.0), self._repair),
        ]
        self._slow = [
            PeriodicTask("sweep_inbox", settings.sweep_seconds, self._sweep),
            PeriodicTask("forget_dead_workers", 60.0, self._forget_dead_workers),
            PeriodicTask("sweep_cache", 60.0, self._cache.sweep),
            PeriodicTask("tidy_jobs", 60.0, self._collect_garbage),
            PeriodicTask("retention", 600.0, self._retention),
            PeriodicTask("leftovers", 3600.0, self._leftovers),
            PeriodicTask("seal_secrets", 600.0, self._seal_secrets),
        ]
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self._round_told_at = 0.0
        self._swept = False
        #: Whether the broker has the queue of dead letters; it may be away when the relay starts.
        self._declared = False
        self._outage = Outage(log, "relay.round")
        self._broker_outage = Outage(log, "relay.broker")

    def stop(self, *_: object) -> None:
        """Ask the loop to end after its present round."""
        self._stopping.set()

    def run(self) -> None:
        """Publish and repair until stopped; faults of database or broker are logged and outlived."""
        log.info("relay.started")
        # Listing a large bucket takes minutes: not in the thread that publishes.
        slow = threading.Thread(target=self._run_slow_tasks, name="slow-tasks", daemon=True)
        slow.start()
        while not self._stopping.is_set():
            try:
                self._wait()
                self._notice_pause()
                self._publish()
                if time.monotonic() >= self._tasks_at:
                    self._tasks_at = time.monotonic() + min(1.0, self._settings.relay_poll_seconds)
                    leads = self._leadership.ask()
                    self._tell_round(leads=leads)
                    if leads:
                        self._do_tasks(self._urgent)
                self._outage.ended()
            except Exception as error:
                self._outage.failed(error)
                self._blind()
                self._disconnect()
                self._stopping.wait(1.0)
        slow.join(timeout=5.0)
        self._disconnect()
        self._say_goodbye()
        log.info("relay.stopped")

    def _blind(self) -> None:
        """Expire no lease for a while: while the database was away, nobody could renew one."""
        self._blind_until = time.monotonic() + self._settings.lease_seconds

    def _notice_pause(self) -> None:
        """See that a round took so long that workers gave up renewals: the database was frozen."""
        before, self._round_began = self._round_began, time.monotonic()
        if self._round_began - before > _RENEWAL_SECONDS:
            self._blind()

    def _run_slow_tasks(self) -> None:
        while not self._stopping.wait(0.5):
            if self._leadership:
                self._do_tasks(self._slow)

    def _publish(self) -> None:
        """Publish all that is due; without the broker the rest of the round goes on."""
        if time.monotonic() < self._publish_at:
            return
        try:
            if not self._declared:
                declare_dead_letters(self._app, self._settings.broker_kind)
                self._declared = True
            while publish_chains(self._app, self._sessions) == BATCH:
                pass
            # Each round takes places, which are freed by answers only: it ends.
            while publish_due(self._app, self._sessions, self._settings):
                pass
            self._broker_outage.ended()
        except (BrokerUnavailable, OperationalError) as error:
            cause = error.__cause__
            self._broker_outage.failed(cause if isinstance(cause, Exception) else error)
            drop_connections(self._app)
            self._publish_at = time.monotonic() + _BROKER_PAUSE_SECONDS

    def _wait(self) -> None:
        """Wait for a notice, for the poll's time, or for the next periodic task."""
        if self._notices is None or self._notices.closed:
            self._notices = connect(self._settings)
            self._notices.execute(f"LISTEN {RELAY_CHANNEL}")
            return
        for _ in self._notices.notifies(timeout=self._settings.relay_poll_seconds, stop_after=1):
            pass

    def _do_tasks(self, tasks: Sequence[PeriodicTask]) -> None:
        do_due(tasks, self._sessions, self._name, self._stopping.is_set)

    def _tell_round(self, *, leads: bool) -> None:
        """Write that this relay made a round, every other second."""
        if time.monotonic() < self._round_told_at + _TELL_SECONDS:
            return
        with self._sessions.begin() as session:
            relay_health.note_round(session, self._name, leads=leads)
        self._round_told_at = time.monotonic()

    def _say_goodbye(self) -> None:
        try:
            with self._sessions.begin() as session:
                relay_health.forget_relay(session, self._name)
        except Exception:
            log.warning("relay.farewell_failed", exc_info=True)

    def _disconnect(self) -> None:
        self._leadership.resign()
        if self._notices is not None:
            self._notices.close()
            self._notices = None

    def _expire_leases(self) -> None:
        if time.monotonic() < self._blind_until:
            return
        expire_leases(self._sessions, self._settings, self._second_look)

    def _repair(self) -> None:
        repair_lost_dispatches(self._app, self._sessions, self._settings)

    def _sweep(self) -> None:
        result = sweep_inbox(self._storage, self._sessions, self._settings)
        self._swept = True
        if result.failures:
            raise SweepIncomplete(f"{result.failures} objects of the inbox could not be taken.")

    def _forget_dead_workers(self) -> None:
        with self._sessions.begin() as session:
            workers.forget_dead(session, silent_seconds=600.0)
            relay_health.forget_silent_relays(session)

    def _collect_garbage(self) -> bool:
        return collect_garbage(self._storage, self._sessions, self._settings, self._cache) == ROUND

    def _retention(self) -> bool:
        ended = end_endless(self._storage, self._sessions, self._settings)
        erased = erase_expired(self._storage, self._sessions, self._settings, self._cache)
        return ROUND in (ended, erased)

    def _leftovers(self) -> None:
        abort_stale_uploads(self._storage, self._settings)
        # What was uploaded while no relay ran has no job before the sweep saw it.
        if self._swept:
            age_inbox(self._storage, self._sessions, self._settings)

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
    relay = Relay(app, settings)
    signal.signal(signal.SIGTERM, relay.stop)
    signal.signal(signal.SIGINT, relay.stop)
    relay.run()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Everything that locks rows, against each other: no deadlock, no lock timeout, no unexpected error.

Two relays, a delivery worker and a stage worker run as processes. Threads here accept, cancel, retry and
erase jobs, work on stages as fast workers do (lease, renew, complete, fail, try again, give back, vanish),
and add and remove endpoints.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from compose.local import Stack
from db import job_erasure, leases, lifecycle, queries, recovery, webhooks
from db.leases import LeasedJob
from face3d.errors import ErrorCode, LeaseLost, RefusedError
from face3d.settings import Settings
from face3d.states import STAGES, StageName
from tasks.relay import expire_leases
from tasks.routing import Router
from tests.integration.job_rows import accept, complete, take
from tests.integration.pipeline import Pipeline, open_pipeline, until

pytestmark = pytest.mark.slow

#: How long the threads race, seconds.
RACE = 12.0

#: A statement may wait for a busy processor, never for a lock's timeout, which is 10 s.
SLOWEST = 5.0

#: What an operation answers when another one was there before it.
EXPECTED = (queries.JobNotFound, lifecycle.WrongJobState, LeaseLost, webhooks.EndpointNotFound)


class Racers:
    """Operations on shared jobs, each run by threads of its own until the race is over."""

    def __init__(self, pipeline: Pipeline, sessions: sessionmaker[Session]) -> None:
        self.pipeline, self.sessions = pipeline, sessions
        self.router = Router(pipeline.settings)
        self.known: list[str] = []
        self.errors: list[str] = []
        self.slowest = 0.0
        self.counts: dict[str, int] = {}
        self._until = time.monotonic() + RACE
        self._lock = threading.Lock()

    def any_job(self) -> str:
        """Return one of the jobs accepted last."""
        while not self.known:
            time.sleep(0.01)
        return random.choice(self.known[-30:])

    def accept(self) -> None:
        job_id = accept(self.sessions, f"{random.random()}.jpg", engine="null").job_id
        self.known.append(job_id)
        time.sleep(0.02)

    def cancel(self) -> None:
        with self.sessions.begin() as session:
            lifecycle.cancel(session, self.any_job())

    def retry(self) -> None:
        with self.sessions.begin() as session:
            lifecycle.retry(session, self.any_job())

    def erase(self) -> None:
        job_id = self.any_job()
        with self.sessions.begin() as session:
            job_erasure.begin_erasure(session, job_id)
        with self.sessions.begin() as session:
            job_erasure.erase(session, job_id)
        time.sleep(0.05)

    def work(self) -> None:
        """Lease any stage that is due and end it in one of a worker's ways."""
        with self.sessions() as session:
            due = "SELECT s.job_id, s.name, j.dispatch FROM stages s JOIN jobs j ON j.id = s.job_id"
            rows = session.execute(text(due + " WHERE s.state = 'dispatched' LIMIT 20")).all()
        if not rows:
            time.sleep(0.02)
            return
        job_id, stage, dispatch = random.choice(rows)
        _, job = take(self.sessions, str(job_id), StageName(stage), dispatch=dispatch, seconds=0.5)
        if job is not None:
            random.choice(
                [self._complete] * 5 + [self._fail, self._try_again, self._give_back, self._vanish]
            )(job)

    def _complete(self, job: LeasedJob) -> None:
        with self.sessions.begin() as session:
            leases.renew(session, job.lease, 1.0)
        complete(self.sessions, job)
        following = STAGES.index(job.lease.stage) + 1
        if following < len(STAGES):
            self.router.place(STAGES[following], job.lease.job_id)

    def _fail(self, job: LeasedJob) -> None:
        with self.sessions.begin() as session:
            leases.fail(session, job.lease, RefusedError(ErrorCode.NO_FACE, "No face."))

    def _try_again(self, job: LeasedJob) -> None:
        code = ErrorCode.STORAGE_UNAVAILABLE
        with self.sessions.begin() as session:
            leases.retry_later(
                session, job.lease, code=code, message="Away.", max_attempts=3, first_wait_seconds=0.1
            )

    def _give_back(self, job: LeasedJob) -> None:
        with self.sessions.begin() as session:
            recovery.hand_back(session, job.lease)

    def _vanish(self, job: LeasedJob) -> None:
        """Leave the lease to run out."""

    def expire(self) -> None:
        expire_leases(self.sessions, self.pipeline.settings)
        time.sleep(0.1)

    def endpoints(self) -> None:
        url = f"{self.pipeline.receiver.url}/{random.randrange(3)}"
        with self.sessions.begin() as session:
            webhooks.add_endpoint(session, url)
        time.sleep(0.2)
        for change in (webhooks.disable_endpoint, webhooks.enable_endpoint):
            with self.sessions.begin() as session:
                change(session, url)
        with self.sessions.begin() as session:
            webhooks.remove_endpoint(session, url)

    def run(self) -> None:
        """Race."""
        crowd: list[Callable[[], None]] = [self.accept, self.expire, self.endpoints]
        crowd += [self.cancel, self.retry, self.erase, self.work] * 2
        threads = [threading.Thread(target=self._repeat, args=(one,)) for one in crowd]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _repeat(self, operation: Callable[[], None]) -> None:
        while time.monotonic() < self._until:
            started = time.monotonic()
            try:
                operation()
            except EXPECTED:
                time.sleep(0.01)
            except Exception as error:
                self.errors.append(f"{operation.__name__}: {error!r}")
            with self._lock:
                self.slowest = max(self.slowest, time.monotonic() - started)
                self.counts[operation.__name__] = self.counts.get(operation.__name__, 0) + 1


@pytest.fixture
def pipeline(
    server_stack: Stack, clean_servers: Settings, sessions: sessionmaker[Session], tmp_path: Path
) -> Iterator[Pipeline]:
    with open_pipeline(clean_servers, server_stack.layout.env_file, tmp_path) as opened:
        opened.start_relay()
        opened.start_worker("plain")
        yield opened


def deadlocks(pipeline: Pipeline) -> int:
    """Return how many deadlocks PostgreSQL has seen."""
    (row,) = pipeline.query("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    return int(row[0])


@pytest.mark.timeout(240)
def test_nobody_waits_for_a_lock_in_vain(
    pipeline: Pipeline, sessions: sessionmaker[Session], tmp_path: Path
) -> None:
    before = deadlocks(pipeline)
    racers = Racers(pipeline, sessions)
    racers.run()
    assert racers.errors == []
    assert racers.slowest < SLOWEST, racers.counts
    assert min(racers.counts.values()) >= 10, racers.counts
    # What racers "did" left no artifacts: real workers let those stages run again, after up to a minute.
    until(
        lambda: not pipeline.query("SELECT 1 FROM jobs WHERE state IN ('accepted', 'running')"),
        "every job ends",
        seconds=150,
    )
    assert not pipeline.query("SELECT 1 FROM outbox")
    assert deadlocks(pipeline) == before
    for log in tmp_path.glob("*.log"):
        told = log.read_text(errors="replace")
        for fault in ("relay.round.failed", "chore.failed", "not_published", "put_off", "DeadlockDetected",
                      "LockNotAvailable", "not_expired", "not_repaired"):  # fmt: skip
            assert fault not in told, f"{fault} in {log.name}"

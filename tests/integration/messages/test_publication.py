"""Publishing chains: nobody's row, message or transaction holds up another job's."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from db import job_erasure, lifecycle, outbox, queries
from db.locks import lock_job, try_lock_job
from db.session import Patience
from face3d.queues import StageQueue
from face3d.settings import Settings
from tasks import publication
from tasks.app import App, make_app
from tasks.broker import queue_depth, restore_bindings
from tasks.publication import publish_chains
from tests.integration.job_rows import accept

QUEUE = "preprocess.cpu.batch"


@pytest.fixture
def celery_app(clean_servers: Settings) -> App:
    """An app whose router looks at the test's servers."""
    made = make_app(clean_servers)
    # The broker was emptied: connections of an earlier test would not declare its queues again.
    assert restore_bindings(made, clean_servers.broker_kind)
    assert not restore_bindings(made, clean_servers.broker_kind)
    return made


def waiting(sessions: sessionmaker[Session]) -> set[str]:
    """Return the jobs whose chains were not published."""
    with sessions() as session:
        return {str(job_id) for job_id in session.execute(text("SELECT job_id FROM outbox")).scalars()}


def while_publishing(monkeypatch: pytest.MonkeyPatch, act: Callable[[str], None]) -> None:
    """Do something with a job at the moment when its chain is published."""
    make_chain = publication.job_chain

    def chain(app: App, one: outbox.Publication, first: StageQueue) -> Any:
        act(one.job_id)
        return make_chain(app, one, first)

    monkeypatch.setattr(publication, "job_chain", chain)


def test_a_job_whose_row_is_held_delays_no_other(sessions: sessionmaker[Session], celery_app: App) -> None:
    held = accept(sessions, "held.jpg", tier="interactive").job_id
    others = {accept(sessions, f"{number}.jpg").job_id for number in range(3)}
    with sessions() as busy:
        busy.execute(text("SELECT 1 FROM stages WHERE job_id = :id FOR UPDATE"), {"id": held})
        started = time.monotonic()
        publish_chains(celery_app, sessions)
        assert time.monotonic() - started < Patience().lock - 1
        assert waiting(sessions) == {held}
    assert queue_depth(celery_app, QUEUE) == len(others)


@pytest.mark.parametrize("operation", [lifecycle.cancel, job_erasure.erase])
def test_a_job_can_be_stopped_while_it_is_published(
    sessions: sessionmaker[Session],
    celery_app: App,
    monkeypatch: pytest.MonkeyPatch,
    operation: Callable[[Session, str], None],
) -> None:
    stopped = accept(sessions).job_id
    took = []

    def stop(job_id: str) -> None:
        started = time.monotonic()
        with sessions.begin() as session:
            operation(session, job_id)
        took.append(time.monotonic() - started)

    while_publishing(monkeypatch, stop)
    publish_chains(celery_app, sessions)
    assert took[0] < Patience().lock / 2
    with sessions() as session:
        assert queries.find(session, stopped).state in ("cancelled", "erased")
    assert not waiting(sessions)


def test_a_chain_that_cannot_be_published_is_kept_and_delays_no_other(
    sessions: sessionmaker[Session], celery_app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = accept(sessions, "bad.jpg", tier="interactive").job_id
    good = accept(sessions, "good.jpg").job_id

    def refuse(job_id: str) -> None:
        if job_id == bad:
            raise ValueError

    while_publishing(monkeypatch, refuse)
    publish_chains(celery_app, sessions)
    assert waiting(sessions) == {bad}
    with sessions() as session:
        assert queries.find(session, good).stages[0].queue == QUEUE
        due = session.execute(text("SELECT extract(epoch FROM due_at - now()) FROM outbox")).scalar_one()
    assert 0 < due < 10


def test_the_claim_of_a_relay_that_died_runs_out_and_its_late_word_counts_no_more(
    sessions: sessionmaker[Session],
) -> None:
    job_id = accept(sessions).job_id

    def claim(seconds: float) -> list[outbox.Publication]:
        with sessions.begin() as session:
            return outbox.claim_publications(session, limit=10, seconds=seconds)

    frozen = claim(0.3)
    assert [one.job_id for one in frozen] == [job_id]
    assert not claim(20)
    time.sleep(0.4)
    heir = claim(20)
    assert [one.job_id for one in heir] == [job_id]
    with sessions.begin() as session:
        outbox.end_publications(session, frozen)
        outbox.put_back(session, frozen)
    assert not claim(20)
    assert waiting(sessions) == {job_id}
    with sessions.begin() as session:
        outbox.put_back(session, heir)
    assert [one.job_id for one in claim(20)] == [job_id]


def test_a_process_that_freezes_in_a_transaction_loses_its_locks(sessions: sessionmaker[Session]) -> None:
    job_id = accept(sessions).job_id
    with sessions() as frozen:
        assert frozen.execute(text("SHOW idle_in_transaction_session_timeout")).scalar_one() == "30s"
        frozen.execute(text("SET idle_in_transaction_session_timeout = 300"))
        lock_job(frozen, job_id)
        time.sleep(0.6)
        with sessions.begin() as session:
            assert try_lock_job(session, job_id)
        with pytest.raises(DBAPIError):
            frozen.execute(text("SELECT 1"))

"""The watch over locks sees what it is for."""

from collections.abc import Callable

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from db import lifecycle
from db.locks import lock_job, try_lock_job
from db.session import make_engine
from face3d.settings import Settings
from tests.integration.job_rows import accept
from tests.integration.lock_order import LockRecorder


def lock_stages(session: Session, job_id: str) -> None:
    session.execute(text("SELECT 1 FROM stages WHERE job_id = :id FOR UPDATE"), {"id": job_id})


def delete_outbox(session: Session, job_id: str) -> None:
    session.execute(text("DELETE FROM outbox WHERE job_id = :id"), {"id": job_id})


def backwards(session: Session, job_id: str, _other: str) -> None:
    delete_outbox(session, job_id)
    lock_stages(session, job_id)


def without_the_job(session: Session, job_id: str, _other: str) -> None:
    lock_stages(session, job_id)
    delete_outbox(session, job_id)


def two_jobs(session: Session, job_id: str, other: str) -> None:
    lock_job(session, job_id)
    lock_job(session, other)


def in_order(session: Session, job_id: str, other: str) -> None:
    lifecycle.cancel(session, job_id)
    try_lock_job(session, other)


@pytest.mark.parametrize(
    ("transaction", "fault"),
    [
        (backwards, "stages is locked after ['outbox']"),
        (without_the_job, "locked without their job"),
        (two_jobs, "more than one job is locked"),
        (in_order, None),
    ],
)
def test_a_transaction_that_breaks_the_order_is_named(
    clean_servers: Settings, transaction: Callable[[Session, str, str], None], fault: str | None
) -> None:
    engine = make_engine(clean_servers)
    sessions, recorder = sessionmaker(engine, expire_on_commit=False), LockRecorder()
    job_id, other = accept(sessions).job_id, accept(sessions, "b.jpg").job_id
    with recorder.watch(engine), sessions.begin() as session:
        transaction(session, job_id, other)
    engine.dispose()
    assert recorder.transactions == 1
    if fault is None:
        assert recorder.faults == []
    else:
        assert any(fault in told for told in recorder.faults)

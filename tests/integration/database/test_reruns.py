"""Stages that run again because a later one cannot read what they left."""

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from db import lifecycle, queries, recovery
from db.leases import Decision
from face3d.errors import LeaseLost
from face3d.states import StageName
from tests.integration.job_rows import accept, complete, take


def rerun(sessions: sessionmaker[Session], job_id: str, stage: StageName, from_stage: StageName) -> bool:
    """Take a stage's lease, and let an earlier one run again."""
    decision, job = take(sessions, job_id, stage, dispatch(sessions, job_id))
    assert decision is Decision.WORK
    assert job is not None
    with sessions.begin() as session:
        return recovery.rerun(session, job.lease, from_stage, message="The artifact is damaged.")


def dispatch(sessions: sessionmaker[Session], job_id: str) -> int:
    with sessions() as session:
        return queries.find(session, job_id).dispatch


def run(sessions: sessionmaker[Session], job_id: str, *stages: StageName) -> None:
    for stage in stages:
        _, job = take(sessions, job_id, stage, dispatch(sessions, job_id))
        assert job is not None
        complete(sessions, job)


def due_seconds(sessions: sessionmaker[Session], job_id: str) -> float:
    """Return in how many seconds the newest chain of a job is published."""
    with sessions() as session:
        return float(
            session.execute(
                text(
                    "SELECT extract(epoch FROM due_at - now()) FROM outbox WHERE job_id = :job_id"
                    " ORDER BY id DESC LIMIT 1"
                ),
                {"job_id": job_id},
            ).scalar_one()
        )


def test_the_stage_and_all_that_was_made_from_it_run_again(sessions: sessionmaker[Session]) -> None:
    job_id = accept(sessions).job_id
    run(sessions, job_id, StageName.PREPROCESS, StageName.GEOMETRY, StageName.TEXTURE)
    assert rerun(sessions, job_id, StageName.PACKAGING, StageName.GEOMETRY)
    with sessions() as session:
        job = queries.find(session, job_id)
        states = [(stage.state, stage.prefix is not None, stage.failures) for stage in job.stages]
    assert states == [
        ("done", True, 0),
        ("dispatched", False, 0),
        ("waiting", False, 0),
        ("waiting", False, 0),
    ]
    assert job.dispatch == 2
    decision, _ = take(sessions, job_id, StageName.GEOMETRY, dispatch=1)
    assert decision is Decision.IGNORE, "the chain of before is a copy too many"
    run(sessions, job_id, StageName.GEOMETRY, StageName.TEXTURE, StageName.PACKAGING)
    with sessions() as session:
        assert queries.find(session, job_id).state == "ready"


def test_workers_of_two_versions_do_not_write_for_ever_what_the_other_cannot_read(
    sessions: sessionmaker[Session],
) -> None:
    job_id = accept(sessions).job_id
    waits = []
    for _ in range(recovery.RERUN_LIMIT):
        run(sessions, job_id, StageName.PREPROCESS)
        assert rerun(sessions, job_id, StageName.GEOMETRY, StageName.PREPROCESS)
        waits.append(due_seconds(sessions, job_id))
    assert waits[0] <= 0
    assert waits[1] == pytest.approx(4, abs=1)
    assert waits[-1] == pytest.approx(60, abs=1)
    assert 300 < sum(waits) < 1200, "an upgrade has some minutes"
    run(sessions, job_id, StageName.PREPROCESS)
    assert not rerun(sessions, job_id, StageName.GEOMETRY, StageName.PREPROCESS)
    with sessions() as session:
        job = queries.find(session, job_id)
    assert (job.state, job.error_code) == ("failed", "artifact_unreadable")
    assert (job.error_value, job.error_limit) == ("13 times", "12 times")
    # The fleet is of one version now: a person asks again, and the count begins anew.
    with sessions.begin() as session:
        lifecycle.retry(session, job_id)
    assert rerun(sessions, job_id, StageName.GEOMETRY, StageName.PREPROCESS)


def test_who_lost_the_lease_lets_nothing_run_again(sessions: sessionmaker[Session]) -> None:
    job_id = accept(sessions).job_id
    run(sessions, job_id, StageName.PREPROCESS)
    _, job = take(sessions, job_id, StageName.GEOMETRY)
    assert job is not None
    with sessions.begin() as session:
        lifecycle.cancel(session, job_id)
    with pytest.raises(LeaseLost), sessions.begin() as session:
        recovery.rerun(session, job.lease, StageName.PREPROCESS, message="The artifact is damaged.")
    with sessions() as session:
        assert queries.find(session, job_id).stages[0].state == "done"

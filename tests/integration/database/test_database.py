"""The database's own promises: schema, constraints, leases, fences."""

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, sessionmaker

from db import acceptance, deliveries, leases, lifecycle, migrate, queries, recovery, relay_health, webhooks
from db.leases import Decision
from face3d.errors import ErrorCode, LeaseLost, RefusedError
from face3d.settings import Settings
from face3d.states import STAGES, StageName
from face3d.worker_spec import WorkerSpec
from storage.client import Storage
from tasks.sweep import sweep_inbox
from tests.integration.job_rows import WORKER, accept, complete, publish, run_all, take


def test_models_and_migrations_agree(servers: Settings) -> None:
    migrate.check(servers)
    assert migrate.is_current(servers)


def test_of_relays_that_say_that_they_lead_the_newest_does(sessions: sessionmaker[Session]) -> None:
    """One that was killed has no time to say that it leads no more."""
    for name in ("killed:1", "in reserve:2", "present:3"):
        with sessions.begin() as session:
            relay_health.note_round(session, name, leads=name != "in reserve:2")
    with sessions() as session:
        told = [(relay.name, relay.leads) for relay in relay_health.read_relays(session)]
    assert told == [("present:3", True), ("in reserve:2", False), ("killed:1", False)]


def test_a_chain_that_someone_waits_for_is_published_before_older_ones(
    sessions: sessionmaker[Session],
) -> None:
    batch = [accept(sessions, f"{number}.jpg").job_id for number in range(2)]
    urgent = accept(sessions, "urgent.jpg", tier="interactive").job_id
    order = [publication.job_id for publication in publish(sessions)]
    assert order == [urgent, *batch]


def test_a_worker_that_must_end_gives_its_leases_back_and_nobody_elses(
    sessions: sessionmaker[Session],
) -> None:
    mine, other = accept(sessions).job_id, accept(sessions, "b.jpg").job_id
    _, job = take(sessions, mine, StageName.PREPROCESS)
    assert job is not None
    with sessions.begin() as session:
        leases.take(
            session,
            job_id=other,
            stage=StageName.PREPROCESS,
            dispatch=1,
            worker=WorkerSpec(name="other@test", gpu_type="cpu", device="cpu"),
            seconds=30,
        )
    with sessions.begin() as session:
        assert recovery.held_by(session, worker=WORKER.name) == [job.lease]
        assert recovery.hand_back(session, job.lease)
    with pytest.raises(LeaseLost):
        complete(sessions, job)
    with sessions() as session:
        stage = queries.find(session, mine).stages[0]
        assert (stage.state, stage.failures, stage.worker_deaths) == ("dispatched", 0, 0)
        assert queries.find(session, other).stages[0].state == "running"
    decision, again = take(sessions, mine, StageName.PREPROCESS, dispatch=2)
    assert (decision, again is not None) == (Decision.WORK, True)


def test_the_same_photo_is_one_job_even_when_events_race(sessions: sessionmaker[Session]) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: accept(sessions), range(16)))
    assert len({one.job_id for one in made}) == 1
    assert sum(one.created for one in made) == 1
    assert accept(sessions, **{"texture-size": "1024"}).created


def test_a_refused_option_makes_a_failed_job_that_tells_its_webhook(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        webhooks.add_endpoint(session, "http://127.0.0.1:9/hook")
    with sessions.begin() as session:
        accepted = acceptance.accept(
            session,
            bucket="inbox",
            key="a.jpg",
            etag="e",
            size=1,
            content_type=None,
            options=None,
            refusal=RefusedError(ErrorCode.BAD_OPTION, "No such value.", value="9", limit="1024"),
            source="event",
        )
    with sessions() as session:
        job = queries.find(session, accepted.job_id)
        assert (job.state, job.error_code, job.error_value) == ("failed", "bad_option", "9")
        assert session.execute(text("SELECT event_type FROM deliveries")).scalar() == "asset.failed"
    assert not publish(sessions)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE jobs SET state = 'ready'",
        "UPDATE jobs SET state = 'failed', finished_at = now()",
        "UPDATE jobs SET state = 'dancing'",
        "UPDATE jobs SET finished_at = now()",
        "UPDATE jobs SET error_code = 'no_face'",
        "UPDATE stages SET state = 'running' WHERE ordinal = 0",
        "UPDATE stages SET state = 'done' WHERE ordinal = 0",
        "UPDATE stages SET lease = gen_random_uuid() WHERE ordinal = 0",
        "UPDATE stages SET prefix = 'p/' WHERE ordinal = 0",
        "INSERT INTO stages (job_id, name, ordinal) SELECT id, 'sculpting', 9 FROM jobs",
        "INSERT INTO outbox (job_id, dispatch) VALUES (gen_random_uuid(), 1)",
    ],
)
def test_wrong_states_are_impossible(sessions: sessionmaker[Session], statement: str) -> None:
    accept(sessions)
    with pytest.raises(IntegrityError), sessions.begin() as session:
        session.execute(text(statement))


def test_the_worker_that_ends_a_job_learns_which_endpoints_have_a_message_due(
    sessions: sessionmaker[Session],
) -> None:
    with sessions.begin() as session:
        endpoint = webhooks.add_endpoint(session, "https://example.com/hook").endpoint.id
    job_id = accept(sessions).job_id
    for stage in STAGES:
        _, job = take(sessions, job_id, stage)
        assert job is not None
        with sessions.begin() as session:
            due = leases.complete(session, job.lease, prefix="p/", files=[], timings={})
        assert due == ([endpoint] if stage is STAGES[-1] else [])
    with sessions.begin() as session:
        assert len(deliveries.claim_due(session, places=2, guard_seconds=60, endpoints=due)) == 1
        assert deliveries.claim_due(session, places=2, guard_seconds=60) == []


def test_a_job_ends_ready_once_with_one_delivery(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        webhooks.add_endpoint(session, "http://127.0.0.1:9/hook")
    job_id = accept(sessions, ref="mine").job_id
    run_all(sessions, job_id)
    with sessions() as session:
        job = queries.find(session, job_id)
        assert (job.state, job.quality, job.ref) == ("ready", "good", "mine")
        assert job.asset_prefix == f"{job_id}/packaging/1/"
        payload = session.execute(text("SELECT payload FROM deliveries")).scalar_one()
    assert payload["type"] == "asset.ready"
    assert payload["data"]["ref"] == "mine"
    assert take(sessions, job_id, StageName.PACKAGING)[0] is Decision.IGNORE


def test_only_one_of_two_copies_of_a_message_works(sessions: sessionmaker[Session]) -> None:
    job_id = accept(sessions).job_id
    with ThreadPoolExecutor(4) as pool:
        decisions = [v for v, _ in pool.map(lambda _: take(sessions, job_id, StageName.PREPROCESS), range(4))]
    assert sorted(decisions) == [Decision.IGNORE] * 3 + [Decision.WORK]


def test_a_done_stage_lets_the_chain_go_on_and_an_old_dispatch_does_not(
    sessions: sessionmaker[Session],
) -> None:
    job_id = accept(sessions).job_id
    _, job = take(sessions, job_id, StageName.PREPROCESS)
    assert job is not None
    complete(sessions, job)
    assert take(sessions, job_id, StageName.PREPROCESS)[0] is Decision.DONE
    assert take(sessions, job_id, StageName.PREPROCESS, dispatch=0)[0] is Decision.IGNORE
    assert take(sessions, job_id, StageName.TEXTURE)[0] is Decision.IGNORE


def test_a_lost_lease_cannot_commit_fail_or_renew(sessions: sessionmaker[Session]) -> None:
    job_id = accept(sessions).job_id
    _, frozen = take(sessions, job_id, StageName.PREPROCESS, seconds=-1)
    assert frozen is not None
    with sessions.begin() as session:
        (expired,) = recovery.find_expired(session)
        assert recovery.expire(session, expired, poison_limit=3)
    _, heir = take(sessions, job_id, StageName.PREPROCESS, dispatch=2)
    assert heir is not None
    with pytest.raises(LeaseLost):
        complete(sessions, frozen)
    error = RefusedError(ErrorCode.NO_FACE, "No face.")
    with pytest.raises(LeaseLost), sessions.begin() as session:
        leases.fail(session, frozen.lease, error)
    with sessions.begin() as session:
        assert not leases.renew(session, frozen.lease, 30)
        assert leases.renew(session, heir.lease, 30)
    complete(sessions, heir)
    with sessions() as session:
        assert queries.find(session, job_id).stages[0].prefix == f"{job_id}/preprocess/2/"


def test_retryable_errors_are_retried_with_growing_waits_and_then_end_the_job(
    sessions: sessionmaker[Session],
) -> None:
    job_id = accept(sessions).job_id
    publish(sessions)
    waits = []
    for dispatch in (1, 2, 3):
        _, job = take(sessions, job_id, StageName.PREPROCESS, dispatch=dispatch)
        assert job is not None
        with sessions.begin() as session:
            again = leases.retry_later(
                session,
                job.lease,
                code=ErrorCode.STORAGE_UNAVAILABLE,
                message="The store is away.",
                max_attempts=3,
            )
        with sessions.begin() as session:
            rows = session.execute(text("SELECT extract(epoch FROM due_at - now()) FROM outbox")).scalars()
            waits += [round(float(row)) for row in rows]
            session.execute(text("DELETE FROM outbox"))
        assert again == (dispatch < 3)
    assert waits == [1, 4]
    with sessions() as session:
        job_row = queries.find(session, job_id)
        assert (job_row.state, job_row.error_code) == ("failed", "storage_unavailable")


def test_a_failed_job_can_be_retried_and_a_ready_one_cannot(sessions: sessionmaker[Session]) -> None:
    job_id = accept(sessions).job_id
    _, job = take(sessions, job_id, StageName.PREPROCESS)
    assert job is not None
    with sessions.begin() as session:
        leases.fail(session, job.lease, RefusedError(ErrorCode.NO_FACE, "No face."))
    with sessions.begin() as session:
        lifecycle.retry(session, job_id)
    (publication,) = publish(sessions)
    assert (publication.dispatch, publication.stages) == (2, STAGES)
    decision, job = take(sessions, job_id, StageName.PREPROCESS, dispatch=2)
    assert decision is Decision.WORK
    assert job is not None
    complete(sessions, job)
    for stage in STAGES[1:]:
        _, job = take(sessions, job_id, stage, dispatch=2)
        assert job is not None
        complete(sessions, job)
    with pytest.raises(lifecycle.WrongJobState), sessions.begin() as session:
        lifecycle.retry(session, job_id)


def test_a_restarted_database_costs_nobody_a_request(
    sessions: sessionmaker[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    accept(sessions)
    url = sessions.kw["bind"].url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'face3d'"
        )
    monkeypatch.setattr("db.session._IDLE_SECONDS", 0.0)
    assert accept(sessions, "b.jpg").created


def test_one_object_that_the_database_cannot_hold_does_not_stop_the_sweep(
    sessions: sessionmaker[Session], clean_servers: Settings
) -> None:
    storage = Storage.from_settings(clean_servers)
    for key, metadata in (("a.jpg", {"face3d-ref": "a\x00b"}), ("b.jpg", {})):
        storage.put(clean_servers.bucket_inbox, key, b"x", content_type="image/jpeg", metadata=metadata)
    assert sweep_inbox(storage, sessions, clean_servers).made == 2
    with sessions() as session:
        found = {job.key: job.error_code for job in queries.list_jobs(session)}
    assert found == {"a.jpg": "bad_option", "b.jpg": None}

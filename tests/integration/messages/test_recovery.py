"""What goes wrong in production, done to real processes: one asset, one terminal state, one webhook id."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from compose.local import Stack
from face3d.settings import Settings
from face3d.states import STAGES
from tests.integration.pipeline import (
    Pipeline,
    assert_one_asset_and_one_webhook,
    frozen,
    kill_tree,
    open_pipeline,
    until,
)


@pytest.fixture
def pipeline(server_stack: Stack, clean_servers: Settings, tmp_path: Path) -> Iterator[Pipeline]:
    with open_pipeline(clean_servers, server_stack.layout.env_file, tmp_path) as opened:
        yield opened


def test_a_photo_passes_the_chain_once(pipeline: Pipeline) -> None:
    pipeline.start_worker("plain")
    job_id = pipeline.submit()
    assert_one_asset_and_one_webhook(pipeline, job_id)
    assert [stage.attempt for stage in pipeline.job(job_id).stages] == [1, 1, 1, 1]


@pytest.mark.parametrize("stage", STAGES)
def test_worker_killed_in_the_middle_of_a_stage(pipeline: Pipeline, stage: str) -> None:
    victim = pipeline.start_worker("victim", wait=f"{stage}=60")
    job_id = pipeline.submit()
    pipeline.wait_for_stage(job_id, stage, "running")
    kill_tree(victim)
    pipeline.start_worker("heir")
    assert_one_asset_and_one_webhook(pipeline, job_id)
    attempts = {s.name: [a.outcome for a in s.attempts] for s in pipeline.job(job_id).stages}
    assert attempts[stage] == ["lost", "done"]


@pytest.mark.slow
def test_worker_frozen_past_its_lease_loses(pipeline: Pipeline) -> None:
    sleeper = pipeline.start_worker("sleeper", wait="geometry=1.5")
    job_id = pipeline.submit()
    pipeline.wait_for_stage(job_id, "geometry", "running")
    with frozen(sleeper):
        pipeline.start_worker("heir")
        assert_one_asset_and_one_webhook(pipeline, job_id)
    time.sleep(3.0)
    assert_one_asset_and_one_webhook(pipeline, job_id)
    geometry = pipeline.job(job_id).stages[1]
    assert [(a.outcome, a.worker) for a in geometry.attempts] == [
        ("lost", "sleeper@test"),
        ("done", "heir@test"),
    ]
    assert geometry.prefix == f"{job_id}/geometry/2/"


def test_lost_message_is_sent_again(pipeline: Pipeline) -> None:
    from tests.integration.conftest import empty_broker

    job_id = pipeline.submit()
    until(lambda: pipeline.job(job_id).stages[0].queue is not None, "the chain is published", seconds=25)
    empty_broker(pipeline.settings)
    pipeline.start_worker("late")
    assert_one_asset_and_one_webhook(pipeline, job_id)


def test_a_broker_emptied_under_connected_publishers_loses_no_photo(pipeline: Pipeline) -> None:
    """On Valkey the queues' bindings go too, and who declared them once does not do it again."""
    from tests.integration.conftest import empty_broker

    pipeline.start_worker("plain")
    for key in ("first.jpg", "second.jpg"):
        assert pipeline.wait_for_end(pipeline.submit(key)).state == "ready"
        empty_broker(pipeline.settings)


def test_message_delivered_twice(pipeline: Pipeline) -> None:
    job_id = pipeline.submit()
    until(lambda: pipeline.job(job_id).stages[0].queue is not None, "the chain is published", seconds=25)
    # The crash between publishing and committing: the outbox row comes back.
    with pipeline.sessions.begin() as session:
        from sqlalchemy import text

        session.execute(text("INSERT INTO outbox (job_id, dispatch) VALUES (:j, 1)"), {"j": job_id})
    until(lambda: not pipeline.query("SELECT 1 FROM outbox"), "published again", seconds=25)
    pipeline.start_worker("plain")
    assert_one_asset_and_one_webhook(pipeline, job_id)
    assert [stage.attempt for stage in pipeline.job(job_id).stages] == [1, 1, 1, 1]


@pytest.mark.slow
def test_poisonous_photo_fails_its_job_and_spares_the_next(pipeline: Pipeline) -> None:
    job_id = pipeline.submit()
    for number in (1, 2, 3):
        victim = pipeline.start_worker(f"victim{number}", wait="texture=60", slots=1)
        pipeline.wait_for_attempt(job_id, "texture", number)
        kill_tree(victim)
    job = pipeline.wait_for_end(job_id)
    assert (job.state, job.error_code, job.error_value, job.error_limit) == (
        "failed",
        "worker_died",
        "3",
        "3",
    )
    assert pipeline.wait_for_webhooks(1)[0].document["data"]["error"]["code"] == "worker_died"
    pipeline.receiver.received.clear()
    pipeline.start_worker("plain")
    assert_one_asset_and_one_webhook(pipeline, pipeline.submit("next.jpg"))


def test_webhook_is_retried_under_one_id(pipeline: Pipeline) -> None:
    pipeline.receiver.statuses = [500, 503]
    pipeline.start_worker("plain")
    pipeline.submit()
    received = pipeline.wait_for_webhooks(3)
    assert len({request.headers["webhook-id"] for request in received}) == 1
    until(
        lambda: (
            pipeline.query("SELECT state, attempts, last_status FROM deliveries")[0] == ("delivered", 3, 200)
        ),
        "the third try is recorded as delivered",
        seconds=15,
    )


def test_cancelled_job_stays_cancelled(pipeline: Pipeline) -> None:
    from db import lifecycle

    pipeline.start_worker("plain", wait="geometry=2")
    job_id = pipeline.submit()
    pipeline.wait_for_stage(job_id, "geometry", "running")
    with pipeline.sessions.begin() as session:
        lifecycle.cancel(session, job_id)
    time.sleep(3.5)
    job = pipeline.job(job_id)
    assert job.state == "cancelled"
    assert job.stages[1].state == "waiting"
    with pipeline.sessions.begin() as session:
        lifecycle.retry(session, job_id)
    assert_one_asset_and_one_webhook(pipeline, job_id)


def test_photo_replaced_and_photo_gone(pipeline: Pipeline) -> None:
    replaced = pipeline.submit("replaced.jpg")
    pipeline.storage.put(
        pipeline.settings.bucket_inbox, "replaced.jpg", b"other bytes", content_type="image/jpeg"
    )
    gone = pipeline.submit("gone.jpg")
    pipeline.storage.delete(pipeline.settings.bucket_inbox, "gone.jpg")
    lonely = pipeline.submit("turned.jpg", **{"view-of": "nobody.jpg"})
    pipeline.start_worker("plain")
    assert pipeline.wait_for_end(replaced).error_code == "photo_replaced"
    assert pipeline.wait_for_end(gone).error_code == "photo_gone"
    assert pipeline.wait_for_end(lonely).error_code == "view_missing"


def test_last_worker_of_a_type_dies_and_its_work_moves_on(pipeline: Pipeline) -> None:
    pipeline.start_worker("cpu", stages="preprocess,packaging")
    served = "geometry,texture"
    strong = pipeline.start_worker("strong", gpu_type="h100", stages=served, wait="geometry=60", slots=1)
    first, second = pipeline.submit("1.jpg"), pipeline.submit("2.jpg")
    until(
        lambda: (
            sorted(pipeline.job(job_id).stages[1].state for job_id in (first, second))
            == ["dispatched", "running"]
        ),
        "one runs on the only slot, the other waits",
        seconds=30,
    )
    kill_tree(strong)
    pipeline.start_worker("weak", gpu_type="t4", stages=served, slots=1)
    for job_id in (first, second):
        job = pipeline.wait_for_end(job_id)
        assert job.state == "ready"
        assert {a.gpu_type for a in job.stages[1].attempts if a.outcome == "done"} == {"t4"}

"""Relays that die or freeze, and servers that freeze under them: nothing is lost, nothing is done twice."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy.engine import make_url

from compose.local import Stack
from db import webhooks
from face3d.settings import Settings
from face3d.states import StageName
from tasks.leadership import silence_seconds
from tests.integration.job_rows import accept, take
from tests.integration.pipeline import QUICK, Pipeline, frozen, until

pytestmark = pytest.mark.slow

#: How long a claim of the relays here lives, seconds.
CLAIM = 3.0

LEADER = (
    "SELECT l.pid FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid"
    " WHERE l.locktype = 'advisory' AND l.granted AND a.application_name = 'face3d-relay'"
)


@contextmanager
def opened(settings: Settings, env_file: Path, logs: Path, **environment: str) -> Iterator[Pipeline]:
    """A delivery worker, a stage worker and a receiver; the tests start the relays."""
    made = Pipeline(settings, env_file, logs, {**QUICK, **environment})
    with made.sessions.begin() as session:
        webhooks.add_endpoint(session, made.receiver.url)
    made.start_delivery()
    made.start_worker("plain")
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def pipeline(server_stack: Stack, clean_servers: Settings, tmp_path: Path) -> Iterator[Pipeline]:
    with opened(clean_servers, server_stack.layout.env_file, tmp_path) as made:
        yield made


def start_relay(pipeline: Pipeline, **environment: str) -> Any:
    """Start a relay with short claims."""
    return pipeline.start(
        "-m", "tests.integration.held_relay", FACE3D_TEST_CLAIM_SECONDS=str(CLAIM), **environment
    )


def leader(pipeline: Pipeline) -> int | None:
    """Return the backend that holds the leader's lock."""
    rows = pipeline.query(LEADER)
    return rows[0][0] if rows else None


def start_held_leader(pipeline: Pipeline, hold: Path) -> tuple[Any, int, list[str]]:
    """Start a relay and hold it in the middle of a publication; return it, its backend, and the jobs."""
    relay = start_relay(pipeline, FACE3D_TEST_HOLD=str(hold))
    until(lambda: leader(pipeline) is not None, "it leads", seconds=20)
    hold.touch()
    jobs = [pipeline.submit(f"{number}.jpg") for number in range(4)]
    until(hold.with_suffix(".held").exists, "it has published", seconds=25)
    backend = leader(pipeline)
    assert backend is not None
    return relay, backend, jobs


def assert_each_once(pipeline: Pipeline, jobs: list[str]) -> None:
    """See that each job has one asset, one attempt a stage, one terminal state and one webhook id."""
    for job_id in jobs:
        job = pipeline.wait_for_end(job_id)
        assert job.state == "ready", (job.error_code, job.error_message)
        assert [[attempt.outcome for attempt in stage.attempts] for stage in job.stages] == [["done"]] * 4
    until(lambda: not pipeline.query("SELECT 1 FROM outbox"), "nothing waits to be published", seconds=25)
    pipeline.wait_for_webhooks(len(jobs))
    time.sleep(1.0)
    told = [(one.document["data"]["job_id"], one.headers["webhook-id"]) for one in pipeline.receiver.received]
    assert sorted(job_id for job_id, _ in set(told)) == sorted(jobs)


def test_the_leading_relay_is_killed_in_the_middle_of_a_publication(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    relay, backend, jobs = start_held_leader(pipeline, tmp_path / "hold")
    start_relay(pipeline)
    late = pipeline.submit("late.jpg")
    assert pipeline.wait_for_end(late).state == "ready"
    relay.kill()
    until(lambda: leader(pipeline) not in (None, backend), "the other one leads", seconds=3)
    assert_each_once(pipeline, [*jobs, late])


def test_the_leading_relay_freezes_in_the_middle_of_a_publication_and_wakes(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    hold = tmp_path / "hold"
    relay, backend, jobs = start_held_leader(pipeline, hold)
    start_relay(pipeline)
    silence = silence_seconds(pipeline.settings.model_copy(update={"lease_seconds": 2.0}))
    with frozen(relay):
        until(lambda: leader(pipeline) not in (None, backend), "the other one leads", seconds=silence + 3)
        heir = leader(pipeline)
        assert_each_once(pipeline, jobs)
        hold.unlink()
    late = [pipeline.submit(f"late-{number}.jpg") for number in range(2)]
    time.sleep(2.0)
    assert leader(pipeline) == heir
    assert_each_once(pipeline, [*jobs, *late])


@contextmanager
def frozen_server(port: int) -> Iterator[None]:
    """Freeze the processes of the server that listens on a port."""
    listening = (one for one in psutil.net_connections("tcp") if one.status == "LISTEN" and one.pid)
    first = psutil.Process(next(one.pid for one in listening if one.laddr.port == port))
    members = [first, *first.children(recursive=True)]
    for one in members:
        os.kill(one.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for one in members:
            os.kill(one.pid, signal.SIGCONT)


@pytest.mark.parametrize("broker", ["valkey", pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)])
def test_a_frozen_broker_stops_neither_the_relay_nor_its_other_work(
    request: pytest.FixtureRequest, server_stack: Stack, clean_servers: Settings, tmp_path: Path, broker: str
) -> None:
    url = clean_servers.broker_url.get_secret_value()
    if broker == "rabbitmq":
        url = request.getfixturevalue("rabbitmq")
    env_file = server_stack.layout.env_file
    with opened(clean_servers, env_file, tmp_path, FACE3D_BROKER_URL=url) as pipeline:
        start_relay(pipeline, FACE3D_TEST_PUBLISH_SECONDS="1")
        jobs = [pipeline.submit("before.jpg")]
        assert pipeline.wait_for_end(jobs[0]).state == "ready"
        with frozen_server(make_url(url).port or 0):
            jobs += [pipeline.submit(f"{number}.jpg") for number in range(3)]
            log = next(tmp_path.glob("*held_relay.log"))
            until(lambda: b"relay.broker.failed" in log.read_bytes(), "the relay says so", seconds=25)
            # A stage whose worker is gone: found although the broker is frozen.
            gone = accept(pipeline.sessions, "gone.jpg").job_id
            take(pipeline.sessions, gone, StageName.PREPROCESS, seconds=0.1)
            until(lambda: pipeline.job(gone).dispatch == 2, "its lease is taken", seconds=25)
        for job_id in jobs:
            assert pipeline.wait_for_end(job_id, seconds=60).state == "ready"
        pipeline.wait_for_webhooks(len(jobs))
        told = {one.headers["webhook-id"] for one in pipeline.receiver.received}
        ids = {one.document["data"]["job_id"] for one in pipeline.receiver.received} & set(jobs)
        assert ids == set(jobs)
        assert len(told) <= len(jobs) + 1
        assert b"relay.round.failed" not in log.read_bytes()


def test_a_frozen_database_costs_no_worker_a_death(pipeline: Pipeline, server_stack: Stack) -> None:
    start_relay(pipeline)
    pipeline.start_worker("slow", wait="geometry=1.5", stages="geometry")
    jobs = [pipeline.submit(f"{number}.jpg") for number in range(6)]
    running = "SELECT 1 FROM attempts WHERE worker = 'slow@test' AND outcome = 'running'"
    until(lambda: bool(pipeline.query(running)), "a stage runs", seconds=20)
    with frozen_server(make_url(pipeline.settings.database_url.get_secret_value()).port or 0):
        time.sleep(4.0)
    for job_id in jobs:
        assert pipeline.wait_for_end(job_id).state == "ready"
        assert [stage.worker_deaths for stage in pipeline.job(job_id).stages] == [0] * 4

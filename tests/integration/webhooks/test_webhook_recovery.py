"""Webhooks by real processes: a worker that freezes or dies, receivers that hang, trickle and refuse."""

import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from compose.local import Stack
from db import webhooks
from face3d.settings import Settings
from tests.integration.delivery_rows import add_endpoint, add_messages, pass_time
from tests.integration.pipeline import Pipeline, frozen, kill_tree, open_pipeline, until
from tests.integration.receivers import Server, answer_ok, hang, trickle_headers

#: Long waits, so that a try that was not due shows; a request may take a second.
SCHEDULE = {
    "FACE3D_WEBHOOK_RETRY_SECONDS": "[60, 120, 600, 600, 600, 600, 600]",
    "FACE3D_WEBHOOK_TIMEOUT_SECONDS": "1",
}
#: What a claim of these processes lives: delivery_guard_seconds and delivery_hold_seconds.
QUEUED, HELD = 51.0, 6.0


@pytest.fixture
def pipeline(server_stack: Stack, clean_servers: Settings, tmp_path: Path) -> Iterator[Pipeline]:
    with open_pipeline(clean_servers, server_stack.layout.env_file, tmp_path, **SCHEDULE) as opened:
        with opened.sessions.begin() as session:
            webhooks.remove_endpoint(session, opened.receiver.url)
        until(lambda: bool(opened.query("SELECT 1 FROM workers")), "the delivery worker beats", seconds=40)
        yield opened


def closed_port() -> str:
    """The URL of a port where nobody listens."""
    server = Server()
    server.close()
    return server.url


def tries(pipeline: Pipeline) -> list[int]:
    """How many tries each message has made, as its row and as its list of tries say."""
    rows = pipeline.query(
        "SELECT attempts, (SELECT count(*) FROM delivery_tries t WHERE t.delivery_id = d.id)"
        " FROM deliveries d"
    )
    assert all(counted == made for counted, made in rows)
    return [made for _, made in rows]


def ended(pipeline: Pipeline) -> int:
    """How many messages are neither on their way nor due."""
    return int(
        pipeline.query(
            "SELECT count(*) FROM deliveries WHERE claimed_until IS NULL AND coalesce(due_at > now(), true)"
        )[0][0]
    )


@pytest.mark.slow
def test_a_frozen_worker_uses_no_try_that_was_not_due(pipeline: Pipeline) -> None:
    """Nine minutes frozen with 40 messages waiting and the receiver down, by a clock that is moved."""
    delivery = pipeline.processes[1]
    url = closed_port()
    add_endpoint(pipeline.sessions, url)
    add_messages(pipeline.sessions, 40)
    until(lambda: ended(pipeline) == 40, "the first tries are made", seconds=40)
    assert tries(pipeline) == [1] * 40
    assert pipeline.query("SELECT DISTINCT state FROM deliveries") == [("pending",)]
    with frozen(delivery):
        pass_time(pipeline.sessions, 61)
        for _ in range(9):
            # The relay publishes what is due, and again when the copies' claims end.
            until(
                lambda: (
                    pipeline.query("SELECT count(*) FROM deliveries WHERE claimed_until > now()")[0][0] == 2
                ),
                "copies are published",
                seconds=15,
            )
            pass_time(pipeline.sessions, QUEUED + 1)
        assert pipeline.query("SELECT max(claim) FROM deliveries")[0][0] >= 10
    until(lambda: ended(pipeline) == 40, "the tries that were due are made", seconds=40)
    assert tries(pipeline) == [2] * 40
    soonest, latest = pipeline.query(
        "SELECT extract(epoch FROM min(due_at) - now()), extract(epoch FROM max(due_at) - now())"
        " FROM deliveries"
    )[0]
    assert 80 < soonest <= latest <= 120
    time.sleep(2)
    assert tries(pipeline) == [2] * 40
    # The receiver is back: each message arrives at its next due time, once.
    server = Server(port=int(url.rsplit(":", 1)[1].split("/")[0]))
    pass_time(pipeline.sessions, 121)
    until(lambda: len(server.requests) >= 40 and ended(pipeline) == 40, "all arrive", seconds=40)
    assert len({request.id for request in server.requests}) == len(server.requests) == 40
    assert tries(pipeline) == [3] * 40
    server.close()


@pytest.mark.slow
def test_a_worker_that_dies_while_it_sends_leaves_the_try_and_the_schedule(pipeline: Pipeline) -> None:
    server = Server(hang)
    add_endpoint(pipeline.sessions, server.url)
    add_messages(pipeline.sessions, 1)
    until(lambda: len(server.requests) == 1, "the send begins", seconds=20)
    kill_tree(pipeline.processes[1])
    assert tries(pipeline) == [1]
    server.behaviour = answer_ok
    pipeline.start_delivery()
    pass_time(pipeline.sessions, HELD + 1)
    time.sleep(3)
    assert tries(pipeline) == [1], "sent before it was due"
    pass_time(pipeline.sessions, 60)
    until(lambda: len(server.requests) == 2, "the second try", seconds=20)
    until(lambda: pipeline.query("SELECT state FROM deliveries")[0][0] == "delivered", "recorded", seconds=15)
    assert len({request.id for request in server.requests}) == 1
    assert [
        row[0] is None for row in pipeline.query("SELECT milliseconds FROM delivery_tries ORDER BY 1")
    ] == [
        False,
        True,
    ]
    server.close()


@pytest.mark.slow
def test_receivers_that_hang_trickle_and_refuse_delay_nobody_else(pipeline: Pipeline) -> None:
    slow = [Server(hang), Server(trickle_headers)]
    healthy = Server()
    for url in (*(server.url for server in slow), closed_port(), healthy.url):
        add_endpoint(pipeline.sessions, url)
    ready: dict[str, float] = {}
    for _ in range(60):
        (job_id,) = add_messages(pipeline.sessions, 1, f"photo-{len(ready)}")
        ready[job_id] = time.monotonic()
    until(lambda: len({request.job_id for request in healthy.requests}) == 60, "all arrive", seconds=30)
    delays = [request.began - ready[request.job_id] for request in healthy.requests]
    assert len(delays) == 60
    assert statistics.quantiles(delays, n=20)[18] < 2.0
    # A try of each slow one has ended by its deadline, and is no double.
    time.sleep(2.5)
    assert all(server.requests and server.overlaps() == 0 for server in slow)
    assert slow[0].most_at_once() <= 2
    for server in slow:
        server.close()
    told = pipeline.query("SELECT DISTINCT last_error FROM deliveries WHERE last_error IS NOT NULL")
    assert {row[0] for row in told} == {"The receiver did not answer in time.", "ConnectError"}
    healthy.close()


def test_a_try_is_logged_with_its_job_and_a_failed_one_as_a_warning(pipeline: Pipeline) -> None:
    server = Server()
    add_endpoint(pipeline.sessions, server.url)
    add_endpoint(pipeline.sessions, closed_port())
    (job_id,) = add_messages(pipeline.sessions, 1)
    until(lambda: ended(pipeline) == 2, "both tries are made", seconds=30)
    log = next(pipeline.logs.glob("*delivery_worker.log"))
    lines = [line for line in log.read_text().splitlines() if "webhook.sent" in line]
    assert len(lines) == 2
    assert all(job_id in line for line in lines)
    assert sorted("[warning" in line for line in lines) == [False, True]
    assert server.url not in log.read_text()
    server.close()

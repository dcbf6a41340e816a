"""A batch of a thousand does not make an interactive photo wait for more than one running task a slot."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from compose.local import Stack
from db import acceptance
from face3d.options import parse_options
from face3d.settings import Settings
from face3d.states import STAGES
from tests.integration.pipeline import Pipeline, open_pipeline, until

BATCH = 1000
SLOTS = 2

#: Every stage waits this long, so that a task of the batch that overtakes is told from the time that a
#: message needs.
_WAIT = ",".join(f"{stage.value}=0.3" for stage in STAGES)


@pytest.fixture
def valkey(server_stack: Stack, clean_servers: Settings, tmp_path: Path) -> Iterator[Pipeline]:
    with open_pipeline(clean_servers, server_stack.layout.env_file, tmp_path) as opened:
        yield opened


@pytest.fixture
def amqp(server_stack: Stack, clean_servers: Settings, rabbitmq: str, tmp_path: Path) -> Iterator[Pipeline]:
    env_file = server_stack.layout.env_file
    with open_pipeline(clean_servers, env_file, tmp_path, FACE3D_BROKER_URL=rabbitmq) as opened:
        yield opened


def submit_batch(pipeline: Pipeline) -> None:
    """Accept a thousand jobs of one photo in one transaction; option `ref` tells them apart."""
    bucket = pipeline.settings.bucket_inbox
    etag = pipeline.storage.put(bucket, "batch.jpg", b"x" * 1000, content_type="image/jpeg")
    with pipeline.sessions.begin() as session:
        for number in range(BATCH):
            acceptance.accept(
                session,
                bucket=bucket,
                key="batch.jpg",
                etag=etag,
                size=1000,
                content_type="image/jpeg",
                options=parse_options({"engine": "null", "ref": str(number)}),
                source="event",
            )


def overtakers(pipeline: Pipeline, job_id: str, stage: str) -> int:
    """Return how many tasks of the batch were started while the job's stage waited in its queue."""
    (row,) = pipeline.query(
        "SELECT count(*) FROM stages mine JOIN attempts a"
        "    ON a.started_at > mine.dispatched_at AND a.started_at < mine.started_at"
        "  JOIN jobs j ON j.id = a.job_id AND j.tier = 'batch'"
        " WHERE mine.job_id = :job_id AND mine.name = :stage",
        job_id=job_id,
        stage=stage,
    )
    return int(row[0])


def check_no_waiting(pipeline: Pipeline, *, workers: int, slots: int) -> None:
    pipeline.start(
        "-m", "tests.integration.slow_launcher", "--device", "cpu", "--slots", str(SLOTS), "--host", "test",
        FACE3D_TEST_WAIT=_WAIT,
    )  # fmt: skip
    submit_batch(pipeline)
    until(
        lambda: pipeline.query("SELECT count(*) FROM workers WHERE stages ? 'geometry'")[0][0] == workers,
        "the workers beat",
        seconds=60,
    )
    until(
        lambda: pipeline.query("SELECT count(*) FROM attempts WHERE outcome = 'done'")[0][0] >= 20,
        "the batch is at work",
        seconds=60,
    )
    for number in range(3):
        job_id = pipeline.submit(f"someone-waits-{number}.jpg", tier="interactive")
        assert pipeline.wait_for_end(job_id, seconds=60).state == "ready"
        overtaken = {stage.value: overtakers(pipeline, job_id, stage) for stage in STAGES}
        assert max(overtaken.values()) <= slots, overtaken
    (left,) = pipeline.query("SELECT count(*) FROM jobs WHERE tier = 'batch' AND state <> 'ready'")
    assert left[0] > BATCH / 4, "the batch was over before anyone had to wait"


def test_on_valkey(valkey: Pipeline) -> None:
    check_no_waiting(valkey, workers=1, slots=SLOTS)


@pytest.mark.slow
@pytest.mark.rabbitmq
def test_on_rabbitmq(amqp: Pipeline) -> None:
    # The interactive queues have a worker of their own, with one slot.
    check_no_waiting(amqp, workers=2, slots=SLOTS + 1)

"""The same pipeline over RabbitMQ: quorum queues, confirms, dead letters."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from kombu import Connection
from pydantic import SecretStr

from compose.local import Stack
from face3d.settings import Settings
from tasks.app import make_app
from tasks.broker import make_queue, queue_depth
from tests.integration.pipeline import (
    Pipeline,
    assert_one_asset_and_one_webhook,
    kill_tree,
    open_pipeline,
    until,
)

#: One RabbitMQ, in one process.
pytestmark = [pytest.mark.rabbitmq, pytest.mark.xdist_group("rabbitmq")]


@pytest.fixture
def pipeline(
    server_stack: Stack, clean_servers: Settings, rabbitmq: str, tmp_path: Path
) -> Iterator[Pipeline]:
    env_file = server_stack.layout.env_file
    with open_pipeline(clean_servers, env_file, tmp_path, FACE3D_BROKER_URL=rabbitmq) as opened:
        yield opened


def test_a_photo_passes_the_chain_once(pipeline: Pipeline) -> None:
    pipeline.start_worker("plain")
    job_id = pipeline.submit()
    assert_one_asset_and_one_webhook(pipeline, job_id)
    assert [stage.attempt for stage in pipeline.job(job_id).stages] == [1, 1, 1, 1]


def test_worker_killed_in_the_middle_of_a_stage(pipeline: Pipeline) -> None:
    victim = pipeline.start_worker("victim", wait="geometry=60")
    job_id = pipeline.submit()
    pipeline.wait_for_stage(job_id, "geometry", "running")
    kill_tree(victim)
    pipeline.start_worker("heir")
    assert_one_asset_and_one_webhook(pipeline, job_id)


def test_lost_message_is_sent_again(pipeline: Pipeline, rabbitmq: str) -> None:
    job_id = pipeline.submit()
    until(lambda: pipeline.job(job_id).stages[0].queue is not None, "the chain is published", seconds=20)
    app = make_app(pipeline.settings.model_copy(update={"broker_url": SecretStr(rabbitmq)}))
    name = str(pipeline.job(job_id).stages[0].queue)
    until(lambda: queue_depth(app, name) == 1, "the message lies in its queue", seconds=25)
    with Connection(rabbitmq) as connection:
        assert make_queue(name, "amqp")(connection.default_channel).purge() == 1
    pipeline.start_worker("late")
    assert_one_asset_and_one_webhook(pipeline, job_id)

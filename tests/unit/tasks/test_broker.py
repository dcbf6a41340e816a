"""What Celery is told for each kind of broker."""

import pytest
from pydantic import SecretStr

from face3d.settings import Settings
from face3d.states import PriorityClass
from tasks.app import make_app
from tasks.broker import (
    PUBLISH_SECONDS,
    celery_config,
    make_queue,
    message_priority,
)


def config(url: str) -> dict[str, object]:
    return celery_config(Settings(broker_url=SecretStr(url)))


@pytest.mark.parametrize("url", ["redis://127.0.0.1:6379/0", "amqp://u:p@127.0.0.1//"])
def test_nothing_is_pickled_and_no_ending_puts_a_message_back(url: str) -> None:
    made = config(url)
    assert made["accept_content"] == ["json"]
    assert made["task_serializer"] == "json"
    assert made["task_acks_late"]
    # One setting for two endings meant two opposite things.
    assert "task_acks_on_failure_or_timeout" not in made
    assert made["task_acks_on_failure"]
    assert made["task_acks_on_timeout"]
    assert not made["task_reject_on_worker_lost"]
    assert made["worker_prefetch_multiplier"] == 1
    assert made["task_ignore_result"]


@pytest.mark.parametrize("url", ["redis://127.0.0.1:6379/0", "amqp://u:p@127.0.0.1//"])
def test_no_publisher_waits_for_its_broker_without_an_end(url: str) -> None:
    settings = Settings(broker_url=SecretStr(url))
    made = make_app(settings)
    publishing = made.connection_for_write().transport_options
    names = ("read_timeout", "write_timeout") if settings.broker_kind == "amqp" else ("socket_timeout",)
    assert {publishing[name] for name in names} == {PUBLISH_SECONDS}
    consuming = made.connection_for_read().transport_options
    if settings.broker_kind == "amqp":
        # Heartbeats watch over it; a reading that is silent for long is none that failed.
        assert "read_timeout" not in consuming
    else:
        assert consuming["socket_timeout"] > PUBLISH_SECONDS


def test_valkey_never_redelivers_a_running_task() -> None:
    settings = Settings(stage_limit_seconds=1000.0)
    transport = celery_config(settings)["broker_transport_options"]
    assert transport["visibility_timeout"] >= 3 * settings.stage_limit_seconds
    assert transport["unacked_restore_interval"] == 1


def test_interactive_messages_are_the_most_urgent_on_valkey() -> None:
    assert message_priority(PriorityClass.INTERACTIVE, "redis") == 0
    assert message_priority(PriorityClass.BATCH, "redis") == 9
    assert message_priority(PriorityClass.BATCH, "amqp") is None


def test_rabbitmq_queues_are_quorum_queues_with_a_backstop() -> None:
    arguments = make_queue("geometry.cpu.batch", "amqp").queue_arguments
    assert arguments["x-queue-type"] == "quorum"
    assert arguments["x-delivery-limit"] > Settings().poison_limit
    assert arguments["x-dead-letter-exchange"]
    assert config("amqp://u:p@127.0.0.1//")["broker_transport_options"] == {"confirm_publish": True}


@pytest.mark.parametrize("url", ["redis://localhost/0", "amqp://localhost//"])
def test_a_worker_never_gives_up_on_its_broker(url: str) -> None:
    """By default Celery ends a worker after a hundred tries to connect."""
    assert config(url)["broker_connection_max_retries"] is None

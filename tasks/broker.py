"""The one place that knows the broker's kind: queues, priorities, depths, dead letters."""

from typing import Any

from amqp.exceptions import NotFound
from celery import Celery
from kombu.entity import Exchange, Queue

from face3d.queues import DELIVERY_QUEUE, all_queue_names
from face3d.settings import BrokerKind, Settings
from face3d.states import PriorityClass

#: How long one answer of the broker to a publisher or to a question is waited for.
PUBLISH_SECONDS = 5.0

#: How long a consumer's answer may take on Valkey; its longest blocking read is a second.
_CONSUMER_SECONDS = 15.0

_EXCHANGE = Exchange("face3d", "topic", durable=True)
_DEAD_LETTER_EXCHANGE = Exchange("face3d.dead", "direct", durable=True)
_DEAD_LETTER_QUEUE = "face3d.dead"

#: Deliveries of one message before RabbitMQ dead-letters it: a backstop behind the poison limit.
_DELIVERY_LIMIT = 10


def make_queue(name: str, kind: BrokerKind) -> Queue:
    """Return a queue as this kind of broker wants it declared."""
    arguments: dict[str, Any] = {}
    if kind == "amqp":
        arguments = {
            "x-queue-type": "quorum",
            "x-delivery-limit": _DELIVERY_LIMIT,
            "x-dead-letter-exchange": _DEAD_LETTER_EXCHANGE.name,
            "x-dead-letter-routing-key": _DEAD_LETTER_QUEUE,
        }
    return Queue(name, _EXCHANGE, routing_key=name, durable=True, queue_arguments=arguments or None)


def message_priority(priority_class: PriorityClass, kind: BrokerKind) -> int | None:
    """Return the priority of a class's messages.

    Valkey: 0 is the most urgent, and one consumer drains every queue's priority 0 before any 9, so urgency
    holds across queues. RabbitMQ's quorum queues take no priorities: there a slot of its own consumes the
    interactive queues only.
    """
    if kind == "amqp":
        return None
    return 0 if priority_class is PriorityClass.INTERACTIVE else 9


def celery_config(settings: Settings) -> dict[str, Any]:
    """Return the Celery configuration for the broker that the settings name."""
    kind = settings.broker_kind
    # A task that outlived the visibility timeout would run twice; every attempt ends before the stage limit.
    visibility_timeout = max(600.0, 3 * settings.stage_limit_seconds)
    transport: dict[str, Any] = (
        {"confirm_publish": True}
        if kind == "amqp"
        else {
            "visibility_timeout": visibility_timeout,
            "unacked_restore_interval": 1,
            "unacked_restore_throttle": 1,
            "priority_steps": [0, 9],
            "sep": ":",
            "socket_keepalive": True,
            "socket_timeout": _CONSUMER_SECONDS,
            "socket_connect_timeout": PUBLISH_SECONDS,
            "health_check_interval": 25,
        }
    )
    return {
        "broker_url": settings.broker_url.get_secret_value(),
        "broker_transport_options": transport,
        "broker_connection_retry_on_startup": True,
        # By default a worker gives up after a hundred tries, within the hour.
        "broker_connection_max_retries": None,
        "task_queues": [make_queue(name, kind) for name in all_queue_names()],
        "task_default_queue": DELIVERY_QUEUE,
        "task_default_queue_type": "quorum" if kind == "amqp" else "classic",
        "task_default_exchange": _EXCHANGE.name,
        "task_default_exchange_type": _EXCHANGE.type,
        "task_default_routing_key": DELIVERY_QUEUE,
        "task_create_missing_queues": False,
        "worker_detect_quorum_queues": kind == "amqp",
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_ignore_result": True,
        "task_store_errors_even_if_ignored": False,
        "task_acks_late": True,
        # However a task ends, its message is done with: the database knows what is left to do, and the relay
        # sends it under a new dispatch number, at a pace and with a limit. Put back by Celery, a message that
        # kills its worker or overruns would be taken again at once, on Valkey without end.
        "task_acks_on_failure": True,
        "task_acks_on_timeout": True,
        "task_reject_on_worker_lost": False,
        "task_time_limit": settings.stage_limit_seconds,
        "task_publish_retry_policy": {"max_retries": 3, "interval_start": 0.1, "interval_max": 1.0},
        "worker_prefetch_multiplier": 1,
        "worker_send_task_events": True,
        "worker_proc_alive_timeout": 120.0,
        "worker_hijack_root_logger": False,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_soft_shutdown_timeout": 0.0,
        "worker_enable_remote_control": True,
        "enable_utc": True,
        "timezone": "UTC",
    }


def publisher_options(kind: BrokerKind) -> dict[str, Any]:
    """Return what a connection that publishes or asks has beyond a consumer's: no wait without an end.

    A consumer's connection is silent for as long as there is nothing to do; one of these never is.
    """
    if kind == "amqp":
        return {"read_timeout": PUBLISH_SECONDS, "write_timeout": PUBLISH_SECONDS}
    return {"socket_timeout": PUBLISH_SECONDS}


def drop_connections(app: Celery) -> None:
    """Close publishers' connections after one failed: a late answer must not pass for the next one's."""
    # Closing alone leaves the pools empty for ever: who then takes a producer waits without an end.
    for pool in (app.amqp.producer_pool, app.pool):
        pool.resize(pool.limit, reset=True)


def restore_bindings(app: Celery, kind: BrokerKind) -> bool:
    """Make sure that every queue is bound to its exchange; return whether one was not.

    On Valkey bindings are a set of its own, which is lost when the broker is emptied. A connection that
    declared a queue once does not declare it again, and what is sent to an exchange without bindings vanishes
    without an error: every publisher that stayed connected would send into the void. RabbitMQ ends such
    connections.
    """
    if kind == "amqp":
        return False
    with app.connection_for_write() as connection:
        channel = connection.default_channel
        bindings = channel.client.smembers(channel.keyprefix_queue % _EXCHANGE.name)
        # Routing key, pattern and queue.
        bound = {binding.decode().rpartition(channel.sep)[2] for binding in bindings}
        missing = [queue for name, queue in app.amqp.queues.items() if name not in bound]
        for queue in missing:
            queue(channel).declare()
    return bool(missing)


def queue_depth(app: Celery, name: str) -> int:
    """Return how many messages wait in a queue (not those that a worker holds unacknowledged)."""
    with app.connection_for_write() as connection:
        channel = connection.default_channel
        if connection.transport.driver_type == "redis":
            keys = [channel._q_for_pri(name, priority) for priority in channel.priority_steps]
            return sum(int(channel.client.llen(key)) for key in keys)
        try:
            return int(make_queue(name, "amqp")(channel).queue_declare(passive=True).message_count)
        except NotFound:
            return 0


def declare_dead_letters(app: Celery, kind: BrokerKind) -> None:
    """Declare the dead-letter exchange and queue, which kombu does not declare by itself."""
    if kind != "amqp":
        return
    with app.connection_for_write() as connection:
        channel = connection.default_channel
        exchange = _DEAD_LETTER_EXCHANGE(channel)
        exchange.declare()
        queue = Queue(
            _DEAD_LETTER_QUEUE,
            _DEAD_LETTER_EXCHANGE,
            routing_key=_DEAD_LETTER_QUEUE,
            queue_arguments={"x-queue-type": "quorum"},
        )
        queue(channel).declare()

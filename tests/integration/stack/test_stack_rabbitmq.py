"""RabbitMQ as the tests run it."""

from typing import Any

import psutil
import pytest
from kombu import Connection

pytestmark = pytest.mark.rabbitmq


def test_rabbitmq_takes_and_gives_a_message(rabbitmq: str) -> None:
    connect: Any = Connection
    with connect(rabbitmq, connect_timeout=5) as connection:
        queue = connection.SimpleQueue("stack-test")
        queue.put("hello")
        assert queue.get(timeout=10).payload == "hello"
        queue.close()


def test_rabbitmq_listens_on_loopback_only(rabbitmq: str) -> None:
    port = int(rabbitmq.rsplit(":", 1)[1].strip("/"))
    listeners = {
        item.laddr.ip
        for process in psutil.process_iter(["name"])
        if process.info["name"] == "beam.smp"
        for item in process.net_connections()
        if item.status == psutil.CONN_LISTEN and abs(item.laddr.port - port) < 10
    }
    assert listeners == {"127.0.0.1"}

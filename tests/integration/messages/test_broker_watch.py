"""How a broker is asked whether it is well: over one connection, and in time when it is frozen."""

import time
from urllib.parse import urlsplit

import psutil
import pytest
from kombu.exceptions import OperationalError
from redis import RedisError

from face3d.settings import Settings
from tests.integration.web_process import frozen
from web.watch import BROKER_TIMEOUT_SECONDS, BrokerQuestion

pytestmark = pytest.mark.slow


def connections(port: int) -> int:
    """Return how many connections of this process lead to a port."""
    mine = psutil.Process().net_connections("tcp")
    return sum(1 for one in mine if one.raddr and one.raddr.port == port and one.status == "ESTABLISHED")


def listener(port: int) -> int:
    """Return the pid of the process that listens on a port of loopback."""
    return next(
        one.pid
        for one in psutil.net_connections("tcp")
        if one.laddr.port == port and one.status == "LISTEN" and one.pid
    )


def check(url: str) -> None:
    port = urlsplit(url).port
    assert port
    question = BrokerQuestion(Settings(broker_url=url))
    before = connections(port)
    try:
        for _ in range(3):
            question.ask()
        # Valkey's client ends its connection with the channel.
        assert connections(port) <= before + 1
        with frozen(listener(port)):
            for _ in range(2):
                started = time.monotonic()
                with pytest.raises((OSError, OperationalError, RedisError)):
                    question.ask()
                assert time.monotonic() - started < 2 * BROKER_TIMEOUT_SECONDS + 1
        question.ask()
    finally:
        question.close()
    assert connections(port) == before


def test_valkey(servers: Settings) -> None:
    check(servers.broker_url.get_secret_value())


@pytest.mark.rabbitmq
def test_rabbitmq(rabbitmq: str) -> None:
    check(rabbitmq)

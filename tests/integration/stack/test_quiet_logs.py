"""A server that is away is one line in a log at its start and one at its end, however long it takes."""

import contextlib
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from compose.local import Stack
from face3d.settings import Settings
from tests.integration.pipeline import QUICK, Pipeline, until

pytestmark = pytest.mark.slow

#: Rounds and heartbeats are made each second: so many failures would be as many lines.
AWAY_SECONDS = 5.0


class Way:
    """A way to a server that can be cut."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname
        assert parts.port
        self._target = (parts.hostname, parts.port)
        self._open = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        self.url = url.replace(f"{parts.hostname}:{parts.port}", f"127.0.0.1:{port}")
        self._sockets: list[socket.socket] = []
        self._open.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End every connection, and every new one at once."""
        self._open.clear()
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._sockets.clear()

    def mend(self) -> None:
        """Let connections through again."""
        self._open.set()

    def close(self) -> None:
        """Listen no more."""
        self.cut()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if not self._open.is_set():
                    near.close()
                    continue
                far = socket.create_connection(self._target)
                self._sockets += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for one in (source, sink):
        with contextlib.suppress(OSError):
            one.close()


@pytest.fixture
def ways(clean_servers: Settings) -> Iterator[tuple[Way, Way]]:
    database = Way(clean_servers.database_url.get_secret_value())
    broker = Way(clean_servers.broker_url.get_secret_value())
    yield database, broker
    database.close()
    broker.close()


@pytest.fixture
def pipeline(
    server_stack: Stack, clean_servers: Settings, tmp_path: Path, ways: tuple[Way, Way]
) -> Iterator[Pipeline]:
    database, broker = ways
    environment = {**QUICK, "FACE3D_DATABASE_URL": database.url, "FACE3D_BROKER_URL": broker.url}
    made = Pipeline(
        settings=clean_servers,
        env_file=server_stack.layout.env_file,
        logs=tmp_path,
        environment=environment,
    )
    made.start_relay()
    made.start_delivery()
    until(lambda: bool(made.query("SELECT 1 FROM relays WHERE leads")), "the relay leads", seconds=30)
    until(lambda: bool(made.query("SELECT 1 FROM workers")), "the delivery worker beats", seconds=30)
    yield made
    made.close()


def events(pipeline: Pipeline, program: str) -> list[str]:
    """Return the names of a program's events, and every line that is none."""
    text = next(pipeline.logs.glob(f"*{program}*")).read_text()
    found = (re.match(r"\S+Z \[\w+ *\] (.*?)\s*(\[|$)", line) for line in text.splitlines())
    return [match[1] if match else "?" for match in found]


def test_a_broker_and_a_database_that_are_away_fill_no_log(pipeline: Pipeline, ways: tuple[Way, Way]) -> None:
    database, broker = ways
    broker.cut()
    job_id = pipeline.submit()
    until(lambda: "relay.broker.failed" in events(pipeline, "relay"), "the relay tells", seconds=20)
    before = len(events(pipeline, "relay"))
    time.sleep(AWAY_SECONDS)
    # Each periodic work that needs the broker may tell of its own trouble, once.
    assert len(events(pipeline, "relay")) <= before + 2
    broker.mend()
    until(lambda: "relay.broker.recovered" in events(pipeline, "relay"), "it recovers", seconds=20)
    until(lambda: pipeline.job(job_id).stages[0].queue is not None, "the chain is published", seconds=20)
    database.cut()
    until(lambda: "relay.round.failed" in events(pipeline, "relay"), "the relay tells", seconds=20)
    until(lambda: "heartbeat.failed" in events(pipeline, "delivery"), "the worker tells", seconds=20)
    before = len(events(pipeline, "relay")) + len(events(pipeline, "delivery"))
    time.sleep(AWAY_SECONDS)
    assert len(events(pipeline, "relay")) + len(events(pipeline, "delivery")) <= before + 2
    database.mend()
    until(lambda: "relay.round.recovered" in events(pipeline, "relay"), "it recovers", seconds=20)
    until(lambda: "heartbeat.recovered" in events(pipeline, "delivery"), "it recovers", seconds=20)
    told = [name for name in events(pipeline, "relay") if name.startswith(("relay.broker", "relay.round"))]
    assert told == [
        "relay.broker.failed",
        "relay.broker.recovered",
        "relay.round.failed",
        "relay.round.recovered",
    ]
    assert "Traceback" not in next(pipeline.logs.glob("*relay*")).read_text()


def test_a_relay_that_starts_while_rabbitmq_is_away_lives_and_does_the_rest(
    server_stack: Stack, clean_servers: Settings, tmp_path: Path
) -> None:
    made = Pipeline(
        settings=clean_servers,
        env_file=server_stack.layout.env_file,
        logs=tmp_path,
        # Nobody listens on the port of "discard".
        environment={**QUICK, "FACE3D_BROKER_URL": "amqp://guest:guest@127.0.0.1:9//"},
    )
    try:
        relay = made.start_relay()
        swept = "SELECT 1 FROM periodic_tasks WHERE name = 'sweep_inbox' AND succeeded_at IS NOT NULL"
        until(lambda: bool(made.query(swept)), "the sweep is made", seconds=30)
        until(lambda: "relay.broker.failed" in events(made, "relay"), "the relay tells", seconds=20)
        before = len(events(made, "relay"))
        time.sleep(AWAY_SECONDS)
        assert len(events(made, "relay")) <= before + 1
        assert "?" not in events(made, "relay")
        assert relay.poll() is None
    finally:
        made.close()

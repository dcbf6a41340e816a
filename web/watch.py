"""Whether the servers that a process stands on answer, asked in the background.

Each server is asked by a thread of its own, again and again, and `/readyz` tells what that found: whoever
asks, however often, makes no work, and a server that hangs holds up its own thread only.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog
from kombu.connection import Connection
from sqlalchemy import text

from db.session import Patience, make_engine
from face3d.settings import Settings
from storage.client import Storage, StorageConfig

log = structlog.get_logger(__name__)

#: Pause between two questions to a server.
PAUSE_SECONDS = 1.0

#: A server that takes longer than this counts as failed.
ANSWER_SECONDS = 2.0

#: How long a probe waits for the first facts after the start.
FIRST_SECONDS = 1.5

#: A server that has said nothing for this long is away: calls that need it are refused at once.
AWAY_SECONDS = 5.0

#: Time that questions get to end when the process does.
STOP_SECONDS = 1.0

BROKER_TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class Question:
    """How to ask one server."""

    #: Returns when it answers, within seconds, or raises.
    ask: Callable[[], None]
    #: Ends the connections, once, in the same thread.
    close: Callable[[], None] = lambda: None


@dataclass
class _Fact:
    """What is known of one server; written by its thread only."""

    #: None before the first answer.
    ok: bool | None = None
    #: When the question that waits for its answer was asked; None between two of them.
    asked: float | None = None
    #: When it said something last, be it an error, which costs a caller no time; the start counts, too.
    answered: float = 0.0

    def tell(self) -> str:
        """Return ok or failed."""
        asked = self.asked
        hangs = asked is not None and time.monotonic() - asked > ANSWER_SECONDS
        return "ok" if self.ok and not hangs else "failed"


class Watch:
    """Asks the servers that a process stands on.

    Args:
        questions: by name of the server.
    """

    def __init__(self, questions: Mapping[str, Question]) -> None:
        self._facts = {name: _Fact() for name in questions}
        self._started = False
        self._stopped = threading.Event()
        self._threads = [
            # A daemon: one that hangs must not keep the process from ending.
            threading.Thread(target=self._run, args=item, name=f"watch-{item[0]}", daemon=True)
            for item in questions.items()
        ]

    def start(self) -> None:
        """Begin to ask."""
        for fact in self._facts.values():
            fact.answered = time.monotonic()
        self._started = True
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ask no more; what hangs just now is left behind."""
        self._stopped.set()
        deadline = time.monotonic() + STOP_SECONDS
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0.0))

    def is_away(self, name: str) -> bool:
        """Tell whether a server has said nothing for so long that asking it costs time only."""
        fact = self._facts[name]
        return self._started and fact.tell() == "failed" and time.monotonic() - fact.answered > AWAY_SECONDS

    async def read(self) -> dict[str, str]:
        """Return ok or failed by server; waits a moment where nothing is known yet."""
        deadline = time.monotonic() + FIRST_SECONDS
        while any(fact.ok is None for fact in self._facts.values()) and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        return {name: fact.tell() for name, fact in self._facts.items()}

    def _run(self, name: str, question: Question) -> None:
        fact = self._facts[name]
        while not self._stopped.is_set():
            fact.asked = asked = time.monotonic()
            before, fact.ok = fact.ok, _try(name, question.ask, quiet=fact.ok is False)
            fact.asked = None
            if fact.ok or time.monotonic() - asked < ANSWER_SECONDS:
                fact.answered = time.monotonic()
            if before is False and fact.ok:
                log.info("ready again", server=name)
            self._stopped.wait(PAUSE_SECONDS)
        question.close()


def watch_servers(settings: Settings) -> Watch:
    """Return what asks database, broker and storage that settings name; connections of its own."""
    engine = make_engine(settings, pool_size=1, patience=Patience(statement=1.0, connect=2, connections=1))
    broker = BrokerQuestion(settings)
    storage = Storage(
        StorageConfig.from_settings(
            settings,
            connect_timeout=ANSWER_SECONDS,
            read_timeout=ANSWER_SECONDS,
            attempts=1,
            pool=1,
        )
    )

    def ask_database() -> None:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))

    return Watch(
        {
            "database": Question(ask=ask_database, close=engine.dispose),
            "broker": Question(ask=broker.ask, close=broker.close),
            "storage": Question(ask=lambda: storage.ping(settings.bucket_inbox)),
        }
    )


class BrokerQuestion:
    """Asks a broker over one connection, which is made anew after an error; for one thread."""

    def __init__(self, settings: Settings) -> None:
        self._url = settings.broker_url.get_secret_value()
        self._connection: Any = None

    def ask(self) -> None:
        """Return when the broker answers; raises what kombu raises."""
        try:
            if self._connection is None:
                self._connection = _connect(self._url)
            # Opening a channel takes a round trip on every broker.
            self._connection.channel().close()
        except Exception:
            with suppress(Exception):
                self.close()
            raise

    def close(self) -> None:
        """End the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.collect(BROKER_TIMEOUT_SECONDS)


def _connect(url: str) -> Any:
    make: Any = Connection
    limits = {
        # Valkey's and RabbitMQ's names; each ignores the other's.
        **dict.fromkeys(("socket_timeout", "socket_connect_timeout"), BROKER_TIMEOUT_SECONDS),
        **dict.fromkeys(("read_timeout", "write_timeout"), BROKER_TIMEOUT_SECONDS),
    }
    connection = make(url, connect_timeout=BROKER_TIMEOUT_SECONDS, transport_options=limits)
    connection.ensure_connection(max_retries=1, timeout=BROKER_TIMEOUT_SECONDS)
    return connection


def ping_broker(settings: Settings) -> None:
    """Ask the broker once, without retries."""
    question = BrokerQuestion(settings)
    try:
        question.ask()
    finally:
        question.close()


def _try(name: str, ask: Callable[[], None], *, quiet: bool) -> bool:
    try:
        ask()
    except Exception as error:
        # A probe reports whatever is wrong; the kind is enough, messages may name addresses.
        if not quiet:
            log.warning("not ready", server=name, error=type(error).__name__)
        return False
    return True

"""Engines and sessions, safe across forks, with a limit on every wait.

The server ends statements that take too long; a server that is frozen ends nothing, and its machine still
acknowledges what is sent, so neither keepalive nor TCP_USER_TIMEOUT notices. Hence the limit on our side.
"""

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry

from face3d.errors import RetryableError
from face3d.settings import Settings

RV = TypeVar("RV")

#: A pooled connection unused for longer than this is tested before it is used.
_IDLE_SECONDS = 2.0

#: Time that this test gets.
_TEST_SECONDS = 2.0

#: The server's own limit comes first, so that it can say which it was.
_GRACE_SECONDS = 2.0

#: A process that froze in a transaction loses it, and its rows' locks, after so long.
_IDLE_TRANSACTION_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a process waits for the database, seconds, and how many connections it may use at once."""

    statement: float = 30.0
    lock: float = 10.0
    connect: int = 5
    #: For a connection of the pool.
    free: float = 30.0
    connections: int = 10


class PatientConnection(psycopg.Connection[Any]):
    """A connection whose every wait ends: then it is closed, for its answer may still come."""

    #: Seconds.
    patience = Patience().statement + _GRACE_SECONDS

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """Wait as psycopg does, but not for ever.

        Raises:
            OperationalError: the server did not answer in time.
        """
        if timeout is not None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, self.patience)
        except psycopg.OperationalError:
            # What the server itself reports ends the statement; a frozen one leaves it active.
            if self.pgconn.transaction_status != TransactionStatus.ACTIVE:
                raise
            self.pgconn.finish()
            raise psycopg.OperationalError("the database did not answer in time") from None


class DatabaseUnavailable(RetryableError):
    """The database does not answer."""


def make_engine(
    settings: Settings,
    *,
    pool_size: int = 5,
    patience: Patience | None = None,
    is_away: Callable[[], bool] | None = None,
) -> Engine:
    """Return a new engine.

    Args:
        settings: name the database.
        pool_size: connections that are kept; as many again may be used for a while.
        patience: how long to wait for what; the defaults suit workers.
        is_away: tells that the database need not be asked; then a session raises DatabaseUnavailable.
    """
    limits = patience or Patience(connections=2 * pool_size)
    engine = create_engine(
        settings.database_url.get_secret_value(),
        pool_size=pool_size,
        max_overflow=limits.connections - pool_size,
        pool_timeout=limits.free,
        # Statements' parameters hold object keys, which are personal.
        hide_parameters=True,
        pool_recycle=600,
        connect_args={
            "connect_timeout": limits.connect,
            "application_name": "face3d",
            "options": (
                f"-c statement_timeout={round(limits.statement * 1e3)}"
                f" -c lock_timeout={round(limits.lock * 1e3)} -c timezone=UTC"
                f" -c idle_in_transaction_session_timeout={round(_IDLE_TRANSACTION_SECONDS * 1e3)}"
            ),
            # For a machine that is gone without a word.
            "tcp_user_timeout": round((limits.statement + _GRACE_SECONDS) * 1e3),
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
        },
    )

    def check(*_: object) -> None:
        if is_away is not None and is_away():
            raise DatabaseUnavailable

    def connect(_dialect: object, _record: object, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        check()
        connection = PatientConnection.connect(*args, **named)
        connection.patience = limits.statement + _GRACE_SECONDS
        return connection

    event.listen(engine, "do_connect", connect)
    event.listen(engine, "checkin", _note_use)
    event.listen(engine, "checkout", check)
    event.listen(engine, "checkout", _test_idle)
    return engine


def _note_use(_connection: object, record: ConnectionPoolEntry) -> None:
    record.info["used_at"] = time.monotonic()


def _test_idle(connection: Any, record: ConnectionPoolEntry, _proxy: object) -> None:
    """Test a connection that lay idle: the server may have been restarted meanwhile.

    One in steady use is not tested: a round trip at every checkout is a tenth of what a job costs.
    """
    if time.monotonic() - record.info.get("used_at", math.inf) < _IDLE_SECONDS:
        return
    usual, connection.patience = connection.patience, min(connection.patience, _TEST_SECONDS)
    try:
        connection.execute("SELECT 1")
        connection.rollback()
    except psycopg.Error as error:
        raise DisconnectionError from error
    finally:
        connection.patience = usual


def make_session_factory(settings: Settings) -> sessionmaker[Session]:
    """Return the process's session factory for these settings.

    Connections must not cross a fork: the cache is keyed by the process id.
    """
    return _factory(settings.database_url.get_secret_value(), os.getpid(), _Hidden(settings))


class _Hidden:
    """Keeps the settings out of the cache key: equal for every instance."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Hidden)

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=8)
def _factory(_url: str, _pid: int, hidden: _Hidden) -> sessionmaker[Session]:
    return sessionmaker(make_engine(hidden.settings), expire_on_commit=False)

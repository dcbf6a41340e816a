"""Engines and sessions, safe across forks."""

import math
import os
import time
from functools import lru_cache
from typing import Any

import psycopg
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry

from face3d.settings import Settings

#: A pooled connection unused for longer than this is tested before it is used.
_IDLE_SECONDS = 2.0


def make_engine(settings: Settings, *, pool_size: int = 5) -> Engine:
    """Return a new engine; statements that hang are ended by the server after 30 s."""
    engine = create_engine(
        settings.database_url.get_secret_value(),
        pool_size=pool_size,
        max_overflow=pool_size,
        # Statements' parameters hold object keys, which are personal.
        hide_parameters=True,
        pool_recycle=600,
        connect_args={
            "connect_timeout": 5,
            "application_name": "face3d",
            "options": "-c statement_timeout=30000 -c lock_timeout=10000 -c timezone=UTC"
            # A process that froze in a transaction must not hold its rows for ever.
            " -c idle_in_transaction_session_timeout=30000",
        },
    )
    event.listen(engine, "checkin", _note_use)
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
    try:
        connection.execute("SELECT 1")
        connection.rollback()
    except psycopg.Error as error:
        raise DisconnectionError from error


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

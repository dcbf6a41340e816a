"""Engines and sessions, safe across forks."""

import os
from functools import lru_cache

from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import Session, sessionmaker

from face3d.settings import Settings


def make_engine(settings: Settings, *, pool_size: int = 5) -> Engine:
    """Return a new engine; statements that hang are ended by the server after 30 s."""
    return create_engine(
        settings.database_url.get_secret_value(),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=True,
        # Statements' parameters hold object keys, which are personal.
        hide_parameters=True,
        pool_recycle=600,
        connect_args={
            "connect_timeout": 5,
            "application_name": "face3d",
            "options": "-c statement_timeout=30000 -c lock_timeout=10000 -c timezone=UTC",
        },
    )


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

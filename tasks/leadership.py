"""Which relay does the periodic work: the one that holds an advisory lock and goes on asking for it.

The lock lives as long as its connection. A killed relay's connection ends with it. A frozen relay's would
live on, so PostgreSQL ends it when nothing was asked over it for a while (`idle_session_timeout`). By the
same clock the relay knows, when it wakes, that it leads no more.
"""

import time

import psycopg
import structlog
from sqlalchemy import make_url

from db.session import PatientConnection
from face3d.settings import Settings

log = structlog.get_logger(__name__)

#: Any constant: the advisory lock of the relay that does the periodic work.
_LEADER_LOCK = 0x0FACE3D

#: A leader asks once a second; one that is silent for so long is replaced, whatever the lease.
_SHORTEST_SILENCE_SECONDS = 5.0

#: A server whose machine vanished is noticed after about this long.
_VANISHED_SECONDS = 20


def silence_seconds(settings: Settings) -> float:
    """Return for how long a leader may be silent before another relay takes over."""
    return max(_SHORTEST_SILENCE_SECONDS, settings.lease_seconds)


def connect(settings: Settings, *, idle_seconds: float = 0.0) -> psycopg.Connection:
    """Return a connection of its own, outside the pool; the server ends it when it is idle for so long."""
    url = make_url(settings.database_url.get_secret_value()).set(drivername="postgresql")
    return PatientConnection.connect(
        url.render_as_string(hide_password=False),
        autocommit=True,
        application_name="face3d-relay",
        connect_timeout=5,
        keepalives_idle=_VANISHED_SECONDS // 2,
        keepalives_interval=_VANISHED_SECONDS // 4,
        keepalives_count=2,
        tcp_user_timeout=_VANISHED_SECONDS * 1000,
        options=f"-c statement_timeout=30000 -c idle_session_timeout={round(idle_seconds * 1000)}",
    )


class Leadership:
    """One relay's claim to lead."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._silence = silence_seconds(settings)
        self._connection: psycopg.Connection | None = None
        self._holds_until = 0.0

    def __bool__(self) -> bool:
        """Tell whether this relay leads, as far as it can know without asking."""
        return time.monotonic() < self._holds_until

    def ask(self) -> bool:
        """Take the lock, or make sure that it is still held; return whether this relay leads.

        Raises:
            psycopg.Error: the database is away.
        """
        try:
            return self._ask()
        except psycopg.errors.IdleSessionTimeout:
            log.warning("relay.was_silent")
            self.resign()
            return self._ask()

    def _ask(self) -> bool:
        asked_at = time.monotonic()
        if self._connection is None or self._connection.closed:
            self._connection = connect(self._settings, idle_seconds=self._silence)
        answer = self._connection.execute(
            "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = %(id)s"
            " AND pid = pg_backend_pid()) OR pg_try_advisory_lock(%(id)s)",
            {"id": _LEADER_LOCK},
        ).fetchone()
        self._holds_until = asked_at + self._silence if answer and answer[0] else 0.0
        return bool(self)

    def resign(self) -> None:
        """Give the lock back, if it is held."""
        self._holds_until = 0.0
        if self._connection is not None:
            self._connection.close()
            self._connection = None

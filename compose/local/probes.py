"""How the supervisor learns that a process of ours is ready."""

import http.client
from collections.abc import Callable
from pathlib import Path

Probe = Callable[[], bool]


def http_answers(port: int, path: str) -> Probe:
    """Return a probe that is true when a GET on loopback is answered with 200."""

    def probe() -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=0.8)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    return probe


class LogSays:
    """A probe that is true when a log holds these words after its end at this start (`forget`)."""

    def __init__(self, log: Path, words: bytes) -> None:
        self._log = log
        self._words = words
        self._start = 0

    def forget(self) -> None:
        """Leave out what an earlier process wrote."""
        self._start = self._log.stat().st_size if self._log.exists() else 0

    def __call__(self) -> bool:
        """Look at the log."""
        if not self._log.exists():
            return False
        with self._log.open("rb") as stream:
            # Set aside for its size, the log began anew.
            stream.seek(self._start if self._log.stat().st_size >= self._start else 0)
            return self._words in stream.read()


class DatabaseShows:
    """A probe that is true when a query yields a row about this start of a process (`forget`).

    Args:
        query: takes one parameter, %s: the database's time when the probe was first asked about this start.
            Rows that an earlier process left are older.
    """

    def __init__(self, database_url: str, query: str) -> None:
        self._url = database_url.replace("+psycopg", "")
        self._query = query.encode()
        self._asked_first: object = None

    def forget(self) -> None:
        """Leave out what an earlier process left."""
        self._asked_first = None

    def __call__(self) -> bool:
        """Ask the database; False also when it does not answer."""
        import psycopg

        try:
            with psycopg.connect(self._url, connect_timeout=2) as connection:
                if self._asked_first is None:
                    row = connection.execute("SELECT now()").fetchone()
                    self._asked_first = row[0] if row else None
                return connection.execute(self._query, [self._asked_first]).fetchone() is not None
        except psycopg.Error:
            return False

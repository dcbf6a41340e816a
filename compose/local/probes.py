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


def log_says(log: Path, words: bytes) -> Probe:
    """Return a probe that is true when the log holds these words after its present end."""
    start = log.stat().st_size if log.exists() else 0

    def probe() -> bool:
        if not log.exists():
            return False
        with log.open("rb") as stream:
            # Set aside for its size, the log began anew.
            stream.seek(start if log.stat().st_size >= start else 0)
            return words in stream.read()

    return probe


def database_shows(database_url: str, query: str) -> Probe:
    """Return a probe that is true when a query yields a row.

    Args:
        query: takes one parameter, %s: the database's time when the probe was asked first. Rows that an
            earlier run left are older.
    """
    asked_first: list[object] = []

    def probe() -> bool:
        import psycopg

        try:
            with psycopg.connect(database_url.replace("+psycopg", ""), connect_timeout=2) as connection:
                if not asked_first:
                    asked_first.extend(connection.execute("SELECT now()").fetchone() or ())
                return connection.execute(query.encode(), asked_first).fetchone() is not None
        except psycopg.Error:
            return False

    return probe

"""Readiness is about the present process, not about the one before."""

from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
import pytest

from compose.local.probes import DatabaseShows, LogSays


class FakeDatabase:
    """A clock, and one worker's last heartbeat."""

    def __init__(self) -> None:
        self.now = 100
        self.heartbeat = 0
        self._row: tuple[int] | None = None

    def connect(self, *_: object, **__: object) -> Self:
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is open."""

    def execute(self, _query: object, since: list[int] | None = None) -> Self:
        if since is None:
            self._row = (self.now,)
        else:
            self._row = (1,) if self.heartbeat > since[0] else None
        return self

    def fetchone(self) -> tuple[int] | None:
        return self._row


def test_a_dead_process_s_heartbeat_makes_the_next_one_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    database = FakeDatabase()
    monkeypatch.setattr(psycopg, "connect", database.connect)
    probe = DatabaseShows("postgresql+psycopg://there", "SELECT")
    probe.forget()
    assert not probe()
    database.now, database.heartbeat = 110, 109
    assert probe()

    database.now = 120
    probe.forget()
    assert not probe()
    database.now, database.heartbeat = 130, 129
    assert probe()


def test_a_log_is_read_from_this_start_on(tmp_path: Path) -> None:
    log = tmp_path / "broker.log"
    probe = LogSays(log, b"complete")
    assert not probe()
    log.write_text("startup complete\n")
    assert probe()
    probe.forget()
    assert not probe()
    with log.open("a") as stream:
        stream.write("startup complete\n")
    assert probe()

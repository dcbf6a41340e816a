"""What fails again and again fills no log."""

import logging
from typing import Any

from sqlalchemy.exc import OperationalError

from face3d.errors import StorageUnavailable
from face3d.outages import Outage, is_expected
from web.server import RepeatFilter


class Log:
    """Keeps what was logged."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def error(self, event: str, **facts: Any) -> None:
        self.lines.append(("error", event, facts))

    def warning(self, event: str, **facts: Any) -> None:
        self.lines.append(("warning", event, facts))


def test_an_outage_is_one_line_at_its_start_a_count_each_minute_and_one_at_its_end() -> None:
    log, now = Log(), [0.0]
    outage = Outage(log, "relay.round", clock=lambda: now[0], chore="x")
    outage.ended()
    for second in range(150):
        now[0] = float(second)
        outage.failed(ConnectionRefusedError())
    outage.ended()
    outage.ended()
    told = [(event, facts["failures"], facts["seconds"], facts["chore"]) for _, event, facts in log.lines]
    assert told == [
        ("relay.round.failed", 1, 0.0, "x"),
        ("relay.round.still_fails", 61, 60.0, "x"),
        ("relay.round.still_fails", 121, 120.0, "x"),
        ("relay.round.recovered", 150, 149.0, "x"),
    ]
    assert log.lines[0][2]["exc_info"] is None


def test_a_bug_behind_an_outage_is_told_with_its_trace() -> None:
    log = Log()
    outage = Outage(log, "chore")
    outage.failed(ConnectionRefusedError())
    bug = KeyError("x")
    outage.failed(bug)
    outage.failed(bug)
    outage.ended()
    outage.failed(bug)
    assert [event for _, event, _ in log.lines] == [
        "chore.failed",
        "chore.failed",
        "chore.recovered",
        "chore.failed",
    ]
    assert log.lines[1][2]["exc_info"] is bug


def test_servers_that_are_away_need_no_trace() -> None:
    import amqp
    import kombu.exceptions
    import psycopg
    import redis

    away = (
        OperationalError("", {}, Exception()),
        StorageUnavailable(),
        kombu.exceptions.OperationalError(),
        psycopg.OperationalError(),
        redis.exceptions.ConnectionError(),
        amqp.exceptions.RecoverableConnectionError(),
        TimeoutError(),
    )
    assert [error for error in away if not is_expected(error)] == []
    assert not is_expected(KeyError())


def test_a_trace_that_anybody_can_cause_is_not_repeated_and_hides_no_other() -> None:
    keeps = RepeatFilter().filter
    for kind in (ValueError, KeyError):
        kept = [keeps(record("Exception in ASGI application\n", kind())) for _ in range(100)]
        assert kept == [True] + 99 * [False]
    assert keeps(record("Invalid HTTP request received."))
    assert not keeps(record("Invalid HTTP request received."))
    assert all(keeps(record("Started server process [1]")) for _ in range(2))


def record(message: str, error: Exception | None = None) -> logging.LogRecord:
    trace = None if error is None else (type(error), error, None)
    return logging.LogRecord("uvicorn.error", logging.ERROR, "here.py", 1, message, None, trace)

"""What probes cost, and the places of calls: nothing piles up behind a server that hangs."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from web import watch
from web.middleware import lanes
from web.middleware.lanes import Lane, Places
from web.problems import ApiError
from web.watch import Question, Watch


class Server:
    """A server that answers, hangs or fails as a test says."""

    def __init__(self) -> None:
        self.asked = 0
        self.answers = threading.Event()
        self.answers.set()
        self.fails = False

    def ask(self) -> None:
        self.asked += 1
        self.answers.wait(10)
        if self.fails:
            raise ConnectionError


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(watch, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(watch, "AWAY_SECONDS", 0.6)
    monkeypatch.setattr(lanes, "STALL_SECONDS", 0.3)


@contextmanager
def watching(**servers: Server) -> Iterator[Watch]:
    watched = Watch({name: Question(ask=server.ask) for name, server in servers.items()})
    watched.start()
    try:
        yield watched
    finally:
        for server in servers.values():
            server.answers.set()
        watched.stop()


def read(watched: Watch) -> dict[str, str]:
    started = time.monotonic()
    found = asyncio.run(watched.read())
    assert time.monotonic() - started < 2
    return found


def until(condition: Callable[[], object]) -> None:
    ends = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.02)


def test_who_asks_often_makes_no_work() -> None:
    server = Server()
    with watching(database=server) as watched:
        assert read(watched) == {"database": "ok"}
        before = server.asked
        for _ in range(100):
            read(watched)
        assert server.asked - before < 20


@pytest.mark.heavy
def test_a_server_that_hangs_is_asked_once_and_told() -> None:
    database, storage = Server(), Server()
    with watching(database=database, storage=storage) as watched:
        assert read(watched) == {"database": "ok", "storage": "ok"}
        storage.answers.clear()
        until(lambda: read(watched) == {"database": "ok", "storage": "failed"})
        assert not watched.is_away("database")
        until(lambda: watched.is_away("storage"))
        asked = storage.asked
        time.sleep(0.5)
        assert storage.asked == asked
        storage.answers.set()
        until(lambda: read(watched) == {"database": "ok", "storage": "ok"})
        assert not watched.is_away("storage")


@pytest.mark.heavy
def test_a_server_that_hangs_from_the_start_is_told_as_well() -> None:
    server = Server()
    server.answers.clear()
    with watching(database=server) as watched:
        assert read(watched) == {"database": "failed"}


@pytest.mark.heavy
def test_an_error_is_told_and_keeps_no_call_away() -> None:
    """A store may forbid what the probe asks, and allow what callers need."""
    server = Server()
    with watching(storage=server) as watched:
        assert read(watched) == {"storage": "ok"}
        server.fails = True
        until(lambda: read(watched) == {"storage": "failed"})
        time.sleep(1)
        assert not watched.is_away("storage")


def test_what_is_not_watched_yet_is_not_away() -> None:
    assert not Watch({"database": Question(ask=lambda: None)}).is_away("database")


def test_nobody_waits_for_a_place_behind_calls_that_hang() -> None:
    async def run() -> float:
        places = Places(Lane.STORAGE, 2)
        for _ in range(2):
            await places.take()
        started = time.monotonic()
        with pytest.raises(ApiError) as refused:
            await places.take()
        assert (refused.value.status, refused.value.problem.code) == (503, "storage_unavailable")
        return time.monotonic() - started

    assert asyncio.run(run()) < 1


@pytest.mark.heavy
def test_a_crowd_waits_as_long_as_the_lane_moves() -> None:
    async def call(places: Places) -> None:
        place = await places.take()
        await asyncio.sleep(0.1)
        place.give_back(moved=True)

    async def run() -> float:
        places = Places(Lane.DATABASE, 2)
        started = time.monotonic()
        await asyncio.gather(*(call(places) for _ in range(20)))
        return time.monotonic() - started

    # Longer than one waits where nothing moves.
    assert asyncio.run(run()) > 0.9

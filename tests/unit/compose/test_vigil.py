"""When a server that no longer does its work is started anew: on a clock of ours, then real processes."""

import dataclasses
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import pytest

from compose.local import supervisor as supervisor_module
from compose.local.orphans import RunRecord
from compose.local.service import Service
from compose.local.supervisor import Supervisor
from compose.local.vigil import Vigil, Work


def until(condition: Callable[[], object], what: str, *, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.01)


class AtOnce(Executor):
    """Answers each question while it is put."""

    def submit(self, function: Callable[..., Any], /, *_: Any, **__: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        try:
            future.set_result(function())
        except Exception as error:
            future.set_exception(error)
        return future


class Server:
    """A server as a vigil sees it, on a clock that the test moves."""

    def __init__(self, folder: Path) -> None:
        self.now = 0.0
        self.fault: str | None = None
        self.room = True
        self.asked: list[float] = []
        self.said: list[str] = []
        self.started: list[float] = []
        work = Work(find_fault=self.find_fault, folder=folder)
        self.vigil = Vigil("storage", work, AtOnce(), self.said.append, lambda _work: self.room)

    def find_fault(self) -> str | None:
        self.asked.append(self.now)
        return self.fault

    def pass_seconds(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += 0.25
            if self.vigil.look(self.now):
                self.started.append(self.now)


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


def test_a_working_server_is_asked_now_and_then_and_left_running(server: Server) -> None:
    server.pass_seconds(600)
    assert 15 <= len(server.asked) <= 25
    assert server.started == []
    assert server.said == []


def test_a_hiccup_is_told_and_starts_nothing(server: Server) -> None:
    server.pass_seconds(60)
    server.fault = "PUT in bucket work was answered with 500"
    server.pass_seconds(50)
    server.fault = None
    server.pass_seconds(200)
    assert server.started == []
    assert server.said[0] == "storage does not work: PUT in bucket work was answered with 500"
    assert server.said[-1].startswith("storage works again after ")


def test_an_idle_server_is_started_anew_soon_and_then_more_and_more_seldom(server: Server) -> None:
    server.fault = "no answer"
    server.pass_seconds(3600)
    assert server.started[0] <= 100
    gaps = [later - earlier for earlier, later in zip(server.started, server.started[1:], strict=False)]
    assert gaps == pytest.approx([120, 300, 900, 900, 900], abs=3)


def test_who_works_again_for_long_is_helped_soon_again(server: Server) -> None:
    for _ in range(3):
        server.fault = "no answer"
        server.pass_seconds(100)
        server.fault = None
        server.pass_seconds(300)
    assert len(server.started) == 3


def test_with_a_full_disk_it_is_left_alone_and_helped_soon_after(server: Server) -> None:
    server.fault, server.room = "no space", False
    server.pass_seconds(3600)
    assert server.started == [], "a start would help nothing, and harm a database"
    assert len([line for line in server.said if "left alone" in line]) == 1
    server.room = True
    server.pass_seconds(70)
    assert len(server.started) == 1


def test_a_question_that_fails_is_a_fault(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> str | None:
        raise ValueError("unreadable")

    work = Work(find_fault=fail, folder=Path("/"))
    vigil = Vigil("storage", work, AtOnce(), server.said.append, lambda _work: True)
    assert [vigil.look(second) for second in range(70)].count(True) == 1


# -- real processes


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Supervisor]]:
    monkeypatch.setattr(supervisor_module, "RESTART_PAUSES", (0.01,))
    made: list[Supervisor] = []

    def factory(*items: Service, report: Callable[[str], None] | None = None) -> Supervisor:
        made.append(Supervisor(items, RunRecord(state_dir=tmp_path, run_id="run"), report))
        return made[-1]

    yield factory
    for item in made:
        item.stop()


def stand_in(folder: Path, script: str) -> Service:
    """A process that works while the file `works` is there, and is ready once it has made it."""
    sign = folder / "works"
    return Service(
        name="storage",
        argv=("/bin/sh", "-c", script),
        env={"PATH": os.environ["PATH"]},
        cwd=folder,
        log=folder / "storage.log",
        ready=sign.exists,
        stop_seconds=0.3,
        start_seconds=10.0,
        work=Work(
            find_fault=lambda: None if sign.exists() else "no writes",
            folder=folder,
            idle_seconds=0.3,
            ask_seconds=0.05,
            ask_again_seconds=0.05,
        ),
    )


@pytest.mark.heavy
@pytest.mark.parametrize("stop", ["ends when told", "ignores the signal", "is frozen"])
def test_a_running_process_that_does_no_work_is_replaced(
    stop: str, tmp_path: Path, make: Callable[..., Supervisor]
) -> None:
    trap = 'trap "" TERM; ' if stop == "ignores the signal" else ""
    said: list[str] = []
    supervisor = make(
        stand_in(tmp_path, f"{trap}touch works; while :; do sleep 0.05; done"), report=said.append
    )
    supervisor.start()
    first = supervisor.pid("storage")
    assert first is not None
    if stop == "is frozen":
        os.kill(first, signal.SIGSTOP)
    (tmp_path / "works").unlink()
    until(lambda: supervisor.pid("storage") not in (None, first), "another process")
    until((tmp_path / "works").exists, "its work")
    until(lambda: any("works again" in line for line in said), "a line that says so")
    assert said[1] == "storage does not work: no writes"
    assert any(line.startswith("storage has done no work for") for line in said)


@pytest.mark.heavy
def test_a_service_that_nobody_asks_is_left_running(tmp_path: Path, make: Callable[..., Supervisor]) -> None:
    service = dataclasses.replace(stand_in(tmp_path, "touch works; exec sleep 60"), work=None)
    supervisor = make(service)
    supervisor.start()
    first = supervisor.pid("storage")
    (tmp_path / "works").unlink()
    with pytest.raises(AssertionError):
        until(lambda: supervisor.pid("storage") != first, "another process", seconds=1.0)

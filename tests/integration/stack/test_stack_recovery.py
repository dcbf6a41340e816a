"""A stack that was killed: nothing stays behind, and it starts again on its data."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from compose.local import SERVERS, Stack, temporary_state_dir
from compose.local.orphans import find_processes, load_record
from compose.local.programs import ROOT
from face3d.settings import Settings
from storage.client import Storage

_PROGRAM = """
import sys, time
from pathlib import Path
from compose.local import SERVERS, Stack
stack = Stack(Path(sys.argv[1]), services=SERVERS).start()
print("up", flush=True)
time.sleep(600)
"""


@pytest.fixture
def state_dir() -> Iterator[Path]:
    folder = temporary_state_dir()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _start(state_dir: Path) -> "subprocess.Popen[str]":
    supervisor = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, str(state_dir)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert supervisor.stdout is not None
    assert supervisor.stdout.readline() == "up\n"
    return supervisor


def _eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.1)


def _write(settings: Settings) -> None:
    """Leave one row, one message and one object."""
    with psycopg.connect(settings.database_url.get_secret_value().replace("+psycopg", "")) as connection:
        connection.execute("CREATE TABLE kept (word text)")
        connection.execute("INSERT INTO kept VALUES ('row')")
    with redis.Redis.from_url(settings.broker_url.get_secret_value()) as client:
        client.lpush("kept", "message")
        # The append-only file is synced once a second.
        client.waitaof(1, 0, 5000)
    storage = Storage.from_settings(settings)
    for number in range(5):
        storage.put(settings.bucket_work, f"kept/{number}", _contents(number), content_type="text/plain")


def _contents(number: int) -> bytes:
    return bytes([number]) * 100_000


def _assert_kept(settings: Settings) -> None:
    with psycopg.connect(settings.database_url.get_secret_value().replace("+psycopg", "")) as connection:
        assert connection.execute("SELECT word FROM kept").fetchall() == [("row",)]
    with redis.Redis.from_url(settings.broker_url.get_secret_value()) as client:
        assert client.lrange("kept", 0, -1) == [b"message"]
    storage = Storage.from_settings(settings)
    for number in range(5, 10):
        storage.put(settings.bucket_work, f"new/{number}", _contents(number), content_type="text/plain")
    for number in range(5):
        # New objects took no old object's place.
        assert storage.get(settings.bucket_work, f"kept/{number}") == _contents(number)


def _settings(state_dir: Path) -> Settings:
    return Settings(_env_file=state_dir / "stack.env")


def test_nothing_outlives_a_killed_supervisor_and_the_data_stays(state_dir: Path) -> None:
    with _start(state_dir) as supervisor:
        _write(_settings(state_dir))
        supervisor.kill()
    record = load_record(state_dir)
    _eventually(lambda: not find_processes(state_dir, record))
    with Stack(state_dir, services=SERVERS) as stack:
        _assert_kept(stack.settings)


def test_servers_left_by_a_run_whose_watchdog_died_too_are_stopped_first(state_dir: Path) -> None:
    with _start(state_dir) as supervisor:
        _write(_settings(state_dir))
        record = load_record(state_dir)
        left = find_processes(state_dir, record)
        watchdogs = [p for p in left if "compose.local.watchdog" in p.cmdline()]
        assert len(watchdogs) == 1
        watchdogs[0].kill()
        supervisor.kill()
    survivors = [p for p in left if p.pid not in (watchdogs[0].pid, supervisor.pid)]
    assert any(p.is_running() for p in survivors)
    with Stack(state_dir, services=SERVERS) as stack:
        assert not any(p.is_running() for p in survivors)
        _assert_kept(stack.settings)


def test_servers_killed_with_9_come_back_on_their_data(state_dir: Path) -> None:
    with Stack(state_dir, services=SERVERS) as stack:
        _write(stack.settings)
        for name in SERVERS:
            pid = stack.supervisor.pid(name)
            assert pid is not None
            os.kill(pid, signal.SIGKILL)

        def recovered() -> bool:
            try:
                _assert_kept(stack.settings)
            except Exception:
                return False
            return True

        _eventually(recovered)

"""Real servers that take no writes: frozen ones are replaced, those with a full disk are left alone."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from compose.local import SERVERS, Stack, temporary_state_dir
from compose.local import supervisor as supervisor_module
from compose.local.vigil import Vigil, Work
from compose.local.writes import find_broker_fault, find_database_fault, find_storage_fault
from storage.client import Storage


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Vigils that ask often and wait for a second only."""

    def begin(name: str, work: Work, *rest: Any) -> Vigil:
        hasty = replace(work, idle_seconds=1.0, ask_seconds=0.2, ask_again_seconds=0.2)
        return Vigil(name, hasty, *rest)

    monkeypatch.setattr(supervisor_module, "Vigil", begin)


@pytest.fixture
def state_dir() -> Iterator[Path]:
    folder = temporary_state_dir()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def until(condition: Callable[[], object], what: str, *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.1)


def write_everywhere(stack: Stack) -> None:
    settings = stack.settings
    storage = Storage.from_settings(settings)
    for bucket in (settings.bucket_inbox, settings.bucket_work, settings.bucket_assets):
        storage.put(bucket, "after.bin", os.urandom(200_000), content_type="application/x-directory")
    with psycopg.connect(settings.database_url.get_secret_value().replace("+psycopg", "")) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS after (word text)")
    with redis.Redis.from_url(settings.broker_url.get_secret_value()) as client:
        client.set("after", "1")


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.usefixtures("impatient")
def test_frozen_servers_are_replaced_and_all_takes_writes_again(state_dir: Path) -> None:
    said: list[str] = []
    with Stack(state_dir, services=SERVERS, report=said.append) as stack:
        write_everywhere(stack)
        before = {name: stack.supervisor.pid(name) for name in SERVERS}
        for pid in before.values():
            assert pid is not None
            os.kill(pid, signal.SIGSTOP)
        for name in SERVERS:
            until(
                lambda name=name: any(line.startswith(f"{name} works again") for line in said),  # type: ignore[misc]
                f"{name} that works",
                seconds=60,
            )
            assert stack.supervisor.pid(name) not in (None, before[name])
        write_everywhere(stack)
    assert any(line.startswith("seaweedfs does not work: bucket ") for line in said)
    assert any(line.startswith("valkey has done no work for ") for line in said)


@pytest.fixture
def small_disk(state_dir: Path) -> Iterator[Path]:
    """A disk of 250 MB, in memory; only root may make one, and not in every container."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=250m,mode=755", "tmpfs", str(state_dir)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root can make a small disk")
    yield state_dir
    subprocess.run(["umount", str(state_dir)], check=True)


def fill_disk(path: Path) -> None:
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as stream:
        while True:
            stream.write(bytes(4096))


@pytest.mark.usefixtures("impatient")
def test_a_full_disk_ends_no_server_and_room_makes_it_work(small_disk: Path) -> None:
    said: list[str] = []
    with Stack(small_disk, services={"postgres", "valkey"}, report=said.append) as stack:
        before = stack.supervisor.pid("valkey")
        filling = small_disk / "filling"
        fill_disk(filling)
        with redis.Redis.from_url(stack.settings.broker_url.get_secret_value()) as client:
            # More than the last page of its file holds.
            client.set("large", bytes(10_000))
        until(lambda: any("valkey is left alone" in line for line in said), "a word on the disk", seconds=20)
        time.sleep(2)
        assert stack.supervisor.pid("valkey") == before
        filling.unlink()
        until(lambda: any("valkey works again" in line for line in said), "a broker that works", seconds=20)
        assert stack.supervisor.pid("valkey") == before
    assert any(line.startswith("valkey does not work: ") and "MISCONF" in line for line in said)


def test_each_server_is_asked_for_a_write_that_leaves_nothing_behind(state_dir: Path) -> None:
    with Stack(state_dir, services=SERVERS) as stack:
        layout, settings = stack.layout, stack.settings
        keys = (layout.credentials["s3_access_key"], layout.credentials["s3_secret_key"])
        port = layout.ports["s3"]
        buckets = (settings.bucket_inbox, settings.bucket_work, settings.bucket_assets)
        assert find_storage_fault(port, keys, settings.s3_region, buckets) is None
        storage = Storage.from_settings(settings)
        assert [info.key for bucket in buckets for info in storage.list(bucket)] == []
        wrong = (keys[0], "wrong")
        assert "403" in (find_storage_fault(port, wrong, settings.s3_region, buckets) or "")
        assert find_storage_fault(port, keys, settings.s3_region, ("face3d-not-made",)) is None

        url = settings.database_url.get_secret_value().replace("+psycopg", "")
        assert find_database_fault(url) is None
        assert "does not exist" in (find_database_fault(f"{url}-not-made") or "")

        broker = layout.ports["valkey"]
        assert find_broker_fault(broker, layout.credentials["broker_password"]) is None
        assert find_broker_fault(broker, "wrong") is not None
        with redis.Redis.from_url(settings.broker_url.get_secret_value()) as client:
            assert 0 < client.ttl("face3d:probe") <= 60
            client.config_set("min-replicas-to-write", 1)
        assert "NOREPLICAS" in (find_broker_fault(broker, layout.credentials["broker_password"]) or "")
    for fault in (
        find_storage_fault(port, keys, settings.s3_region, buckets),
        find_database_fault(url),
        find_broker_fault(broker, "any"),
    ):
        assert fault is not None, "nobody listens"

"""The supervisor, on small shell processes."""

import contextlib
import dataclasses
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from compose.local import supervisor as supervisor_module
from compose.local.lock import StackRunning, acquire, describe, find_holder
from compose.local.orphans import ProcessMark, RunRecord, load_record, stop_orphans
from compose.local.ports import listens
from compose.local.service import Service, Step
from compose.local.supervisor import StackFailed, Supervisor
from face3d.errors import ConfigurationError

Make = Callable[..., Supervisor]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """A factory of supervisors that are stopped at the end."""
    monkeypatch.setattr(supervisor_module, "RESTART_PAUSES", (0.01,))
    made: list[Supervisor] = []

    def factory(*items: Service | Step, report: Callable[[str], None] | None = None) -> Supervisor:
        made.append(Supervisor(items, RunRecord(state_dir=tmp_path, run_id="run"), report))
        return made[-1]

    yield factory
    for item in made:
        item.stop()


def _service(
    folder: Path, name: str, script: str, *, after: tuple[str, ...] = (), stop_seconds: float = 5.0
) -> Service:
    """A shell process that is ready once its script has made the file `<name>.ready`."""
    ready = folder / f"{name}.ready"
    return Service(
        name=name,
        argv=("/bin/sh", "-c", script),
        env={"PATH": os.environ["PATH"], "READY": str(ready), "FOLDER": str(folder)},
        cwd=folder,
        log=folder / f"{name}.log",
        ready=ready.exists,
        after=after,
        stop_seconds=stop_seconds,
        start_seconds=10.0,
    )


def _eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


def test_a_look_that_fails_ends_no_watch(tmp_path: Path, make: Make) -> None:
    said: list[str] = []
    service = _service(tmp_path, "one", 'touch "$READY"; exec sleep 60')
    failures = [RuntimeError("no"), OSError("no file left")]
    broken = False

    def ready() -> bool:
        if broken and failures:
            raise failures.pop()
        return service.ready()

    supervisor = make(dataclasses.replace(service, ready=ready), report=said.append)
    supervisor.start()
    broken = True
    pid = supervisor.pid("one")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    _eventually(lambda: supervisor.pid("one") not in (None, pid))
    _eventually(lambda: sum("ready" in line for line in said) == 2)
    assert [line for line in said if "is repeated" in line] == [
        "a look at the services failed and is repeated: OSError('no file left')",
        "a look at the services failed and is repeated: RuntimeError('no')",
    ]


def test_a_port_that_another_program_holds_makes_no_service_ready(tmp_path: Path, make: Make) -> None:
    listen = (
        "import pathlib, socket, time; s = socket.create_server(('127.0.0.1', {port}));"
        " pathlib.Path('port').write_text(str(s.getsockname()[1])); time.sleep(60)"
    )
    script = shlex.join([sys.executable, "-c", listen.format(port=0)])
    first = _service(tmp_path, "first", f"exec {script}")
    first = dataclasses.replace(first, ready=(tmp_path / "port").exists)
    make(first).start()
    port = int((tmp_path / "port").read_text())
    script = shlex.join([sys.executable, "-c", listen.format(port=port)])
    second = _service(tmp_path, "second", f"exec {script}")
    # The other program answers whoever asks.
    with pytest.raises(StackFailed, match=r"second ended.*(?s:.*)Address already in use"):
        make(dataclasses.replace(second, ready=lambda: True, port=port)).start()


def test_a_service_that_listens_itself_is_ready(tmp_path: Path, make: Make) -> None:
    listen = (
        "import pathlib, socket, time; s = socket.create_server(('127.0.0.1', 0));"
        " pathlib.Path('port').write_text(str(s.getsockname()[1])); time.sleep(60)"
    )
    script = shlex.join([sys.executable, "-c", listen])
    first = _service(tmp_path, "first", f"exec {script}")
    supervisor = make(dataclasses.replace(first, ready=(tmp_path / "port").exists))
    supervisor.start()
    pid, port = supervisor.pid("first"), int((tmp_path / "port").read_text())
    assert pid is not None
    assert listens(pid, port)
    assert not listens(pid, port + 1)
    assert not listens(os.getpid(), port)


def test_a_service_starts_only_after_what_it_needs(tmp_path: Path, make: Make) -> None:
    order: list[str] = []
    first = _service(tmp_path, "first", 'touch "$READY"; exec sleep 60')
    # Fails at once unless the first one was ready when it started.
    second = _service(
        tmp_path,
        "second",
        'test -e first.ready || exit 3; touch "$READY"; exec sleep 60',
        after=("prepared",),
    )
    step = Step(name="prepared", run=lambda: order.append("prepared"), after=("first",))
    make(second, step, first, report=order.append).start()
    assert order.index("prepared") < next(
        i for i, line in enumerate(order) if line.startswith("second ready")
    )


def test_a_process_that_dies_is_started_again(tmp_path: Path, make: Make) -> None:
    supervisor = make(_service(tmp_path, "worker", 'touch "$READY"; exec sleep 60'))
    supervisor.start()
    before = supervisor.pid("worker")
    assert before is not None
    os.kill(before, signal.SIGKILL)
    _eventually(lambda: supervisor.pid("worker") not in (before, None))


def test_what_an_earlier_process_left_is_forgotten_before_each_start(tmp_path: Path, make: Make) -> None:
    service = _service(tmp_path, "worker", 'sleep 0.2; touch "$READY"; exec sleep 60')
    forgotten: list[bool] = []

    def forget() -> None:
        forgotten.append(service.ready())
        (tmp_path / "worker.ready").unlink(missing_ok=True)

    said: list[str] = []
    supervisor = make(dataclasses.replace(service, forget=forget), report=said.append)
    supervisor.start()
    pid = supervisor.pid("worker")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    _eventually(lambda: len([line for line in said if line.startswith("worker ready")]) == 2)
    assert forgotten == [False, True]


def test_a_service_that_cannot_start_is_named_with_its_log(tmp_path: Path, make: Make) -> None:
    good = _service(tmp_path, "good", 'touch "$READY"; exec sleep 60')
    bad = _service(tmp_path, "bad", "echo the port is taken; exit 4")
    supervisor = make(good, bad)
    with pytest.raises(StackFailed, match=r"(?s)bad ended with status 4.*the port is taken"):
        supervisor.start()
    assert supervisor.pid("good") is None


def test_a_step_that_fails_stops_the_start(tmp_path: Path, make: Make) -> None:
    def fail() -> None:
        raise ValueError("no such table")

    with pytest.raises(StackFailed, match="migrations: no such table"):
        make(Step(name="migrations", run=fail)).start()


def test_services_stop_before_what_they_need(tmp_path: Path, make: Make) -> None:
    note = 'trap \'echo {0} >>"$FOLDER/order"; exit 0\' TERM; touch "$READY"; while :; do sleep 0.05; done'
    server = _service(tmp_path, "server", note.format("server"))
    client = _service(tmp_path, "client", note.format("client"), after=("server",))
    supervisor = make(server, client)
    supervisor.start()
    supervisor.stop()
    assert (tmp_path / "order").read_text().split() == ["client", "server"]


@pytest.mark.heavy
def test_a_process_that_ignores_the_stop_signal_is_killed_with_its_children(
    tmp_path: Path, make: Make
) -> None:
    script = 'trap "" TERM; sleep 61 & echo $! >child; touch "$READY"; while :; do sleep 0.05; done'
    supervisor = make(_service(tmp_path, "stubborn", script, stop_seconds=0.2))
    supervisor.start()
    child = int((tmp_path / "child").read_text())
    supervisor.stop()
    _eventually(lambda: not psutil.pid_exists(child))


def test_one_service_can_be_stopped_and_started_again(tmp_path: Path, make: Make) -> None:
    supervisor = make(_service(tmp_path, "web", 'touch "$READY"; exec sleep 60'))
    supervisor.start()
    supervisor.stop_service("web")
    assert supervisor.pid("web") is None
    supervisor.start_service("web")
    assert supervisor.pid("web") is not None


@pytest.fixture
def orphan() -> Iterator[psutil.Process]:
    """A process that is nobody's child, in a session of its own."""
    script = "setsid sleep 62 >/dev/null 2>&1 & echo $!"
    started = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True)
    process = psutil.Process(int(started.stdout))
    _eventually(lambda: os.getsid(process.pid) == process.pid)
    yield process
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()


def test_orphans_of_a_killed_run_are_found_by_record_and_stopped(
    tmp_path: Path, orphan: psutil.Process
) -> None:
    RunRecord(state_dir=tmp_path, run_id="old", processes={"x": ProcessMark.of(orphan.pid)}).save()
    assert stop_orphans(tmp_path) == 1
    assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE


def test_a_reused_pid_is_left_alone(tmp_path: Path, orphan: psutil.Process) -> None:
    mark = ProcessMark(pid=orphan.pid, started=orphan.create_time() - 1000)
    RunRecord(state_dir=tmp_path, run_id="old", processes={"x": mark}).save()
    record = load_record(tmp_path)
    assert record is not None
    assert record.processes["x"].process() is None
    assert stop_orphans(tmp_path, grace_seconds=0.2) == 0
    assert orphan.is_running()


def test_a_record_of_another_boot_counts_nothing(tmp_path: Path) -> None:
    RunRecord(state_dir=tmp_path, run_id="old", processes={"x": ProcessMark.of(os.getpid())}).save()
    file = tmp_path / "run.json"
    file.write_text(file.read_text().replace('"boot_id": "', '"boot_id": "not-'))
    assert load_record(tmp_path) is None


@pytest.mark.heavy
def test_the_lock_names_its_holder(tmp_path: Path) -> None:
    assert find_holder(tmp_path) is None
    with acquire(tmp_path) as held:
        describe(held, "http://127.0.0.1:8080")
        with pytest.raises(StackRunning, match="8080"):
            acquire(tmp_path)
        running = find_holder(tmp_path)
        assert running is not None
        assert running.pid == os.getpid()
    assert find_holder(tmp_path) is None


def test_nobody_else_can_hold_the_lock(tmp_path: Path) -> None:
    file = tmp_path / "stack.lock"
    file.touch(mode=0o644)
    acquire(tmp_path).close()
    assert file.stat().st_mode & 0o777 == 0o600


def test_the_lock_is_no_way_to_other_files(tmp_path: Path) -> None:
    other = tmp_path / "precious"
    other.write_text("data")
    other.chmod(0o644)
    file = tmp_path / "stack.lock"
    for make in (file.symlink_to, file.hardlink_to, lambda _: os.mkfifo(file), lambda _: file.mkdir()):
        make(other)
        with pytest.raises(ConfigurationError, match=r"stack\.lock is not a file of this user"):
            acquire(tmp_path)
        file.rmdir() if file.is_dir() else file.unlink()
    assert other.read_text() == "data"
    assert other.stat().st_mode & 0o777 == 0o644


def test_a_lock_that_says_nothing_still_holds(tmp_path: Path) -> None:
    with acquire(tmp_path) as held:
        held.write("not quite")
        held.flush()
        assert isinstance(find_holder(tmp_path), StackRunning)

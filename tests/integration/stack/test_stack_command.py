"""`face3d up`, `status`, `doctor`, `down` as a person uses them, with all processes of the stack."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from compose.local import temporary_state_dir
from compose.local.lock import find_holder
from compose.local.orphans import find_processes, load_record

FACE3D = Path(sys.executable).with_name("face3d")


@pytest.fixture
def environment() -> Iterator[dict[str, str]]:
    """An environment whose stack lives in a folder of its own."""
    folder = temporary_state_dir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FACE3D_")}
    yield {**kept, "FACE3D_STATE_DIR": str(folder), "FACE3D_ENGINE": "null", "COLUMNS": "200"}
    shutil.rmtree(folder, ignore_errors=True)


def _face3d(environment: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [FACE3D, *arguments], env=environment, capture_output=True, text=True, check=False, timeout=100
    )


def _ask_doctor(environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """Ask as the command itself says where the machine is too busy for an answer in time: again."""
    for _ in range(8):
        answer = _face3d(environment, "doctor")
        if "in time" not in answer.stdout:
            break
        time.sleep(1)
    return answer


@contextlib.contextmanager
def _start_up(environment: dict[str, str]) -> Iterator["subprocess.Popen[str]"]:
    """A `face3d up` that a failed test leaves no process of behind."""
    with subprocess.Popen([FACE3D, "up"], env=environment, stdout=subprocess.PIPE, text=True) as supervisor:
        try:
            yield supervisor
        finally:
            if supervisor.poll() is None:
                supervisor.terminate()


# A doctor on a machine that tests keep busy finds a busy machine.
@pytest.mark.slow
def test_up_status_doctor_and_ctrl_c(environment: dict[str, str]) -> None:
    folder = Path(environment["FACE3D_STATE_DIR"])
    before = _face3d(environment, "status")
    assert before.returncode == 1
    assert "face3d up" in before.stdout

    with _start_up(environment) as supervisor:
        assert supervisor.stdout is not None
        said = ""
        while "logs" not in said:
            line = supervisor.stdout.readline()
            assert line, f"face3d up ended: {said}"
            said += line
        page = re.search(r"page +(\S+)", said)
        flower = re.search(r"Flower +(\S+) \((\S+) / (\S+)\)", said)
        assert page
        assert flower

        # The printed address signs in, once; `up` and `status` name the server without it.
        server = page[1].partition("/?")[0]
        token = re.search(r"API token +(\S+)", said)
        assert token
        assert token[1] not in page[1]
        second_link = _face3d(environment, "link").stdout.strip()
        for link in (page[1], second_link):
            for answer in (303, 401):
                assert httpx.get(link).status_code == answer
        assert httpx.get(f"{server}/readyz").status_code == 200
        assert httpx.get(f"{flower[1]}/workers").status_code == 401
        # For probes and Prometheus: the operations page says so, and to keep Flower on loopback therefore.
        for path in ("healthcheck", "metrics"):
            assert httpx.get(f"{flower[1]}/{path}").status_code == 200
        assert httpx.get(f"{flower[1]}/workers", auth=(flower[2], flower[3])).status_code == 200

        second = _face3d(environment, "up")
        assert second.returncode == 1
        assert server in second.stderr

        status = _face3d(environment, "status")
        assert status.returncode == 0
        assert server in status.stdout

        doctor = _ask_doctor(environment).stdout
        for subject in (
            *("PostgreSQL", "schema", "broker (redis)", "bucket", "web server", "workers"),
            *("relay", "delivery worker", "outbox", "webhooks", "queues", "retention", "database size"),
        ):
            assert re.search(rf"^ok +{re.escape(subject)}", doctor, re.MULTILINE), doctor

        record = load_record(folder)
        supervisor.send_signal(signal.SIGINT)
        assert supervisor.wait(60) == 0
    assert find_processes(folder, record) == []
    assert find_holder(folder) is None


# A doctor on a machine that tests keep busy finds a busy machine.
@pytest.mark.slow
def test_doctor_without_servers_says_what_to_do(environment: dict[str, str]) -> None:
    result = _ask_doctor(environment)
    assert result.returncode == 1
    assert re.search(r"^wrong PostgreSQL", result.stdout, re.MULTILINE)
    assert "face3d up" in result.stdout
    assert re.search(r"^(ok|look) +library torch", result.stdout, re.MULTILINE)


def test_down_without_a_stack_says_so(environment: dict[str, str]) -> None:
    result = _face3d(environment, "down")
    assert result.returncode == 0
    assert "no stack runs" in result.stdout

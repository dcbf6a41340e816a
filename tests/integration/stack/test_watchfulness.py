"""`face3d doctor` and the metrics tell of what is frozen, fails or waits; nothing frozen holds them up."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from sqlalchemy import text

from compose.local import Stack
from face3d.settings import Settings
from tests.integration.pipeline import QUICK, Pipeline, frozen, open_pipeline, until
from web.metrics import render_metrics

pytestmark = pytest.mark.slow


@pytest.fixture
def pipeline(server_stack: Stack, clean_servers: Settings, tmp_path: Path) -> Iterator[Pipeline]:
    with open_pipeline(clean_servers, server_stack.layout.env_file, tmp_path) as opened:
        until(lambda: beats(opened), "relay and delivery worker are there", seconds=30)
        yield opened


def beats(pipeline: Pipeline) -> bool:
    return bool(
        pipeline.query("SELECT 1 FROM relays WHERE leads")
        and pipeline.query("SELECT 1 FROM workers WHERE jsonb_exists(stages, 'delivery')")
    )


def ask_doctor(env_file: Path) -> tuple[dict[str, str], float]:
    """Return the doctor's lines by subject, each with its mark, and how long the command took."""
    started = time.monotonic()
    ended = subprocess.run(
        [Path(sys.executable).with_name("face3d"), "doctor"],
        env={**os.environ, **QUICK, "FACE3D_ENV_FILE": str(env_file), "COLUMNS": "300"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    took = time.monotonic() - started
    # No web server runs in these tests.
    assert ended.returncode == 1, ended.stderr
    found = re.findall(r"^(ok|look|wrong) +(.{22}\S*) +(.*)$", ended.stdout, re.MULTILINE)
    return {subject.strip(): f"{mark} {detail}" for mark, subject, detail in found}, took


def expect(env_file: Path, subject: str, mark: str) -> str:
    """Ask until the doctor's line on a subject has a mark, three times: a busy machine may hold it up."""
    found: dict[str, str] = {}
    for _ in range(3):
        found, _ = ask_doctor(env_file)
        if found.get(subject, "").startswith(mark):
            return found[subject]
    raise AssertionError(f"no line {mark} {subject}: {found}")


def metric(pipeline: Pipeline, name: str) -> list[tuple[str, float]]:
    """Return a metric's labels and values."""
    settings = pipeline.settings.model_copy(update={"worker_timeout_seconds": 3.0})
    with pipeline.sessions() as session:
        lines = render_metrics(session, settings).decode().splitlines()
    rows = [line.removeprefix(name).rsplit(" ", 1) for line in lines if re.match(rf"{name}[ {{]", line)]
    return [(labels, float(value)) for labels, value in rows]


def test_a_frozen_relay_and_a_frozen_delivery_worker_are_told(
    pipeline: Pipeline, server_stack: Stack
) -> None:
    env_file = server_stack.layout.env_file
    expect(env_file, "relay", "ok")
    expect(env_file, "delivery worker", "ok")
    relay, delivery = pipeline.processes
    with frozen(relay), frozen(delivery):
        with pipeline.sessions.begin() as session:
            # As if it had been frozen for a while: a living relay writes the next round within two seconds.
            session.execute(text("UPDATE relays SET round_at = round_at - interval '1 minute'"))
        time.sleep(3.5)
        expect(env_file, "relay", "wrong")
        expect(env_file, "delivery worker", "wrong")
        ((labels, age),) = metric(pipeline, "face3d_relay_last_round_seconds")
        ((_, beat),) = metric(pipeline, "face3d_delivery_worker_beat_seconds")
    assert 'leads="1"' in labels
    assert age > 60
    assert beat > 3
    until(lambda: metric(pipeline, "face3d_relay_last_round_seconds")[0][1] < 5, "it goes on", seconds=15)


def test_a_sweep_that_fails_is_told_until_it_succeeds(
    server_stack: Stack, clean_servers: Settings, tmp_path: Path
) -> None:
    env_file = server_stack.layout.env_file
    settings = {"FACE3D_BUCKET_INBOX": "appears-later", "FACE3D_SWEEP_SECONDS": "0.5"}
    with open_pipeline(clean_servers, env_file, tmp_path, **settings) as pipeline:
        failures = "SELECT 1 FROM periodic_tasks WHERE name = 'sweep_inbox' AND failures > 1"
        until(lambda: bool(pipeline.query(failures)), "the sweep fails twice", seconds=30)
        expect(env_file, "relay: sweep_inbox", "wrong failed")
        told = dict(metric(pipeline, "face3d_chore_failures"))
        assert told['{chore="sweep_inbox"}'] > 1
        assert told['{chore="forget_dead_workers"}'] == 0
        pipeline.storage.ensure_bucket("appears-later")
        well = failures.replace("failures > 1", "failures = 0")
        until(lambda: bool(pipeline.query(well)), "it succeeds", seconds=30)
        moments = dict(metric(pipeline, "face3d_chore_last_success_timestamp_seconds"))
        assert moments['{chore="sweep_inbox"}'] == pytest.approx(time.time(), abs=30)
    lines = [line for line in next(tmp_path.glob("0-*")).read_text().splitlines() if "=sweep_inbox" in line]
    assert [re.findall(r"chore\.\w+", line) for line in lines] == [["chore.failed"], ["chore.recovered"]]


def test_a_queue_that_nobody_serves_is_told(pipeline: Pipeline, server_stack: Stack) -> None:
    for number in range(3):
        pipeline.submit(f"{number}.jpg", **{"gpu-type": "t4"})
    waiting = "SELECT count(*) FROM stages WHERE state = 'dispatched' AND priority_class = 'batch'"
    until(lambda: pipeline.query(waiting)[0][0] == 3, "three photos wait", seconds=20)
    with pipeline.sessions.begin() as session:
        session.execute(text("UPDATE stages SET dispatched_at = dispatched_at - interval '5 minutes'"))
    assert "3 wait" in expect(server_stack.layout.env_file, "queues", "wrong")
    waits = metric(pipeline, "face3d_queue_oldest_seconds")
    assert max(seconds for _, seconds in waits) > 300


@pytest.mark.parametrize("server", ["postgres", "valkey", "weed"])
def test_the_doctor_answers_in_time_whichever_server_hangs(
    server: str, server_stack: Stack, clean_servers: Settings
) -> None:
    subjects = {"postgres": "PostgreSQL", "valkey": "broker (redis)", "weed": "buckets"}
    held = [one for one in server_stack.processes() if server in " ".join(psutil_name(one))]
    assert held
    for one in held:
        one.suspend()
    try:
        found, took = ask_doctor(server_stack.layout.env_file)
    finally:
        for one in held:
            one.resume()
    assert took < 5.0
    assert found[subjects[server]].startswith("wrong"), found
    # And of the others it tells what they answered.
    answered = [subject for subject in found if found[subject].startswith("ok")]
    told = [name for name in ("PostgreSQL", "broker (redis)", "bucket face3d-inbox") if name in answered]
    assert len(told) == 2, found


def psutil_name(process: psutil.Process) -> list[str]:
    try:
        return [process.name(), *process.cmdline()[:1]]
    except psutil.NoSuchProcess:
        return []

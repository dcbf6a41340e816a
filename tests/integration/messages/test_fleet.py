"""Workers bound to GPU types, as the launcher runs them; the CPU poses as the cards."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner

from compose.local import Stack
from db.workers import live_workers
from face3d.settings import Settings
from tests.integration.pipeline import (
    Pipeline,
    assert_one_asset_and_one_webhook,
    kill_tree,
    open_pipeline,
    until,
)
from tests.integration.warm_python import WarmProcess

#: What the posing workers serve: photos are decoded on the CPU unless a test says otherwise.
GPU_STAGES = "geometry,texture"


@pytest.fixture
def pipeline(server_stack: Stack, clean_servers: Settings, tmp_path: Path) -> Iterator[Pipeline]:
    with open_pipeline(clean_servers, server_stack.layout.env_file, tmp_path) as opened:
        opened.start_worker("cpu", stages="preprocess,packaging")
        yield opened


def launch(
    pipeline: Pipeline,
    gpu_type: str,
    *,
    wait: str = "",
    slots: int = 1,
    stages: str = GPU_STAGES,
    **environment: str,
) -> WarmProcess:
    """Start a launcher whose worker poses as a GPU type, and wait for its heartbeat."""
    process = pipeline.start(
        "-m", "tests.integration.slow_launcher", "--device", "cpu", "--gpu-type", gpu_type,
        "--slots", str(slots), "--host", "test", "--stages", stages,
        FACE3D_TEST_WAIT=wait,
        **environment,
    )  # fmt: skip
    until(lambda: beat(pipeline, gpu_type) is not None, f"{gpu_type} beats", seconds=40)
    return process


def beat(pipeline: Pipeline, gpu_type: str) -> Any:
    """Return (state, reason, health) of a type's worker, or None."""
    rows = pipeline.query("SELECT state, reason, health FROM workers WHERE gpu_type = :type", type=gpu_type)
    return rows[0] if rows else None


def attempts(pipeline: Pipeline, job_id: str, stage: str) -> list[tuple[str, str]]:
    """Return GPU type and outcome of a stage's attempts."""
    found = next(s for s in pipeline.job(job_id).stages if s.name == stage)
    return [(attempt.gpu_type, attempt.outcome) for attempt in found.attempts]


def test_preprocess_runs_beside_the_card_and_on_the_cpu_when_the_card_is_gone(pipeline: Pipeline) -> None:
    strong = launch(pipeline, "h100", stages="preprocess,geometry,texture")
    job_id = pipeline.submit("1.jpg")
    assert pipeline.wait_for_end(job_id).state == "ready"
    assert attempts(pipeline, job_id, "preprocess") == [("h100", "done")]
    assert attempts(pipeline, job_id, "packaging") == [("cpu", "done")]
    kill_tree(strong)
    until(
        lambda: (
            not pipeline.query(
                "SELECT 1 FROM workers WHERE gpu_type = 'h100' AND heartbeat_at > now() - interval '3 s'"
            )
        ),
        "the card's heartbeat is old",
        seconds=15,
    )
    launch(pipeline, "t4")
    job_id = pipeline.submit("2.jpg")
    assert pipeline.wait_for_end(job_id).state == "ready"
    assert attempts(pipeline, job_id, "preprocess") == [("cpu", "done")]


def test_sigterm_lets_the_running_stage_finish_and_takes_no_other(pipeline: Pipeline) -> None:
    strong = launch(pipeline, "h100", wait="geometry=3")
    both = pipeline.submit("1.jpg"), pipeline.submit("2.jpg")

    def states() -> dict[str, str]:
        return {pipeline.job(job_id).stages[1].state: job_id for job_id in both}

    until(lambda: set(states()) == {"running", "dispatched"}, "one runs, the other waits", seconds=30)
    first, second = states()["running"], states()["dispatched"]
    strong.send_signal(signal.SIGTERM)
    assert strong.wait(30) == 0
    assert attempts(pipeline, first, "geometry") == [("h100", "done")]
    assert attempts(pipeline, second, "geometry") == []
    assert beat(pipeline, "h100") is None
    launch(pipeline, "t4")
    for job_id in (first, second):
        assert pipeline.wait_for_end(job_id).state == "ready"
    assert attempts(pipeline, second, "geometry") == [("t4", "done")]


@pytest.mark.slow
def test_what_cannot_finish_in_time_is_given_back_and_counts_as_no_death(pipeline: Pipeline) -> None:
    strong = launch(pipeline, "h100", wait="geometry=60", FACE3D_DRAIN_SECONDS="5")
    job_id = pipeline.submit()
    pipeline.wait_for_stage(job_id, "geometry", "running")
    strong.send_signal(signal.SIGTERM)
    strong.wait(30)
    assert attempts(pipeline, job_id, "geometry") == [("h100", "abandoned")]
    launch(pipeline, "t4")
    assert_one_asset_and_one_webhook(pipeline, job_id)
    assert attempts(pipeline, job_id, "geometry") == [("h100", "abandoned"), ("t4", "done")]
    assert pipeline.job(job_id).stages[1].worker_deaths == 0


@pytest.mark.slow
def test_a_stuck_stage_costs_its_process_and_the_launcher_starts_another(pipeline: Pipeline) -> None:
    limits = {"FACE3D_STAGE_LIMIT_SECONDS": "2", "FACE3D_OVERRUN_GRACE_SECONDS": "0.5"}
    launcher = launch(pipeline, "h100", wait="geometry=60", **limits)
    (child,) = psutil.Process(launcher.pid).children()
    job_id = pipeline.submit()
    pipeline.wait_for_stage(job_id, "geometry", "running")
    until(lambda: not child.is_running() or child.status() == "zombie", "the process is killed", seconds=20)
    until(
        lambda: [c for c in psutil.Process(launcher.pid).children() if c.pid != child.pid],
        "another is started",
        seconds=20,
    )
    kill_tree(launcher)
    launch(pipeline, "t4")
    assert_one_asset_and_one_webhook(pipeline, job_id)
    assert attempts(pipeline, job_id, "geometry")[0] == ("h100", "lost")


def test_an_unfit_worker_drains_itself_and_says_why(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch(pipeline, "h100", TMPDIR=str(tmp_path))
    assert beat(pipeline, "h100").health["cold_start_seconds"] > 0
    (folder,) = tmp_path.glob("face3d-worker-*")
    (folder / "unfit").write_text("golden self-test failed")
    until(lambda: beat(pipeline, "h100").state == "draining", "it drains", seconds=25)
    assert beat(pipeline, "h100").reason == "golden self-test failed"
    forced = pipeline.submit("forced.jpg", **{"gpu-type": "h100"})
    pipeline.wait_for_stage(forced, "geometry", "dispatched")
    time.sleep(2)
    assert attempts(pipeline, forced, "geometry") == []
    launch(pipeline, "t4")
    job_id = pipeline.submit("free.jpg")
    assert pipeline.wait_for_end(job_id).state == "ready"
    assert attempts(pipeline, job_id, "texture") == [("t4", "done")]
    with pipeline.sessions() as session:
        (worker,) = [w for w in live_workers(session, timeout_seconds=10) if w.gpu_type == "h100"]
    text = explain(pipeline, job_id, monkeypatch)
    assert worker.name in text
    assert "golden self-test failed" in text


@pytest.mark.slow
def test_a_throttled_worker_rests_and_comes_back_by_itself(pipeline: Pipeline, tmp_path: Path) -> None:
    hot = tmp_path / "hot"
    launch(pipeline, "h100", FACE3D_TEST_HOT=str(hot), FACE3D_THROTTLE_SECONDS="1")
    hot.touch()
    until(lambda: beat(pipeline, "h100").state == "draining", "it rests", seconds=15)
    assert "hardware thermal slowdown" in beat(pipeline, "h100").reason
    job_id = pipeline.submit(**{"gpu-type": "h100"})
    pipeline.wait_for_stage(job_id, "geometry", "dispatched")
    time.sleep(2)
    assert attempts(pipeline, job_id, "geometry") == []
    hot.unlink()
    until(lambda: beat(pipeline, "h100").state == "ready", "it is back", seconds=15)
    assert pipeline.wait_for_end(job_id).state == "ready"


def explain(pipeline: Pipeline, job_id: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return what `face3d explain` prints."""
    from cli.console import output
    from cli.main import app
    from face3d.settings import get_settings

    monkeypatch.setitem(os.environ, "FACE3D_ENV_FILE", str(pipeline.env_file))
    monkeypatch.setattr(output, "width", 200)
    get_settings.cache_clear()
    try:
        result = CliRunner().invoke(app, ["explain", job_id])
    finally:
        get_settings.cache_clear()
    assert result.exit_code == 0, result.output
    return result.output


def test_a_job_is_explained_and_its_manifest_says_what_ran(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch(pipeline, "t4")
    plain = pipeline.submit("plain.jpg")
    stated = pipeline.submit("stated.jpg", **{"sharpen": "on", "input-size": "1280"})
    for job_id, expected in ((plain, (960, False)), (stated, (1280, True))):
        job = pipeline.wait_for_end(job_id)
        assert job.state == "ready", job.error_message
        options = manifest(pipeline, job.asset_prefix)["options"]
        assert (options["input-size"], options["sharpen"]) == expected
    text = explain(pipeline, plain, monkeypatch)
    assert "texture.t4.batch" in text
    assert "prepared for the profile of t4" in text
    assert "The only type whose live workers serve this stage." in text
    assert "sharpen=False" in text


def manifest(pipeline: Pipeline, prefix: str | None) -> dict[str, Any]:
    """Return an asset's manifest."""
    import json

    document: dict[str, Any] = json.loads(
        pipeline.storage.get(pipeline.settings.bucket_assets, f"{prefix}manifest.json")
    )
    return document


def test_a_job_without_memory_goes_to_another_type(pipeline: Pipeline) -> None:
    launch(pipeline, "h100", FACE3D_TEST_OUT_OF_MEMORY="texture")
    # Slower, so it gets what the other cannot do.
    launch(pipeline, "t4")
    job_id = pipeline.submit()
    until(lambda: ("h100", "failed") in attempts(pipeline, job_id, "texture"), "no memory", seconds=30)
    assert_one_asset_and_one_webhook(pipeline, job_id)
    assert attempts(pipeline, job_id, "texture")[-1] == ("t4", "done")
    assert pipeline.job(job_id).stages[2].excluded == ["h100"]


def test_metrics_tell_of_jobs_queues_and_workers(pipeline: Pipeline) -> None:
    from web.metrics import render_metrics

    launch(pipeline, "t4")
    waiting = pipeline.submit("waiting.jpg", **{"gpu-type": "a100"})
    done = pipeline.submit("done.jpg")
    assert pipeline.wait_for_end(done).state == "ready"
    pipeline.wait_for_stage(waiting, "geometry", "dispatched")
    until(
        lambda: pipeline.query("SELECT 1 FROM stages WHERE name = 'geometry' AND gpu_type = 'a100'"),
        "it is placed",
        seconds=25,
    )
    with pipeline.sessions() as session:
        lines = render_metrics(session, pipeline.settings).decode().splitlines()
    assert 'face3d_jobs{state="ready",tier="batch"} 1.0' in lines
    assert 'face3d_queue_stages{queue="geometry.a100.batch",state="dispatched"} 1.0' in lines
    assert 'face3d_worker_ready{device="cpu",gpu_type="t4",reason="",worker="t4@test"} 1.0' in lines
    assert any(line.startswith("face3d_device_memory_used_mb{") for line in lines)
    assert any(line.startswith('face3d_attempts_last_hour{gpu_type="t4",outcome="done"') for line in lines)

"""What a worker's process tells its launcher by files."""

import threading
from pathlib import Path

import pytest

from face3d.settings import Settings
from face3d.states import StageName
from face3d.worker_spec import WorkerSpec
from gpu_workers.stage_heartbeats import (
    RunningStages,
    count_warm,
    forget_running,
    oldest_seconds,
    read_unfit,
    tell_unfit,
    tell_warm,
)
from tasks import warmup
from tasks.warmup import wait_until_warm


def test_the_oldest_running_stage_is_seen_and_forgotten_at_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("gpu_workers.stage_heartbeats.time.monotonic", lambda: now)
    running = RunningStages(tmp_path)
    assert oldest_seconds(tmp_path) is None
    with running.note(StageName.TEXTURE, "a-1"):
        now = 130.0
        with running.note(StageName.GEOMETRY, "b-2"):
            now = 140.5
            assert oldest_seconds(tmp_path) == pytest.approx(40.5)
            assert (running.count(StageName.TEXTURE), running.count(StageName.PACKAGING)) == (1, 0)
    assert oldest_seconds(tmp_path) is None
    assert running.count(StageName.TEXTURE) == 0


def test_a_dead_processs_stages_are_forgotten(tmp_path: Path) -> None:
    with RunningStages(tmp_path).note(StageName.TEXTURE, "a-1"):
        forget_running(tmp_path)
        assert oldest_seconds(tmp_path) is None


def test_a_missing_folder_costs_no_job(tmp_path: Path) -> None:
    with RunningStages(tmp_path / "gone").note(StageName.TEXTURE, "a-1"):
        pass
    with RunningStages(None).note(StageName.TEXTURE, "a-1"):
        pass


def test_the_first_reason_to_be_unfit_stays(tmp_path: Path) -> None:
    assert read_unfit(tmp_path) is None
    tell_unfit(tmp_path, "self-test failed")
    tell_unfit(tmp_path, "later")
    assert read_unfit(tmp_path) == "self-test failed"
    tell_unfit(None, "nobody listens")
    assert read_unfit(None) is None


def test_a_worker_waits_until_all_its_processes_are_warm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warmup, "_LOOK_SECONDS", 0.01)
    worker = WorkerSpec(name="w@test", slots=2, watch_dir=tmp_path)
    waiting = threading.Thread(target=wait_until_warm, args=(worker, threading.Event()))
    waiting.start()
    for process in (101, 102):
        waiting.join(0.1)
        assert waiting.is_alive(), "one is not warm"
        monkeypatch.setattr("gpu_workers.stage_heartbeats.os.getpid", lambda process=process: process)
        tell_warm(tmp_path)
        tell_warm(tmp_path)
    waiting.join(5)
    assert not waiting.is_alive()
    assert count_warm(tmp_path) == 2
    forget_running(tmp_path)
    assert count_warm(tmp_path) == 0, "a worker that is started anew is cold"


@pytest.mark.parametrize(
    "why", ["it is told to stop", "its processes take too long", "no launcher started it"]
)
def test_a_worker_does_not_wait_for_ever(why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = threading.Event()
    watched = None if why == "no launcher started it" else tmp_path
    worker = WorkerSpec(name="w@test", watch_dir=watched)
    if why == "it is told to stop":
        stopped.set()
    monkeypatch.setattr(warmup, "_WARM_SECONDS", 0.1 if why == "its processes take too long" else 60.0)
    waiting = threading.Thread(target=wait_until_warm, args=(worker, stopped), daemon=True)
    waiting.start()
    waiting.join(5)
    assert not waiting.is_alive()


def test_a_process_whose_warm_up_fails_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_settings: object) -> None:
        raise RuntimeError("no model")

    monkeypatch.setattr(warmup, "_warm_up", fail)
    with pytest.raises(RuntimeError):
        warmup.warm_up(Settings(watch_dir=tmp_path))
    assert count_warm(tmp_path) == 1

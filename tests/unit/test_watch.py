"""What a worker's process tells its launcher by files."""

from pathlib import Path

import pytest

from face3d.states import StageName
from gpu_workers.watch import RunningStages, forget_running, oldest_seconds, read_unfit, tell_unfit


def test_the_oldest_running_stage_is_seen_and_forgotten_at_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("gpu_workers.watch.time.monotonic", lambda: now)
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

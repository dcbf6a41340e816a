"""Logs stay small while their writers hold them open."""

from pathlib import Path

import pytest

from compose.local import logs


def test_a_writer_goes_on_in_the_emptied_file(tmp_path: Path) -> None:
    log = tmp_path / "web.log"
    with log.open("ab", buffering=0) as writer:
        for number in range(1, 7):
            writer.write(b"%d" % number * 100)
            logs.rotate(log, limit_bytes=50)
            assert log.stat().st_size == 0
        writer.write(b"last")
    assert log.read_bytes() == b"last"
    kept = {path.name: path.read_bytes()[:1] for path in tmp_path.glob("web.log.*")}
    assert kept == {"web.log.1": b"6", "web.log.2": b"5", "web.log.3": b"4"}


def test_a_small_log_and_a_missing_one_are_left_alone(tmp_path: Path) -> None:
    log = tmp_path / "web.log"
    logs.rotate(log, limit_bytes=50)
    log.write_bytes(b"x" * 50)
    logs.rotate(log, limit_bytes=50)
    assert [path.name for path in tmp_path.iterdir()] == ["web.log"]
    assert log.stat().st_size == 50


def test_a_full_disk_costs_old_lines_and_not_the_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_source: Path, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfile", fail)
    log = tmp_path / "web.log"
    log.write_bytes(b"x" * 100)
    logs.rotate(log, limit_bytes=50)
    assert [path.name for path in tmp_path.iterdir()] == ["web.log"]
    assert log.stat().st_size == 0

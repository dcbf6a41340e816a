"""scripts/setup.py and scripts/machine.py: what a newcomer is told before anything is installed."""

import re
import sys
from collections import namedtuple
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import machine

    return machine


@pytest.fixture
def setup(machine: ModuleType) -> ModuleType:
    import setup

    return setup


def test_this_machine_is_good_enough(machine: ModuleType, tmp_path: Path) -> None:
    assert machine.find_problems(tmp_path, tmp_path / "not" / "there" / "yet") == []


def test_too_little_disk_is_said_with_the_need(
    machine: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _path: Usage(1, 1, 287 * 2**20))
    assert machine.find_problems(tmp_path, tmp_path) == [
        (f"0.3 GiB free in {tmp_path}", "4 GiB are needed there")
    ]
    assert not machine.has_room_for_cuda(tmp_path)


def test_too_little_memory_is_said(
    machine: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine.os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 2**18}.__getitem__)
    assert machine.find_problems(tmp_path, tmp_path) == [("1.0 GiB of memory", "4 GiB are needed")]


def test_a_foreign_machine_is_told_what_to_use(
    machine: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine.platform, "machine", lambda: "riscv64")
    monkeypatch.setattr(machine.platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(machine, "version_of", lambda _program: (3, 8))
    said = " / ".join(f"{what}: {remedy}" for what, remedy in machine.find_problems(tmp_path, tmp_path))
    assert "riscv64: use one of x86_64, aarch64" in said
    assert "C library is unknown: use a distribution with glibc 2.28" in said
    assert "no Python 3.11 or 3.12 was found: install one" in said


def test_a_program_that_does_not_start_has_no_version(machine: ModuleType, tmp_path: Path) -> None:
    # A version manager's shim of a Python that is not installed.
    shim = tmp_path / "python3.12"
    shim.write_text("#!/bin/sh\necho 'python3.12: command not found' >&2\nexit 127\n")
    shim.chmod(0o755)
    assert machine.version_of(shim) is None
    assert machine.version_of(tmp_path / "missing") is None
    assert machine.version_of(sys.executable) == sys.version_info[:2]


def test_the_head_data_is_made_again_when_its_sources_change(setup: ModuleType) -> None:
    names = {path.name for path in setup.build_sources()}
    assert {"build.py", "head_template.py", "correspondence.json"} <= names
    # What only uses the data does not make it stale.
    assert "engine.py" not in names


def test_the_environment_is_made_again_when_the_lock_changes(
    setup: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = setup.environment_digest()
    assert setup.environment_digest() == before
    changed = tmp_path / "requirements.lock"
    changed.write_text((ROOT / "requirements.lock").read_text() + "left-pad==1.0\n")
    monkeypatch.setattr(setup, "LOCK", changed)
    assert setup.environment_digest() != before


def test_models_are_pinned_by_the_hashes_that_the_build_checks() -> None:
    from gpu_workers.head_authoring import build, makehuman_source

    lock = (ROOT / "requirements-models.lock").read_text()
    hashes = set(re.findall(r"sha256:(\w{64})", lock))
    assert hashes == {makehuman_source.WHEEL_SHA256, build.LANDMARK_WHEEL_SHA256}

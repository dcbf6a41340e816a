"""scripts/hrn.py: its tests run unless they passed on this very code, and a failure is one."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    monkeypatch.setenv("FACE3D_CI_CACHE", str(tmp_path / "cache"))
    monkeypatch.delitem(sys.modules, "hrn", raising=False)
    import hrn

    monkeypatch.setattr(hrn, "make_environment", lambda: None)
    return hrn


def pytest_ends_with(monkeypatch: pytest.MonkeyPatch, script: ModuleType, code: int) -> list[tuple[str, ...]]:
    ran: list[tuple[str, ...]] = []

    def run(command: tuple[str, ...], **_: object) -> subprocess.CompletedProcess[bytes]:
        ran.append(command)
        return subprocess.CompletedProcess(command, code)

    monkeypatch.setattr(script.subprocess, "run", run)
    return ran


def test_a_failure_is_a_failure_and_leaves_no_mark(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ran = pytest_ends_with(monkeypatch, script, 1)
    monkeypatch.setattr(script, "run", lambda *_: None)
    assert script.run_tests() == 1
    assert script.run_tests() == 1
    assert len(ran) == 2
    assert not (tmp_path / "cache").exists()


def test_what_passed_is_not_run_again_until_its_code_changes(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = pytest_ends_with(monkeypatch, script, 0)
    monkeypatch.setattr(script, "run", lambda *_: None)
    assert script.run_tests() == 0
    assert script.run_tests() == 0
    assert len(ran) == 1
    assert "passed on this very code before" in capsys.readouterr().out
    monkeypatch.setattr(script, "CODE", (*script.CODE, "README.md"))
    assert script.run_tests() == 0
    assert len(ran) == 2


def test_everything_of_ours_that_its_tests_import_counts_as_their_code(script: ModuleType) -> None:
    known = {path.relative_to(ROOT).as_posix() for path in script.code_files()}
    pending, reached = sorted((ROOT / "tests/hrn").glob("*.py")), set()
    while pending:
        path = pending.pop()
        if path in reached:
            continue
        reached.add(path)
        pending += imported_files(path)
    names = {path.relative_to(ROOT).as_posix() for path in reached}
    assert {"cli/main.py", "gpu_workers/decoding/child.py", "assets/package.py"} <= names
    assert names <= known
    # What is started and not imported.
    assert {"gpu_workers/decoding/decoder.py", "gpu_workers/sandbox/lock.py"} <= known
    assert {"requirements.lock", "requirements-hrn.lock", "pyproject.toml"} <= known


def imported_files(path: Path) -> list[Path]:
    """Return our files that a file imports; of a command, not what it imports when it runs."""
    import ast

    tree = ast.parse(path.read_text())
    found = []
    for node in tree.body if "cli" in path.parts else ast.walk(tree):
        modules = []
        if isinstance(node, ast.ImportFrom):
            modules = [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        files = (ROOT / f"{module.replace('.', '/')}.py" for module in modules)
        found += [file for file in files if file.is_file()]
    return found


def test_a_download_is_tried_three_times_and_then_ends_all(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = pytest_ends_with(monkeypatch, script, 7)
    monkeypatch.setattr(script.time, "sleep", lambda _: None)
    with pytest.raises(SystemExit) as ended:
        script.download("pip", "install", "nothing")
    assert ended.value.code == 7
    assert len(ran) == 3
    assert capsys.readouterr().out.count("failed: pip install nothing") == 3

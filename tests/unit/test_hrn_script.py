"""scripts/hrn.py: its tests run unless they passed on this very code, and a failure is one."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


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


def test_everything_that_the_engine_imports_of_ours_counts_as_its_code(script: ModuleType) -> None:
    import ast

    known = {path.relative_to(ROOT).as_posix() for path in script.code_files()}
    assert "tests/hrn/test_stages.py" in known
    for path in (ROOT / "gpu_workers/engines/hrn").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith(("gpu_workers", "assets")):
                module = str(node.module).replace(".", "/")
                names = [f"{module}.py", *(f"{module}/{alias.name}.py" for alias in node.names)]
                assert any(name in known or name == "gpu_workers.py" for name in names), (path, module)


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

"""`make hrn` and `make test-hrn`: the environment of engine hrn in .venv-hrn, and its tests in it.

Standard library only. The environment is made anew when its locks change; downloads are tried three times.
The tests are skipped when they passed before on the very same code (a digest of what they depend on, kept in
FACE3D_CI_CACHE or ~/.cache/face3d), and only then.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import machine

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv-hrn"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "face3d.stamp"
LOCKS = (ROOT / "requirements.lock", ROOT / "requirements-hrn.lock")
PIP = (str(PYTHON), "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
#: Pauses before the second and third try of a download, seconds.
PAUSES = (10, 60)
#: What the tests of engine hrn depend on: more than they import, so that nobody has to keep a list.
CODE = (
    "face3d", "cli", "capacity", "gpu_workers", "assets", "bench", "tests/__init__.py", "tests/hrn",
    "tests/data", "scripts/hrn.py", "scripts/check_licences.py", "pyproject.toml",
    *(lock.name for lock in LOCKS),
)  # fmt: skip


def main() -> int:
    """Do what the command line says; the return value is the exit code."""
    match sys.argv[1:]:
        case ["env"]:
            make_environment()
            return 0
        case ["test"]:
            return run_tests()
    say("usage: scripts/hrn.py env|test")
    return 2


def make_environment() -> None:
    """Make .venv-hrn unless it is current."""
    current = digest(LOCKS, str(ROOT))
    if STAMP.exists() and STAMP.read_text() == current:
        return
    say("making .venv-hrn (about 2.5 GB; several minutes)")
    run(machine.find_python() or sys.executable, "-m", "venv", "--clear", str(VENV))
    index = os.environ.get("TORCH_INDEX_URL")
    if index:
        torch = next(line for line in LOCKS[0].read_text().splitlines() if line.startswith("torch=="))
        download(*PIP, "--no-deps", "--index-url", index, torch)
    download(*PIP, "-r", str(LOCKS[0]))
    download(*PIP, "--no-deps", "-r", str(LOCKS[1]))
    run(*PIP, "--no-deps", "--no-build-isolation", "--editable", str(ROOT))
    STAMP.write_text(current)


def run_tests() -> int:
    """Run the tests unless they passed on this code; return pytest's exit code."""
    cache = Path(os.environ.get("FACE3D_CI_CACHE") or Path.home() / ".cache" / "face3d")
    passed = cache / f"hrn-passed-{digest(code_files())}"
    if passed.exists():
        say(f"engine hrn: its tests passed on this very code before ({passed})")
        return 0
    make_environment()
    run(str(PYTHON), str(ROOT / "scripts" / "check_licences.py"), LOCKS[1].name)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    command = (str(PYTHON), "-m", "pytest", "-m", "hrn", "tests/hrn")
    code = subprocess.run(command, cwd=str(ROOT), env=environment, check=False).returncode
    if code == 0:
        cache.mkdir(parents=True, exist_ok=True)
        passed.touch()
    return code


def code_files() -> list[Path]:
    """Return the files that the tests depend on."""
    files: list[Path] = []
    for name in CODE:
        path = ROOT / name
        files += [path] if path.is_file() else sorted(path.rglob("*"))
    return [path for path in files if path.is_file() and path.suffix != ".pyc"]


def digest(paths: tuple[Path, ...] | list[Path], text: str = "") -> str:
    """Return the SHA-256 of a text, and of files with their names."""
    total = hashlib.sha256(text.encode())
    for path in paths:
        total.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return total.hexdigest()


def download(*command: str) -> None:
    """Run a command that the network may fail, three times at most; end with what it said."""
    for pause in (*PAUSES, None):
        result = subprocess.run(command, cwd=str(ROOT), check=False)
        if result.returncode == 0:
            return
        say(f"failed: {' '.join(command)}")
        if pause is None:
            sys.exit(result.returncode)
        say(f"again in {pause} s")
        time.sleep(pause)


def run(*command: str) -> None:
    """Run a command in the checkout; end with its exit code when it fails."""
    result = subprocess.run(command, cwd=str(ROOT), check=False)
    if result.returncode != 0:
        say(f"failed: {' '.join(command)}")
        sys.exit(result.returncode)


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

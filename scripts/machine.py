"""What must be true of a machine before anything is installed on it; standard library only.

Runs on Pythons older than the project's too, to say so kindly.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

VERSIONS = ((3, 11), (3, 12))
ARCHITECTURES = ("x86_64", "aarch64")
#: The oldest that all wheels of the lock run on (manylinux_2_28).
GLIBC = (2, 28)
GIB = 1024.0**3
MEMORY_GIB = 4.0
#: Environment with a CPU build of torch, models, and room for the first assets.
DISK_GIB = 4.0
#: The same with torch's CUDA build and libraries.
DISK_CUDA_GIB = 10.0


def find_python() -> str | None:
    """Return a Python that can make the environment, preferably this one; None when there is none."""
    for command in (sys.executable, "python3.12", "python3.11", "python3"):
        program = shutil.which(command)
        if program and version_of(program) in VERSIONS:
            return program
    return None


def version_of(program: str | Path) -> tuple[int, int] | None:
    """Return (major, minor) of a Python, None when it does not start."""
    code = "import sys; print(sys.version_info[0], sys.version_info[1])"
    try:
        result = subprocess.run(
            [program, "-I", "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False
        )
        major, minor = result.stdout.split()
        return int(major), int(minor)
    except (OSError, ValueError):
        return None


def find_problems(root: Path, state_dir: Path) -> list[tuple[str, str]]:
    """Return what is missing, each as (what, what to do).

    Args:
        root: the checkout, which gets the environment.
        state_dir: the folder that gets the models and the local stack's data.
    """
    problems = []
    if sys.platform != "linux":
        problems.append((f"this is {sys.platform}, not Linux", "use Linux, WSL 2 or a virtual machine"))
    if platform.machine() not in ARCHITECTURES:
        problems.append((f"the processor is {platform.machine()}", f"use one of {', '.join(ARCHITECTURES)}"))
    library, version = platform.libc_ver()
    if library != "glibc" or tuple(int(part) for part in version.split(".")[:2]) < GLIBC:
        found = f"{library} {version}".strip() or "unknown"
        needed = ".".join(str(part) for part in GLIBC)
        problems.append((f"the C library is {found}", f"use a distribution with glibc {needed} or later"))
    python = find_python()
    if python is None:
        problems.append(("no Python 3.11 or 3.12 was found", "install one, with its venv module"))
    elif not _imports(python, "venv, ensurepip"):
        problems.append((f"{python} lacks venv or ensurepip", "install them (Debian, Ubuntu: python3-venv)"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    # A machine sold with 4 GB shows a little less.
    if memory < 0.9 * MEMORY_GIB:
        problems.append((f"{memory:.1f} GiB of memory", f"{MEMORY_GIB:.0f} GiB are needed"))
    for folder in sorted({_existing(root), _existing(state_dir)}):
        free = shutil.disk_usage(str(folder)).free / GIB
        if free < DISK_GIB:
            problems.append((f"{free:.1f} GiB free in {folder}", f"{DISK_GIB:.0f} GiB are needed there"))
        if not os.access(str(folder), os.W_OK):
            problems.append((f"{folder} is not writable", "use another folder, or another user"))
    return problems


def has_room_for_cuda(root: Path) -> bool:
    """Return whether torch's CUDA build fits."""
    return shutil.disk_usage(str(_existing(root))).free / GIB >= DISK_CUDA_GIB


def _imports(python: str, modules: str) -> bool:
    return subprocess.run([python, "-I", "-c", f"import {modules}"], check=False).returncode == 0


def _existing(path: Path) -> Path:
    while not path.is_dir():
        path = path.parent
    return path

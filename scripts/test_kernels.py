"""Runs the tests of the Triton kernels on the CPU, by Triton's interpreter.

Triton takes 700 MB, which nothing on a CPU needs besides: where torch did not bring it, it lies in a folder
of its own and not in .venv.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".venv-triton"
#: What torch 2.13.0's CUDA build pins. MIT.
TRITON = "triton==3.7.1"


def main() -> int:
    """Install Triton if need be, and return pytest's exit status."""
    paths = [str(ROOT)]
    if importlib.util.find_spec("triton") is None:
        if not (FOLDER / "triton").is_dir():
            command = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
            subprocess.run([*command, "--no-deps", "--target", str(FOLDER), TRITON], check=True)
        paths.append(str(FOLDER))
    # Read when kernels are made, so before any import.
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(paths)}
    tests = (sys.executable, "-m", "pytest", "-m", "triton", "tests/unit/head", *sys.argv[1:])
    return subprocess.run(tests, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())

"""requirements.lock from the environment it runs in: `.venv/bin/python scripts/write_lock.py`.

`.venv-hrn/bin/python scripts/write_lock.py hrn` writes requirements-hrn.lock: what engine hrn needs besides.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

HEAD = """\
# Every package of the environment, transitive and development ones too, in exact versions.
# Written by scripts/write_lock.py. scripts/setup.py installs it with pip's normal resolution, because torch
# differs: where pip's index serves a CUDA build (x86_64 Linux), that build's own metadata pins its CUDA
# libraries, which a CPU build neither has nor needs; here they would be forced on everyone.
# TORCH_INDEX_URL names another index for torch, for example PyTorch's index of CPU builds.
"""

HRN_HEAD = """\
# What engine hrn needs besides requirements.lock, in exact versions, installed after it without dependencies:
# face-alignment asks for opencv-python, which is here as opencv-python-headless, and no window is opened.
# fsspec is named in both files: `datasets` needs the older one. Also pip's constraints for `face3d[hrn]`.
# Written by scripts/write_lock.py hrn.
"""


def main() -> None:
    """Write the lock that the command line names."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "freeze",
        "--all",
        "--exclude-editable",
        "--disable-pip-version-check",
    ]
    frozen = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    # A local label (2.13.0+cpu) names one build; the public version admits all.
    pins = [re.sub(r"(==[^+]+)\+.*", r"\1", line) for line in frozen if re.match(r"[A-Za-z0-9_.-]+==", line)]
    pins = [pin for pin in pins if not pin.startswith(("pip==", "nvidia-c", "triton=="))]
    lock = ROOT / "requirements.lock"
    if sys.argv[1:] == ["hrn"]:
        shared = set(lock.read_text().splitlines())
        lock, head = ROOT / "requirements-hrn.lock", HRN_HEAD
        pins = [pin for pin in pins if pin not in shared]
    else:
        head = HEAD
    lock.write_text(head + "\n".join(sorted(pins, key=str.lower)) + "\n")


if __name__ == "__main__":
    main()

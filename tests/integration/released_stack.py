"""The stack of a release, run by the release's own code on a state folder: what an upgrade begins with."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Self

#: Says "up" when the stack is; each line that it reads, it answers with a line when that is done.
#: Two workers share the stages, so that one can end while a job waits for its second half.
_PROGRAM = """
import os, subprocess, sys
from pathlib import Path
from compose.local import stack as code
from compose.local.stack import ALL, Stack

folder, release = Path(sys.argv[1]), Path(sys.argv[2])
assert Path(code.__file__).is_relative_to(release), code.__file__
overrides = {"engine": "null", "heartbeat_seconds": "0.3", "relay_poll_seconds": "0.2"}
with Stack(folder, services=ALL - {"workers", "flower"}, overrides=overrides) as stack:
    workers = {
        name: subprocess.Popen(
            [sys.executable, "-m", "gpu_workers.launcher", "--slots=1", "--host", name, "--stages", stages],
            env={**os.environ, "FACE3D_ENV_FILE": str(stack.layout.env_file)},
            stdout=(stack.layout.logs / f"{name}.log").open("wb"),
            stderr=subprocess.STDOUT,
        )
        for name, stages in (("first", "preprocess,geometry"), ("second", "texture,packaging"))
    }
    print("up", flush=True)
    for line in sys.stdin:
        worker = workers.pop(line.strip())
        worker.terminate()
        worker.wait()
        print("ended", flush=True)
    for worker in workers.values():
        worker.terminate()
        worker.wait()
"""


class ReleasedStack:
    """A release's stack in a process of its own; a context manager.

    Args:
        release: the release's files.
        state_dir: the folder of its data.
    """

    def __init__(self, release: Path, state_dir: Path) -> None:
        environment = {name: text for name, text in os.environ.items() if not name.startswith("FACE3D_")}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(state_dir), str(release)],
            cwd=release,
            env={**environment, "PYTHONPATH": str(release)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        self._expect("up")
        return self

    def __exit__(self, *_: object) -> None:
        # Its standard input ends: so does the stack.
        self._process.communicate(timeout=60)
        code = self._process.returncode
        assert code == 0, f"the release's stack ended with {code}"

    def end_worker(self, name: str) -> None:
        """End worker `first` (preprocess, geometry) or `second` (texture, packaging) after its task."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{name}\n")
        self._process.stdin.flush()
        self._expect("ended")

    def _expect(self, word: str) -> None:
        assert self._process.stdout is not None
        said = self._process.stdout.readline().strip()
        if said != word:
            self._process.kill()
            self._process.communicate()
            raise AssertionError(f"the release's stack said {said!r}, not {word!r}")

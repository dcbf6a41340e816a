"""Ends a stack whose supervisor was killed: `python -m compose.local.watchdog STATE_DIR RUN_ID`.

Its standard input is a pipe that only the supervisor holds open; the end of the pipe is the supervisor's end.
"""

import os
import sys
from pathlib import Path

from compose.local.orphans import stop_orphans


def main(state_dir: str, run_id: str) -> None:
    """Wait for the supervisor's end, then stop what is left of its run."""
    while os.read(0, 4096):
        pass
    stop_orphans(Path(state_dir), run_id=run_id, spare=(os.getpid(),))


if __name__ == "__main__":
    main(*sys.argv[1:3])

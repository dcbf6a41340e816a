"""`python -m compose.local`: the stack in the foreground, one line a change. People use `face3d up`."""

import sys

from compose.local.foreground import run_until_interrupted
from compose.local.stack import Stack
from face3d.errors import Face3DError


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        run_until_interrupted(Stack(report=_say), lambda stack: _say(f"up: {stack.layout.web_url}"))
    except Face3DError as error:
        sys.exit(error.message)

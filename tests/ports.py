"""Ports of loopback for tests: each process of a parallel run has a block of its own.

Below them lies nothing of ours, above them begin the ports that a stack looks for by itself.
"""

import os

from compose.local.ports import FIRST_PORT, is_free

_FIRST, _BLOCK, _STACKS = 13_000, 100, 20


def _block() -> int:
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    return _FIRST + process % ((FIRST_PORT - _FIRST) // _BLOCK) * _BLOCK


def stack_ports() -> dict[str, int]:
    """Return the ports that a test's stack tries first: a page's port is chosen long before it is used."""
    return {"web": _block()}


def free_ports(count: int) -> list[int]:
    """Return ports where nobody listens now, none of which a stack of `stack_ports` has chosen."""
    found = [port for port in range(_block() + _STACKS, _block() + _BLOCK) if is_free(port)]
    return found[:count]

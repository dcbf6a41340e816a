"""Free ports of the stack, found once and remembered in the state folder."""

import hashlib
import json
import socket
from collections.abc import Iterable
from pathlib import Path

import psutil

from compose.local.accounts import write_private
from face3d.errors import ConfigurationError

#: SeaweedFS serves gRPC at its HTTP port + 10000; clients assume that distance.
GRPC_OFFSET = 10_000

#: Every port of the stack: name to whether its gRPC port must be free too.
PORT_NAMES: dict[str, bool] = {
    "web": False,
    "postgres": False,
    "valkey": False,
    "flower": False,
    "s3": True,
    "weed_master": True,
    "weed_volume": True,
    "weed_filer": True,
    "weed_admin": True,
}

#: Below the kernel's ephemeral ports (32768 and up), also with the offset added.
FIRST_PORT, LAST_PORT = 14_000, 22_000

_PREFERRED = {"web": 8080}


def is_free(port: int) -> bool:
    """Return whether a server could listen on this port of the loopback interface now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def listens(pid: int, port: int) -> bool:
    """Return whether this process has a socket that listens on this port of the loopback interface."""
    try:
        sockets = psutil.Process(pid).net_connections("tcp")
    except psutil.Error:
        return False
    return any(one.status == psutil.CONN_LISTEN and one.laddr == ("127.0.0.1", port) for one in sockets)


def choose_ports(state_dir: Path, wanted: dict[str, int] | None = None) -> dict[str, int]:
    """Return a free port for every name, the remembered ones where they still are free.

    The search starts at a place that depends on the folder, so that two stacks that start at the same
    moment look at different ports.

    Args:
        wanted: ports to try first, by name.
    Raises:
        ConfigurationError: no free port is left.
    """
    file = state_dir / "ports.json"
    remembered: dict[str, int] = json.loads(file.read_text()) if file.exists() else {}
    preferred = {**_PREFERRED, **remembered, **(wanted or {})}
    chosen: dict[str, int] = {}

    def take(name: str, candidates: Iterable[int]) -> bool:
        for port in candidates:
            ports = _with_twin(name, port)
            taken = {p for other, number in chosen.items() for p in _with_twin(other, number)}
            if not ports & taken and all(is_free(p) for p in ports):
                chosen[name] = port
                return True
        return False

    for name, port in preferred.items():
        take(name, range(port, port + 20) if name == "web" else (port,))
    digest = hashlib.sha256(str(state_dir).encode()).digest()
    start = FIRST_PORT + int.from_bytes(digest[:4], "big") % (LAST_PORT - FIRST_PORT - 500)
    for name in PORT_NAMES:
        if name not in chosen and not take(name, range(start, LAST_PORT)):
            raise ConfigurationError(f"No free port was found for {name}.")
    write_private(file, json.dumps(chosen, indent=1))
    return chosen


def _with_twin(name: str, port: int) -> set[int]:
    return {port, port + GRPC_OFFSET} if PORT_NAMES[name] else {port}

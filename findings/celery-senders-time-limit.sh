#!/usr/bin/env bash
# Celery: a message carries the sender's `task_time_limit` where the sender has the task registered, and the
# worker obeys it instead of its own.
#
# The setting reads as a worker's: "the worker processing the task will be killed". But a registered task takes the
# setting of the app that it is bound to, `apply_async` writes it into the header `timelimit`, and the worker's
# own is used only where the header holds none. A process that sends by name alone (`send_task`, a signature of a
# task that it does not know) writes none. So the limit under which a task runs changes with what the sender has
# imported, and a worker configured for 2 s lets it run for 300 s. `time_limit=None` on the signature avoids it.
#
# expected: the worker's own limit (2 s) whichever program sent the message
# seen:     (300.0, None) from a sender that knows the task, (None, None) from one that does not
# version:  celery 5.7.0
#
# Needs: python3 with venv, and pip. No server. Exit 0: seen again; 1: behaviour changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check celery==5.7.0
cd "$work"
"$work/venv/bin/python" - <<'PY'
import sys
from importlib.metadata import version
from types import SimpleNamespace

from celery import Celery, signature
from celery.worker.request import Request, create_request_cls


class Handed:
    """A pool that keeps the limits that it is handed."""

    def apply_async(self, *_, timeout=None, soft_timeout=None, **__):
        self.limits = timeout, soft_timeout
        return self


def make_app(seconds):
    app = Celery("app", broker="memory://", set_as_current=False)
    app.conf.task_time_limit = seconds
    return app


def take(app):
    """Return the message that waits."""
    with app.connection_for_write() as connection:
        return app.amqp.queues[app.conf.task_default_queue](connection.default_channel).get()


def limits(app, message):
    """Return the limits that a worker hands to its pool for a message."""
    pool, task = Handed(), app.tasks["work"]
    kind = create_request_cls(Request, task, pool, "host", SimpleNamespace(enabled=False))
    request = kind(
        message, app=app, hostname="host", task=task, headers=message.headers, decoded=True, body=message.decode()
    )
    request.execute_using_pool(pool)
    return pool.limits


worker = make_app(2.0)


@worker.task(name="work", shared=False)
def work():
    pass


knows, knows_not = make_app(300.0), make_app(300.0)


@knows.task(name="work", shared=False)
def known():
    pass


seen = {}
for name, sender in (("knows the task", knows), ("does not", knows_not)):
    signature("work", app=sender).apply_async()
    message = take(sender)
    seen[name] = tuple(message.headers["timelimit"]), limits(worker, message)
print("celery", version("celery"))
for name, (header, handed) in seen.items():
    print(f"sender {name}: header timelimit {header}, limits in a worker configured for 2 s: {handed}")
wanted = {
    "knows the task": ((300.0, None), (300.0, None)),
    "does not": ((None, None), (2.0, None)),
}
sys.exit(0 if seen == wanted else 1)
PY

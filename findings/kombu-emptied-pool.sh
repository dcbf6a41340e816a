#!/usr/bin/env bash
# A kombu pool emptied by force_close_all(close_pool=False) keeps a blocking acquire waiting until its time is over.
#
# kombu's documentation of force_close_all says "In case of False the pool can be reused". It drops the pool's unused
# places too, and a blocking acquire waits for one to be put back; only one that does not block, or whose time is
# over, makes a new one. Celery acquires its producers blocking and without a time, so a publisher that closes its
# connections after a broken broker connection sends nothing after it, and raises no error.
# pool.resize(pool.limit, reset=True) closes as well and fills the pool again.
#
# expected: acquire(block=True, timeout=1) returns a connection at once, as with block=False and after resize
# seen:     it returns one after the whole second
# version:  kombu 5.7.0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check kombu==5.7.0
"$folder/venv/bin/python" - <<'PY'
import sys
import time

import kombu


def new_pool():
    pool = kombu.Connection("memory://").Pool(limit=2)
    pool.acquire(block=True, timeout=1).release()
    return pool


def waited(pool, **how):
    """Return for how long an acquire waited."""
    started = time.monotonic()
    pool.acquire(**how)
    return "a second" if time.monotonic() - started > 0.9 else "no time"


emptied, not_blocking, resized = new_pool(), new_pool(), new_pool()
emptied.force_close_all(close_pool=False)
not_blocking.force_close_all(close_pool=False)
resized.resize(resized.limit, reset=True)
seen = [waited(emptied, block=True, timeout=1), waited(not_blocking, block=False),
        waited(resized, block=True, timeout=1)]
print("kombu", kombu.__version__, "(emptied; emptied and not blocking; resized)")
print("expected:", ["no time"] * 3)
print("seen:    ", seen)
sys.exit(seen != ["a second", "no time", "no time"])
PY

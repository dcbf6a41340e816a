#!/usr/bin/env bash
# A kombu pool emptied by force_close_all(close_pool=False) never gives a resource again: acquire(block=True) waits for ever.
#
# kombu's documentation of force_close_all says "In case of False the pool can be reused". It drops the pool's unused
# places too, and a blocking acquire waits for one to be put back instead of making one (that happens only when it
# does not block). Celery acquires its producers blocking and without a limit, so a publisher that closes
# its connections after a broken broker connection hangs at its next message, without an error.
# pool.resize(pool.limit, reset=True) closes as well and fills the pool again.
#
# expected: acquire returns a connection, as it does with block=False and after resize
# seen:     it has not returned after three seconds
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet kombu==5.7.0
"$folder/venv/bin/python" - <<'PY'
import sys
import threading

import kombu


def acquired(pool, block):
    """Tell whether a connection came within three seconds."""
    got = threading.Event()

    def acquire():
        pool.acquire(block=block)
        got.set()

    threading.Thread(target=acquire, daemon=True).start()
    return got.wait(3)


def new_pool():
    pool = kombu.Connection("memory://").Pool(limit=2)
    pool.acquire(block=True).release()
    return pool


emptied, not_blocking, resized = new_pool(), new_pool(), new_pool()
emptied.force_close_all(close_pool=False)
not_blocking.force_close_all(close_pool=False)
resized.resize(resized.limit, reset=True)
seen = [acquired(emptied, True), acquired(not_blocking, False), acquired(resized, True)]
print("kombu", kombu.__version__)
print("expected: [True, True, True]  (emptied, emptied and not blocking, resized)")
print("seen:    ", seen)
sys.exit(seen != [False, True, True])
PY

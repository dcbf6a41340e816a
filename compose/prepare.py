"""`python -m compose.prepare`: schema and buckets of the servers that the settings name. Safe to repeat."""

import time

from db.migrate import upgrade
from face3d.errors import StorageUnavailable
from face3d.settings import Settings, get_settings
from storage.client import Storage

#: After a restart on old data the first write to SeaweedFS waits for its volumes to report.
WRITABLE_SECONDS = 40.0

PROBE_KEY = ".probe"


def prepare_buckets(settings: Settings) -> None:
    """Make the three buckets and wait until an object can be written.

    Raises:
        StorageUnavailable: not within WRITABLE_SECONDS.
    """
    storage = Storage.from_settings(settings)
    deadline = time.monotonic() + WRITABLE_SECONDS
    while True:
        try:
            for bucket in (settings.bucket_inbox, settings.bucket_work, settings.bucket_assets):
                storage.ensure_bucket(bucket)
            storage.put(settings.bucket_work, PROBE_KEY, b"ready", content_type="text/plain")
            storage.delete(settings.bucket_work, PROBE_KEY)
        except StorageUnavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return


if __name__ == "__main__":
    upgrade(get_settings())
    prepare_buckets(get_settings())

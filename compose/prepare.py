"""`python -m compose.prepare`: schema and buckets of the servers that the settings name. Safe to repeat."""

import time

from db.migrate import upgrade
from face3d.errors import StorageUnavailable
from face3d.settings import Settings, get_settings
from storage.client import Storage

#: After a restart on old data the first write to SeaweedFS waits for its volumes to report.
WRITABLE_SECONDS = 40.0

#: A marker of a directory, which is no photo to anyone who reads the inbox.
PROBE_KEY, PROBE_TYPE = ".probe", "application/x-directory"


def prepare_buckets(settings: Settings) -> None:
    """Make the three buckets and wait until an object can be written to each.

    Raises:
        StorageUnavailable: not within WRITABLE_SECONDS.
    """
    storage = Storage.from_settings(settings)
    deadline = time.monotonic() + WRITABLE_SECONDS
    while True:
        try:
            for bucket in (settings.bucket_inbox, settings.bucket_work, settings.bucket_assets):
                storage.ensure_bucket(bucket)
                storage.put(bucket, PROBE_KEY, b"ready", content_type=PROBE_TYPE)
                storage.delete(bucket, PROBE_KEY)
        except StorageUnavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return


if __name__ == "__main__":
    upgrade(get_settings())
    prepare_buckets(get_settings())

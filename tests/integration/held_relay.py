"""The product's relay, which a test can hold in the middle of a publication.

While the file `FACE3D_TEST_HOLD` exists, the relay stops between what it has published and its word in the
database that it has; it makes `<file>.held` first. `FACE3D_TEST_CLAIM_SECONDS` shortens its claims,
`FACE3D_TEST_PUBLISH_SECONDS` its waits for the broker.
"""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy.orm import Session

from db import outbox
from db.outbox import Publication
from tasks import broker

# Before the app is made, whose connections wait for so long.
broker.PUBLISH_SECONDS = float(os.environ.get("FACE3D_TEST_PUBLISH_SECONDS", broker.PUBLISH_SECONDS))

from tasks import publication, relay  # noqa: E402

_end = outbox.end_publications


def _hold_then_end(session: Session, published: Sequence[Publication]) -> None:
    hold = Path(os.environ.get("FACE3D_TEST_HOLD", "/nowhere"))
    if published and hold.exists():
        hold.with_suffix(".held").touch()
        while hold.exists():
            time.sleep(0.02)
    _end(session, published)


if __name__ == "__main__":
    if "FACE3D_TEST_HOLD" in os.environ:
        outbox.end_publications = _hold_then_end
    publication.CLAIM_SECONDS = float(os.environ["FACE3D_TEST_CLAIM_SECONDS"])
    sys.exit(relay.main())

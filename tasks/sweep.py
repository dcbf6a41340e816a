"""The sweep of the inbox: photos whose upload event never came become jobs."""

from collections.abc import Sequence

import structlog
from sqlalchemy.exc import DataError
from sqlalchemy.orm import Session, sessionmaker

from db import jobs
from face3d.settings import Settings
from storage.client import Storage
from storage.intake import option_defaults, read_upload
from storage.sweep import find_unknown

log = structlog.get_logger(__name__)


def sweep_inbox(storage: Storage, sessions: sessionmaker[Session], settings: Settings) -> int:
    """Accept the photos whose event never came; return how many jobs were made."""

    def known(pairs: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        with sessions() as session:
            return jobs.known_uploads(session, settings.bucket_inbox, pairs)

    made = 0
    for event in find_unknown(storage, settings.bucket_inbox, known):
        upload = read_upload(storage, event, defaults=option_defaults(settings), max_bytes=settings.max_bytes)
        if upload is None:
            continue
        try:
            with sessions.begin() as session:
                accepted = jobs.accept(
                    session,
                    bucket=upload.bucket,
                    key=upload.key,
                    etag=upload.etag,
                    size=upload.size,
                    content_type=upload.content_type,
                    options=upload.options,
                    refusal=upload.refusal,
                    source="sweep",
                    modified_at=upload.modified_at,
                )
        except DataError:
            # One object that the database cannot hold must not hide those behind it.
            log.exception("sweep.object_refused")
            continue
        made += accepted.created
    if made:
        log.info("sweep.accepted", count=made)
    return made

"""An object of the inbox becomes a job, whoever noticed it: its storage's event or the sweep."""

from typing import Literal

from sqlalchemy.orm import Session, sessionmaker

from db.acceptance import Accepted, accept
from face3d.messages import ObjectCreated
from face3d.settings import Settings
from storage.client import Storage
from storage.intake import option_defaults, read_upload


def accept_object(
    storage: Storage,
    sessions: sessionmaker[Session],
    settings: Settings,
    event: ObjectCreated,
    *,
    source: Literal["event", "sweep"],
) -> Accepted | None:
    """Ask the storage about an object, and write its job in a transaction of its own.

    Returns:
        None for an object that is gone, and for the marker of a directory.
    Raises:
        ObjectRefused: the storage refuses such a key.
        StorageUnavailable: the storage did not answer.
        sqlalchemy.exc.DBAPIError, ValueError: database or driver refuse what the object says of itself.
    """
    upload = read_upload(storage, event, defaults=option_defaults(settings), max_bytes=settings.max_bytes)
    if upload is None:
        return None
    with sessions.begin() as session:
        return accept(
            session,
            bucket=upload.bucket,
            key=upload.key,
            etag=upload.etag,
            size=upload.size,
            content_type=upload.content_type,
            options=upload.options,
            refusal=upload.refusal,
            source=source,
            modified_at=upload.modified_at,
        )

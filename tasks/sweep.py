"""The sweep of the inbox: photos whose upload event never came become jobs."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from db import queries
from face3d.errors import StorageUnavailable
from face3d.settings import Settings
from storage.client import Storage
from storage.sweep import find_unknown
from tasks.intake import accept_object

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """What one sweep did."""

    #: Jobs that it made.
    made: int
    #: Objects that it could make no job of; each is tried again at every sweep.
    failures: int


def sweep_inbox(storage: Storage, sessions: sessionmaker[Session], settings: Settings) -> SweepResult:
    """Accept the photos whose event never came.

    An object that fails, fails alone and is counted; only what concerns all of them ends the sweep.

    Raises:
        StorageUnavailable: the storage as a whole does not answer; what was made before stays.
        sqlalchemy.exc.DBAPIError: the database does not answer.
    """

    def known(pairs: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        with sessions() as session:
            return queries.known_uploads(session, settings.bucket_inbox, pairs)

    made = 0
    errors: Counter[str] = Counter()
    for event in find_unknown(storage, settings.bucket_inbox, known):
        try:
            accepted = accept_object(storage, sessions, settings, event, source="sweep")
            made += accepted is not None and accepted.created
        except StorageUnavailable:
            # This object's fault, or everybody's? The bucket answers for the second.
            storage.ping(settings.bucket_inbox)
            errors[StorageUnavailable.__name__] += 1
        except DBAPIError as error:
            with sessions() as session:
                session.execute(select(1))
            errors[type(error).__name__] += 1
        except Exception as error:
            # Whatever one object's key, metadata or row raise must not hide those behind it.
            errors[type(error).__name__] += 1
    if made:
        log.info("sweep.accepted", count=made)
    if errors:
        # Kinds only: texts may hold keys, which are personal.
        log.error("sweep.failed", count=errors.total(), errors=dict(errors))
    return SweepResult(made=made, failures=errors.total())

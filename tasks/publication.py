"""Publishing the chains that wait in the outbox: each job's first step, or the one that it goes on with.

Three steps, so that no row is locked while the broker or the router is waited for: claim rows for a while in
a short transaction, publish, delete them in another. A chain that cannot be published is put off; the others
go on.
"""

import time
from collections import deque
from typing import TYPE_CHECKING

import structlog
from kombu.exceptions import OperationalError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from db import outbox
from db.outbox import Publication
from face3d.errors import RetryableError
from tasks.broker import PUBLISH_SECONDS
from tasks.chain import job_chain

if TYPE_CHECKING:
    from tasks.app import App

log = structlog.get_logger(__name__)

#: Rows that are claimed at once.
BATCH = 50

#: How long claimed rows are one relay's. Of one that dies with them another publishes them after that.
CLAIM_SECONDS = 30.0

#: No publication begins later than this after its claim; with its retry it takes three such waits at most.
_BEGIN_SECONDS = CLAIM_SECONDS - 3 * PUBLISH_SECONDS - 5.0

#: When a chain that could not be published is tried again.
_PUT_OFF_SECONDS = 5.0


class BrokerUnavailable(RetryableError):
    """The broker takes no messages."""


def publish_chains(app: "App", sessions: sessionmaker[Session]) -> int:
    """Publish the chains that are due; return how many were claimed, `BATCH` at most.

    Raises:
        BrokerUnavailable: what was not published is due again at once.
    """
    begin_until = time.monotonic() + _BEGIN_SECONDS
    with sessions.begin() as session:
        claimed = outbox.claim_publications(session, limit=BATCH, seconds=CLAIM_SECONDS)
    waiting, published, put_off = deque(claimed), list[Publication](), list[Publication]()
    trouble: OperationalError | None = None
    try:
        while waiting and time.monotonic() < begin_until:
            publication = waiting.popleft()
            try:
                (published if _publish(app, publication) else put_off).append(publication)
            except OperationalError as error:
                put_off.append(publication)
                # The first may be refused for a reason of its own; the second tells.
                if trouble is not None:
                    break
                trouble = error
        if trouble is not None and not published:
            waiting.extend(put_off)
            put_off.clear()
            # One outage, whoever waits: the caller tells of it, once.
            raise BrokerUnavailable from trouble
        for publication in put_off:
            log.warning("chain.put_off", job_id=publication.job_id, dispatch=publication.dispatch)
    finally:
        if claimed:
            with sessions.begin() as session:
                outbox.end_publications(session, published)
                outbox.put_back(session, put_off, after_seconds=_PUT_OFF_SECONDS)
                outbox.put_back(session, waiting)
    return len(claimed)


def _publish(app: "App", publication: Publication) -> bool:
    """Publish one chain; False when it cannot be, for a reason of its own.

    Raises:
        OperationalError: the broker did not take it, now and on a new connection.
    """
    job_id = publication.job_id
    try:
        first = app.router.place(publication.stages[0], job_id)
        job_chain(app, publication, first).apply_async(retry_policy={"max_retries": 1})
    except Exception as error:
        if isinstance(error, OperationalError) or (
            isinstance(error, DBAPIError) and error.connection_invalidated
        ):
            raise
        log.exception("chain.not_published", job_id=job_id, dispatch=publication.dispatch)
        return False
    stages = len(publication.stages)
    log.info("chain.published", job_id=job_id, dispatch=publication.dispatch, stages=stages)
    return True

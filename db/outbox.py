"""The outbox: chains that wait to be published, and dispatched stages that nobody started."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from db.lifecycle import redispatch
from db.locks import try_lock_job
from db.statements import load_statement
from face3d.queues import StageQueue, placed_queue
from face3d.states import StageName


@dataclass(frozen=True, kw_only=True)
class Publication:
    """A chain to publish: the job's stages from the first that is not done."""

    #: Of the outbox row.
    id: int
    job_id: str
    dispatch: int
    stages: tuple[StageName, ...]
    #: Until when the row is this relay's: the fence of all that is done with it.
    claimed_until: datetime
    #: When it was to be published.
    due_at: datetime


_CLAIM = load_statement("claim_outbox")


def claim_publications(session: Session, *, limit: int, seconds: float) -> list[Publication]:
    """Claim due outbox rows and return what they ask for: interactive jobs first, then by age.

    The caller commits, then publishes, then calls `end_publications`: no row is locked meanwhile. Of a relay
    that dies or freezes in between the rows are due again after `seconds`; they are published twice then,
    which the dispatch number and the lease absorb. Rows of an older dispatch or an ended job are deleted.
    """
    rows = session.execute(_CLAIM, {"limit": limit, "seconds": seconds}).all()
    stale = [row.id for row in rows if row.names is None]
    if stale:
        session.execute(text("DELETE FROM outbox WHERE id = ANY(:ids)"), {"ids": stale})
    return [
        Publication(
            id=row.id,
            job_id=str(row.job_id),
            dispatch=row.dispatch,
            stages=tuple(StageName(name) for name in row.names),
            claimed_until=row.claimed_until,
            due_at=row.due_at,
        )
        for row in rows
        if row.names is not None
    ]


#: Rows that are still claimed as the caller knows them. One that somebody else locks is being deleted, or
#: was claimed anew: it is left to them.
_MINE = """
    SELECT o.id, mine.due_at
      FROM outbox o JOIN unnest(CAST(:ids AS bigint[]), CAST(:claims AS timestamptz[]),
                                CAST(:dues AS timestamptz[])) AS mine (id, claim, due_at)
        ON o.id = mine.id AND o.due_at = mine.claim
       FOR UPDATE OF o SKIP LOCKED
"""


def _mine(publications: Sequence[Publication]) -> dict[str, list[Any]]:
    return {
        "ids": [one.id for one in publications],
        "claims": [one.claimed_until for one in publications],
        "dues": [one.due_at for one in publications],
    }


def end_publications(session: Session, published: Sequence[Publication]) -> None:
    """Forget what was published."""
    statement = text("DELETE FROM outbox o USING (" + _MINE + ") m WHERE o.id = m.id")  # noqa: S608 - ours
    if published:
        session.execute(statement, _mine(published))


def put_back(
    session: Session, publications: Sequence[Publication], *, after_seconds: float | None = None
) -> None:
    """Give claimed rows back: due as they were, or after some seconds."""
    statement = text(
        "UPDATE outbox o SET due_at = CASE WHEN CAST(:wait AS float) IS NULL THEN m.due_at"  # noqa: S608 - ours
        "  ELSE now() + make_interval(secs => :wait) END FROM (" + _MINE + ") m WHERE o.id = m.id"
    )
    if publications:
        session.execute(statement, {**_mine(publications), "wait": after_seconds})


@dataclass(frozen=True, kw_only=True)
class OverdueDispatch:
    """A stage that was dispatched a while ago and has not started."""

    job_id: str
    stage: StageName
    dispatch: int
    #: None: the publication never reached the router.
    queue: StageQueue | None
    #: A stage sent later to the same queue has started already.
    overtaken: bool


_OVERDUE = load_statement("find_overdue_dispatches")


def find_overdue(session: Session, *, older_than_seconds: float, limit: int = 500) -> list[OverdueDispatch]:
    """Return dispatched stages that nobody started, oldest first."""
    rows = session.execute(_OVERDUE, {"age": older_than_seconds, "limit": limit})
    return [
        OverdueDispatch(
            job_id=str(row.job_id),
            stage=StageName(row.name),
            dispatch=row.dispatch,
            queue=placed_queue(row.name, row.gpu_type, row.priority_class),
            overtaken=row.overtaken,
        )
        for row in rows
    ]


def redispatch_lost(session: Session, lost: OverdueDispatch) -> bool:
    """Publish a chain again whose message was lost.

    Returns:
        False: its stage started meanwhile, or somebody is at the job just now.
    """
    if not try_lock_job(session, lost.job_id):
        return False
    still_waiting = session.execute(
        text(
            "SELECT 1 FROM jobs j JOIN stages s ON s.job_id = j.id AND s.name = :stage"
            " WHERE j.id = :job_id AND j.dispatch = :dispatch AND s.state = 'dispatched'"
        ),
        {"job_id": lost.job_id, "stage": lost.stage.value, "dispatch": lost.dispatch},
    ).scalar()
    if still_waiting is None:
        return False
    redispatch(session, lost.job_id)
    return True

"""The outbox: chains that wait to be published, and dispatched stages that nobody started."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from db.jobs import redispatch
from db.locks import try_lock_job
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


_CLAIM = text("""
    WITH picked AS MATERIALIZED (
        SELECT id, due_at FROM outbox WHERE due_at <= now() ORDER BY priority, id LIMIT :limit
           FOR UPDATE SKIP LOCKED),
    claimed AS (
        UPDATE outbox o SET due_at = now() + make_interval(secs => :seconds)
          FROM picked WHERE o.id = picked.id
     RETURNING o.id, o.job_id, o.dispatch, o.priority, o.due_at AS claimed_until, picked.due_at)
    SELECT c.id, c.job_id, c.dispatch, c.claimed_until, c.due_at,
           (SELECT array_agg(s.name ORDER BY s.ordinal) FROM stages s JOIN jobs j ON j.id = s.job_id
             WHERE s.job_id = c.job_id AND s.state <> 'done' AND j.dispatch = c.dispatch
               AND j.state IN ('accepted', 'running')) AS names
      FROM claimed c ORDER BY c.priority, c.id
""")


def claim_publications(session: Session, *, limit: int, seconds: float) -> list[Publication]:
    """Claim due outbox rows and return what they ask for: interactive jobs first, then by age.

    Rows are picked once, and stages looked up row by row: while statistics are stale, as after a thousand
    uploads at once, the planner has repeated both for every row, for longer than a statement may take.

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
    queue: str | None
    #: A stage sent later to the same queue has started already.
    overtaken: bool


def find_overdue(session: Session, *, older_than_seconds: float, limit: int = 500) -> list[OverdueDispatch]:
    """Return dispatched stages that nobody started, oldest first."""
    rows = session.execute(
        text(
            "SELECT s.job_id, s.name, j.dispatch, s.queue, EXISTS ("
            "   SELECT 1 FROM stages later WHERE later.queue = s.queue AND later.state = 'running'"
            "      AND later.dispatched_at > s.dispatched_at)"
            "  FROM stages s JOIN jobs j ON j.id = s.job_id"
            " WHERE s.state = 'dispatched' AND j.state IN ('accepted', 'running')"
            "   AND s.dispatched_at < now() - make_interval(secs => :age)"
            "   AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.job_id = j.id)"
            # Stranded by its caller's own wish: it waits for a worker of that type, and must not hide others.
            "   AND (s.queue IS NULL OR j.options->>'gpu-type' = 'any' OR EXISTS ("
            "     SELECT 1 FROM workers w WHERE w.gpu_type = split_part(s.queue, '.', 2)"
            "      AND w.heartbeat_at > now() - interval '1 minute'))"
            " ORDER BY s.dispatched_at LIMIT :limit"
        ),
        {"age": older_than_seconds, "limit": limit},
    )
    return [
        OverdueDispatch(
            job_id=str(job_id), stage=StageName(stage), dispatch=dispatch, queue=queue, overtaken=overtaken
        )
        for job_id, stage, dispatch, queue, overtaken in rows
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

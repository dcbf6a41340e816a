"""The outbox: chains that wait to be published, and dispatched stages that nobody started."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

from db.jobs import redispatch
from face3d.states import StageName


@dataclass(frozen=True, kw_only=True)
class Publication:
    """A chain to publish: the job's stages from the first that is not done."""

    job_id: str
    dispatch: int
    stages: tuple[StageName, ...]


def claim_publications(session: Session, *, limit: int) -> list[Publication]:
    """Delete due outbox rows and return what they ask for: interactive jobs first, then by age.

    Rows are picked once, and stages looked up row by row: while statistics are stale, as after a thousand
    uploads at once, the planner has repeated both for every row, for longer than a statement may take.

    The caller publishes with confirms and commits after; a crash in between publishes twice, which the
    dispatch number and the lease absorb. Rows of an older dispatch or an ended job are dropped.
    """
    rows = session.execute(
        text(
            "WITH picked AS MATERIALIZED ("
            "   SELECT id FROM outbox WHERE due_at <= now() ORDER BY priority, id LIMIT :limit"
            "    FOR UPDATE SKIP LOCKED),"
            " due AS (DELETE FROM outbox o USING picked WHERE o.id = picked.id"
            "  RETURNING o.id, o.job_id, o.dispatch, o.priority),"
            " todo AS (SELECT due.*, (SELECT array_agg(s.name ORDER BY s.ordinal) FROM stages s"
            "   WHERE s.job_id = due.job_id AND s.state <> 'done') AS names"
            "  FROM due JOIN jobs j ON j.id = due.job_id AND j.dispatch = due.dispatch"
            "   AND j.state IN ('accepted', 'running'))"
            " SELECT job_id, dispatch, names FROM todo WHERE names IS NOT NULL ORDER BY priority, id"
        ),
        {"limit": limit},
    )
    return [
        Publication(job_id=str(job_id), dispatch=dispatch, stages=tuple(StageName(name) for name in names))
        for job_id, dispatch, names in rows
    ]


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


def redispatch_lost(session: Session, lost: Sequence[OverdueDispatch]) -> int:
    """Publish chains again whose message was lost; one that started meanwhile is left alone."""
    count = 0
    for item in lost:
        # Lock first: a statement that waited for the lock would see the stage as it was before.
        session.execute(text("SELECT 1 FROM jobs WHERE id = :job_id FOR UPDATE"), {"job_id": item.job_id})
        still_waiting = session.execute(
            text(
                "SELECT 1 FROM jobs j JOIN stages s ON s.job_id = j.id AND s.name = :stage"
                " WHERE j.id = :job_id AND j.dispatch = :dispatch AND s.state = 'dispatched'"
            ),
            {"job_id": item.job_id, "stage": item.stage.value, "dispatch": item.dispatch},
        ).scalar()
        if still_waiting:
            redispatch(session, item.job_id)
            count += 1
    return count

"""Counts for monitoring: what waits, what runs, how it ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from face3d.queues import placed_queue, queue_name


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """One look at the tables."""

    #: (state, priority class)
    jobs: Sequence[tuple[str, str, int]]
    #: (queue's name, state): stages that are dispatched or running; `unplaced` for those without a queue.
    queues: Sequence[tuple[str, str, int]]
    #: (stage, GPU type, outcome): attempts of the last hour.
    attempts: Sequence[tuple[str, str, str, int]]
    #: Chains that wait to be published.
    outbox: int
    #: Seconds since the oldest of them was due; 0 without any.
    outbox_age_seconds: float
    #: Webhook messages by state.
    deliveries: Sequence[tuple[str, int]]


def read_statistics(session: Session) -> Statistics:
    """Return the counts of this moment."""
    outbox, age = session.execute(
        text("SELECT count(*), coalesce(greatest(extract(epoch FROM now() - min(due_at)), 0), 0) FROM outbox")
    ).one()
    return Statistics(
        jobs=_rows(session, "SELECT state, tier, count(*) FROM jobs GROUP BY state, tier ORDER BY 1, 2"),
        queues=_queues(session),
        attempts=_rows(
            session,
            "SELECT stage, gpu_type, outcome, count(*) FROM attempts"
            " WHERE finished_at > now() - interval '1 hour'"
            " GROUP BY stage, gpu_type, outcome ORDER BY 1, 2, 3",
        ),
        outbox=int(outbox),
        outbox_age_seconds=float(age),
        deliveries=_rows(session, "SELECT state, count(*) FROM deliveries GROUP BY state ORDER BY 1"),
    )


def _queues(session: Session) -> list[tuple[str, str, int]]:
    rows = session.execute(
        text(
            "SELECT CASE WHEN gpu_type IS NOT NULL THEN name END AS stage, gpu_type, priority_class, state,"
            "       count(*) AS stages FROM stages WHERE state IN ('dispatched', 'running')"
            " GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"
        )
    )
    placed = [(placed_queue(row.stage, row.gpu_type, row.priority_class), row) for row in rows]
    return [(queue_name(queue) if queue else "unplaced", row.state, row.stages) for queue, row in placed]


def _rows(session: Session, statement: str) -> list[Any]:
    return [tuple(row) for row in session.execute(text(statement))]

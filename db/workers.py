"""Heartbeats of workers, and the live facts that the router places by."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from db.models import Worker
from face3d.queues import StageQueue, placed_queue
from face3d.states import PriorityClass, StageName


def beat(
    session: Session,
    *,
    name: str,
    gpu_type: str,
    device: str,
    stages: Sequence[str],
    slots: int,
    memory_mb: float,
    state: str = "ready",
    reason: str | None = None,
    health: Mapping[str, Any] | None = None,
) -> None:
    """Write a worker's heartbeat."""
    session.execute(
        text(
            "INSERT INTO workers (name, gpu_type, device, stages, slots, memory_mb, state, reason, health)"
            " VALUES (:name, :gpu_type, :device, CAST(:stages AS jsonb), :slots, :memory_mb, :state, :reason,"
            "         CAST(:health AS jsonb))"
            " ON CONFLICT (name) DO UPDATE SET gpu_type = excluded.gpu_type, device = excluded.device,"
            "  stages = excluded.stages, slots = excluded.slots, memory_mb = excluded.memory_mb,"
            "  state = excluded.state, reason = excluded.reason, health = excluded.health,"
            "  heartbeat_at = now()"
        ),
        {
            "name": name,
            "gpu_type": gpu_type,
            "device": device,
            "stages": json.dumps(list(stages)),
            "slots": slots,
            "memory_mb": memory_mb,
            "state": state,
            "reason": reason,
            "health": json.dumps(dict(health or {})),
        },
    )


def remove(session: Session, name: str) -> None:
    """Forget a worker that ended in order."""
    session.execute(text("DELETE FROM workers WHERE name = :name"), {"name": name})


def forget_dead(session: Session, *, silent_seconds: float) -> int:
    """Delete workers whose last heartbeat is that old; return how many."""
    result = session.execute(
        text(
            "DELETE FROM workers USING (SELECT name FROM workers"
            "  WHERE heartbeat_at < now() - make_interval(secs => :age) FOR UPDATE SKIP LOCKED) dead"
            " WHERE workers.name = dead.name RETURNING 1"
        ),
        {"age": silent_seconds},
    )
    return len(result.all())


def live_workers(session: Session, *, timeout_seconds: float) -> Sequence[Worker]:
    """Return workers with a fresh heartbeat, by name."""
    return (
        session.execute(
            select(Worker)
            .where(Worker.heartbeat_at > text("now() - make_interval(secs => :age)"))
            .order_by(Worker.name),
            {"age": timeout_seconds},
        )
        .scalars()
        .all()
    )


@dataclass(frozen=True, kw_only=True)
class TypeFacts:
    """What the router knows of one GPU type for one stage."""

    gpu_type: str
    #: Tasks that its live, not draining workers run at once.
    slots: int
    #: Largest memory among its workers, MB.
    memory_mb: float
    #: Waiting attempts of the stage by priority class.
    waiting: Mapping[str, int]
    #: Running attempts of any stage: they share the slots.
    running: int
    #: Median seconds of recent attempts by engine name; a missing engine was never measured.
    service_seconds: Mapping[str, float]


def type_facts(session: Session, stage: StageName, *, timeout_seconds: float) -> list[TypeFacts]:
    """Return the facts of every GPU type with a live worker that serves a stage, by name."""
    workers = session.execute(
        text(
            "SELECT gpu_type, sum(slots), max(memory_mb) FROM workers"
            " WHERE heartbeat_at > now() - make_interval(secs => :age) AND state = 'ready'"
            "   AND stages ? :stage GROUP BY gpu_type ORDER BY gpu_type"
        ),
        {"age": timeout_seconds, "stage": stage.value},
    ).all()
    load: dict[str, dict[str, int]] = {}
    for gpu_type, priority_class, state, count in session.execute(
        text(
            "SELECT gpu_type, priority_class, state, count(*) FROM stages"
            " WHERE state IN ('dispatched', 'running') AND gpu_type IS NOT NULL"
            "   AND (name = :stage OR state = 'running') GROUP BY gpu_type, priority_class, state"
        ),
        {"stage": stage.value},
    ):
        place = load.setdefault(gpu_type, {"running": 0, **{one.value: 0 for one in PriorityClass}})
        place["running" if state == "running" else priority_class] += count
    service: dict[str, dict[str, float]] = {}
    for gpu_type, engine, seconds in session.execute(
        text(
            "SELECT gpu_type, engine, percentile_cont(0.5) WITHIN GROUP ("
            "   ORDER BY extract(epoch FROM finished_at - started_at)) FROM ("
            "  SELECT gpu_type, engine, started_at, finished_at FROM attempts"
            "   WHERE outcome = 'done' AND stage = :stage ORDER BY finished_at DESC LIMIT 200) recent"
            " GROUP BY gpu_type, engine"
        ),
        {"stage": stage.value},
    ):
        service.setdefault(gpu_type, {})[engine] = float(seconds)
    return [
        TypeFacts(
            gpu_type=gpu_type,
            slots=int(slots),
            memory_mb=float(memory),
            waiting={one.value: load.get(gpu_type, {}).get(one.value, 0) for one in PriorityClass},
            running=load.get(gpu_type, {}).get("running", 0),
            service_seconds=service.get(gpu_type, {}),
        )
        for gpu_type, slots, memory in workers
    ]


def record_placement(
    session: Session,
    *,
    job_id: str,
    stage: StageName,
    gpu_type: str,
    placement: Mapping[str, Any] | None = None,
) -> StageQueue | None:
    """Note where a dispatched stage is sent, and why; the job says in which priority class.

    Returns:
        The queue; None: the job is gone.
    """
    priority_class = session.execute(
        text(
            "WITH placed AS (UPDATE stages s"
            "   SET gpu_type = :gpu_type, priority_class = j.tier, dispatched_at = now(),"
            "       placement = CAST(:placement AS jsonb)"
            "  FROM jobs j WHERE j.id = s.job_id AND s.job_id = :job_id AND s.name = :stage"
            "   AND s.state = 'dispatched')"
            " SELECT tier FROM jobs WHERE id = :job_id"
        ),
        {
            "job_id": job_id,
            "stage": stage.value,
            "gpu_type": gpu_type,
            "placement": json.dumps(dict(placement or {})),
        },
    ).scalar()
    return placed_queue(stage, gpu_type, priority_class)


@dataclass(frozen=True, kw_only=True)
class StageRequest:
    """What a job asks of the router."""

    engine: str
    priority_class: PriorityClass
    gpu_type: str
    texture_size: int
    #: GPU types whose memory did not suffice.
    excluded: frozenset[str]


def stage_request(session: Session, job_id: str, stage: StageName) -> StageRequest | None:
    """Return what a job asks of the router for a stage, or None when the job is gone."""
    row = session.execute(
        text(
            "SELECT j.options->>'engine', j.tier, j.options->>'gpu-type', j.options->>'texture-size',"
            "       s.excluded FROM jobs j JOIN stages s ON s.job_id = j.id AND s.name = :stage"
            " WHERE j.id = :job_id"
        ),
        {"job_id": job_id, "stage": stage.value},
    ).one_or_none()
    if row is None:
        return None
    return StageRequest(
        engine=row[0] or "",
        priority_class=PriorityClass(row[1]),
        gpu_type=row[2] or "any",
        texture_size=int(row[3] or 0),
        excluded=frozenset(row[4]),
    )

"""Where a stage runs: the GPU type with the earliest expected finish.

`choose_gpu_type` is pure; `route` is what Celery asks each time it publishes a task.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from db.jobs import JobNotFound
from db.session import make_session_factory
from db.workers import TypeFacts, record_placement, stage_request, type_facts
from face3d.settings import Settings, get_settings
from face3d.states import GPU_STAGES, StageName, Tier
from gpu_workers.types import relative_speed
from tasks.broker import DELIVERY_QUEUE, message_priority, queue_name

#: Seconds that a stage takes on the reference card when nobody measured it yet.
PRIOR_SECONDS: Mapping[StageName, float] = {
    StageName.PREPROCESS: 0.5,
    StageName.GEOMETRY: 0.5,
    StageName.TEXTURE: 2.0,
    StageName.PACKAGING: 1.0,
}

#: Facts older than this are asked again.
FACTS_SECONDS = 1.0

#: Expected seconds from dispatch to finish that a tier should meet on a type before earlier finish counts.
LATENCY_BOUND_SECONDS: Mapping[Tier, float] = {Tier.INTERACTIVE: 5.0, Tier.BATCH: 600.0}

_TASK_PREFIX = "face3d."


@dataclass(frozen=True, kw_only=True)
class Placement:
    """The router's choice and what it expected."""

    gpu_type: str
    #: GPU type to expected seconds until the stage is finished there.
    expected_seconds: Mapping[str, float]


def service_seconds(facts: TypeFacts, stage: StageName, engine: str) -> float:
    """Return the measured median of a stage on a type, or the prior scaled by the type's published speed."""
    measured = facts.service_seconds.get(engine)
    if measured is not None:
        return measured
    return PRIOR_SECONDS[stage] / relative_speed(facts.gpu_type)


def expected_finish(facts: TypeFacts, stage: StageName, engine: str, tier: Tier) -> float:
    """Return the seconds until a stage sent to a type now is expected to be finished.

    Waiting work of the same urgency is ahead of it; a batch also waits for everything interactive.
    """
    ahead = facts.waiting.get(Tier.INTERACTIVE.value, 0)
    if tier is Tier.BATCH:
        ahead += facts.waiting.get(Tier.BATCH.value, 0)
    service = service_seconds(facts, stage, engine)
    busy = max(0, facts.running + ahead + 1 - facts.slots)
    return service * (1.0 + busy / max(facts.slots, 1))


def choose_gpu_type(
    facts: Sequence[TypeFacts],
    *,
    stage: StageName,
    engine: str,
    tier: Tier,
    forced: str = "any",
    memory_mb: float = 0.0,
) -> Placement:
    """Choose a type: those within the tier's latency bound first, then the earliest expected finish.

    A forced type is obeyed even when no worker serves it now: the stage waits for one. Without any live
    worker the stage waits on `cpu`, which every installation has.
    """
    expected = {fact.gpu_type: expected_finish(fact, stage, engine, tier) for fact in facts}
    if forced != "any":
        return Placement(gpu_type=forced, expected_seconds=expected)
    fitting = {fact.gpu_type for fact in facts if fact.memory_mb >= memory_mb}
    candidates = {name: seconds for name, seconds in expected.items() if name in fitting} or expected
    if not candidates:
        return Placement(gpu_type="cpu", expected_seconds={})
    bound = LATENCY_BOUND_SECONDS[tier]
    best = min(candidates, key=lambda name: (candidates[name] > bound, candidates[name], name))
    return Placement(gpu_type=best, expected_seconds=expected)


class Router:
    """Places stages by facts at most a second old."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._facts: dict[StageName, tuple[float, list[TypeFacts]]] = {}

    def place(self, stage: StageName, job_id: str) -> tuple[str, Tier]:
        """Return the queue for a job's stage and the job's tier, and note the queue in the stage's row.

        Raises:
            JobNotFound: the job is gone.
        """
        with make_session_factory(self._settings).begin() as session:
            gpu_type = self._choose(session, stage, job_id) if stage in GPU_STAGES else "cpu"
            tier = record_placement(session, job_id=job_id, stage=stage, gpu_type=gpu_type)
        if tier is None:
            raise JobNotFound
        return queue_name(stage, gpu_type, tier), tier

    def _choose(self, session: Session, stage: StageName, job_id: str) -> str:
        request = stage_request(session, job_id)
        if request is None:
            raise JobNotFound
        with self._lock:
            checked_at, facts = self._facts.get(stage, (-FACTS_SECONDS, []))
            if time.monotonic() - checked_at > FACTS_SECONDS:
                facts = type_facts(session, stage, timeout_seconds=self._settings.worker_timeout_seconds)
                self._facts[stage] = (time.monotonic(), facts)
        return choose_gpu_type(
            facts, stage=stage, engine=request.engine, tier=request.tier, forced=request.gpu_type
        ).gpu_type


_router: Router | None = None


def route(
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],  # noqa: ARG001 - Celery's signature
    options: Mapping[str, Any],  # noqa: ARG001
    task: object = None,  # noqa: ARG001
    **_: Any,
) -> dict[str, Any] | None:
    """Celery's router function: a queue for each task at the moment when it is published."""
    global _router  # noqa: PLW0603 - one router a process
    if not name.startswith(_TASK_PREFIX):
        return None
    label = name.removeprefix(_TASK_PREFIX)
    if label == "deliver":
        return {"queue": DELIVERY_QUEUE}
    settings = get_settings()
    if _router is None:
        _router = Router(settings)
    queue, tier = _router.place(StageName(label), str(args[0]))
    priority = message_priority(tier, settings.broker_kind)
    return {"queue": queue} if priority is None else {"queue": queue, "priority": priority}

"""Where a stage runs: the GPU type with the earliest expected finish.

`choose_gpu_type` is pure; `Router.place` commits a choice before a message goes out, `Router.route` is what
Celery asks as it goes.
"""

import math
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from db.queries import JobNotFound
from db.session import make_session_factory
from db.workers import StageRequest, TypeFacts, record_placement, stage_request, type_facts
from face3d.queues import DELIVERY_QUEUE, StageQueue, queue_name, read_queue_name
from face3d.settings import Settings
from face3d.states import PriorityClass, StageName
from gpu_workers.gpu_catalog import relative_speed
from gpu_workers.profiles import expected_peak_mb
from tasks.broker import message_priority
from tasks.chain import TASK_PREFIX

#: Seconds that a stage takes on the reference card when nobody measured it yet.
PRIOR_SECONDS: Mapping[StageName, float] = {
    StageName.PREPROCESS: 0.5,
    StageName.GEOMETRY: 0.5,
    StageName.TEXTURE: 2.0,
    StageName.PACKAGING: 1.0,
}

#: Facts older than this are asked again.
FACTS_SECONDS = 1.0

#: Expected seconds from dispatch to finish that a class should meet on a type before earlier finish counts.
LATENCY_BOUND_SECONDS: Mapping[PriorityClass, float] = {
    PriorityClass.INTERACTIVE: 5.0,
    PriorityClass.BATCH: 600.0,
}

#: How long the publication of one chain waits for a stage's row: transactions take milliseconds.
_LOCK_MILLISECONDS = 500

_CPU_STAGE = "The stage runs on cpu workers only."


@dataclass(frozen=True, kw_only=True)
class Placement:
    """The router's choice and what it expected."""

    gpu_type: str
    #: GPU type to expected seconds until the stage is finished there.
    expected_seconds: Mapping[str, float]
    #: One sentence for `face3d explain`.
    why: str


def service_seconds(facts: TypeFacts, stage: StageName, engine: str) -> float:
    """Return the measured median of a stage on a type, or the prior scaled by the type's published speed."""
    measured = facts.service_seconds.get(engine)
    if measured is not None:
        return measured
    return PRIOR_SECONDS[stage] / relative_speed(facts.gpu_type)


def expected_finish(facts: TypeFacts, stage: StageName, engine: str, priority_class: PriorityClass) -> float:
    """Return the seconds until a stage sent to a type now is expected to be finished.

    Waiting work of the same urgency is ahead of it; a batch also waits for everything interactive.
    """
    ahead = facts.waiting.get(PriorityClass.INTERACTIVE.value, 0)
    if priority_class is PriorityClass.BATCH:
        ahead += facts.waiting.get(PriorityClass.BATCH.value, 0)
    service = service_seconds(facts, stage, engine)
    busy = max(0, facts.running + ahead + 1 - facts.slots)
    return service * (1.0 + busy / max(facts.slots, 1))


def choose_gpu_type(
    facts: Sequence[TypeFacts],
    *,
    stage: StageName,
    engine: str,
    priority_class: PriorityClass,
    forced: str = "any",
    memory_mb: float = 0.0,
    excluded: Collection[str] = (),
) -> Placement:
    """Choose a type: those within the class's latency bound first, then the earliest expected finish.

    A forced type is obeyed even when no worker serves it now: the stage waits for one. Without any live
    worker the stage waits on `cpu`, which every installation has.

    Args:
        memory_mb: what the stage needs.
        excluded: types whose memory did not suffice for this job; taken when there is no other.
    """
    expected = {fact.gpu_type: expected_finish(fact, stage, engine, priority_class) for fact in facts}
    if forced != "any":
        return Placement(gpu_type=forced, expected_seconds=expected, why="The job's option gpu-type says so.")
    fitting = {fact.gpu_type for fact in facts if fact.memory_mb >= memory_mb} - set(excluded)
    candidates = {name: seconds for name, seconds in expected.items() if name in fitting} or expected
    if not candidates:
        why = "No live worker serves this stage; it waits on cpu."
        return Placement(gpu_type="cpu", expected_seconds={}, why=why)
    bound = LATENCY_BOUND_SECONDS[priority_class]
    best = min(candidates, key=lambda name: (candidates[name] > bound, candidates[name], name))
    if len(candidates) == 1:
        why = "The only type whose live workers serve this stage."
        if len(expected) > 1:
            why = "The only type that serves this stage and has the memory."
    elif candidates[best] <= bound:
        why = f"Earliest expected finish within the {priority_class.value} bound of {bound:g} s."
    else:
        why = f"Earliest expected finish; no type keeps the {priority_class.value} bound of {bound:g} s."
    return Placement(gpu_type=best, expected_seconds=expected, why=why)


def describe_placement(
    placement: Placement, facts: Sequence[TypeFacts], stage: StageName, request: StageRequest
) -> dict[str, Any]:
    """Return what the stage's row keeps of a placement: the facts of every candidate at that moment."""
    return {
        "why": placement.why,
        "bound_seconds": LATENCY_BOUND_SECONDS[request.priority_class],
        "candidates": [
            {
                "gpu_type": fact.gpu_type,
                "expected_seconds": round(placement.expected_seconds[fact.gpu_type], 3),
                "service_seconds": round(service_seconds(fact, stage, request.engine), 3),
                "measured": request.engine in fact.service_seconds,
                "slots": fact.slots,
                "running": fact.running,
                "waiting": dict(fact.waiting),
                "memory_mb": round(fact.memory_mb),
                "excluded": fact.gpu_type in request.excluded,
            }
            for fact in facts
        ],
    }


class Router:
    """Places stages by facts at most a second old."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._facts: dict[StageName, tuple[float, list[TypeFacts]]] = {}

    def place(self, stage: StageName, job_id: str) -> StageQueue:
        """Return the queue for a job's stage, and note it in the stage's row.

        Raises:
            JobNotFound: the job is gone.
            sqlalchemy.exc.OperationalError: somebody holds the stage's row for longer than it is waited for.
        """
        with make_session_factory(self._settings).begin() as session:
            # Whoever froze with the row in hand must not hold up the publications that wait behind this one.
            session.execute(text(f"SET LOCAL lock_timeout = {_LOCK_MILLISECONDS}"))
            return self.place_in(session, stage, job_id)

    def place_in(self, session: Session, stage: StageName, job_id: str) -> StageQueue:
        """Do what `place` does in the caller's transaction.

        Raises:
            JobNotFound: the job is gone.
        """
        gpu_type, why = self._choose(session, stage, job_id)
        queue = record_placement(session, job_id=job_id, stage=stage, gpu_type=gpu_type, placement=why)
        if queue is None:
            raise JobNotFound
        return queue

    def route(
        self,
        name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],  # noqa: ARG002 - Celery's signature
        options: Mapping[str, Any],
        task: object = None,  # noqa: ARG002
        **_: Any,
    ) -> dict[str, Any] | None:
        """Return what Celery shall add to a message that is published: queue, and priority where one counts.

        A stage's message that names its queue was placed before. Others are placed now: the step behind a
        stage that was done already, or behind a task of an older release.
        """
        if not name.startswith(TASK_PREFIX):
            return None
        label = name.removeprefix(TASK_PREFIX)
        if label == "deliver":
            return {"queue": DELIVERY_QUEUE}
        named = options.get("queue")
        queue = self.place(StageName(label), str(args[0])) if named is None else read_queue_name(named.name)
        if queue is None:
            return None
        priority = message_priority(queue.priority_class, self._settings.broker_kind)
        to = {} if named is not None else {"queue": queue_name(queue)}
        return to if priority is None else {**to, "priority": priority}

    def _choose(self, session: Session, stage: StageName, job_id: str) -> tuple[str, dict[str, Any]]:
        """Return the GPU type for a stage, and what is kept of the reasons."""
        if stage is StageName.PACKAGING:
            return "cpu", {"why": _CPU_STAGE}
        # The photo's size is decided when it is decoded: by the profile of the type that would bake it now.
        placed = StageName.TEXTURE if stage is StageName.PREPROCESS else stage
        request = stage_request(session, job_id, placed)
        if request is None:
            raise JobNotFound
        facts = self._fresh_facts(session, placed)
        placement = choose_gpu_type(
            facts,
            stage=placed,
            engine=request.engine,
            priority_class=request.priority_class,
            forced=request.gpu_type,
            memory_mb=expected_peak_mb(placed, request.engine, request.texture_size),
            excluded=request.excluded,
        )
        if stage is StageName.PREPROCESS:
            return self._choose_for_preprocess(session, request, placement.gpu_type)
        return placement.gpu_type, describe_placement(placement, facts, stage, request)

    def _choose_for_preprocess(
        self, session: Session, request: StageRequest, profile: str
    ) -> tuple[str, dict[str, Any]]:
        """Return the type with the earliest expected finish; a forced type's jobs may also use the CPU."""
        facts = self._fresh_facts(session, StageName.PREPROCESS)
        if request.gpu_type != "any":
            facts = [fact for fact in facts if fact.gpu_type in ("cpu", request.gpu_type)]
        stage = StageName.PREPROCESS
        placement = choose_gpu_type(
            facts, stage=stage, engine=request.engine, priority_class=request.priority_class
        )
        why = describe_placement(placement, facts, stage, request)
        return placement.gpu_type, {**why, "profile": profile}

    def _fresh_facts(self, session: Session, stage: StageName) -> list[TypeFacts]:
        with self._lock:
            checked_at, facts = self._facts.get(stage, (-math.inf, []))
            if time.monotonic() - checked_at > FACTS_SECONDS:
                facts = type_facts(session, stage, timeout_seconds=self._settings.worker_timeout_seconds)
                self._facts[stage] = (time.monotonic(), facts)
        return facts

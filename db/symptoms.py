"""What is wrong with the whole, as its rows tell: for `face3d doctor`, for readiness and for metrics."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import text
from sqlalchemy.orm import Session

from db.relay_health import RelayFacts, TaskFacts, read_relays, read_tasks
from db.upkeep import Overdue, read_overdue
from face3d.queues import DELIVERY_QUEUE, placed_queue, queue_name
from face3d.settings import Settings

Level = Literal["ok", "warn", "fail"]

#: A relay makes a round at least each second; publishing a large batch takes a few.
RELAY_SECONDS = 15.0
#: Outbox rows are published within a second, webhooks that are due as well.
LATE_SECONDS = 30.0
#: Photos that wait longer than this are worth a look, whatever the cause.
WAIT_SECONDS = 600.0
#: A periodic task is late when it did not succeed within so many of its pauses and this long.
TASK_PAUSES, TASK_SECONDS = 3.0, 60.0
#: Retention runs each ten minutes.
OVERDUE_WARN_SECONDS, OVERDUE_FAIL_SECONDS = 2 * 3600.0, 86400.0


@dataclass(frozen=True, kw_only=True)
class Symptom:
    """One line on one part of the whole."""

    subject: str
    level: Level
    detail: str
    #: What to do when it is not ok.
    remedy: str = ""


@dataclass(frozen=True, kw_only=True)
class QueueFacts:
    """Stages that were sent to a queue and that nobody started."""

    name: str
    waiting: int
    oldest_seconds: float
    #: Whether a live worker that takes work serves it.
    served: bool


@dataclass(frozen=True, kw_only=True)
class ReceiverFacts:
    """What goes wrong with customers' receivers of webhooks."""

    #: Endpoints that do not answer in time; they get one message at a time.
    hanging: int = 0
    #: Endpoints that answered 410 and get nothing any more.
    gone: int = 0
    #: Messages of the last day that had all their tries.
    given_up: int = 0


@dataclass(frozen=True, kw_only=True)
class Facts:
    """One look at the rows."""

    relays: Sequence[RelayFacts]
    tasks: Sequence[TaskFacts]
    outbox_seconds: float
    #: How long the oldest webhook message that is due has been due.
    delivery_seconds: float
    #: Seconds since the last heartbeat of each delivery worker.
    delivery_workers: Sequence[float]
    receivers: ReceiverFacts
    queues: Sequence[QueueFacts]
    overdue: Overdue
    database_bytes: int


def read_facts(session: Session, settings: Settings) -> Facts:
    """Return the facts of this moment."""
    outbox, delivery, size = session.execute(
        text(
            "SELECT (SELECT extract(epoch FROM now() - min(due_at)) FROM outbox),"
            " (SELECT extract(epoch FROM now() - min(due_at)) FROM deliveries d"
            # What waits for a receiver that hangs, or that asked for a pause, is late by no fault of ours.
            "   JOIN webhook_endpoints e ON e.id = d.endpoint_id AND e.enabled AND NOT e.hangs"
            "    AND (e.paused_until IS NULL OR e.paused_until <= now()) WHERE d.state = 'pending'),"
            " pg_database_size(current_database())"
        )
    ).one()
    hanging, gone, given_up = session.execute(
        text(
            "SELECT count(*) FILTER (WHERE enabled AND hangs),"
            " count(*) FILTER (WHERE NOT enabled AND disabled_reason = 'gone'),"
            " (SELECT count(*) FROM deliveries"
            "   WHERE state = 'failed' AND finished_at > now() - interval '1 day')"
            " FROM webhook_endpoints"
        )
    ).one()
    beats = session.scalars(
        text(
            "SELECT extract(epoch FROM now() - heartbeat_at) FROM workers"
            " WHERE jsonb_exists(stages, :queue) ORDER BY heartbeat_at DESC"
        ),
        {"queue": DELIVERY_QUEUE},
    )
    queues = session.execute(
        text(
            "SELECT s.name, s.gpu_type, s.priority_class, count(*) AS waiting,"
            "       extract(epoch FROM now() - min(s.dispatched_at)) AS age, EXISTS ("
            "   SELECT 1 FROM workers w WHERE w.gpu_type = s.gpu_type AND jsonb_exists(w.stages, s.name)"
            "      AND w.state = 'ready' AND w.heartbeat_at > now() - make_interval(secs => :timeout)"
            "  ) AS served"
            "  FROM stages s WHERE s.state = 'dispatched' AND s.gpu_type IS NOT NULL"
            " GROUP BY s.name, s.gpu_type, s.priority_class ORDER BY 1, 2, 3"
        ),
        {"timeout": settings.worker_timeout_seconds},
    )
    return Facts(
        relays=read_relays(session),
        tasks=read_tasks(session),
        outbox_seconds=max(0.0, float(outbox or 0)),
        delivery_seconds=max(0.0, float(delivery or 0)),
        delivery_workers=[float(age) for age in beats],
        receivers=ReceiverFacts(hanging=hanging, gone=gone, given_up=given_up),
        queues=[
            QueueFacts(
                name=queue_name(queue),
                waiting=row.waiting,
                oldest_seconds=max(0.0, float(row.age)),
                served=row.served,
            )
            for row in queues
            if (queue := placed_queue(row.name, row.gpu_type, row.priority_class))
        ],
        overdue=read_overdue(session, retention_days=settings.retention_days),
        database_bytes=int(size),
    )


def judge(facts: Facts, settings: Settings) -> Iterator[Symptom]:
    """Yield one symptom for each part of the whole, those that are well too."""
    yield _relay(facts)
    yield from _tasks(facts)
    yield _late("outbox", facts.outbox_seconds, "look at the relay's log: is the broker away?")
    yield _delivery_worker(facts, settings)
    yield _late("webhooks", facts.delivery_seconds, "look at the log of the delivery worker and of the relay")
    yield _receivers(facts.receivers)
    yield _queues(facts)
    yield _retention(facts)
    yield Symptom(subject="database size", level="ok", detail=f"{facts.database_bytes / 2**20:.0f} MiB")


def _relay(facts: Facts) -> Symptom:
    alive = [relay for relay in facts.relays if relay.round_age <= RELAY_SECONDS]
    leading = [relay for relay in alive if relay.leads]
    remedy = "start one with `face3d relay`; end one that hangs"
    if leading:
        others = len(alive) - 1
        detail = f"{leading[0].name} leads, last round {_span(leading[0].round_age)} ago; {others} in reserve"
        return Symptom(subject="relay", level="ok", detail=detail)
    if facts.relays:
        last = facts.relays[0]
        silent = f"{last.name} made its last round {_span(last.round_age)} ago"
        detail = f"none leads; {silent}" if alive else silent
    else:
        detail = "none made a round within the last hour"
    return Symptom(subject="relay", level="fail", detail=detail, remedy=remedy)


def _tasks(facts: Facts) -> Iterator[Symptom]:
    """Yield one line on all that is well, and one on each periodic task that is not."""
    well = []
    for task in facts.tasks:
        limit = TASK_PAUSES * task.every_seconds + TASK_SECONDS
        age = task.success_age
        last = "it never succeeded" if age is None else f"last success {_span(age)} ago"
        late = task.started_age > limit if age is None else age > limit
        if not task.failures and not late:
            well.append(task.name)
            continue
        failed = f"failed {task.failures} times in a row ({task.last_error}); " if task.failures else ""
        yield Symptom(
            subject=f"relay: {task.name}",
            level="fail" if late or task.failures > 1 else "warn",
            detail=failed + last,
            remedy="look for `chore.failed` in the log of the leading relay",
        )
    if well:
        yield Symptom(subject="relay's periodic tasks", level="ok", detail=", ".join(well))


def _late(subject: str, seconds: float, remedy: str) -> Symptom:
    if seconds <= LATE_SECONDS:
        return Symptom(subject=subject, level="ok", detail="nothing is late")
    return Symptom(
        subject=subject,
        level="fail",
        detail=f"the oldest has been due for {_span(seconds)}",
        remedy=remedy,
    )


def _delivery_worker(facts: Facts, settings: Settings) -> Symptom:
    alive = [age for age in facts.delivery_workers if age <= settings.worker_timeout_seconds]
    if alive:
        return Symptom(subject="delivery worker", level="ok", detail=f"{len(alive)} alive")
    last = facts.delivery_workers
    detail = f"the last one beat {_span(last[0])} ago" if last else "none is alive"
    remedy = "start one with `python -m tasks.delivery_worker`; end one that hangs"
    return Symptom(subject="delivery worker", level="fail", detail=detail, remedy=remedy)


def _receivers(facts: ReceiverFacts) -> Symptom:
    """A customer's receiver is no fault of ours, but a customer who hears nothing asks us."""
    told = [
        f"{count} {what}"
        for count, what in (
            (facts.hanging, "do not answer in time"),
            (facts.gone, "answered 410 and are disabled"),
            (facts.given_up, "messages of the last day were given up"),
        )
        if count
    ]
    return Symptom(
        subject="webhook receivers",
        level="warn" if told else "ok",
        detail="; ".join(told) or "all answer",
        remedy="`face3d webhook list`; `face3d webhook deliveries --failed`, `face3d webhook redeliver`",
    )


def _queues(facts: Facts) -> Symptom:
    told = [
        f"{queue.name}: {queue.waiting} wait, the oldest for {_span(queue.oldest_seconds)}"
        for queue in sorted(facts.queues, key=lambda queue: -queue.oldest_seconds)
    ]
    unserved = [queue for queue in facts.queues if not queue.served and queue.oldest_seconds > LATE_SECONDS]
    if unserved:
        names = ", ".join(queue.name for queue in unserved)
        return Symptom(
            subject="queues",
            level="fail",
            detail="; ".join(told),
            remedy=f"no live worker takes work from {names}: start one",
        )
    slow = any(queue.oldest_seconds > WAIT_SECONDS for queue in facts.queues)
    return Symptom(
        subject="queues",
        level="warn" if slow else "ok",
        detail="; ".join(told) or "nothing waits",
        remedy="more comes in than is done: start more workers",
    )


def _retention(facts: Facts) -> Symptom:
    late, failing = facts.overdue.retention_seconds, facts.overdue.failing_jobs
    if late <= OVERDUE_WARN_SECONDS and not failing:
        return Symptom(subject="retention", level="ok", detail="no photo is kept longer than it should be")
    return Symptom(
        subject="retention",
        level="fail" if late > OVERDUE_FAIL_SECONDS else "warn",
        detail=f"the oldest photo is {_span(late)} overdue; {failing} jobs cannot be cleaned up or erased",
        remedy="look for `retention.job_failed` and `tidying.job_failed` in the relay's log",
    )


def _span(seconds: float) -> str:
    for unit, length in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"

"""`GET /metrics`: jobs, queues, attempts and devices in Prometheus' text format; it wants the API token.

Counts come from the database, which is the truth: every web process tells the same, so scrape one of them.
"""

from collections.abc import Iterable, Iterator

from fastapi import APIRouter, Depends
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy.orm import Session

from db.models import Worker
from db.statistics import Statistics, read_statistics
from db.symptoms import Facts, read_facts
from db.workers import live_workers
from face3d.settings import Settings
from web.auth import require_api
from web.context import ContextOf, SessionOf

router = APIRouter(tags=["health"], dependencies=[Depends(require_api)])

#: Key of a heartbeat's health to name and help of the metric.
_READINGS = {
    "temperature": ("face3d_device_temperature_celsius", "Temperature of the device."),
    "utilisation": ("face3d_device_utilisation_percent", "Time in which a kernel ran."),
    "sm_clock_mhz": ("face3d_device_sm_clock_mhz", "Clock of the multiprocessors."),
    "memory_clock_mhz": ("face3d_device_memory_clock_mhz", "Clock of the memory."),
    "power_w": ("face3d_device_power_watts", "Power drawn."),
    "memory_used_mb": ("face3d_device_memory_used_mb", "Memory in use by all processes."),
    "memory_total_mb": ("face3d_device_memory_total_mb", "Memory of the device."),
    "ecc_uncorrected": ("face3d_device_ecc_uncorrected", "Uncorrected errors since the driver was loaded."),
    "ecc_corrected": ("face3d_device_ecc_corrected", "Corrected errors since the driver was loaded."),
    "load": ("face3d_host_load", "Load average over a minute."),
    "resident_mb": ("face3d_worker_resident_mb", "Resident memory of the worker's processes."),
    "cold_start_seconds": ("face3d_worker_cold_start_seconds", "Warm-up before the worker took work."),
}

_PLACE = ("worker", "gpu_type", "device")


class Snapshot(Collector):
    """One scrape's values."""

    def __init__(self, statistics: Statistics, facts: Facts, workers: Iterable[Worker]) -> None:
        self._statistics = statistics
        self._facts = facts
        self._workers = list(workers)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the metrics."""
        counts = self._statistics
        yield _gauge("face3d_jobs", "Jobs.", ("state", "tier"), counts.jobs)
        yield _gauge(
            "face3d_queue_stages", "Stages dispatched or running.", ("queue", "state"), counts.queues
        )
        labels = ("stage", "gpu_type", "outcome")
        yield _gauge("face3d_attempts_last_hour", "Attempts that ended.", labels, counts.attempts)
        yield _gauge("face3d_deliveries", "Webhook messages.", ("state",), counts.deliveries)
        yield _gauge("face3d_outbox", "Chains that wait to be published.", (), [(counts.outbox,)])
        yield _gauge(
            "face3d_outbox_age_seconds", "Age of the oldest of them.", (), [(counts.outbox_age_seconds,)]
        )
        yield from self._upkeep_metrics()
        yield from self._device_metrics()

    def _upkeep_metrics(self) -> Iterator[GaugeMetricFamily]:
        """Yield what tells of relays, their periodic work, and of what waits for too long."""
        facts = self._facts
        rounds = [(relay.name, str(int(relay.leads)), relay.round_age) for relay in facts.relays]
        yield _gauge(
            "face3d_relay_last_round_seconds", "Since a relay's last round.", ("relay", "leads"), rounds
        )
        successes = [(task.name, task.success_time or 0.0) for task in facts.tasks]
        yield _gauge(
            "face3d_chore_last_success_timestamp_seconds",
            "When the relay's periodic work last succeeded; 0: never.",
            ("chore",),
            successes,
        )
        failures = [(task.name, task.failures) for task in facts.tasks]
        yield _gauge("face3d_chore_failures", "Failures in a row.", ("chore",), failures)
        waiting = [(queue.name, queue.oldest_seconds) for queue in facts.queues]
        yield _gauge("face3d_queue_oldest_seconds", "Age of what waits longest.", ("queue",), waiting)
        for name, text, value in (
            ("face3d_delivery_late_seconds", "How long a webhook has been due.", facts.delivery_seconds),
            (
                "face3d_delivery_worker_beat_seconds",
                "Since the last heartbeat of a delivery worker; -1 without any.",
                min(facts.delivery_workers, default=-1.0),
            ),
            (
                "face3d_retention_overdue_seconds",
                "How much longer than it should the oldest photo is kept.",
                facts.overdue.retention_seconds,
            ),
            (
                "face3d_upkeep_failing_jobs",
                "Jobs that could not be tidied or erased the last time.",
                facts.overdue.failing_jobs,
            ),
            ("face3d_database_bytes", "Size of the database.", facts.database_bytes),
        ):
            yield _gauge(name, text, (), [(value,)])

    def _device_metrics(self) -> Iterator[GaugeMetricFamily]:
        places = [(worker, (worker.name, worker.gpu_type, worker.device)) for worker in self._workers]
        slots = [(*place, worker.slots) for worker, place in places]
        yield _gauge("face3d_worker_slots", "Tasks at once of a live worker.", _PLACE, slots)
        states = [(*place, worker.reason or "", int(worker.state == "ready")) for worker, place in places]
        yield _gauge("face3d_worker_ready", "1: takes work; 0: drains.", (*_PLACE, "reason"), states)
        throttle = [
            (*place, reason, 1) for worker, place in places for reason in worker.health.get("throttle", ())
        ]
        yield _gauge(
            "face3d_device_throttled", "Reasons that hold clocks down.", (*_PLACE, "reason"), throttle
        )
        for key, (name, text) in _READINGS.items():
            values = [(*place, worker.health[key]) for worker, place in places if key in worker.health]
            yield _gauge(name, text, _PLACE, values)


def _gauge(
    name: str, text: str, labels: tuple[str, ...], rows: Iterable[tuple[str | float, ...]]
) -> GaugeMetricFamily:
    """Return a gauge; each row holds the labels' values, then the number."""
    family = GaugeMetricFamily(name, text, labels=labels)
    for *values, number in rows:
        family.add_metric([str(value) for value in values], float(number))
    return family


def render_metrics(session: Session, settings: Settings) -> bytes:
    """Return the text of a scrape."""
    registry = CollectorRegistry()
    workers = live_workers(session, timeout_seconds=settings.worker_timeout_seconds)
    registry.register(Snapshot(read_statistics(session), read_facts(session, settings), workers))
    return generate_latest(registry)


@router.get("/metrics", include_in_schema=False)
def show_metrics(context: ContextOf, session: SessionOf) -> Response:
    """Answer a scrape."""
    return Response(render_metrics(session, context.settings), media_type=CONTENT_TYPE_LATEST)

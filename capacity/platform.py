"""What the parts around the cards must carry at a given rate, from what one job was measured to cost."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

from capacity.check import load_run
from capacity.service_times import DATA, Card, Catalogue

#: Components that are one thread or one process and cannot be multiplied: they end at one core.
SINGLE = ("flower", "valkey")

_MEGABYTE = 1e6
#: Cards in one host.
_PER_HOST = 4


@dataclass(frozen=True, kw_only=True)
class Need:
    """One resource; `limit` is the rate in jobs a second at which one unit is full, where there is one."""

    name: str
    a_job: str
    at_rate: str
    limit: float | None = None


def platform_needs(catalogue: Catalogue, cards: list[Card], rate: float) -> list[Need]:
    """Return the needs at a rate of jobs a second.

    Cards and cores count as full at 100 %, so that a real fleet needs more.
    """
    run = load_run()
    needs = [_card_need(card, rate) for card in cards]
    packaging = catalogue.packaging.median
    needs.append(
        Need(
            name="packaging (CPU machines of 2 cores)",
            a_job=f"{packaging:.2f} s",
            at_rate=f"{rate * packaging:,.0f} machines",
        )
    )
    cpu = {name.removeprefix("cpu_ms."): value for name, value in run.per_job.items() if "cpu_ms." in name}
    # The engine's own work is in the rows above; engine null shows what the machinery around it costs. The
    # storage's share grows with the bytes, so it is taken from engine anny.
    stored = load_stored()
    cpu["seaweedfs"] = stored["cpu_ms"]
    for name, value in sorted(cpu.items(), key=lambda item: -item[1]):
        if name != "client":
            needs.append(
                Need(
                    name=f"{name}, cores" + (" (one thread only)" if name in SINGLE else ""),
                    a_job=f"{value:.1f} CPU-ms",
                    at_rate=f"{rate * value / 1000:.1f} cores",
                    limit=1000 / value if name in SINGLE else None,
                )
            )
    needs.append(_count("broker: task messages", run.per_job["broker.lpush"], rate))
    needs.append(_count("broker: worker events (for Flower)", run.per_job["broker.publish"], rate))
    needs.append(_count("broker: commands", run.per_job["broker.commands"], rate))
    written = sum(run.per_job[f"db.{verb}"] for verb in ("inserted", "updated", "deleted"))
    needs.append(_count("database: rows written", written, rate))
    needs.append(_count("database: transactions", run.per_job["db.commits"], rate))
    needs.append(_bytes("database: write-ahead log", run.per_job["db.wal_bytes"], rate))
    needs += [_bytes(f"S3: {bucket} written", stored[bucket], rate) for bucket in ("inbox", "work", "assets")]
    needs.append(_count("S3: objects written", stored["objects"], rate))
    return needs


def load_stored() -> Mapping[str, float]:
    """Return what a job of engine anny stores: bytes by bucket, `objects`, and the storage's `cpu_ms`."""
    per_job = json.loads((DATA / "run_anny.json").read_text())["a_job"]
    buckets = ("inbox", "work", "assets")
    found = {bucket: float(per_job[f"s3.{bucket}.bytes"]) for bucket in buckets}
    found["objects"] = sum(float(per_job[f"s3.{bucket}.objects"]) for bucket in buckets)
    return found | {"cpu_ms": float(per_job["cpu_ms.seaweedfs"])}


def _card_need(card: Card, rate: float) -> Need:
    alone = sum(step.median for step in card.steps if step.place == "card")
    each = card.host_capacity(_PER_HOST) / _PER_HOST / alone
    return Need(
        name=f"{card.name} ({card.kind}), {_PER_HOST} in a host",
        a_job=f"{1000 / each:.0f} ms",
        at_rate=f"{math.ceil(rate / each):,}",
    )


def _count(name: str, value: float, rate: float) -> Need:
    return Need(name=name, a_job=f"{value:.1f}", at_rate=f"{rate * value:,.0f} a second")


def _bytes(name: str, value: float, rate: float) -> Need:
    return Need(
        name=name,
        a_job=f"{value / _MEGABYTE:.3f} MB",
        at_rate=f"{rate * value / _MEGABYTE:,.0f} MB a second",
    )

"""Service times for the plan: measured ones, and claimed ones for cards that nobody here has measured.

Every `data/cards_*.json` holds figures of one origin; docs/how-to/planning.md describes the format. A
measured card replaces a claimed one. No figure is ever converted from one card to another.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from capacity.simulation import FloatArray
from face3d.errors import ConfigurationError

DATA = Path(__file__).resolve().parent / "data"

#: Standard normal quantile of 95 %.
_Z95 = 1.6449

_KINDS = ("measured", "claimed")
_PLACES = ("card", "host", "hop")


@dataclass(frozen=True, kw_only=True)
class ServiceTime:
    """The seconds of one step alone on an idle machine.

    With samples they are drawn again; with a median and a P95 the time is log-normal; with a median only
    it is constant.
    """

    name: str
    #: `card`, `host` (a CPU worker's machine) or `hop` (waiting for broker, storage and database: no limit).
    place: str
    median: float
    p95: float | None = None
    samples: Sequence[float] = ()

    def draw(self, rng: np.random.Generator, count: int) -> FloatArray:
        """Return seconds, shape (count,)."""
        if self.samples:
            return rng.choice(np.asarray(self.samples, np.float64), count)
        # The same random numbers are used up whatever the spread, so that plans stay comparable.
        normal = rng.standard_normal(count)
        sigma = 0.0 if self.p95 is None else math.log(self.p95 / self.median) / _Z95
        return np.asarray(self.median * np.exp(sigma * normal), np.float64)


@dataclass(frozen=True, kw_only=True)
class Card:
    """What is known of one kind of card."""

    name: str
    #: measured or claimed.
    kind: str
    #: Device, commit, command and n, or who claims it.
    where: str
    steps: Sequence[ServiceTime]
    #: Photos that a card works on at full speed together; 1: a second one halves the first.
    capacity: float = 1.0
    #: Most jobs at once that memory allows.
    at_once: int = 1
    #: Cards in one host to the share of a lone card's work that each then does.
    efficiency: Mapping[int, float] = field(default_factory=dict)
    #: Share kept free where two or more stand in one host.
    reserve: float = 0.0
    #: Seconds of each further photo of a batch as a share of its seconds alone; None: not measured.
    batch_share: float | None = None
    note: str = ""

    def host_capacity(self, cards: int) -> float:
        """Return how many photos a host of so many cards works on at full speed together.

        A count that has no figure of its own takes that of the next larger count, else of the largest.
        """
        share = 1.0
        if cards > 1 and self.efficiency:
            share = self.efficiency[
                min((n for n in self.efficiency if n >= cards), default=max(self.efficiency))
            ]
            share *= 1.0 - self.reserve
        return cards * self.capacity * share


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """All cards, and the packaging stage, which runs on CPU workers whatever the card."""

    cards: Mapping[str, Card]
    packaging: ServiceTime
    packaging_where: str

    def card(self, name: str) -> Card:
        """Return a card.

        Raises:
            ConfigurationError: neither measured nor claimed.
        """
        try:
            return self.cards[name]
        except KeyError as error:
            known = ", ".join(self.cards)
            raise ConfigurationError(
                f"No figures for card {name!r}, neither measured nor claimed: {known}."
            ) from error


def load_catalogue(folder: Path = DATA) -> Catalogue:
    """Read every `cards_*.json`.

    Raises:
        ConfigurationError: a file is wrong, two of one kind name the same card, or nobody measured packaging.
    """
    cards: dict[str, Card] = {}
    packaging: tuple[ServiceTime, str] | None = None
    for path in sorted(folder.glob("cards_*.json")):
        try:
            document = json.loads(path.read_text())
            kind, where = str(document["kind"]), str(document["where"])
            if kind not in _KINDS:
                raise ValueError(f"kind is {kind!r}, not one of {', '.join(_KINDS)}")
            found = [_card(name, kind, where, entry) for name, entry in document["cards"].items()]
            if "packaging" in document:
                packaging = (_service_time(document["packaging"]), where)
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigurationError(f"{path.name}: {error!r}.") from error
        for card in found:
            other = cards.get(card.name)
            if other is not None and other.kind == card.kind:
                raise ConfigurationError(
                    f"{path.name}: card {card.name!r} is {card.kind} in another file too."
                )
            if other is None or card.kind == "measured":
                cards[card.name] = card
    if packaging is None:
        raise ConfigurationError("No file gives the time of packaging.")
    return Catalogue(cards=cards, packaging=packaging[0], packaging_where=packaging[1])


def _card(name: str, kind: str, where: str, entry: Mapping[str, Any]) -> Card:
    steps = [_service_time(step) for step in entry["steps"]]
    alone = sum(step.median for step in steps if step.place == "card")
    if alone <= 0:
        raise ValueError(f"{name} has no step on the card")
    rate = entry.get("photos_per_second")
    share = entry.get("batch_share")
    return Card(
        name=name,
        kind=kind,
        where=where,
        steps=steps,
        capacity=1.0 if rate is None else float(rate) * alone,
        at_once=int(entry.get("at_once", 1)),
        efficiency={int(count): float(value) for count, value in entry.get("card_efficiency", {}).items()},
        reserve=float(entry.get("reserve", 0.0)),
        batch_share=None if share is None else float(share),
        note=str(entry.get("note", "")),
    )


def _service_time(step: Mapping[str, Any]) -> ServiceTime:
    place = str(step["on"])
    if place not in _PLACES:
        raise ValueError(f"a step runs on {place!r}, not one of {', '.join(_PLACES)}")
    samples = [float(value) / 1000 for value in step.get("samples_ms", ())]
    median = float(np.median(samples)) if samples else float(step["median_ms"]) / 1000
    p95 = step.get("p95_ms")
    if median <= 0 or (p95 is not None and float(p95) / 1000 < median):
        raise ValueError(f"{step['name']}: the median must be above 0 and the P95 not below it")
    return ServiceTime(
        name=str(step["name"]),
        place=place,
        median=median,
        p95=None if p95 is None else float(p95) / 1000,
        samples=samples,
    )

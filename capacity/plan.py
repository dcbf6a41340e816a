"""How many of which card: the least number that keeps a bound, by simulation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from capacity.arrivals import Arrivals, Pattern, make_arrivals
from capacity.check import load_run
from capacity.service_times import Card, Catalogue, ServiceTime
from capacity.simulation import BATCH, INTERACTIVE, FloatArray, Outcome, Pool, Simulation, Step
from face3d.errors import ConfigurationError

#: No fleet is looked for beyond this.
MOST_CARDS = 4096
#: Where the bound cannot be met, the least number that is not busier than this.
_BUSY = 0.8
#: Times that a burst is simulated by itself.
_BURSTS_ALONE = 8


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked."""

    photos_per_day: int
    #: Photos that come at one moment; 0: never.
    burst: int = 0
    bursts_per_day: int = 4
    max_latency: float
    #: Share of the photos that must keep the bound.
    share: float = 0.99
    #: Seconds from a burst's moment to its last photo that are good enough; None: not asked.
    burst_within: float | None = None
    pattern: Pattern = Pattern.BURST
    #: Jobs at once on a card; None: one, or what was measured to gain.
    slots: int | None = None
    #: The asset (packaging and queue hops too) instead of the map.
    asset: bool = False
    cards_per_host: int = 4
    batch: int = 1
    seed: int = 1

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ConfigurationError: bursts hold more photos than the day.
        """
        if self.pattern is not Pattern.STEADY and self.burst * self.bursts_per_day > self.photos_per_day:
            raise ConfigurationError(
                f"{self.bursts_per_day} bursts of {self.burst} are more than {self.photos_per_day} photos."
            )


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A fleet and what to expect of it; seconds."""

    #: `single photos`, `burst done in time` or `burst photos too`.
    goal: str
    cards: int
    #: CPU machines for packaging; 0 where the map is all that is asked.
    cpu_hosts: int
    median: float
    p95: float
    p99: float
    #: From the burst's moment to its last photo; None without bursts.
    burst_seconds: float | None
    #: Share of the cards' capacity used while photos come.
    busy: float
    met: bool


@dataclass(frozen=True, kw_only=True)
class CardPlan:
    """The answers for one kind of card."""

    card: str
    kind: str
    where: str
    slots: int
    answers: Sequence[Answer]
    #: What a reader must know before believing the numbers.
    notes: Sequence[str]


def make_plan(question: Question, catalogue: Catalogue, names: Sequence[str]) -> list[CardPlan]:
    """Answer for each card by itself.

    Raises:
        ConfigurationError: a card has no figures.
    """
    return [_Planner(question, catalogue, catalogue.card(name)).plan() for name in names]


class _Planner:
    """One question about one card; the same random numbers for every fleet that is tried."""

    def __init__(self, question: Question, catalogue: Catalogue, card: Card) -> None:
        self.question, self.card = question, card
        self.steps: list[ServiceTime] = list(card.steps)
        self.notes = [card.note] if card.note else []
        if question.asset:
            hops = load_run().hops
            self.steps = [hops, *self.steps, catalogue.packaging]
            self.notes.append(f"packaging: measured, {catalogue.packaging_where}")
            self.notes.append(f"queue hops: measured with engine null, median {1000 * hops.median:.0f} ms")
        self.slots = self._slots()
        self._note_batches()
        self._note_efficiency()
        rng = np.random.default_rng(question.seed)
        self.day = make_arrivals(
            rng,
            photos_per_day=question.photos_per_day,
            burst=question.burst,
            bursts_per_day=question.bursts_per_day,
            pattern=question.pattern,
        )
        self.day_seconds = self._draw(rng, len(self.day.moments))
        self.burst_seconds = [self._draw(rng, question.burst) for _ in range(_BURSTS_ALONE)]
        #: By CPU machines: cards that were seen to be enough; more of them need no simulation.
        self.enough_for_singles: dict[int, int] = {}
        self.alone = float(np.quantile(self._draw(rng, 20_000).sum(axis=1), question.share))

    def plan(self) -> CardPlan:
        """Return the answers: for single photos, and for those of a burst as well."""
        question = self.question
        bursts = question.burst > 0 and question.pattern is not Pattern.STEADY
        answers: list[Answer] = []
        if self.alone > question.max_latency:
            self.notes.insert(
                0,
                f"cannot meet {1000 * question.max_latency:.0f} ms with any number of cards: the service "
                f"time alone, without waiting, is {1000 * self.alone:.0f} ms at P{100 * question.share:g}; "
                f"the row shows the least cards that stay under {_BUSY:.0%} busy",
            )
            answers.append(self._least("single photos", self._calm, met=False))
        else:
            if self._has_singles():
                answers.append(self._least("single photos", self._singles_in_time))
            if bursts and question.burst_within is not None:
                answers.append(self._least("burst done in time", self._burst_done_in_time))
            if bursts:
                answers.append(self._least("burst photos too", self._burst_in_time))
        return CardPlan(
            card=self.card.name,
            kind=self.card.kind,
            where=self.card.where,
            slots=self.slots,
            answers=answers,
            notes=self.notes,
        )

    def _least(self, goal: str, good: Callable[[int, int], bool], *, met: bool = True) -> Answer:
        """Find the least cards with CPU machines in plenty, then the least CPU machines beside them."""
        plenty = 2 * self._too_few("host") + self.question.burst + 64 if self.question.asset else 1
        cards = find_least(lambda count: good(count, plenty), MOST_CARDS, self._too_few("card"))
        hosts = 0
        if cards is not None and self.question.asset:
            found = cards
            hosts = (
                find_least(lambda count: good(found, count), MOST_CARDS, self._too_few("host")) or MOST_CARDS
            )
        if cards is None:
            self.notes.insert(0, f"{goal}: the bound is not met with {MOST_CARDS} cards; no more were tried")
        return self._answer(goal, cards or MOST_CARDS, hosts, met=met and cards is not None)

    def _too_few(self, place: str) -> int:
        """Return a count that the single photos alone keep busy for ever."""
        single = self.day.tiers == INTERACTIVE
        columns = [step.place == place for step in self.steps]
        work = float(self.day_seconds[single][:, columns].sum()) / self.day.horizon
        best = max(
            self.card.host_capacity(count) / count for count in range(1, self.question.cards_per_host + 1)
        )
        return min(int(work / (best if place == "card" else 1.0)), MOST_CARDS - 1)

    def _answer(self, goal: str, cards: int, hosts: int, *, met: bool) -> Answer:
        outcome = self._simulate(cards, max(1, hosts), self.day, self.day_seconds)
        latency = outcome.latency[self.day.tiers == INTERACTIVE]
        burst = None
        if self.question.burst and self.question.pattern is not Pattern.STEADY:
            runs = [self._burst_alone(cards, max(1, hosts), seconds) for seconds in self.burst_seconds]
            burst = float(np.median([run.ended.max() for run in runs]))
            if goal == "burst photos too" or not len(latency):
                latency = np.concatenate([run.latency for run in runs])
        capacity = sum(self._card_hosts(cards)) * max(self.day.horizon, 1e-9)
        median, p95, p99 = (float(np.quantile(latency, share)) for share in (0.5, 0.95, 0.99))
        return Answer(
            goal=goal,
            cards=cards,
            cpu_hosts=hosts,
            median=median,
            p95=p95,
            p99=p99,
            burst_seconds=burst,
            busy=float(outcome.busy[: len(self._card_hosts(cards))].sum() / capacity),
            met=met,
        )

    def _singles_in_time(self, cards: int, hosts: int) -> bool:
        if cards >= self.enough_for_singles.get(hosts, MOST_CARDS + 1):
            return True
        outcome = self._simulate(cards, hosts, self.day, self.day_seconds)
        good = self._in_time(outcome.latency[self.day.tiers == INTERACTIVE])
        if good:
            self.enough_for_singles[hosts] = cards
        return good

    def _burst_in_time(self, cards: int, hosts: int) -> bool:
        runs = [self._burst_alone(cards, hosts, seconds) for seconds in self.burst_seconds]
        if not self._in_time(np.concatenate([run.latency for run in runs])):
            return False
        return not self._has_singles() or self._singles_in_time(cards, hosts)

    def _burst_done_in_time(self, cards: int, hosts: int) -> bool:
        ends = [self._burst_alone(cards, hosts, seconds).ended.max() for seconds in self.burst_seconds]
        if np.median(ends) > (self.question.burst_within or 0.0):
            return False
        return not self._has_singles() or self._singles_in_time(cards, hosts)

    def _has_singles(self) -> bool:
        return bool((self.day.tiers == INTERACTIVE).any())

    def _calm(self, cards: int, hosts: int) -> bool:
        """Whether neither cards nor CPU machines are busier than the limit over the day."""
        work = dict.fromkeys(("card", "host", "hop"), 0.0)
        for step, seconds in zip(self.steps, self.day_seconds.sum(axis=0), strict=True):
            work[step.place] += float(seconds) / self.day.horizon
        return work["card"] <= _BUSY * sum(self._card_hosts(cards)) and work["host"] <= _BUSY * hosts

    def _in_time(self, latency: FloatArray) -> bool:
        return bool(np.quantile(latency, self.question.share) <= self.question.max_latency)

    def _burst_alone(self, cards: int, hosts: int, seconds: FloatArray) -> Outcome:
        count = self.question.burst
        burst = Arrivals(
            moments=np.zeros(count), tiers=np.full(count, BATCH), bursts=np.zeros(1), horizon=0.0
        )
        return self._simulate(cards, hosts, burst, seconds)

    def _simulate(self, cards: int, hosts: int, arrivals: Arrivals, seconds: FloatArray) -> Outcome:
        """Run a fleet: hosts of cards first among the machines, CPU machines next, one for the hops last."""
        capacities = self._card_hosts(cards)
        groups = len(capacities)
        per_host = min(cards, self.question.cards_per_host)
        share = 1.0 if self.card.batch_share is None else self.card.batch_share
        # The last host may hold fewer cards than the others.
        pools = {
            "card": Pool(
                machines=range(groups),
                slots=[self.slots * min(per_host, cards - per_host * index) for index in range(groups)],
                batch=self.question.batch,
                batch_share=share,
            ),
            "host": Pool(machines=range(groups, groups + hosts)),
            "hop": Pool(machines=[groups + hosts], slots=None),
        }
        simulation = Simulation(
            capacities=[*capacities, *[1.0] * hosts, float("inf")],
            pools=pools,
            steps=[Step(pool=step.place) for step in self.steps],
        )
        return simulation.run(arrivals.moments, arrivals.tiers.tolist(), seconds)

    def _card_hosts(self, cards: int) -> list[float]:
        per_host = self.question.cards_per_host
        full, rest = divmod(cards, per_host)
        counts = [per_host] * full + ([rest] if rest else [])
        return [self.card.host_capacity(count) for count in counts]

    def _draw(self, rng: np.random.Generator, count: int) -> FloatArray:
        return np.stack([step.draw(rng, count) for step in self.steps], axis=1)

    def _slots(self) -> int:
        asked, most = self.question.slots, self.card.at_once
        if asked is None:
            return most if self.card.capacity > 1.05 else 1
        if asked > most:
            self.notes.append(f"{asked} slots asked, {most} taken: more do not fit into its memory")
        return min(asked, most)

    def _note_batches(self) -> None:
        if self.question.batch > 1 and self.card.batch_share is None:
            self.notes.append("what a batch gains was not measured on this card: none is assumed")

    def _note_efficiency(self) -> None:
        if not self.card.efficiency and self.card.name != "cpu":
            self.notes.append("nothing known about several cards in one host: each counts in full")


def find_least(good: Callable[[int], bool], most: int, too_few: int = 0) -> int | None:
    """Return the least count that is good, or None; good counts must stay good when they grow.

    Args:
        good: asked for counts of 1 and more.
        most: the largest count to try.
        too_few: a count known not to be good.
    """
    low, step = too_few, 1
    while not good(high := min(low + step, most)):
        if high >= most:
            return None
        low, step = high, 2 * step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if good(middle) else (middle, high)
    return high

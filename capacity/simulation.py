"""A discrete-event simulation of queues, slots and shared machines.

A job takes its steps one after another. Each step has a queue; the slots of its pool serve their queues in
turn, as Celery's workers do on Valkey. The steps that run on one machine share it: each asks for `cores`, and
when together they ask for more than the machine has, all slow down alike (processor sharing).
"""

import heapq
import itertools
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

#: Tiers: a free slot takes the lowest number first; what runs is never interrupted.
INTERACTIVE, BATCH = 0, 1
_TIERS = 2


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of every job."""

    pool: str
    #: Share of its machine's capacity that the step asks for while it runs at full speed.
    cores: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Slots that serve one queue a step and tier."""

    machines: Sequence[int]
    #: Jobs at once: on each machine, or by machine in their order; None: no limit.
    slots: int | Sequence[int] | None = 1
    #: Most jobs that a slot takes together.
    batch: int = 1
    #: Seconds of each further job in a batch, as a share of its seconds alone; 1: a batch gains nothing.
    batch_share: float = 1.0

    def limits(self) -> dict[int, float]:
        """Return the jobs at once of each machine."""
        if self.slots is None:
            return dict.fromkeys(self.machines, math.inf)
        if isinstance(self.slots, int):
            return dict.fromkeys(self.machines, float(self.slots))
        return {machine: float(count) for machine, count in zip(self.machines, self.slots, strict=True)}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of the jobs, in order of their arrival."""

    arrived: FloatArray
    ended: FloatArray
    #: Capacity-seconds that each machine worked.
    busy: FloatArray

    @property
    def latency(self) -> FloatArray:
        """Seconds from arrival to the end of the last step, shape (jobs,)."""
        return self.ended - self.arrived


@dataclass(order=True)
class _Running:
    """A batch that holds a slot; `done_at` is in its machine's own time, which slows down with it."""

    done_at: float
    order: int
    jobs: list[int] = field(compare=False)
    step: int = field(compare=False)


class _Machine:
    def __init__(self, capacity: float) -> None:
        self.capacity = capacity
        self.asked = 0.0
        self.own_time = 0.0
        self.updated_at = 0.0
        self.busy = 0.0
        self.running: list[_Running] = []
        #: Number of the last expected completion; an event with an older number is void.
        self.version = 0

    @property
    def speed(self) -> float:
        return min(1.0, self.capacity / self.asked) if self.asked > 0 else 1.0

    def advance(self, now: float) -> None:
        passed = now - self.updated_at
        self.own_time += passed * self.speed
        self.busy += passed * min(self.asked, self.capacity)
        self.updated_at = now


class Simulation:
    """One run over given arrivals and service times; nothing in it is random.

    Args:
        capacities: of each machine, in the unit of `Step.cores`.
        pools: by name.
        steps: in the order in which every job takes them.
    """

    def __init__(
        self, *, capacities: Sequence[float], pools: Mapping[str, Pool], steps: Sequence[Step]
    ) -> None:
        self._machines = [_Machine(capacity) for capacity in capacities]
        self._pools = pools
        self._steps = steps
        own = {name: [at for at, step in enumerate(steps) if step.pool == name] for name in pools}
        #: By pool and tier: the queue of each step, the one served last at the end.
        self._waiting: dict[str, list[dict[int, deque[int]]]] = {
            name: [{step: deque() for step in own[name]} for _ in range(_TIERS)] for name in pools
        }
        self._waits = dict.fromkeys(pools, 0)
        self._limits = {name: pool.limits() for name, pool in pools.items()}
        self._occupied = {name: dict.fromkeys(pool.machines, 0) for name, pool in pools.items()}
        self._homes = [
            [name for name, pool in pools.items() if at in pool.machines] for at in range(len(capacities))
        ]
        #: By pool: (load, machine) of those with a free slot; an entry counts while the load is still so.
        self._free: dict[str, list[tuple[float, int]]] = {name: [] for name in pools}
        for machine in range(len(capacities)):
            self._offer(machine)
        self._events: list[tuple[float, int, int, int]] = []
        self._order = itertools.count()

    def run(self, arrived: FloatArray, tiers: Sequence[int], seconds: FloatArray) -> Outcome:
        """Simulate until every job ended.

        Args:
            arrived: seconds, ascending, shape (jobs,).
            tiers: INTERACTIVE or BATCH of each job.
            seconds: service time of each job's steps alone on an idle machine, shape (jobs, steps).
        """
        self._tiers, self._seconds = tiers, seconds
        ended = np.zeros(len(arrived))
        # An event is (moment, order, machine or -1, version or job).
        self._events = [(float(moment), next(self._order), -1, job) for job, moment in enumerate(arrived)]
        heapq.heapify(self._events)
        while self._events:
            now, _, machine, number = heapq.heappop(self._events)
            if machine < 0:
                self._enqueue(number, 0, now)
                continue
            if number != self._machines[machine].version:
                continue
            finished = self._complete(machine, now)
            for job in finished.jobs:
                if finished.step + 1 < len(self._steps):
                    self._enqueue(job, finished.step + 1, now)
                else:
                    ended[job] = now
            self._start(self._steps[finished.step].pool, now)
        busy = np.array([machine.busy for machine in self._machines])
        return Outcome(arrived=arrived, ended=ended, busy=busy)

    def _enqueue(self, job: int, step: int, now: float) -> None:
        pool = self._steps[step].pool
        self._waiting[pool][self._tiers[job]][step].append(job)
        self._waits[pool] += 1
        self._start(pool, now)

    def _start(self, name: str, now: float) -> None:
        """Give free slots of a pool to what waits."""
        pool = self._pools[name]
        while self._waits[name]:
            machine = self._least_loaded(name)
            if machine is None:
                return
            jobs, step = self._take(name, pool.batch)
            alone = sorted((float(self._seconds[job, step]) for job in jobs), reverse=True)
            self._occupied[name][machine] += 1
            self._begin(machine, jobs, step, alone[0] + pool.batch_share * sum(alone[1:]), now)

    def _load(self, machine: int) -> float:
        return self._machines[machine].asked / self._machines[machine].capacity

    def _offer(self, machine: int) -> None:
        """Note the machine's load where it has a free slot."""
        for name in self._homes[machine]:
            if self._occupied[name][machine] < self._limits[name][machine]:
                heapq.heappush(self._free[name], (self._load(machine), machine))

    def _least_loaded(self, name: str) -> int | None:
        free = self._free[name]
        while free:
            load, machine = free[0]
            if load == self._load(machine) and self._occupied[name][machine] < self._limits[name][machine]:
                return machine
            heapq.heappop(free)
        return None

    def _take(self, name: str, most: int) -> tuple[list[int], int]:
        """Take what waits longest in the next queue of the most urgent tier, up to a batch of one step."""
        queues = next(tier for tier in self._waiting[name] if any(tier.values()))
        step = next(step for step, queue in queues.items() if queue)
        jobs: list[int] = []
        for tier in self._waiting[name]:
            while tier[step] and len(jobs) < most:
                jobs.append(tier[step].popleft())
        queues[step] = queues.pop(step)
        self._waits[name] -= len(jobs)
        return jobs, step

    def _begin(self, index: int, jobs: list[int], step: int, seconds: float, now: float) -> None:
        machine = self._machines[index]
        machine.advance(now)
        heapq.heappush(
            machine.running, _Running(machine.own_time + seconds, next(self._order), jobs=jobs, step=step)
        )
        machine.asked += self._steps[step].cores
        self._offer(index)
        self._expect(index, now)

    def _complete(self, index: int, now: float) -> _Running:
        machine = self._machines[index]
        machine.advance(now)
        finished = heapq.heappop(machine.running)
        machine.asked -= self._steps[finished.step].cores
        if not machine.running:
            machine.asked = 0.0
        self._occupied[self._steps[finished.step].pool][index] -= 1
        self._offer(index)
        self._expect(index, now)
        return finished

    def _expect(self, index: int, now: float) -> None:
        """Put the machine's next completion among the events; the one expected before is void."""
        machine = self._machines[index]
        machine.version += 1
        if machine.running:
            left = max(0.0, machine.running[0].done_at - machine.own_time) / machine.speed
            heapq.heappush(self._events, (now + left, next(self._order), index, machine.version))

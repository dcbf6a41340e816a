"""The simulation beside a real run of the local stack: what was predicted, and what was measured.

The prediction uses what one photo at a time takes (stages, hops), and two averages of the run itself: the CPU
time of a job, and the cores that other processes left over. `capacity.measured_run` makes the run.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from capacity.service_times import DATA, ServiceTime
from capacity.simulation import BATCH, FloatArray, Outcome, Pool, Simulation, Step
from face3d.states import STAGES

#: Uploads at once in the run, and stages at once of its CPU worker.
_UPLOADERS, _SLOTS = 4, 2
#: Hops of a job: upload until the first stage, between the stages, from the last stage to the webhook.
_HOPS = len(STAGES) + 1


@dataclass(frozen=True, kw_only=True)
class Run:
    """A real run of the local stack."""

    #: Device, commit, versions, n.
    where: str
    #: Stage seconds of the photos sent one at a time, shape (photos, stages).
    stages: FloatArray
    #: Their seconds from PUT to webhook, shape (photos,).
    alone: FloatArray
    #: Cores that other processes left, by part.
    cores_left: Mapping[str, float]
    poisson_due: FloatArray
    poisson: FloatArray
    burst: FloatArray
    #: Counters by name, a job.
    per_job: Mapping[str, float]

    @property
    def cpu_seconds(self) -> float:
        """CPU seconds of all components a job."""
        return sum(value for name, value in self.per_job.items() if name.startswith("cpu_ms.")) / 1000

    @property
    def hops(self) -> ServiceTime:
        """What a photo by itself spends between its stages."""
        rest = np.maximum(self.alone - self.stages.sum(axis=1), 1e-3)
        return ServiceTime(
            name="hops", place="hop", median=float(np.median(rest)), samples=[float(value) for value in rest]
        )


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One figure, predicted and measured."""

    name: str
    unit: str
    predicted: float
    measured: float

    @property
    def difference(self) -> float:
        """Predicted minus measured, as a share of the measured."""
        return self.predicted / self.measured - 1.0


def load_run() -> Run:
    """Read the run of engine null that lies beside the figures."""
    document = json.loads((DATA / "run_null.json").read_text())
    return Run(
        where=str(document["run"]),
        stages=np.array([document["stage_seconds"][stage.value] for stage in STAGES], np.float64).T,
        alone=np.array(document["alone_seconds"], np.float64),
        cores_left=document["cores_left"],
        poisson_due=np.array(document["poisson_due"], np.float64),
        poisson=np.array(document["poisson_seconds"], np.float64),
        burst=np.array(document["burst_seconds"], np.float64),
        per_job=document["a_job"],
    )


def simulate_stack(run: Run, due: FloatArray, cores: float, *, seed: int = 1, shared: bool = True) -> Outcome:
    """Simulate the local stack: every step asks for the cores that a job uses on average.

    Args:
        due: when each photo is due, seconds.
        cores: cores of the machine that others left over.
        shared: whether the steps share the cores; without, only the workers' slots limit.
    """
    rows = np.random.default_rng(seed).integers(len(run.alone), size=len(due))
    stages = run.stages[rows]
    hop = np.maximum(run.alone[rows] - stages.sum(axis=1), 1e-3) / _HOPS
    seconds = np.repeat(hop[:, None], 2 * len(STAGES) + 1, axis=1)
    seconds[:, 1::2] = stages
    asked = run.cpu_seconds / float(np.median(run.alone))
    steps = [Step(pool="upload", cores=asked)]
    for _ in STAGES:
        steps += [Step(pool="worker", cores=asked), Step(pool="hop", cores=asked)]
    pools = {
        "upload": Pool(machines=[0], slots=_UPLOADERS),
        "worker": Pool(machines=[0], slots=_SLOTS),
        "hop": Pool(machines=[0], slots=None),
    }
    simulation = Simulation(capacities=[cores if shared else float("inf")], pools=pools, steps=steps)
    return simulation.run(due, [BATCH] * len(due), seconds)


def compare(run: Run) -> list[Comparison]:
    """Compare the parts of a run with their simulation."""
    poisson = simulate_stack(run, run.poisson_due, run.cores_left["poisson"])
    at_once = np.zeros(len(run.burst))
    burst = simulate_stack(run, at_once, run.cores_left["burst"])
    slots_only = simulate_stack(run, at_once, run.cores_left["burst"], shared=False)
    single = simulate_stack(run, np.arange(0.0, 200.0), run.cores_left["alone"])
    count = len(run.burst)
    rows = [
        _row("one at a time, median", single.latency, run.alone, 0.5),
        _row("one at a time, P95", single.latency, run.alone, 0.95),
        _row("random moments, median", poisson.latency, run.poisson, 0.5),
        _row("random moments, P95", poisson.latency, run.poisson, 0.95),
        _row(f"{count} at once, median", burst.latency, run.burst, 0.5),
        _row(f"{count} at once, P95", burst.latency, run.burst, 0.95),
    ]
    measured = count / float(run.burst.max())
    for name, outcome in ((f"{count} at once", burst), ("the same, slots the only limit", slots_only)):
        predicted = count / float(outcome.ended.max())
        rows.append(Comparison(name=name, unit="jobs/s", predicted=predicted, measured=measured))
    return rows


def comparison_rows(rows: Sequence[Comparison]) -> list[list[str]]:
    """Return table cells: figure, predicted, measured, difference."""
    return [
        [
            f"{row.name}, {row.unit}",
            _cell(row.predicted),
            _cell(row.measured),
            f"{100 * row.difference:+.1f} %",
        ]
        for row in rows
    ]


def _cell(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _row(name: str, predicted: FloatArray, measured: FloatArray, share: float) -> Comparison:
    return Comparison(
        name=name,
        unit="ms",
        predicted=1000 * float(np.quantile(predicted, share)),
        measured=1000 * float(np.quantile(measured, share)),
    )

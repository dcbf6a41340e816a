"""The simulation against queueing theory's closed forms, and by hand where a hand is enough."""

import math

import numpy as np
import pytest

from capacity.simulation import BATCH, INTERACTIVE, FloatArray, Outcome, Pool, Simulation, Step

JOBS = 40_000


def simulate(
    service: FloatArray,
    *,
    rate: float,
    servers: int = 1,
    slots: int | None = 1,
    seed: int = 5,
) -> Outcome:
    """Poisson arrivals at one pool of machines of capacity 1."""
    arrived = np.random.default_rng(seed).exponential(1 / rate, len(service)).cumsum()
    simulation = Simulation(
        capacities=[1.0] * servers,
        pools={"card": Pool(machines=range(servers), slots=slots)},
        steps=[Step(pool="card")],
    )
    return simulation.run(arrived, [BATCH] * len(service), service[:, None])


def exponential(jobs: int = JOBS) -> FloatArray:
    """Service times of mean one second."""
    return np.random.default_rng(9).exponential(1.0, jobs)


def test_mm1_mean_and_tail() -> None:
    """M/M/1: sojourn is exponential with rate mu - lambda."""
    outcome = simulate(exponential(), rate=0.6)
    assert outcome.latency.mean() == pytest.approx(1 / 0.4, rel=0.06)
    assert np.quantile(outcome.latency, 0.95) == pytest.approx(-math.log(0.05) / 0.4, rel=0.08)
    assert outcome.busy[0] / outcome.ended.max() == pytest.approx(0.6, rel=0.02)


def test_md1_wait_is_half_of_mm1() -> None:
    """Pollaczek-Khinchine: the mean wait is rho / (2 mu (1 - rho))."""
    outcome = simulate(np.ones(JOBS), rate=0.7)
    assert outcome.latency.mean() - 1.0 == pytest.approx(0.7 / (2 * 0.3), rel=0.06)


@pytest.mark.heavy
@pytest.mark.parametrize(("servers", "load"), [(2, 0.7), (5, 0.8)])
def test_mmc_wait_is_erlang_c(servers: int, load: float) -> None:
    """M/M/c: the mean wait is ErlangC / (c mu - lambda)."""
    offered = servers * load
    last = offered**servers / math.factorial(servers) / (1 - load)
    chance = last / (sum(offered**k / math.factorial(k) for k in range(servers)) + last)
    outcome = simulate(exponential(), rate=offered, servers=servers)
    wait = outcome.latency.mean() - exponential().mean()
    assert wait == pytest.approx(chance / (servers - offered), rel=0.08)


def test_shared_card_is_processor_sharing() -> None:
    """M/G/1-PS: the mean sojourn is s / (1 - rho), whatever the distribution."""
    for service in (np.ones(JOBS // 2), exponential(JOBS // 2)):
        outcome = simulate(service, rate=0.6, slots=None)
        assert outcome.latency.mean() == pytest.approx(1 / 0.4, rel=0.06)


def test_two_at_once_take_twice_as_long_on_one_card() -> None:
    pool = Pool(machines=[0], slots=2)
    simulation = Simulation(capacities=[1.0], pools={"card": pool}, steps=[Step(pool="card")])
    outcome = simulation.run(np.array([0.0, 0.5, 0.6]), [BATCH] * 3, np.array([[1.0], [1.0], [1.0]]))
    # Alone until 0.5, then shared: the first ends at 1.5, the second at 2.5 beside the third.
    assert outcome.ended == pytest.approx([1.5, 2.5, 3.0])


def test_a_card_that_gains_from_two_at_once() -> None:
    pool = Pool(machines=[0], slots=2)
    simulation = Simulation(capacities=[1.5], pools={"card": pool}, steps=[Step(pool="card")])
    outcome = simulation.run(np.zeros(2), [BATCH] * 2, np.ones((2, 1)))
    assert outcome.ended == pytest.approx([4 / 3, 4 / 3])


def test_interactive_waits_for_one_running_task_only() -> None:
    simulation = Simulation(capacities=[1.0], pools={"card": Pool(machines=[0])}, steps=[Step(pool="card")])
    arrived = np.array([0.0] * 50 + [3.5])
    outcome = simulation.run(arrived, [BATCH] * 50 + [INTERACTIVE], np.ones((51, 1)))
    assert outcome.ended[50] == pytest.approx(5.0)
    assert outcome.ended.max() == pytest.approx(51.0)


def test_stages_overlap_like_a_pipeline() -> None:
    """Ten jobs through two stages of 1 and 2 seconds: 1 + 10 x 2."""
    pools = {"cpu": Pool(machines=[0]), "card": Pool(machines=[1])}
    simulation = Simulation(capacities=[1.0, 1.0], pools=pools, steps=[Step(pool="cpu"), Step(pool="card")])
    outcome = simulation.run(np.zeros(10), [BATCH] * 10, np.tile([1.0, 2.0], (10, 1)))
    assert outcome.ended.max() == pytest.approx(21.0)


def test_pools_on_one_host_share_its_cores() -> None:
    """Two workers' slots and hops without a limit ask for three cores of two."""
    pools = {"workers": Pool(machines=[0], slots=2), "others": Pool(machines=[0], slots=None)}
    simulation = Simulation(
        capacities=[2.0], pools=pools, steps=[Step(pool="workers", cores=1.5), Step(pool="others", cores=0.5)]
    )
    outcome = simulation.run(np.zeros(200), [BATCH] * 200, np.ones((200, 2)))
    assert outcome.ended.max() == pytest.approx(200 * (1.5 + 0.5) / 2, rel=0.02)


def test_batches_share_a_pass() -> None:
    pool = Pool(machines=[0], batch=4, batch_share=0.25)
    simulation = Simulation(capacities=[1.0], pools={"card": pool}, steps=[Step(pool="card")])
    outcome = simulation.run(np.zeros(9), [BATCH] * 9, np.ones((9, 1)))
    # The first starts alone, then two batches of four: 1 + 2 x (1 + 3 x 0.25).
    assert outcome.ended.max() == pytest.approx(4.5)


def test_jobs_spread_over_cards() -> None:
    outcome = simulate(np.ones(8), rate=1e9, servers=4)
    assert outcome.ended.max() == pytest.approx(2.0, abs=1e-6)
    assert outcome.busy == pytest.approx([2.0] * 4, abs=1e-6)

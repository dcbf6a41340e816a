"""Each way in which a task can end, on both brokers: what becomes of its message, and of its job.

No relay runs: what is asserted is what Celery and the broker do by themselves. Whatever the ending, the
message is done with, and the database knows what is left to do.
"""

import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from kombu import Connection
from pydantic import SecretStr
from sqlalchemy.engine import make_url

from compose.local import Stack
from db.models import Job
from face3d.settings import Settings
from tasks.app import App, make_app
from tasks.broker import declare_dead_letters, queue_depth
from tasks.chain import job_chain
from tasks.relay import expire_leases, repair_lost_dispatches
from tests.integration.conftest import empty_broker, empty_database
from tests.integration.job_rows import accept, publish
from tests.integration.pipeline import QUICK, Pipeline, kill_tree, until
from tests.integration.tcp_proxy import Proxy
from tests.integration.warm_python import WarmProcess

FIRST, SECOND, DEAD = "preprocess.cpu.batch", "geometry.cpu.batch", "face3d.dead"

#: Hard limit of a task, seconds.
LIMIT = 2


@dataclass
class Bench:
    """One broker with a worker of the first stage, which is reached through a proxy."""

    pipeline: Pipeline
    app: App
    proxy: Proxy
    taken: Path
    settings: Settings
    worker: WarmProcess | None = None

    def start_worker(self, name: str) -> WarmProcess:
        """Start a worker and wait for its heartbeat."""
        process = self.pipeline.start(
            "-m", "celery", "-A", "tests.integration.ending_worker", "worker", "-n", f"{name}@test",
            "-Q", FIRST, "-P", "prefork", "-c", "2", "-l", "INFO", "--without-gossip", "--without-mingle",
            FACE3D_WORKER_NAME=f"{name}@test", FACE3D_GPU_TYPE="cpu", FACE3D_STAGES="preprocess",
            FACE3D_TEST_TAKEN=str(self.taken), FACE3D_BROKER_URL=self.url_of(self.proxy.port),
        )  # fmt: skip
        beats = "SELECT 1 FROM workers WHERE name = :name"
        until(lambda: bool(self.pipeline.query(beats, name=f"{name}@test")), "it beats", seconds=40)
        return process

    def url_of(self, port: int) -> str:
        """Return the broker's URL at another port."""
        url = make_url(self.settings.broker_url.get_secret_value())
        return url.set(port=port).render_as_string(hide_password=False)

    def publish(self, ending: str, **options: float) -> tuple[str, str]:
        """Publish a job whose first task ends so; return the ids of job and task."""
        job_id = accept(self.pipeline.sessions, f"{time.monotonic()}.jpg", engine="null", ref=ending).job_id
        (publication,) = publish(self.pipeline.sessions)
        first = self.app.router.place(publication.stages[0], job_id)
        result = job_chain(self.app, publication, first).apply_async(**options)
        while result.parent is not None:
            result = result.parent
        return job_id, result.id

    def takes(self, job_id: str) -> list[int]:
        """Return the processes that took a message of the job."""
        lines = self.taken.read_text().splitlines() if self.taken.exists() else []
        return [int(line.split()[1]) for line in lines if line.startswith(job_id)]

    def job(self, job_id: str) -> Job:
        """Return the job."""
        return self.pipeline.job(job_id)

    def depths(self) -> tuple[int, int, int]:
        """Return how many messages wait for the first stage, for the second, and among the dead."""
        return tuple(queue_depth(self.app, name) for name in (FIRST, SECOND, DEAD))  # type: ignore[return-value]

    def forget_second(self) -> None:
        """Empty the second stage's queue."""
        with self.app.connection_for_write() as connection:
            queue = self.app.amqp.queues[SECOND](connection.default_channel)
            queue.declare()
            queue.purge()


RABBITMQ = pytest.param("rabbitmq", marks=[pytest.mark.rabbitmq, pytest.mark.slow])


@pytest.fixture(scope="module", params=["valkey", RABBITMQ])
def bench(
    request: pytest.FixtureRequest, server_stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("endings")
    settings = server_stack.settings
    empty_database(settings)
    empty_broker(settings)
    if request.param == "rabbitmq":
        url = SecretStr(request.getfixturevalue("rabbitmq"))
        settings = settings.model_copy(update={"broker_url": url})
    settings = settings.model_copy(update={"lost_dispatch_seconds": 0.0, "worker_timeout_seconds": 30.0})
    limits = {"FACE3D_STAGE_LIMIT_SECONDS": str(LIMIT), "FACE3D_MAX_ATTEMPTS": "3"}
    pipeline = Pipeline(settings, server_stack.layout.env_file, folder, {**QUICK, **limits})
    app = make_app(settings)
    declare_dead_letters(app, settings.broker_kind)
    proxy = Proxy(make_url(settings.broker_url.get_secret_value()).port or 0)
    made = Bench(pipeline, app, proxy, folder / "taken", settings)
    made.worker = made.start_worker("shared")
    try:
        yield made
    finally:
        pipeline.close()
        proxy.close()


@pytest.fixture(autouse=True)
def _empty(bench: Bench) -> Iterator[None]:
    empty_database(bench.settings)
    bench.forget_second()
    yield
    if bench.settings.broker_kind == "redis":
        try:
            until(lambda: not unacked(bench), "nothing is left unacknowledged", seconds=15)
        except AssertionError as error:
            logs = "\n".join(log.read_text()[-10_000:] for log in bench.pipeline.logs.glob("*celery*.log"))
            # Does the process that took it still sleep, or is it gone and the word of it lost?
            taken = [line.split() for line in bench.taken.read_text().splitlines()]
            alive = [job_id for job_id, pid in taken if psutil.pid_exists(int(pid))]
            told = f"{error}: {unacked(bench)}\ntaken by living processes: {alive}\n{logs}"
            forget_unacked(bench)
            raise AssertionError(told) from None


def unacked(bench: Bench) -> dict[bytes, bytes]:
    """Return the messages that Valkey keeps for whoever took them, by delivery tag."""
    with Connection(bench.url_of(bench.proxy.port)) as connection:
        kept: dict[bytes, bytes] = connection.default_channel.client.hgetall("unacked")
        return kept


def forget_unacked(bench: Bench) -> None:
    """Remove them, so that the next test begins without."""
    with Connection(bench.url_of(bench.proxy.port)) as connection:
        connection.default_channel.client.delete("unacked", "unacked_index")


def restore(bench: Bench) -> None:
    """Do what Valkey's consumers do when the visibility timeout is over: put every message back."""
    with bench.app.connection_for_write() as connection:
        channel = connection.default_channel
        for tag in channel.client.hkeys("unacked"):
            channel.qos.restore_by_tag(tag.decode())


def taken_once(bench: Bench, job_id: str) -> None:
    """Wait until a message was taken, and see that it is not taken again."""
    until(lambda: bool(bench.takes(job_id)), "it is taken", seconds=25)
    time.sleep(0.5)
    assert len(bench.takes(job_id)) == 1


ENDINGS = {
    # what happens: (job's state, stage's state, error code, messages of the first stage, of the second, dead)
    "returns": ("running", "done", None, 0, 1, 0),
    "refused": ("failed", "failed", "no_face", 0, 0, 0),
    "retryable": ("running", "dispatched", None, 0, 0, 0),
    "bug": ("failed", "failed", "internal_error", 0, 0, 0),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_task_that_ends_by_itself(bench: Bench, ending: str) -> None:
    job_id, _ = bench.publish(ending)
    state, stage, code, *depths = ENDINGS[ending]
    until(lambda: bench.job(job_id).stages[0].state == stage, f"the stage is {stage}", seconds=25)
    taken_once(bench, job_id)
    job = bench.job(job_id)
    assert (job.state, job.error_code) == (state, code)
    assert bench.depths() == tuple(depths)
    assert job.dispatch == (2 if ending == "retryable" else 1)


@pytest.mark.parametrize("ending", ["bug", "overrun", "died"])
def test_a_task_that_ends_before_it_holds_the_lease(bench: Bench, ending: str) -> None:
    job_id, _ = bench.publish(f"before lease {ending}")
    until(lambda: bool(bench.takes(job_id)), "it is taken", seconds=25)
    time.sleep(LIMIT if ending == "overrun" else 0)
    taken_once(bench, job_id)
    assert bench.depths() == (0, 0, 0)
    assert (bench.job(job_id).state, bench.job(job_id).stages[0].state) == ("accepted", "dispatched")
    assert repair_lost_dispatches(bench.app, bench.pipeline.sessions, bench.settings) == 1
    assert bench.job(job_id).dispatch == 2
    publish(bench.pipeline.sessions)


@pytest.mark.parametrize("ending", ["overrun", "died"])
def test_a_task_that_ends_while_it_holds_the_lease(bench: Bench, ending: str) -> None:
    job_id, _ = bench.publish(ending)
    bench.pipeline.wait_for_stage(job_id, "preprocess", "running")
    time.sleep(LIMIT if ending == "overrun" else 0)
    taken_once(bench, job_id)
    assert bench.depths() == (0, 0, 0)
    assert bench.job(job_id).stages[0].state == "running"
    dies(bench, job_id)


def dies(bench: Bench, job_id: str) -> None:
    """Wait for the lease's end, and see that it counts as one death and the chain goes out again."""
    sessions = bench.pipeline.sessions
    until(lambda: expire_leases(sessions, bench.settings) == 1, "the lease runs out", seconds=25)
    job = bench.job(job_id)
    assert (job.dispatch, job.stages[0].state, job.stages[0].worker_deaths) == (2, "dispatched", 1)
    assert [one.job_id for one in publish(sessions)] == [job_id]


def test_a_soft_time_limit_is_a_retryable_ending(bench: Bench) -> None:
    job_id, _ = bench.publish("overrun", soft_time_limit=1)
    bench.pipeline.wait_for_stage(job_id, "preprocess", "dispatched")
    until(lambda: bench.job(job_id).dispatch == 2, "it is dispatched again", seconds=25)
    taken_once(bench, job_id)
    assert bench.depths() == (0, 0, 0)
    assert bench.job(job_id).stages[0].failures == 1


def test_a_task_that_an_operator_terminates(bench: Bench) -> None:
    job_id, task_id = bench.publish("overrun")
    bench.pipeline.wait_for_stage(job_id, "preprocess", "running")
    bench.app.control.revoke(task_id, terminate=True, signal="SIGKILL")
    taken_once(bench, job_id)
    assert bench.depths() == (0, 0, 0)
    dies(bench, job_id)


def test_a_task_that_an_operator_revokes_before_it_starts(bench: Bench) -> None:
    blockers = [bench.publish("slow")[0] for _ in range(2)]
    job_id, task_id = bench.publish("returns")
    bench.app.control.revoke(task_id)
    for blocker in blockers:
        bench.pipeline.wait_for_stage(blocker, "preprocess", "done")
    time.sleep(1.0)
    assert bench.takes(job_id) == []
    assert bench.depths() == (0, 2, 0)
    assert repair_lost_dispatches(bench.app, bench.pipeline.sessions, bench.settings) >= 1
    assert bench.job(job_id).dispatch == 2
    publish(bench.pipeline.sessions)


def test_the_broker_connection_breaks_while_a_task_runs(bench: Bench) -> None:
    job_id, _ = bench.publish("slow")
    bench.pipeline.wait_for_stage(job_id, "preprocess", "running")
    assert bench.proxy.cut() > 0
    bench.pipeline.wait_for_stage(job_id, "preprocess", "done")
    until(lambda: bench.depths()[0] == 0, "no message waits", seconds=25)
    until(lambda: bench.depths()[1] >= 1, "the chain goes on", seconds=25)
    assert bench.depths()[2] == 0
    assert [attempt.outcome for attempt in bench.job(job_id).stages[0].attempts] == ["done"]


def test_the_whole_worker_is_killed(bench: Bench) -> None:
    assert bench.worker is not None
    job_id, _ = bench.publish("slow")
    bench.pipeline.wait_for_stage(job_id, "preprocess", "running")
    kill_tree(bench.worker)
    if bench.settings.broker_kind == "amqp":
        until(lambda: bench.depths()[0] == 1, "RabbitMQ has the message again", seconds=25)
    else:
        # It comes back when the visibility timeout is over, long after the relay sent a newer one.
        assert (bench.depths()[0], len(unacked(bench))) == (0, 1)
        restore(bench)
    bench.worker = bench.start_worker("heir")
    until(lambda: len(bench.takes(job_id)) == 2, "the heir looks at it", seconds=25)
    assert [attempt.worker for attempt in bench.job(job_id).stages[0].attempts] == ["shared@test"]
    until(lambda: bench.depths() == (0, 0, 0), "and the message is gone", seconds=15)
    dies(bench, job_id)


def test_a_worker_that_ends_in_order_leaves_nothing_unacknowledged(bench: Bench) -> None:
    assert bench.worker is not None
    bench.worker.send_signal(signal.SIGTERM)
    assert bench.worker.wait(20) == 0
    assert bench.depths() == (0, 0, 0)

"""Names of queues, and messages that are sent to them; a broker in memory."""

import ast
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from celery.app.trace import build_tracer
from pydantic import SecretStr

from db.outbox import Publication
from face3d.options import GPU_TYPE_NAMES
from face3d.queues import StageQueue, all_queue_names, placed_queue, queue_name, read_queue_name
from face3d.settings import ROOT, Settings
from face3d.states import STAGES, PriorityClass, StageName
from tasks.app import App, make_app
from tasks.chain import address_next, job_chain, task_name

#: What runs in an installation; numeric code has threads' states of CUDA's own making.
PRODUCT = ("face3d", "storage", "db", "tasks", "web", "gpu_workers", "compose", "cli", "capacity")
NUMERIC = ("gpu_workers/engines", "gpu_workers/head")
#: boto3 calls its hooks in the thread of the call, and has no place for what belongs to one call.
THREAD_LOCAL = {"storage/connection.py"}
IDENTITY = ("WORKER_NAME", "GPU_TYPE", "DEVICE", "STAGES", "SLOTS", "POOL", "MEMORY_SHARE", "WATCH_DIR")

H100 = StageQueue(stage=StageName.TEXTURE, gpu_type="h100", priority_class=PriorityClass.INTERACTIVE)
T4 = StageQueue(stage=StageName.GEOMETRY, gpu_type="t4", priority_class=PriorityClass.INTERACTIVE)
CPU = StageQueue(stage=StageName.TEXTURE, gpu_type="cpu", priority_class=PriorityClass.BATCH)


def test_a_name_is_read_back_as_it_was_built() -> None:
    assert queue_name(H100) == "texture.h100.interactive"
    stages = [read_queue_name(name) for name in all_queue_names() if name != "delivery"]
    assert len({queue for queue in stages if queue}) == len(STAGES) * len(GPU_TYPE_NAMES) * len(PriorityClass)
    assert [queue_name(queue) for queue in stages if queue] == all_queue_names()[:-1]


@pytest.mark.parametrize("name", ["delivery", "", "texture.h100", "texture.t4.urgent", "sculpt.cpu.batch"])
def test_what_is_no_stages_queue_is_read_as_none(name: str) -> None:
    assert read_queue_name(name) is None


def test_a_row_without_a_placement_has_no_queue() -> None:
    assert placed_queue("texture", "h100", "interactive") == H100
    assert placed_queue("texture", None, None) is None


class Sent:
    """An app whose broker lies in memory; its router places all on `cpu` and notes that it was asked."""

    def __init__(self, app: App, monkeypatch: pytest.MonkeyPatch) -> None:
        self.app = app
        self.asked: list[tuple[str, str]] = []
        monkeypatch.setattr(app.router, "place", self._place)

    def _place(self, stage: StageName, job_id: str) -> StageQueue:
        self.asked.append((stage.value, job_id))
        return StageQueue(stage=stage, gpu_type="cpu", priority_class=PriorityClass.BATCH)

    def take(self, queue: str) -> Any:
        """Return the message that waits in a queue, or None."""
        with self.app.connection_for_write() as connection:
            return self.app.amqp.queues[queue](connection.default_channel).get()

    def work(self, message: Any, then: StageQueue | None = None) -> None:
        """Do a stage's message as a worker does, and place its next step before the task returns."""
        headers = message.headers
        stage = StageName(headers["task"].removeprefix("face3d."))

        @self.app.task(bind=True, name=f"stand-in.{stage.value}.{headers['id']}", shared=False)
        def stand_in(task: Any, *_: object) -> None:
            if then is not None:
                address_next(task.request, then)

        args, kwargs, embed = message.decode()
        request = {**headers, **embed, "args": args, "kwargs": kwargs, "delivery_info": {}, "is_eager": False}
        tracer = build_tracer(stand_in.name, stand_in, app=self.app, propagate=True)
        tracer(headers["id"], args, kwargs, request)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sent]:
    made = make_app(Settings(broker_url=SecretStr("memory://")))
    made.conf.broker_transport_options = {"priority_steps": [0, 9]}
    made.conf.face3d_publisher_options = {}
    yield Sent(made, monkeypatch)
    made.close()
    from tasks.app import app

    app.set_current()


def publish(sent: Sent, first: StageQueue) -> None:
    stages = STAGES[STAGES.index(first.stage) :]
    publication = Publication(
        id=1,
        job_id="job",
        dispatch=1,
        stages=stages,
        claimed_until=None,
        due_at=None,  # type: ignore[arg-type]
    )
    job_chain(sent.app, publication, first).apply_async()


def test_a_stage_that_ends_sends_the_next_to_where_its_commit_placed_it(sent: Sent) -> None:
    publish(
        sent, StageQueue(stage=StageName.GEOMETRY, gpu_type="t4", priority_class=PriorityClass.INTERACTIVE)
    )
    message = sent.take("geometry.t4.interactive")
    assert message.properties["priority"] == 0
    sent.work(message, H100)
    message = sent.take("texture.h100.interactive")
    assert message.headers["task"] == task_name(StageName.TEXTURE)
    assert message.properties["priority"] == 0
    assert sent.asked == [], "what was placed is placed once"


def test_no_message_carries_the_time_limit_of_who_sent_it(sent: Sent) -> None:
    """Not where the sender knows the tasks either; the limit is that of the worker that runs one."""
    sent.app.conf.task_time_limit = 300.0
    import_module("tasks.stages")
    assert {task_name(stage) for stage in STAGES} <= set(sent.app.tasks)
    publish(sent, StageQueue(stage=StageName.GEOMETRY, gpu_type="t4", priority_class=PriorityClass.BATCH))
    message = sent.take("geometry.t4.batch")
    assert message.headers["timelimit"] == [None, None]
    sent.work(message, H100)
    assert sent.take("texture.h100.interactive").headers["timelimit"] == [None, None]


def test_the_step_behind_an_older_releases_task_is_placed_as_it_is_sent(sent: Sent) -> None:
    """Nobody wrote a placement into it: its task ran in the release before, or its stage was done already."""
    publish(
        sent, StageQueue(stage=StageName.GEOMETRY, gpu_type="t4", priority_class=PriorityClass.INTERACTIVE)
    )
    sent.work(sent.take("geometry.t4.interactive"))
    message = sent.take("texture.cpu.batch")
    assert message.properties["priority"] == 9
    assert sent.asked == [("texture", "job")]


def test_a_placement_of_another_stage_is_written_into_no_step(sent: Sent) -> None:
    publish(sent, StageQueue(stage=StageName.PREPROCESS, gpu_type="cpu", priority_class=PriorityClass.BATCH))
    sent.work(sent.take("preprocess.cpu.batch"), H100)
    assert sent.take("texture.h100.interactive") is None
    assert sent.take("geometry.cpu.batch") is not None


def test_two_messages_of_one_worker_keep_their_placements(sent: Sent) -> None:
    publish(sent, T4)
    publish(sent, T4)
    first, second = sent.take("geometry.t4.interactive"), sent.take("geometry.t4.interactive")
    sent.work(first, CPU)
    sent.work(second, H100)
    assert sent.take("texture.cpu.batch").headers["root_id"] == first.headers["id"]
    assert sent.take("texture.h100.interactive").headers["root_id"] == second.headers["id"]


def test_the_last_stage_has_no_step_to_address(sent: Sent) -> None:
    publish(sent, StageQueue(stage=StageName.PACKAGING, gpu_type="cpu", priority_class=PriorityClass.BATCH))
    sent.work(sent.take("packaging.cpu.batch"), H100)
    assert sent.take("texture.h100.interactive") is None


def _trees() -> Iterator[tuple[str, ast.Module]]:
    for folder in PRODUCT:
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = str(path.relative_to(ROOT))
            if not name.startswith(NUMERIC):
                yield name, ast.parse(path.read_text())


def _told(node: ast.AST) -> str:
    return ast.unparse(node) if isinstance(node, ast.Attribute | ast.Call | ast.Subscript) else ""


def _is_split(node: ast.AST) -> bool:
    """Tell whether something that is called a queue is taken apart, in Python or in SQL."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str) and "split_part" in node.value
    call = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    return (
        call and node.func.attr in ("split", "rsplit", "partition", "rpartition") and "queue" in _told(node)
    )


def test_no_placement_and_no_identity_goes_past_its_contract() -> None:
    """Placements travel in messages, identity in Settings, and one module takes a queue's name apart."""
    wrong = [
        f"{name}:{node.lineno}: {_told(node)}"
        for name, tree in _trees()
        for node in ast.walk(tree)
        if (_told(node) == "threading.local" and name not in THREAD_LOCAL)
        or (
            _told(node).startswith(("os.environ", "os.getenv"))
            and any(f"FACE3D_{one}" in _told(node) for one in IDENTITY)
        )
        or (_is_split(node) and name != "face3d/queues.py")
    ]
    wrong += [str(path) for path in (ROOT / "db" / "sql").glob("*.sql") if "split_part" in path.read_text()]
    assert not wrong, "\n".join(wrong)

"""Queues of the broker: what one is, and the only place that builds or reads a queue's name."""

from dataclasses import dataclass

from face3d.options import GPU_TYPE_NAMES
from face3d.states import STAGES, PriorityClass, StageName

#: Webhook messages; not bound to a GPU type.
DELIVERY_QUEUE = "delivery"

_SEPARATOR = "."


@dataclass(frozen=True, kw_only=True)
class StageQueue:
    """The queue of one stage on one GPU type for one priority class."""

    stage: StageName
    gpu_type: str
    priority_class: PriorityClass


def queue_name(queue: StageQueue) -> str:
    """Return the name by which the broker knows a queue, `geometry.h100.interactive`."""
    return _SEPARATOR.join((queue.stage.value, queue.gpu_type, queue.priority_class.value))


def read_queue_name(name: str) -> StageQueue | None:
    """Return the queue of a name; None for one that is no stage's, as `delivery`."""
    try:
        stage, gpu_type, priority_class = name.split(_SEPARATOR)
        return StageQueue(
            stage=StageName(stage), gpu_type=gpu_type, priority_class=PriorityClass(priority_class)
        )
    except ValueError:
        return None


def placed_queue(stage: str | None, gpu_type: str | None, priority_class: str | None) -> StageQueue | None:
    """Return the queue of a row's three columns; None for a stage that was not placed."""
    if stage is None or gpu_type is None or priority_class is None:
        return None
    return StageQueue(stage=StageName(stage), gpu_type=gpu_type, priority_class=PriorityClass(priority_class))


def all_queue_names() -> list[str]:
    """Return every queue that a message may be sent to."""
    stages = [
        queue_name(StageQueue(stage=stage, gpu_type=gpu_type, priority_class=priority_class))
        for stage in STAGES
        for gpu_type in GPU_TYPE_NAMES
        for priority_class in PriorityClass
    ]
    return [*stages, DELIVERY_QUEUE]

"""The chain of a job: preprocess, geometry, texture, packaging; ids only in its messages.

A message carries the steps that follow it. Celery publishes the next of them when a task returns, and that
step's own options say to which queue: they are written once its placement is committed.
"""

from celery import Celery, chain, signature
from celery.app.task import Context
from celery.canvas import Signature

from db.outbox import Publication
from face3d.queues import StageQueue, queue_name
from face3d.states import StageName

TASK_PREFIX = "face3d."


def task_name(stage: StageName) -> str:
    """Return the name of a stage's task."""
    return f"{TASK_PREFIX}{stage.value}"


def job_chain(app: Celery, publication: Publication, first: StageQueue) -> Signature:
    """Return the chain of a job's stages that are not done.

    Args:
        first: where its first step was placed; each later one is placed when the one before ends.
    """
    steps = [
        signature(task_name(stage), args=(publication.job_id, publication.dispatch), immutable=True, app=app)
        for stage in publication.stages
    ]
    for step in steps:
        # Where the tasks are registered, Celery writes the sender's own limit into the message, and that one
        # counts; a worker's limit is its own.
        step.set(time_limit=None)
    steps[0].set(queue=queue_name(first))
    return chain(*steps) if len(steps) > 1 else steps[0]


def address_next(request: Context, queue: StageQueue) -> None:
    """Write a placement into the step that Celery publishes when this task returns.

    Args:
        request: of the running task; a task that was called by itself has no next step.
    """
    steps = request.chain
    # The next one is the last of the list.
    if steps and steps[-1]["task"] == task_name(queue.stage):
        steps[-1]["options"]["queue"] = queue_name(queue)

"""A real Celery worker whose preprocess stage ends as the job's option ref says.

`FACE3D_TEST_TAKEN` names a file with a line for each message that was taken: the job's id and a process id.
"""

import os
import signal
import time
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from db import leases
from face3d.errors import ErrorCode, RefusedError, StorageUnavailable
from tasks import stages
from tasks.app import app
from tasks.stage_context import StageContext, StageOutput

__all__ = ["app"]

_take = leases.take


def _end(how: str | None) -> None:
    match how:
        case "refused":
            raise RefusedError(ErrorCode.NO_FACE, "No face.")
        case "retryable":
            raise StorageUnavailable
        case "bug":
            raise KeyError(how)
        case "died":
            os.kill(os.getpid(), signal.SIGKILL)
        case "overrun":
            time.sleep(60)
        case "slow":
            time.sleep(1)


def _take_and_note(session: Session, *, job_id: str, **values: Any) -> Any:
    with Path(os.environ["FACE3D_TEST_TAKEN"]).open("a") as file:
        file.write(f"{job_id} {os.getpid()}\n")
    how = session.execute(text("SELECT options->>'ref' FROM jobs WHERE id = :id"), {"id": job_id}).scalar()
    before, _, ending = (how or "").partition("before lease ")
    if not before and ending:
        _end(ending)
    return _take(session, job_id=job_id, **values)


def _preprocess(context: StageContext) -> StageOutput:
    _end(context.options.ref)
    return StageOutput(prefix=f"{context.lease.job_id}/made/", files=[])


# A worker that connects to RabbitMQ looks at every queue that it may name, which takes seconds;
# the tests' time limit is shorter.
app.conf.task_queues = [
    queue for queue in app.conf.task_queues if queue.name in ("preprocess.cpu.batch", "geometry.cpu.batch")
]
leases.take = _take_and_note  # type: ignore[assignment]
stages.preprocess_photo = _preprocess

"""Leases of stages: take, renew, complete, fail; db/recovery.py takes them from who does not come back.

A stage's only commit is the fenced update of its row: it counts while the row still names this attempt and
this lease. A worker that froze past its lease and wakes up later changes nothing.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any
from uuid import uuid4

from sqlalchemy import text
from sqlalchemy.orm import Session

from db.lifecycle import end_job, redispatch
from db.locks import lock_job
from db.results import StoredFile
from db.statements import load_statement
from db.webhooks import insert_deliveries
from face3d.errors import ErrorCode, LeaseLost, RefusedError
from face3d.states import STAGES, JobState, Quality, StageName, StageState
from face3d.worker_spec import WorkerSpec


class Decision(StrEnum):
    """What a task that just started must do."""

    #: It holds the lease: work.
    WORK = "work"
    #: The stage was done before: return, so that the chain goes on.
    DONE = "done"
    #: Older dispatch, leased elsewhere, or the job ended: stop this copy of the chain.
    IGNORE = "ignore"


@dataclass(frozen=True, kw_only=True)
class Lease:
    """The right to work on one stage, until it runs out."""

    job_id: str
    stage: StageName
    attempt: int
    token: str
    dispatch: int


@dataclass(frozen=True, kw_only=True)
class LeasedJob:
    """What a worker needs to know of the job whose stage it leased."""

    lease: Lease
    bucket: str
    key: str
    etag: str
    options: dict[str, Any]
    #: Names of the options that the caller stated.
    stated: Sequence[str]
    source: str
    created_at: str
    #: What the router wrote of the leased stage; empty when it never placed it.
    placement: Mapping[str, Any]
    #: Stage name to the prefix of its artifacts that count.
    prefixes: Mapping[str, str]


_LOCK_AND_READ = text("""
    SELECT state, dispatch, bucket, key, etag, options, stated, source, created_at
      FROM jobs WHERE id = :job_id FOR UPDATE
""")

_READ_STAGES = text(
    "SELECT name, ordinal, state, attempt, prefix, CASE WHEN name = :stage THEN placement END AS placement"
    "  FROM stages WHERE job_id = :job_id"
)

_TAKE = load_statement("take_stage")


def take(
    session: Session,
    *,
    job_id: str,
    stage: StageName,
    dispatch: int,
    worker: WorkerSpec,
    seconds: float,
) -> tuple[Decision, LeasedJob | None]:
    """Decide what a started task does, and lease the stage if it is to work; the caller commits."""
    job = session.execute(_LOCK_AND_READ, {"job_id": job_id}).one_or_none()
    if job is None or job.dispatch != dispatch or job.state not in (JobState.ACCEPTED, JobState.RUNNING):
        return Decision.IGNORE, None
    stages = session.execute(_READ_STAGES, {"job_id": job_id, "stage": stage.value}).all()
    mine = next(one for one in stages if one.name == stage)
    if any(one.state != StageState.DONE for one in stages if one.ordinal < mine.ordinal):
        return Decision.IGNORE, None
    if mine.state == StageState.DONE:
        return Decision.DONE, None
    if mine.state != StageState.DISPATCHED:
        # Running and alive: its holder works. Running and run out: the relay gives the job a new dispatch
        # number in a moment; taking the stage here would hide a death from the poison count.
        return Decision.IGNORE, None
    token = str(uuid4())
    session.execute(
        _TAKE,
        {
            "job_id": job_id,
            "stage": stage.value,
            "lease": token,
            "seconds": seconds,
            "worker": worker.name,
            "gpu_type": worker.gpu_type,
            "device": worker.device,
            "engine": job.options.get("engine", ""),
        },
    )
    return Decision.WORK, LeasedJob(
        lease=Lease(job_id=job_id, stage=stage, attempt=mine.attempt + 1, token=token, dispatch=dispatch),
        bucket=job.bucket,
        key=job.key,
        etag=job.etag,
        options=job.options,
        stated=job.stated,
        source=job.source,
        created_at=job.created_at.isoformat(),
        placement=mine.placement or {},
        prefixes={one.name: one.prefix for one in stages if one.prefix is not None},
    )


def renew(session: Session, lease: Lease, seconds: float) -> bool:
    """Prolong a lease that is still ours; False when it is lost."""
    renewed = session.execute(
        text(
            "UPDATE stages SET lease_until = now() + make_interval(secs => :seconds)"
            " WHERE job_id = :job_id AND name = :stage AND attempt = :attempt AND lease = :lease"
            " RETURNING 1"
        ),
        {**fence(lease), "seconds": seconds},
    )
    return renewed.scalar() is not None


def fence(lease: Lease) -> dict[str, Any]:
    """Return the parameters of a fenced statement."""
    return {
        "job_id": lease.job_id,
        "stage": lease.stage.value,
        "attempt": lease.attempt,
        "lease": lease.token,
    }


_COMMIT = load_statement("commit_stage")


def complete(
    session: Session,
    lease: Lease,
    *,
    prefix: str,
    files: Sequence[StoredFile],
    timings: Mapping[str, float],
    ran: Mapping[str, Any] | None = None,
    quality: Quality | None = None,
) -> list[str]:
    """Make this attempt's prefix the one that counts; the last stage makes the job ready.

    Returns:
        Ids of the webhook endpoints that now have a message due: the caller publishes them, or the relay does
        at its next poll.
    Raises:
        LeaseLost: another attempt owns the stage, or the job was cancelled.
    """
    lock_job(session, lease.job_id)
    committed = session.execute(
        _COMMIT,
        {
            **fence(lease),
            "prefix": prefix,
            "timings": json.dumps(dict(timings)),
            "ran": json.dumps(dict(ran or {})),
            "files": json.dumps([asdict(file) for file in files]),
        },
    ).scalar()
    if committed is None:
        raise LeaseLost
    if committed == len(STAGES) - 1:
        session.execute(
            text(
                "UPDATE jobs SET state = 'ready', finished_at = now(), asset_prefix = :prefix,"
                " quality = :quality WHERE id = :job_id"
            ),
            {"job_id": lease.job_id, "prefix": prefix, "quality": (quality or Quality.GOOD).value},
        )
        return insert_deliveries(session, lease.job_id)
    return []


_END_ATTEMPT = load_statement("end_attempt")


def end_attempt(session: Session, lease: Lease, outcome: str, code: str, message: str) -> bool:
    """Give the lease back with an error; False when it was lost before."""
    released = session.execute(
        _END_ATTEMPT,
        {**fence(lease), "outcome": outcome, "code": code, "message": message[:500]},
    )
    return released.scalar() is not None


def fail(session: Session, lease: Lease, error: RefusedError) -> None:
    """End the job with an error.

    Raises:
        LeaseLost: another attempt owns the stage.
    """
    lock_job(session, lease.job_id)
    if not end_attempt(session, lease, "failed", error.code.value, error.message):
        raise LeaseLost
    end_job(session, lease.job_id, error)


def retry_later(
    session: Session,
    lease: Lease,
    *,
    code: ErrorCode,
    message: str,
    max_attempts: int,
    first_wait_seconds: float = 1.0,
    exclude_type: str | None = None,
) -> bool:
    """After a retryable error: queue the rest of the chain again with exponential backoff.

    Args:
        exclude_type: a GPU type that the stage shall not be sent to again while another one serves it.
    Returns:
        False when the attempts are used up; the job is failed then.
    Raises:
        LeaseLost: another attempt owns the stage.
    """
    lock_job(session, lease.job_id)
    if not end_attempt(session, lease, "failed", code.value, message):
        raise LeaseLost
    failures = session.execute(
        text(
            "UPDATE stages SET excluded = CASE"
            "  WHEN CAST(:type AS text) IS NULL OR excluded ? CAST(:type AS text) THEN excluded"
            "  ELSE excluded || to_jsonb(CAST(:type AS text)) END"
            " WHERE job_id = :job_id AND name = :stage RETURNING failures"
        ),
        {"job_id": lease.job_id, "stage": lease.stage.value, "type": exclude_type},
    ).scalar_one()
    if failures >= max_attempts:
        end_job(
            session,
            lease.job_id,
            RefusedError(code, message, value=f"{failures} attempts", limit=f"{max_attempts} attempts"),
        )
        return False
    wait = min(first_wait_seconds * 4 ** (failures - 1), 60.0)
    redispatch(session, lease.job_id, after_seconds=wait)
    return True

"""Jobs as the API shows them."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from pydantic import BaseModel, Field

from db.acceptance import API_SOURCE
from db.models import Artifact, Job, Stage
from face3d.states import JobState, PriorityClass, Quality, StageName, StageState
from web.problems import Problem

#: A running stage never claims to be done.
RUNNING_PERCENT_MAX = 95.0


class PhotoView(BaseModel):
    """The upload that the job is about."""

    bucket: str
    key: str
    etag: str = Field(description="S3's own, without quotes.")
    size: int = Field(description="Bytes.")
    content_type: str | None


class StageView(BaseModel):
    """One of the four stages."""

    name: StageName
    state: StageState
    percent: float = Field(description="0 to 100; for a running stage an estimate from recent jobs.")
    attempt: int = Field(description="Number of the newest attempt; 0 before the first.")
    started_at: datetime | None
    finished_at: datetime | None
    seconds: float | None = Field(description="How long it took, or has been running.")
    queue: str | None = Field(description="Where it was placed: <stage>.<gpu type>.<tier>.")
    device: str | None = Field(description="What it ran on.")
    timings: dict[str, Any] = Field(description="Steps inside the stage, seconds.")


class FileView(BaseModel):
    """One file of the asset."""

    name: str
    size: int = Field(description="Bytes.")
    content_type: str
    sha256: str
    url: str = Field(description="Path of this API that redirects to a short-lived link.")


class JobView(BaseModel):
    """One photo with one set of options, on its way to one asset."""

    id: str
    state: JobState
    percent: float = Field(description="0 to 100 over all stages.")
    ref: str | None = Field(description="The caller's own string.")
    name: str | None = Field(
        description="The photo's file: as it was uploaded here, or the end of its key; null once erased."
    )
    tier: PriorityClass
    source: str = Field(description="How the photo came: event, sweep or api.")
    quality: Quality | None = Field(description="Verdict of the quality report, once ready.")
    error: Problem | None = Field(description="Why it failed.")
    options: dict[str, Any]
    photo: PhotoView
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    stages: list[StageView]
    files: list[FileView] = Field(description="The asset, once ready; not part of lists.")


class JobPage(BaseModel):
    """Jobs, newest first."""

    jobs: list[JobView]
    next: datetime | None = Field(description="Pass as `before` for the next page; null on the last one.")


class _Timed(Protocol):
    started_at: datetime | None
    finished_at: datetime | None


def view_job(
    job: Job,
    *,
    typical_seconds: Mapping[str, float],
    artifacts: Sequence[Artifact] = (),
    attempts: bool = False,
) -> JobView:
    """Return a job's view.

    Args:
        job: with its stages loaded.
        typical_seconds: stage name to its usual duration, for the estimate of percents.
        artifacts: rows of the asset's files.
        attempts: whether the stages' attempts are loaded, so that device and timings can be told.
    """
    stages = [view_stage(stage, typical_seconds, attempts=attempts) for stage in job.stages]
    return JobView(
        id=job.id,
        state=JobState(job.state),
        percent=100.0 if job.state == JobState.READY else _overall(stages, typical_seconds),
        ref=job.ref,
        name=_name(job),
        tier=PriorityClass(job.tier),
        source=job.source,
        quality=Quality(job.quality) if job.quality else None,
        error=_error(job),
        options=job.options,
        photo=PhotoView(
            bucket=job.bucket, key=job.key, etag=job.etag, size=job.size, content_type=job.content_type
        ),
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        stages=stages,
        files=[view_file(job.id, artifact) for artifact in artifacts],
    )


def view_stage(stage: Stage, typical_seconds: Mapping[str, float], *, attempts: bool) -> StageView:
    """Return a stage's view."""
    newest = stage.attempts[-1] if attempts and stage.attempts else None
    seconds = _seconds(stage)
    return StageView(
        name=StageName(stage.name),
        state=StageState(stage.state),
        percent=estimate_percent(StageState(stage.state), seconds, typical_seconds.get(stage.name, 1.0)),
        attempt=stage.attempt,
        started_at=stage.started_at,
        finished_at=stage.finished_at,
        seconds=seconds,
        queue=stage.queue,
        device=newest.device if newest else None,
        timings=newest.timings if newest else {},
    )


def view_file(job_id: str, artifact: Artifact) -> FileView:
    """Return the view of one file of an asset."""
    return FileView(
        name=artifact.name,
        size=artifact.size,
        content_type=artifact.content_type,
        sha256=artifact.sha256,
        url=f"/v1/jobs/{job_id}/files/{artifact.name}",
    )


def estimate_percent(state: StageState, seconds: float | None, typical: float) -> float:
    """Return how far a stage probably is: at its typical duration 78 %, never more than 95 before its end."""
    if state is StageState.DONE:
        return 100.0
    if state is not StageState.RUNNING or seconds is None:
        return 0.0
    share = 1 - math.exp(-1.5 * seconds / max(typical, 1e-3))
    return round(min(share * 100, RUNNING_PERCENT_MAX), 1)


def _overall(stages: Sequence[StageView], typical_seconds: Mapping[str, float]) -> float:
    weights = [max(typical_seconds.get(stage.name, 1.0), 1e-3) for stage in stages]
    done = sum(weight * stage.percent for weight, stage in zip(weights, stages, strict=True))
    return round(done / sum(weights), 1) if weights else 0.0


def _seconds(timed: _Timed) -> float | None:
    if timed.started_at is None:
        return None
    end = timed.finished_at or datetime.now(UTC)
    return round(max((end - timed.started_at).total_seconds(), 0.0), 3)


def _name(job: Job) -> str | None:
    if job.name is not None or job.source == API_SOURCE or job.state == JobState.ERASED:
        return job.name
    return job.key.rpartition("/")[2]


def _error(job: Job) -> Problem | None:
    if job.error_code is None:
        return None
    return Problem(
        code=job.error_code,
        message=job.error_message or "",
        value=_number(job.error_value),
        limit=_number(job.error_limit),
    )


def _number(text: str | None) -> str | float | None:
    """Return a measured value as the number it was before the database made it text."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return text

"""What stages that are done left: their files and how they ran."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from face3d.states import StageName


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """A file that an attempt wrote."""

    name: str
    bucket: str
    size: int
    sha256: str
    content_type: str


def stage_files(session: Session, job_id: str, stage: StageName) -> list[StoredFile]:
    """Return the files of the attempt of a stage that counts, by name."""
    rows = session.execute(
        text(
            "SELECT a.name, a.bucket, a.size, a.sha256, a.content_type"
            "  FROM artifacts a JOIN stages s ON s.job_id = a.job_id AND s.name = a.stage"
            "   AND s.attempt = a.attempt AND s.state = 'done'"
            " WHERE a.job_id = :job_id AND a.stage = :stage ORDER BY a.name"
        ),
        {"job_id": job_id, "stage": stage.value},
    )
    return [
        StoredFile(name=name, bucket=bucket, size=size, sha256=sha256, content_type=content_type)
        for name, bucket, size, sha256, content_type in rows
    ]


@dataclass(frozen=True, kw_only=True)
class StageRun:
    """How the attempt of a stage that counts ran."""

    stage: str
    seconds: float
    device: str
    gpu_type: str
    timings: Mapping[str, float]
    #: Options as they ran.
    ran: Mapping[str, Any]


def stage_runs(session: Session, job_id: str) -> list[StageRun]:
    """Return how each stage that is done ran, in the order of the chain."""
    rows = session.execute(
        text(
            "SELECT a.stage, extract(epoch FROM a.finished_at - a.started_at), a.device, a.gpu_type,"
            "       a.timings, a.ran"
            "  FROM stages s JOIN attempts a"
            "    ON a.job_id = s.job_id AND a.stage = s.name AND a.number = s.attempt"
            " WHERE s.job_id = :job_id AND s.state = 'done' ORDER BY s.ordinal"
        ),
        {"job_id": job_id},
    )
    return [
        StageRun(
            stage=stage,
            seconds=round(float(seconds), 4),
            device=device,
            gpu_type=gpu_type,
            timings=timings,
            ran=ran,
        )
        for stage, seconds, device, gpu_type, timings, ran in rows
    ]

"""Reads that the API needs beyond the operations of db/."""

import threading
import time
from collections.abc import Collection, Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session, selectinload

from db.models import Artifact, Attempt, Job, Stage
from face3d.states import AttemptOutcome, JobState, StageName

#: Attempts that the typical duration of a stage is taken from.
RECENT_ATTEMPTS = 20

#: How long a typical duration is believed.
CACHE_SECONDS = 10.0


def find_jobs(session: Session, job_ids: Collection[str]) -> Sequence[Job]:
    """Return the jobs of these ids that there are, with their stages and attempts."""
    loaded = selectinload(Job.stages).selectinload(Stage.attempts)
    return session.execute(select(Job).where(Job.id.in_(job_ids)).options(loaded)).scalars().all()


def asset_files(session: Session, job: Job, asset_bucket: str) -> Sequence[Artifact]:
    """Return the files of a ready job's asset by name; none for any other job."""
    if job.state != JobState.READY:
        return ()
    query = select(Artifact).where(Artifact.job_id == job.id, Artifact.bucket == asset_bucket)
    return session.execute(query.order_by(Artifact.name)).scalars().all()


def asset_file(session: Session, job: Job, asset_bucket: str, name: str) -> Artifact | None:
    """Return one file of a ready job's asset, or None."""
    return next((file for file in asset_files(session, job, asset_bucket) if file.name == name), None)


class TypicalDurations:
    """Mean seconds of each stage over its newest attempts, cached a while for all requests of a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until = 0.0
        self._seconds: dict[str, float] = {}

    def read(self, session: Session) -> dict[str, float]:
        """Return stage name to seconds; a stage that never ran is missing.

        One thread reads; others take what was read before, rather than wait for its database.
        """
        if time.monotonic() >= self._until and self._lock.acquire(blocking=False):
            try:
                self._seconds = {
                    stage: seconds
                    for stage in (name.value for name in StageName)
                    if (seconds := _mean_seconds(session, stage)) is not None
                }
                self._until = time.monotonic() + CACHE_SECONDS
            finally:
                self._lock.release()
        return self._seconds


def _mean_seconds(session: Session, stage: str) -> float | None:
    recent = (
        select(Attempt.started_at, Attempt.finished_at)
        .where(Attempt.stage == stage, Attempt.outcome == AttemptOutcome.DONE)
        .order_by(Attempt.finished_at.desc())
        .limit(RECENT_ATTEMPTS)
        .subquery()
    )
    seconds = func.extract("epoch", recent.c.finished_at - recent.c.started_at)
    mean = session.execute(select(func.avg(seconds))).scalar()
    return None if mean is None else float(mean)

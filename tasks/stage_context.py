"""What a stage's work is given, and what it leaves."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.orm import Session, sessionmaker

from db.leases import Lease, LeasedJob
from db.results import StoredFile
from face3d.errors import ArtifactUnreadable
from face3d.options import JobOptions
from face3d.settings import Settings
from face3d.states import Quality, StageName
from face3d.worker_spec import WorkerSpec
from gpu_workers.engines.base import Engine
from gpu_workers.executor import DeviceExecutor
from storage.client import Storage
from tasks.artifacts import ArtifactStore
from tasks.leasing import HeldLease


class Timings:
    """Seconds by step of one attempt."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure a step."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - started, 6)


class StageUnreadable(ArtifactUnreadable):
    """What an earlier stage left cannot be read."""

    def __init__(self, stage: StageName, message: str) -> None:
        super().__init__(message)
        #: Who wrote it.
        self.stage = stage


@dataclass(frozen=True, kw_only=True)
class StageOutput:
    """What a stage's work leaves: the prefix that shall count and the files under it."""

    prefix: str
    files: Sequence[StoredFile]
    quality: Quality | None = None


@dataclass(frozen=True, kw_only=True)
class StageContext:
    """All that a stage's work may use."""

    job: LeasedJob
    options: JobOptions
    settings: Settings
    storage: Storage
    artifacts: ArtifactStore
    engine: Engine
    worker: WorkerSpec
    held: HeldLease
    timings: Timings
    sessions: sessionmaker[Session]
    #: Runs the engine's GPU stages within the device's memory.
    device: DeviceExecutor
    #: What the manifest tells of this attempt: options as they ran, jobs in the pass.
    ran: dict[str, Any] = field(default_factory=dict)

    @property
    def lease(self) -> Lease:
        """The lease under which the work is done."""
        return self.job.lease

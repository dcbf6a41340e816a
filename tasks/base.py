"""The base task of the four stages: leases, logs, timings, errors. The work itself is a function it is given.

What ends how:
    the work returns                commit, the chain goes on
    RefusedError                    the job fails with the error's code, the chain ends
    RetryableError                  the relay sends the rest of the chain again later, this copy ends
    LeaseLost                       another attempt owns the stage, this copy ends
    any other exception             a bug: the job fails `internal_error`, the trace is logged
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import structlog
from celery import Task
from celery.exceptions import Ignore
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from db import leases
from db.leases import Lease, LeasedJob, Verdict, WorkerIdentity
from db.results import StoredFile
from db.session import make_session_factory
from face3d.errors import ErrorCode, LeaseLost, RefusedError, RetryableError
from face3d.options import JobOptions
from face3d.settings import Settings, get_settings
from face3d.states import Quality, StageName
from gpu_workers.engines.base import Engine
from gpu_workers.engines.registry import load_engine
from storage.client import Storage
from tasks.artifacts import ArtifactStore, HostCache
from tasks.leasing import HeldLease, LeaseKeeper

log = structlog.get_logger(__name__)


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
    worker: WorkerIdentity
    held: HeldLease
    timings: Timings
    sessions: sessionmaker[Session]

    @property
    def lease(self) -> Lease:
        """The lease under which the work is done."""
        return self.job.lease


@dataclass(kw_only=True)
class Runtime:
    """What one process keeps between tasks."""

    settings: Settings
    storage: Storage
    artifacts: ArtifactStore
    keeper: LeaseKeeper
    worker: WorkerIdentity
    pid: int = field(default_factory=os.getpid)


def worker_identity(settings: Settings) -> WorkerIdentity:
    """Return who this process is; the launcher says it through the environment."""
    return WorkerIdentity(
        name=os.environ.get("FACE3D_WORKER_NAME", f"worker-{os.getpid()}"),
        gpu_type=settings.gpu_type or "cpu",
        device=os.environ.get("FACE3D_DEVICE", "cpu"),
    )


def make_runtime(settings: Settings) -> Runtime:
    """Return what a process needs to work on stages."""
    storage = Storage.from_settings(settings)
    cache = HostCache(settings.state_dir / "cache" / "artifacts", max_bytes=2 * 2**30)
    return Runtime(
        settings=settings,
        storage=storage,
        artifacts=ArtifactStore(storage, cache),
        keeper=LeaseKeeper(settings),
        worker=worker_identity(settings),
    )


class StageTask(Task):  # type: ignore[misc]  # celery ships no types
    """Base of the stage tasks."""

    abstract = True

    @cached_property
    def _settings(self) -> Settings:
        return get_settings()

    @property
    def runtime(self) -> Runtime:
        """The process's runtime; threads and leases do not survive a fork."""
        global _runtime  # noqa: PLW0603 - one runtime a process
        if _runtime is None or _runtime.pid != os.getpid():
            _runtime = make_runtime(self._settings)
        return _runtime

    def work(
        self,
        stage: StageName,
        job_id: str,
        dispatch: int,
        function: Callable[[StageContext], StageOutput],
    ) -> None:
        """Run one attempt of a stage, or find that there is nothing to do.

        Raises:
            Ignore: this copy of the chain ends here; the message is acknowledged.
        """
        runtime = self.runtime
        sessions = make_session_factory(runtime.settings)
        with structlog.contextvars.bound_contextvars(job_id=job_id, stage=stage.value, dispatch=dispatch):
            with sessions.begin() as session:
                verdict, job = leases.take(
                    session,
                    job_id=job_id,
                    stage=stage,
                    dispatch=dispatch,
                    worker=runtime.worker,
                    seconds=runtime.settings.lease_seconds,
                )
            if job is None:
                log.info("stage.skipped", verdict=verdict.value)
                if verdict is Verdict.DONE:
                    return
                raise Ignore
            held = runtime.keeper.hold(job.lease)
            timings = Timings()
            try:
                with structlog.contextvars.bound_contextvars(attempt=job.lease.attempt):
                    self._attempt(runtime, sessions, job, held, timings, function)
            finally:
                runtime.keeper.release(held)

    def _attempt(
        self,
        runtime: Runtime,
        sessions: sessionmaker[Session],
        job: LeasedJob,
        held: HeldLease,
        timings: Timings,
        function: Callable[[StageContext], StageOutput],
    ) -> None:
        started = time.perf_counter()
        log.info("stage.started")
        try:
            options = JobOptions.model_validate(job.options)
            engine = load_engine(options.engine, runtime.settings, runtime.worker.device)
            context = StageContext(
                job=job,
                options=options,
                settings=runtime.settings,
                storage=runtime.storage,
                artifacts=runtime.artifacts,
                engine=engine,
                worker=runtime.worker,
                held=held,
                timings=timings,
                sessions=sessions,
            )
            output = function(context)
            held.check()
            with sessions.begin() as session:
                leases.complete(
                    session,
                    job.lease,
                    prefix=output.prefix,
                    files=output.files,
                    timings=timings.seconds,
                    quality=output.quality,
                )
            log.info("stage.done", seconds=round(time.perf_counter() - started, 3), **_steps(timings))
        except LeaseLost:
            log.warning("stage.lease_lost")
            raise Ignore from None
        except RefusedError as error:
            log.info("stage.refused", code=error.code.value, value=error.value, limit=error.limit)
            self._end(sessions, job.lease, error)
        except RetryableError as error:
            self._retry_later(runtime, sessions, job.lease, error.code, error.message)
        except DBAPIError as error:
            # The database is away or restarted: the commit may or may not have counted. The lease runs out
            # by itself if it did not.
            log.warning("stage.database_error", error=type(error.orig).__name__)
            self._retry_later(
                runtime, sessions, job.lease, ErrorCode.INTERNAL_ERROR, "The database was not available."
            )
        except Ignore:
            raise
        except MemoryError:
            self._retry_later(
                runtime, sessions, job.lease, ErrorCode.INTERNAL_ERROR, "The worker ran out of memory."
            )
        except Exception as error:
            log.exception("stage.bug")
            message = f"Stage {job.lease.stage.value} met an unexpected {type(error).__name__}."
            self._end(sessions, job.lease, RefusedError(ErrorCode.INTERNAL_ERROR, message))

    def _end(self, sessions: sessionmaker[Session], lease: Lease, error: RefusedError) -> None:
        try:
            with sessions.begin() as session:
                leases.fail(session, lease, error)
        except LeaseLost:
            log.warning("stage.lease_lost")
        raise Ignore

    def _retry_later(
        self,
        runtime: Runtime,
        sessions: sessionmaker[Session],
        lease: Lease,
        code: ErrorCode,
        message: str,
    ) -> None:
        log.warning("stage.retry", code=code.value, reason=message)
        try:
            with sessions.begin() as session:
                leases.retry_later(
                    session,
                    lease,
                    code=code,
                    message=message,
                    max_attempts=runtime.settings.max_attempts,
                )
        except LeaseLost:
            log.warning("stage.lease_lost")
        raise Ignore


_runtime: Runtime | None = None


def _steps(timings: Timings) -> Mapping[str, Any]:
    return {f"{name}_s": seconds for name, seconds in timings.seconds.items()}

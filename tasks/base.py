"""The base task of the four stages: leases, logs, timings, errors. The work itself is a function it is given.

What ends how:
    the work returns                commit, the chain goes on
    RefusedError                    the job fails with the error's code, the chain ends
    RetryableError                  the relay sends the rest of the chain again later, this copy ends
    StageUnreadable                 the stage that wrote it and those after it run again, this copy ends
    LeaseLost                       another attempt owns the stage, this copy ends
    a soft time limit               as a retryable error
    any other exception             a bug: the job fails `internal_error`, the trace is logged
    hard time limit, killed child   the lease runs out, which counts as a death
An exception that leaves the task (the database is away as it begins) leaves a lost dispatch for the relay.
In each case the message is acknowledged: Celery and the broker put none back by themselves.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import structlog
from celery import Task
from celery.exceptions import Ignore, SoftTimeLimitExceeded
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from db import leases, recovery
from db.leases import Decision, Lease, LeasedJob
from db.session import make_session_factory
from face3d.errors import (
    ErrorCode,
    LeaseLost,
    OutOfDeviceMemory,
    RefusedError,
    RetryableError,
)
from face3d.options import JobOptions
from face3d.queues import StageQueue
from face3d.settings import Settings, get_settings
from face3d.states import STAGES, StageName
from face3d.worker_spec import WorkerSpec
from gpu_workers.engines.registry import load_engine
from gpu_workers.executor import DeviceExecutor
from gpu_workers.health import read_memory_mb
from gpu_workers.memory import is_out_of_memory
from gpu_workers.profiles import Profile, effective_options, memory_budget_mb, profile_of
from gpu_workers.stage_heartbeats import RunningStages
from storage.client import Storage
from tasks.artifacts import ArtifactStore, open_cache
from tasks.chain import address_next
from tasks.delivery_queue import publish_due
from tasks.leasing import HeldLease, LeaseKeeper
from tasks.stage_context import StageContext, StageOutput, StageUnreadable, Timings

log = structlog.get_logger(__name__)


@dataclass(kw_only=True)
class Runtime:
    """What one process keeps between tasks."""

    settings: Settings
    storage: Storage
    artifacts: ArtifactStore
    keeper: LeaseKeeper
    worker: WorkerSpec
    running: RunningStages
    device: DeviceExecutor
    pid: int = field(default_factory=os.getpid)


def make_runtime(settings: Settings) -> Runtime:
    """Return what a process needs to work on stages."""
    storage = Storage.from_settings(settings)
    cache = open_cache(settings)
    worker = settings.worker
    running = RunningStages(worker.watch_dir)
    return Runtime(
        settings=settings,
        storage=storage,
        artifacts=ArtifactStore(storage, cache),
        keeper=LeaseKeeper(settings),
        worker=worker,
        running=running,
        device=make_executor(settings, worker, running),
    )


def make_executor(settings: Settings, worker: WorkerSpec, running: RunningStages) -> DeviceExecutor:
    """Return the way to this process's device: its memory budget and the jobs that share a pass."""
    budget = settings.memory_budget_mb
    if budget is None and worker.device != "cpu":
        budget = memory_budget_mb(
            worker.memory_share * read_memory_mb(worker.device), profile_of(worker.gpu_type)
        )
    return DeviceExecutor(
        budget_mb=budget,
        largest_batch=largest_batch(worker),
        wait_seconds=settings.batch_wait_seconds,
        running=running.count,
    )


def largest_batch(worker: WorkerSpec) -> int:
    """Return how many jobs may share a pass: forked CPU workers run one a process, with nobody to share."""
    return worker.slots if worker.gpu_type != "cpu" else 1


def get_runtime(settings: Settings) -> Runtime:
    """Return the process's runtime, made once; threads and leases do not survive a fork."""
    global _runtime  # noqa: PLW0603 - one runtime a process
    with _runtime_lock:
        if _runtime is None or _runtime.pid != os.getpid():
            _runtime = make_runtime(settings)
        return _runtime


class StageTask(Task):  # type: ignore[misc]  # celery ships no types
    """Base of the stage tasks."""

    abstract = True

    @cached_property
    def _settings(self) -> Settings:
        return get_settings()

    @property
    def runtime(self) -> Runtime:
        """The process's runtime."""
        return get_runtime(self._settings)

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
                decision, job = leases.take(
                    session,
                    job_id=job_id,
                    stage=stage,
                    dispatch=dispatch,
                    worker=runtime.worker,
                    seconds=runtime.settings.lease_seconds,
                )
            if job is None:
                log.info("stage.skipped", decision=decision.value)
                if decision is Decision.DONE:
                    return
                raise Ignore
            held = runtime.keeper.hold(job.lease)
            timings = Timings()
            try:
                with (
                    structlog.contextvars.bound_contextvars(attempt=job.lease.attempt),
                    runtime.running.note(stage, job.lease.token),
                ):
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
            options = effective_options(
                JobOptions.model_validate(job.options), job.stated, _profile(runtime, job)
            )
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
                device=runtime.device,
            )
            output = function(context)
            held.check()
            with sessions.begin() as session:
                endpoints = leases.complete(
                    session,
                    job.lease,
                    prefix=output.prefix,
                    files=output.files,
                    timings=timings.seconds,
                    ran=context.ran,
                    quality=output.quality,
                )
                # One commit instead of two: the chain's next publication needs none of its own.
                following = self._place_following(session, job.lease)
            if following is not None:
                address_next(self.request, following)
            self._send(runtime, sessions, endpoints)
            log.info("stage.done", seconds=round(time.perf_counter() - started, 3), **_steps(timings))
        except LeaseLost:
            log.warning("stage.lease_lost")
            raise Ignore from None
        except StageUnreadable as error:
            self._rerun(sessions, job.lease, error)
        except RefusedError as error:
            log.info("stage.refused", code=error.code.value, value=error.measured, limit=error.limit)
            self._end(sessions, job.lease, error)
        except OutOfDeviceMemory as error:
            self._send_elsewhere(runtime, sessions, job.lease, error)
        except RetryableError as error:
            self._retry_later(runtime, sessions, job.lease, error.code, error.message)
        except SoftTimeLimitExceeded:
            # Nobody but an operator sets one.
            message = "The stage was stopped at its soft time limit."
            self._retry_later(runtime, sessions, job.lease, ErrorCode.WORKER_DIED, message)
        except DBAPIError as error:
            # The database is away or restarted: the commit may or may not have counted. The lease runs out
            # by itself if it did not.
            log.warning("stage.database_error", error=type(error.orig).__name__)
            self._retry_later(
                runtime, sessions, job.lease, ErrorCode.INTERNAL_ERROR, "The database was not available."
            )
        except Ignore:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                self._send_elsewhere(runtime, sessions, job.lease, OutOfDeviceMemory())
            log.exception("stage.bug")
            message = f"Stage {job.lease.stage.value} met an unexpected {type(error).__name__}."
            self._end(sessions, job.lease, RefusedError(ErrorCode.INTERNAL_ERROR, message))

    def _place_following(self, session: Session, lease: Lease) -> StageQueue | None:
        following = STAGES.index(lease.stage) + 1
        if following == len(STAGES):
            return None
        queue: StageQueue = self.app.router.place_in(session, STAGES[following], lease.job_id)
        return queue

    def _send(self, runtime: Runtime, sessions: sessionmaker[Session], endpoints: Sequence[str]) -> None:
        """Publish the webhook messages of a job that just ended; the relay sends those that get lost here."""
        if not endpoints:
            return
        try:
            publish_due(self.app, sessions, runtime.settings, endpoints=endpoints)
        except Exception:
            log.warning("webhook.not_published", exc_info=True)

    def _end(self, sessions: sessionmaker[Session], lease: Lease, error: RefusedError) -> None:
        try:
            with sessions.begin() as session:
                leases.fail(session, lease, error)
        except LeaseLost:
            log.warning("stage.lease_lost")
        raise Ignore

    def _rerun(self, sessions: sessionmaker[Session], lease: Lease, error: StageUnreadable) -> None:
        """Let the stage that wrote what cannot be read run again, and those after it."""
        log.warning("stage.artifact_unreadable", wrote=error.stage.value, reason=error.message)
        try:
            with sessions.begin() as session:
                recovery.rerun(session, lease, error.stage, message=error.message)
        except LeaseLost:
            log.warning("stage.lease_lost")
        raise Ignore

    def _send_elsewhere(
        self, runtime: Runtime, sessions: sessionmaker[Session], lease: Lease, error: OutOfDeviceMemory
    ) -> None:
        """Try again on another GPU type: on this one the memory did not suffice."""
        self._retry_later(
            runtime, sessions, lease, error.code, error.message, exclude_type=runtime.worker.gpu_type
        )

    def _retry_later(
        self,
        runtime: Runtime,
        sessions: sessionmaker[Session],
        lease: Lease,
        code: ErrorCode,
        message: str,
        exclude_type: str | None = None,
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
                    exclude_type=exclude_type,
                )
        except LeaseLost:
            log.warning("stage.lease_lost")
        raise Ignore


_runtime: Runtime | None = None
_runtime_lock = threading.Lock()


def _profile(runtime: Runtime, job: LeasedJob) -> Profile:
    """Return the profile of this worker's type; a photo is decoded for the type that would bake it."""
    if job.lease.stage is StageName.PREPROCESS:
        return profile_of(job.placement.get("profile", runtime.worker.gpu_type))
    return profile_of(runtime.worker.gpu_type)


def _steps(timings: Timings) -> Mapping[str, Any]:
    return {f"{name}_s": seconds for name, seconds in timings.seconds.items()}

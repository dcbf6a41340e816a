"""What is known of a job: itself, its stages, their attempts and files, and what became of its photo."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    SmallInteger,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from db.models.base import Base, one_of
from face3d.queues import placed_queue, queue_name
from face3d.states import AttemptOutcome, JobState, PriorityClass, Quality, StageName, StageState

_TERMINAL = "('ready', 'failed', 'cancelled', 'erased')"


class Job(Base):
    """One photo with one set of options."""

    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("bucket", "key", "etag", "options_digest", name="uq_jobs_photo_and_options"),
        CheckConstraint(one_of("state", JobState), name="state"),
        CheckConstraint(one_of("tier", PriorityClass), name="tier"),
        CheckConstraint(f"(state IN {_TERMINAL}) = (finished_at IS NOT NULL)", name="finished"),
        CheckConstraint("(state = 'failed') = (error_code IS NOT NULL)", name="error"),
        CheckConstraint(
            "(state = 'ready') = (asset_prefix IS NOT NULL) AND (state = 'ready') = (quality IS NOT NULL)",
            name="asset",
        ),
        CheckConstraint(f"quality IS NULL OR {one_of('quality', Quality)}", name="quality"),
        Index("ix_jobs_created_at", "created_at"),
        Index("ix_jobs_state_created_at", "state", "created_at"),
        Index("ix_jobs_untidied", "finished_at", postgresql_where=text("tidied_at IS NULL")),
        Index(
            "ix_jobs_unerased",
            "finished_at",
            postgresql_where=text("state IN ('ready', 'failed', 'cancelled')"),
        ),
        Index("ix_jobs_finished_at", "finished_at", postgresql_where=text(f"state IN {_TERMINAL}")),
    )

    id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    bucket: Mapped[str]
    key: Mapped[str]
    etag: Mapped[str]
    options_digest: Mapped[str]
    #: Parsed options; empty when they were refused.
    options: Mapped[dict[str, Any]]
    #: Names of the options that the caller stated; the GPU type's profile decides some of the others.
    stated: Mapped[list[str]] = mapped_column(server_default=text("'[]'::jsonb"))
    #: The caller's own string.
    ref: Mapped[str | None]
    #: Its priority class, under the option's name.
    tier: Mapped[str]
    #: Which way the photo was noticed: event, sweep or api.
    source: Mapped[str]
    #: The file's name on the uploader's machine; personal, erased with the job.
    name: Mapped[str | None]
    size: Mapped[int] = mapped_column(BigInteger)
    content_type: Mapped[str | None]
    state: Mapped[str] = mapped_column(server_default=JobState.ACCEPTED.value)
    #: Rises with every new publication of the chain; older messages are ignored.
    dispatch: Mapped[int] = mapped_column(Integer, server_default="1")
    #: Rises when a person retries a finished job; each run ends with one terminal state and one webhook id.
    run: Mapped[int] = mapped_column(Integer, server_default="1")
    quality: Mapped[str | None]
    asset_prefix: Mapped[str | None]
    error_code: Mapped[str | None]
    error_message: Mapped[str | None]
    error_value: Mapped[str | None]
    error_limit: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    #: When its artifacts and abandoned attempts were deleted, after its end.
    tidied_at: Mapped[datetime | None]
    #: When a person last asked for it anew; null: never, it counts from its creation.
    asked_at: Mapped[datetime | None]
    #: How often in a row garbage collection or retention met an error with it, and when they may try again.
    upkeep_failures: Mapped[int] = mapped_column(Integer, server_default="0")
    upkeep_due_at: Mapped[datetime | None]
    #: When a person asked for its erasure; the relay ends one that broke off.
    erasure_asked_at: Mapped[datetime | None]

    stages: Mapped[list["Stage"]] = relationship(
        order_by="Stage.ordinal", back_populates="job", passive_deletes=True
    )


class Stage(Base):
    """One stage of a job: where it stands, who holds it, and which prefix counts."""

    __tablename__ = "stages"
    __table_args__ = (
        CheckConstraint(one_of("name", StageName), name="name"),
        CheckConstraint(one_of("state", StageState), name="state"),
        CheckConstraint(
            "(state = 'running') = (lease IS NOT NULL) AND (state = 'running') = (lease_until IS NOT NULL)",
            name="lease",
        ),
        CheckConstraint("(state = 'done') = (prefix IS NOT NULL)", name="prefix"),
        CheckConstraint("state NOT IN ('running', 'done') OR attempt > 0", name="attempt"),
        CheckConstraint("(gpu_type IS NULL) = (priority_class IS NULL)", name="placement"),
        CheckConstraint(one_of("priority_class", PriorityClass), name="priority_class"),
        Index(
            "ix_stages_active",
            "state",
            "name",
            "gpu_type",
            "priority_class",
            postgresql_where=text("state IN ('dispatched', 'running')"),
        ),
    )

    job_id: Mapped[str] = mapped_column(
        Uuid(as_uuid=False), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True
    )
    name: Mapped[str] = mapped_column(primary_key=True)
    ordinal: Mapped[int] = mapped_column(SmallInteger)
    state: Mapped[str] = mapped_column(server_default=StageState.WAITING.value)
    #: Number of the newest attempt; 0 before the first.
    attempt: Mapped[int] = mapped_column(Integer, server_default="0")
    lease: Mapped[str | None] = mapped_column(Uuid(as_uuid=False))
    lease_until: Mapped[datetime | None]
    #: Where the router sent it: these two and the name are its queue.
    gpu_type: Mapped[str | None]
    priority_class: Mapped[str | None]
    #: Why: the facts that the router had (tasks/routing.py).
    placement: Mapped[dict[str, Any] | None]
    #: GPU types whose memory did not suffice.
    excluded: Mapped[list[str]] = mapped_column(server_default=text("'[]'::jsonb"))
    dispatched_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    #: The artifacts that count lie under this prefix of the work bucket.
    prefix: Mapped[str | None]
    #: Attempts whose lease ran out.
    worker_deaths: Mapped[int] = mapped_column(Integer, server_default="0")
    #: Attempts that ended with a retryable error.
    failures: Mapped[int] = mapped_column(Integer, server_default="0")

    job: Mapped[Job] = relationship(back_populates="stages")
    attempts: Mapped[list["Attempt"]] = relationship(order_by="Attempt.number", passive_deletes=True)

    @property
    def queue(self) -> str | None:
        """Name of the queue that it was sent to; None before."""
        queue = placed_queue(self.name, self.gpu_type, self.priority_class)
        return queue_name(queue) if queue else None


class Attempt(Base):
    """One try of a stage."""

    __tablename__ = "attempts"
    __table_args__ = (
        ForeignKeyConstraint(
            ["job_id", "stage"],
            ["stages.job_id", "stages.name"],
            ondelete="CASCADE",
            name="fk_attempts_stage",
        ),
        CheckConstraint(one_of("outcome", AttemptOutcome), name="outcome"),
        CheckConstraint(one_of("priority_class", PriorityClass), name="priority_class"),
        CheckConstraint("(outcome = 'running') = (finished_at IS NULL)", name="finished"),
        Index(
            "uq_attempts_running",
            "job_id",
            "stage",
            unique=True,
            postgresql_where=text("outcome = 'running'"),
        ),
        Index("ix_attempts_service", "stage", "finished_at", postgresql_where=text("outcome = 'done'")),
    )

    job_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    stage: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    lease: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    worker: Mapped[str]
    gpu_type: Mapped[str]
    device: Mapped[str]
    #: Of the queue that it came from; the worker serves its own stages and GPU type only.
    priority_class: Mapped[str | None]
    engine: Mapped[str]
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    finished_at: Mapped[datetime | None]
    outcome: Mapped[str] = mapped_column(server_default=AttemptOutcome.RUNNING.value)
    error_code: Mapped[str | None]
    error_message: Mapped[str | None]
    #: Step name to seconds, as the worker measured them.
    timings: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    #: Options as they ran, with the device's profile, and how many jobs shared the pass.
    ran: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))


class Artifact(Base):
    """A file that the counting attempt of a stage left in the work or asset bucket."""

    __tablename__ = "artifacts"
    __table_args__ = (
        ForeignKeyConstraint(
            ["job_id", "stage", "attempt"],
            ["attempts.job_id", "attempts.stage", "attempts.number"],
            ondelete="CASCADE",
            name="fk_artifacts_attempt",
        ),
    )

    job_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    stage: Mapped[str] = mapped_column(primary_key=True)
    attempt: Mapped[int] = mapped_column(Integer, primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    bucket: Mapped[str]
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str]
    content_type: Mapped[str]


class OutboxEntry(Base):
    """A chain that waits to be published; deleted in the transaction that published it."""

    __tablename__ = "outbox"
    __table_args__ = (
        Index("ix_outbox_due_at", "due_at"),
        Index("ix_outbox_priority", "priority", "id"),
        Index("ix_outbox_job_id", "job_id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    job_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), ForeignKey("jobs.id", ondelete="CASCADE"))
    dispatch: Mapped[int] = mapped_column(Integer)
    #: 0: published before all others, for someone waits.
    priority: Mapped[int] = mapped_column(SmallInteger, server_default="9")
    due_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ErasedPhoto(Base):
    """A photo that must not come back: whoever still speaks of it meets the erased job."""

    __tablename__ = "erased_photos"
    __table_args__ = (
        Index("ix_erased_photos_erased_at", "erased_at"),
        Index("ix_erased_photos_job_id", "job_id"),
    )

    #: SHA-256 of bucket, key and etag: it tells nothing to those who do not hold the photo.
    digest: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(Uuid(as_uuid=False), ForeignKey("jobs.id", ondelete="CASCADE"))
    #: When the erased object was written, as its storage says; one written later is a new upload.
    modified_at: Mapped[datetime | None]
    erased_at: Mapped[datetime] = mapped_column(server_default=func.now())

"""Tables. Constraints make wrong states impossible; times are the database's."""

from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    DateTime,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from face3d.states import AttemptOutcome, JobState, Quality, StageName, StageState, Tier


def _one_of(column: str, enum: type[StrEnum]) -> str:
    values = ", ".join(f"'{member}'" for member in enum)
    return f"{column} IN ({values})"


_TERMINAL = "('ready', 'failed', 'cancelled', 'erased')"


class Base(DeclarativeBase):
    """Root of the tables."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: DateTime(timezone=True),
        str: Text(),
        dict[str, Any]: JSONB(),
        list[str]: JSONB(),
    }


class Job(Base):
    """One photo with one set of options."""

    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("bucket", "key", "etag", "options_digest", name="uq_jobs_photo_and_options"),
        CheckConstraint(_one_of("state", JobState), name="state"),
        CheckConstraint(_one_of("tier", Tier), name="tier"),
        CheckConstraint(f"(state IN {_TERMINAL}) = (finished_at IS NOT NULL)", name="finished"),
        CheckConstraint("(state = 'failed') = (error_code IS NOT NULL)", name="error"),
        CheckConstraint(
            "(state = 'ready') = (asset_prefix IS NOT NULL) AND (state = 'ready') = (quality IS NOT NULL)",
            name="asset",
        ),
        CheckConstraint(f"quality IS NULL OR {_one_of('quality', Quality)}", name="quality"),
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
    #: How often in a row tidying or retention met an error with it, and when they may try again.
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
        CheckConstraint(_one_of("name", StageName), name="name"),
        CheckConstraint(_one_of("state", StageState), name="state"),
        CheckConstraint(
            "(state = 'running') = (lease IS NOT NULL) AND (state = 'running') = (lease_until IS NOT NULL)",
            name="lease",
        ),
        CheckConstraint("(state = 'done') = (prefix IS NOT NULL)", name="prefix"),
        CheckConstraint("state NOT IN ('running', 'done') OR attempt > 0", name="attempt"),
        Index(
            "ix_stages_active", "state", "queue", postgresql_where=text("state IN ('dispatched', 'running')")
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
    #: Where the router sent it.
    queue: Mapped[str | None]
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
        CheckConstraint(_one_of("outcome", AttemptOutcome), name="outcome"),
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
    queue: Mapped[str | None]
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


class WebhookEndpoint(Base):
    """A customer's URL that hears of every finished job."""

    __tablename__ = "webhook_endpoints"
    __table_args__ = (UniqueConstraint("url", name="uq_webhook_endpoints_url"),)

    id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    url: Mapped[str]
    #: Standard Webhooks secret, sealed by face3d/sealing.py; `whsec_...` where no key is set.
    secret: Mapped[str]
    #: Secrets that were rotated out and still sign: [{"secret": sealed, "until": ISO time}], newest first.
    previous_secrets: Mapped[list[dict[str, str]]] = mapped_column(JSONB, server_default=text("'[]'"))
    enabled: Mapped[bool] = mapped_column(Boolean, server_default=text("true"))
    #: Why it is not: `gone` (it answered 410) or `asked`.
    disabled_reason: Mapped[str | None]
    #: Nothing is sent before this time: the receiver asked for it by Retry-After.
    paused_until: Mapped[datetime | None]
    #: Its last answer did not come in time: it gets few places until one does.
    hangs: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Delivery(Base):
    """One webhook message to one endpoint; its id stays the same through all retries.

    A copy of it in the broker carries the number of its claim. Only the newest claim may send, once.
    """

    __tablename__ = "deliveries"
    __table_args__ = (
        UniqueConstraint("job_id", "run", "endpoint_id", name="uq_deliveries_job_run_endpoint"),
        CheckConstraint("state IN ('pending', 'delivered', 'failed')", name="state"),
        CheckConstraint("(state = 'pending') = (due_at IS NOT NULL)", name="due"),
        Index("ix_deliveries_endpoint_id", "endpoint_id"),
        Index("ix_deliveries_due_at", "due_at", postgresql_where=text("state = 'pending'")),
        Index("ix_deliveries_waiting", "endpoint_id", "due_at", postgresql_where=text("state = 'pending'")),
        Index(
            "ix_deliveries_claimed",
            "endpoint_id",
            "claimed_until",
            postgresql_where=text("claimed_until IS NOT NULL"),
        ),
        Index("ix_deliveries_created_at", "created_at", "id"),
        Index("ix_deliveries_failed", "finished_at", postgresql_where=text("state = 'failed'")),
    )

    #: `msg_...`: the webhook-id header.
    id: Mapped[str] = mapped_column(primary_key=True)
    endpoint_id: Mapped[str] = mapped_column(
        Uuid(as_uuid=False), ForeignKey("webhook_endpoints.id", ondelete="CASCADE")
    )
    #: Null for a test message.
    job_id: Mapped[str | None] = mapped_column(Uuid(as_uuid=False), ForeignKey("jobs.id", ondelete="CASCADE"))
    run: Mapped[int] = mapped_column(Integer)
    event_type: Mapped[str]
    payload: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(server_default="pending")
    #: Tries made since it was inserted, or sent again by hand.
    attempts: Mapped[int] = mapped_column(Integer, server_default="0")
    #: When the next try is due; no claim moves it, only a try does.
    due_at: Mapped[datetime | None] = mapped_column(server_default=func.now())
    #: Number of the newest claim: older copies send nothing.
    claim: Mapped[int] = mapped_column(Integer, server_default="0")
    #: Until then nobody else claims it; a claim that began to send outlives the request's deadline.
    claimed_until: Mapped[datetime | None]
    #: The newest claim under which a send began: a doubled copy sends nothing.
    begun: Mapped[int] = mapped_column(Integer, server_default="0")
    last_status: Mapped[int | None] = mapped_column(Integer)
    last_error: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    finished_at: Mapped[datetime | None]

    tries: Mapped[list["DeliveryTry"]] = relationship(order_by="DeliveryTry.number", viewonly=True)


class DeliveryTry(Base):
    """One request of a delivery; without milliseconds while it runs, or when its worker died with it."""

    __tablename__ = "delivery_tries"

    delivery_id: Mapped[str] = mapped_column(
        ForeignKey("deliveries.id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    milliseconds: Mapped[int | None] = mapped_column(Integer)
    status: Mapped[int | None] = mapped_column(Integer)
    error: Mapped[str | None]
    #: The beginning of what a receiver that refused had to say.
    answer: Mapped[str | None]


class EventSubscription(Base):
    """A topic of Amazon SNS that asked to send its events here."""

    __tablename__ = "event_subscriptions"

    #: The topic's ARN.
    topic: Mapped[str] = mapped_column(primary_key=True)
    #: What Amazon wants back; it forgets it after three days.
    token: Mapped[str]
    #: When Amazon sent the request.
    sent_at: Mapped[datetime]
    received_at: Mapped[datetime] = mapped_column(server_default=func.now())
    confirmed_at: Mapped[datetime | None]


class Worker(Base):
    """A worker process's heartbeat: what it serves and how it is."""

    __tablename__ = "workers"
    __table_args__ = (
        CheckConstraint("slots > 0", name="slots"),
        CheckConstraint("state IN ('ready', 'draining')", name="state"),
    )

    name: Mapped[str] = mapped_column(primary_key=True)
    gpu_type: Mapped[str]
    device: Mapped[str]
    stages: Mapped[list[str]]
    slots: Mapped[int] = mapped_column(Integer)
    memory_mb: Mapped[float] = mapped_column(Float)
    state: Mapped[str] = mapped_column(server_default="ready")
    #: Why it drains.
    reason: Mapped[str | None]
    #: Temperature, clocks, utilisation: what the health probe read.
    health: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    heartbeat_at: Mapped[datetime] = mapped_column(server_default=func.now())


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


class Relay(Base):
    """A relay's last round."""

    __tablename__ = "relays"

    #: `<host>:<process id>`.
    name: Mapped[str] = mapped_column(primary_key=True)
    #: Whether it holds the lock of the periodic work.
    leads: Mapped[bool] = mapped_column(Boolean)
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    round_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Chore(Base):
    """How periodic work of the leading relay went last."""

    __tablename__ = "chores"

    name: Mapped[str] = mapped_column(primary_key=True)
    every_seconds: Mapped[float] = mapped_column(Float)
    #: The relay that did it last.
    relay: Mapped[str]
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    succeeded_at: Mapped[datetime | None]
    #: In a row, up to now.
    failures: Mapped[int] = mapped_column(Integer, server_default="0")
    failures_total: Mapped[int] = mapped_column(BigInteger, server_default="0")
    #: The kind of the last error; its text could hold a key.
    last_error: Mapped[str | None]


class SignIn(Base):
    """A session of the page, or a code that opens one; see `db.sign_in`."""

    __tablename__ = "sign_ins"
    __table_args__ = (
        CheckConstraint("kind IN ('session', 'code')", name="kind"),
        Index("ix_sign_ins_expires_at", "expires_at"),
    )

    #: HMAC under the API token; the name or code itself is nowhere.
    hash: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]

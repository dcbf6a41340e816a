"""How the installation runs: its processes, their periodic work, who signed in, which topics send events."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Float,
    Index,
    Integer,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base


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


class Relay(Base):
    """A relay's last round."""

    __tablename__ = "relays"

    #: `<host>:<process id>`.
    name: Mapped[str] = mapped_column(primary_key=True)
    #: Whether it holds the lock of the periodic work.
    leads: Mapped[bool] = mapped_column(Boolean)
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    round_at: Mapped[datetime] = mapped_column(server_default=func.now())


class PeriodicTask(Base):
    """How a periodic task of the leading relay went last."""

    __tablename__ = "periodic_tasks"

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

"""Who hears of a finished job, and each message to them."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    ForeignKey,
    Index,
    Integer,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from db.models.base import Base


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

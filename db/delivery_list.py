"""Webhook messages as people look at them: listed, filtered, sent again."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, and_, false, func, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session, selectinload

from db.models import Delivery, Job, WebhookEndpoint
from db.notices import notify_relay
from face3d.errors import Face3DError
from face3d.states import JobState


class DeliveryNotFound(Face3DError):
    """There is no webhook message of that id."""


class NotRedeliverable(Face3DError):
    """The message cannot be sent again."""


@dataclass(frozen=True, kw_only=True)
class DeliveryFilter:
    """Which messages are meant; what is None is not looked at."""

    state: str | None = None
    endpoint_id: str | None = None
    job_id: str | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return SQL conditions; an id that is none matches nothing."""
        found: list[ColumnElement[bool]] = []
        if self.state is not None:
            found.append(Delivery.state == self.state)
        if self.endpoint_id is not None:
            found.append(_is(Delivery.endpoint_id, self.endpoint_id))
        if self.job_id is not None:
            found.append(_is(Delivery.job_id, self.job_id))
        return found


def _is(
    column: InstrumentedAttribute[str] | InstrumentedAttribute[str | None], text: str
) -> ColumnElement[bool]:
    """Return the condition that a column holds this id: what is no id stands for no row, not for NULL."""
    try:
        return column == str(UUID(text))
    except ValueError:
        return false()


def list_deliveries(
    session: Session,
    wanted: DeliveryFilter,
    *,
    limit: int,
    before: tuple[datetime, str] | None = None,
) -> Sequence[Delivery]:
    """Return messages with their tries, newest first.

    Args:
        before: time and id of the last message of the page before.
    """
    query = select(Delivery).where(*wanted.conditions()).options(selectinload(Delivery.tries))
    if before is not None:
        created_at, delivery_id = before
        query = query.where(
            or_(
                Delivery.created_at < created_at,
                and_(Delivery.created_at == created_at, Delivery.id < delivery_id),
            )
        )
    newest_first = query.order_by(Delivery.created_at.desc(), Delivery.id.desc())
    return session.execute(newest_first.limit(limit)).scalars().all()


def find_delivery(session: Session, delivery_id: str) -> Delivery:
    """Return a message with its tries.

    Raises:
        DeliveryNotFound
    """
    found = session.execute(
        select(Delivery)
        .where(Delivery.id == delivery_id)
        .options(selectinload(Delivery.tries))
        .execution_options(populate_existing=True)
    ).scalar_one_or_none()
    if found is None:
        raise DeliveryNotFound
    return found


def redeliver(session: Session, delivery_id: str) -> None:
    """Send a message again at once, under its id and with all tries before it; one that waits is sent now.

    Raises:
        DeliveryNotFound
        NotRedeliverable: its endpoint is disabled, or its job was erased.
    """
    delivery = find_delivery(session, delivery_id)
    endpoint = session.get_one(WebhookEndpoint, delivery.endpoint_id)
    if not endpoint.enabled:
        raise NotRedeliverable("The message's endpoint is disabled; enable it first.")
    if not _make_due(session, [Delivery.id == delivery_id]):
        raise NotRedeliverable("The message's job was erased.")


def redeliver_failed(session: Session, wanted: DeliveryFilter) -> int:
    """Send again all failed messages that are meant and whose endpoint is enabled; return how many."""
    enabled = select(WebhookEndpoint.id).where(WebhookEndpoint.enabled)
    return _make_due(
        session,
        [Delivery.state == "failed", Delivery.endpoint_id.in_(enabled), *wanted.conditions()],
    )


def _make_due(session: Session, conditions: Sequence[ColumnElement[bool]]) -> int:
    """Make messages due now with a schedule of their own; one on its way is sent when that send is over."""
    erased = select(Job.id).where(Job.id == Delivery.job_id, Job.state == JobState.ERASED)
    chosen = (
        select(Delivery.id)
        .where(*conditions, Delivery.payload != {}, ~erased.exists())
        .order_by(Delivery.id)
        .with_for_update()
    )
    made = session.execute(
        update(Delivery)
        .where(Delivery.id.in_(chosen))
        .values(state="pending", attempts=0, due_at=func.now(), finished_at=None)
        .returning(Delivery.id)
        .execution_options(synchronize_session=False)
    ).all()
    if made:
        notify_relay(session)
    return len(made)

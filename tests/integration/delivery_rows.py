"""Webhook messages in the database, and a clock for them that tests can move."""

import json
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from db import acceptance, deliveries, webhooks
from db.deliveries import Claim, Outcome, Outgoing
from face3d.errors import ErrorCode, RefusedError

#: The schedule of docs/how-to/operations.md, seconds.
WAITS = (5.0, 30.0, 120.0, 600.0, 3600.0, 14400.0, 43200.0)
GUARD, HOLD, PLACES = 60.0, 15.0, 2

OK = Outcome(status=204, error=None, seconds=0.01)
REFUSED = Outcome(status=500, error="HTTP 500", seconds=0.01)
TIMED_OUT = Outcome(status=None, error="late", seconds=10.0, timed_out=True)


def add_endpoint(sessions: sessionmaker[Session], url: str) -> str:
    """Add an endpoint and return its id."""
    with sessions.begin() as session:
        return webhooks.add_endpoint(session, url).endpoint.id


def add_messages(sessions: sessionmaker[Session], count: int, prefix: str = "photo") -> list[str]:
    """End so many jobs, each with a message to every endpoint; return the jobs' ids."""
    refusal = RefusedError(ErrorCode.BAD_OPTION, "No such value.")
    made = []
    for number in range(count):
        with sessions.begin() as session:
            accepted = acceptance.accept(
                session,
                bucket="inbox",
                key=f"{prefix}-{number}.jpg",
                etag="e",
                size=1,
                content_type=None,
                options=None,
                refusal=refusal,
                source="event",
            )
        made.append(accepted.job_id)
    return made


def pass_time(sessions: sessionmaker[Session], seconds: float) -> None:
    """Let time pass for webhooks: not the database's clock is moved, but all that it is compared with."""
    with sessions.begin() as session:
        session.execute(
            text("UPDATE webhook_endpoints SET paused_until = paused_until - make_interval(secs => :s)"),
            {"s": seconds},
        )
        for endpoint, kept in session.execute(text("SELECT id, previous_secrets FROM webhook_endpoints")):
            for entry in kept:
                until = datetime.fromisoformat(entry["until"]) - timedelta(seconds=seconds)
                entry["until"] = until.isoformat()
            session.execute(
                text("UPDATE webhook_endpoints SET previous_secrets = CAST(:kept AS jsonb) WHERE id = :id"),
                {"id": endpoint, "kept": json.dumps(kept)},
            )
        session.execute(
            text(
                "UPDATE deliveries SET due_at = due_at - make_interval(secs => :s),"
                " claimed_until = claimed_until - make_interval(secs => :s),"
                " created_at = created_at - make_interval(secs => :s)"
            ),
            {"s": seconds},
        )
        session.execute(
            text("UPDATE delivery_tries SET started_at = started_at - make_interval(secs => :s)"),
            {"s": seconds},
        )


def claim(sessions: sessionmaker[Session], places: int = PLACES) -> list[Claim]:
    """Claim what is due."""
    with sessions.begin() as session:
        return deliveries.claim_due(session, places=places, guard_seconds=GUARD)


def begin(sessions: sessionmaker[Session], copy: Claim) -> Outgoing | None:
    """Begin the send of a copy."""
    with sessions.begin() as session:
        return deliveries.begin(session, copy, waits=WAITS, hold_seconds=HOLD)


def finish(sessions: sessionmaker[Session], outgoing: Outgoing | None, outcome: Outcome) -> bool:
    """Record how a try ended."""
    assert outgoing is not None
    with sessions.begin() as session:
        return deliveries.finish(session, outgoing, outcome, waits=WAITS)


def state_of(sessions: sessionmaker[Session], delivery_id: str) -> tuple[str, int, float | None]:
    """Return a message's state, its tries, and the seconds until the next one is due."""
    with sessions() as session:
        row = session.execute(
            text(
                "SELECT state, attempts, extract(epoch FROM due_at - now())::float8 FROM deliveries"
                " WHERE id = :id"
            ),
            {"id": delivery_id},
        ).one()
    return row[0], row[1], row[2]

"""How a webhook message is claimed, tried and ended: the state machine of table `deliveries`.

    pending, due        claim_due: claim + 1, held until the guard ends; a copy with that number is published
    pending, claimed    begin: counts the try and notes when the next one would be due; once a claim
    pending, sending    finish: delivered, or due again by the schedule, or failed
    a claim that ends   the message is claimed anew when it is due; older copies send nothing, cost nothing

Locks: endpoints before deliveries before tries, all after jobs and stages; whoever holds one of them takes no
job's lock. Claims skip what others hold. An endpoint's row is locked while its messages are claimed, so the
places in use are counted right.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from db.statements import load_statement

#: Messages on their way at once to all those endpoints together whose last answer did not come in time.
HANGING_PLACES = 8
#: Endpoints looked at in one claim.
_ENDPOINTS = 100
#: A receiver may ask for at most this long a pause by Retry-After, seconds.
LONGEST_PAUSE = 24 * 3600.0
#: A process frozen in one of these transactions keeps its locks no longer, milliseconds.
_IDLE_LIMIT = "10000"

GONE = 410


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A copy of a message to publish."""

    delivery_id: str
    number: int


@dataclass(frozen=True, kw_only=True)
class Outgoing:
    """A message whose send has begun."""

    id: str
    endpoint_id: str
    job_id: str | None
    url: str
    #: As stored, sealed perhaps: the endpoint's, then those that were rotated out less than a day ago.
    secrets: tuple[str, ...]
    payload: dict[str, Any]
    created_at: datetime
    claim: int
    #: Tries since the message was inserted or sent again by hand, this one among them.
    attempts: int
    #: This try's number among all of the message.
    number: int


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a try ended."""

    #: HTTP status; None without an answer.
    status: int | None
    #: What went wrong; None for success.
    error: str | None
    seconds: float
    answer: str | None = None
    #: Seconds that the receiver wants to be left alone.
    retry_after: float | None = None
    #: The deadline ended it.
    timed_out: bool = False


_FREE_ENDPOINTS = load_statement("find_free_endpoints")

_HANGING = text("""
    SELECT count(*) FROM deliveries d JOIN webhook_endpoints e ON e.id = d.endpoint_id
     WHERE e.hangs AND d.claimed_until > now()
""")

_CLAIM = load_statement("claim_deliveries")


def claim_due(
    session: Session,
    *,
    places: int,
    guard_seconds: float,
    endpoints: Sequence[str] | None = None,
) -> list[Claim]:
    """Claim messages that are due, as far as their endpoints have free places.

    Args:
        places: messages that may be on their way to one endpoint at once; one that hangs gets one.
        guard_seconds: how long a copy may wait for a worker; afterwards the message is claimed anew.
        endpoints: only messages to these.
    """
    only = None if endpoints is None else list(endpoints)
    rows = session.execute(
        _FREE_ENDPOINTS, {"only": only, "places": places, "endpoints": _ENDPOINTS, "idle": _IDLE_LIMIT}
    ).all()
    free = [str(endpoint) for endpoint, hangs, _ in rows if not hangs]
    hanging = [str(endpoint) for endpoint, hangs, _ in rows if hangs]
    if hanging:
        in_use: int = session.execute(_HANGING).scalar_one()
        free += hanging[: max(0, HANGING_PLACES - in_use)]
    if not free:
        return []
    claimed = session.execute(_CLAIM, {"endpoints": free, "places": places, "guard": guard_seconds})
    return [Claim(delivery_id=delivery_id, number=number) for delivery_id, number in claimed]


def release(session: Session, claims: Sequence[Claim]) -> None:
    """Give claims back whose copies could not be published: the messages are due as they were."""
    for claim in claims:
        session.execute(
            text(
                "UPDATE deliveries SET claimed_until = NULL"
                " WHERE id = :id AND claim = :claim AND begun < claim"
            ),
            {"id": claim.delivery_id, "claim": claim.number},
        )


_BEGIN = load_statement("begin_delivery")

#: The last try's worker died: there is none left.
_END_SPENT = text("""
    UPDATE deliveries SET state = 'failed', due_at = NULL, claimed_until = NULL, finished_at = now()
     WHERE id = :id AND claim = :claim AND begun < claim AND state = 'pending' AND attempts >= :tries
""")


def begin(session: Session, claim: Claim, *, waits: Sequence[float], hold_seconds: float) -> Outgoing | None:
    """Begin the send that a copy of a message asks for, and count the try; None when it is not to be sent.

    Should nothing more be heard of it, the next try is due as after a failure, but not before the hold's end:
    two sends of one message never overlap.

    Args:
        waits: seconds before the second try, the third, ...
        hold_seconds: longer than the request may take.
    """
    fence = {"id": claim.delivery_id, "claim": claim.number, "tries": len(waits) + 1}
    row = session.execute(
        _BEGIN,
        {**fence, "hold": hold_seconds, "waits": [float(wait) for wait in waits], "idle": _IDLE_LIMIT},
    ).one_or_none()
    if row is None:
        session.execute(_END_SPENT, fence)
        return None
    previous = [
        entry["secret"] for entry in row.previous_secrets if datetime.fromisoformat(entry["until"]) > row.at
    ]
    return Outgoing(
        id=row.id,
        endpoint_id=str(row.endpoint_id),
        job_id=None if row.job_id is None else str(row.job_id),
        url=row.url,
        secrets=(row.secret, *previous),
        payload=row.payload,
        created_at=row.created_at,
        claim=claim.number,
        attempts=row.attempts,
        number=row.number,
    )


_FINISH = text("""
    UPDATE deliveries
       SET state = CAST(:state AS text), last_status = :status, last_error = :error,
           claimed_until = CASE WHEN claim <> :claim THEN claimed_until END,
           due_at = CASE WHEN :state = 'pending' THEN now() + make_interval(secs => :wait) END,
           finished_at = CASE WHEN :state <> 'pending' THEN now() END
     WHERE id = :id AND state = 'pending' AND (claim = :claim OR :state = 'delivered')
""")

_NOTE_TRY = text("""
    UPDATE delivery_tries
       SET milliseconds = :milliseconds, status = :status, error = :error,
           -- Of a job that was erased meanwhile nothing is kept.
           answer = (SELECT CAST(:answer AS text) FROM deliveries WHERE id = :id AND payload <> '{}')
     WHERE delivery_id = :id AND number = :number
""")


def finish(session: Session, outgoing: Outgoing, outcome: Outcome, *, waits: Sequence[float]) -> bool:
    """Record how a try ended; a failure counts only while nobody claimed the message anew.

    The next try is due after the wait of the schedule, or when the receiver wants it if that is later; its
    endpoint is left alone until then. 410 disables the endpoint and ends its other messages.

    Returns:
        Whether this disabled the endpoint.
    """
    disabled = _note_endpoint(session, outgoing, outcome)
    wait = 0.0
    if outcome.error is None:
        state = "delivered"
    elif outcome.status == GONE or outgoing.attempts > len(waits):
        state = "failed"
    else:
        state = "pending"
        wait = max(waits[outgoing.attempts - 1], _pause(outcome))
    facts = {"id": outgoing.id, "status": outcome.status, "error": outcome.error}
    session.execute(_FINISH, {**facts, "state": state, "wait": wait, "claim": outgoing.claim})
    session.execute(
        _NOTE_TRY,
        {
            **facts,
            "number": outgoing.number,
            "milliseconds": round(1000 * outcome.seconds),
            "answer": outcome.answer,
        },
    )
    if disabled:
        end_pending(session, outgoing.endpoint_id)
    return disabled


def forget_answers(session: Session, job_id: str) -> None:
    """Forget what receivers said about a job that is erased: they may have repeated what they were told."""
    job = {"job_id": job_id}
    # What is being recorded at this moment is waited for; what is recorded later finds the message emptied.
    session.execute(text("SELECT 1 FROM deliveries WHERE job_id = :job_id ORDER BY id FOR UPDATE"), job).all()
    session.execute(
        text(
            "UPDATE delivery_tries t SET answer = NULL FROM deliveries d"
            " WHERE t.delivery_id = d.id AND d.job_id = :job_id AND t.answer IS NOT NULL"
        ),
        job,
    )


def end_pending(session: Session, endpoint_id: str) -> None:
    """End the messages that wait for an endpoint that is disabled; they can be sent again by hand."""
    session.execute(
        text(
            # One that is being sent stays held: sent again by hand, it must not overlap with that.
            "UPDATE deliveries SET state = 'failed', due_at = NULL, finished_at = now(),"
            " last_error = 'The endpoint was disabled.'"
            " WHERE endpoint_id = :id AND state = 'pending'"
        ),
        {"id": endpoint_id},
    )


def _note_endpoint(session: Session, outgoing: Outgoing, outcome: Outcome) -> bool:
    """Remember what an answer says of the endpoint as a whole; True when it disabled it.

    The transaction's first statement: it sets the limit of its locks, too.
    """
    session.execute(
        text(
            "WITH noted AS (UPDATE webhook_endpoints SET hangs = :hangs,"
            " paused_until = CASE WHEN :pause > 0 THEN greatest(paused_until,"
            "   now() + make_interval(secs => :pause)) ELSE paused_until END"
            " WHERE id = :id AND (hangs <> :hangs OR :pause > 0))"
            " SELECT set_config('idle_in_transaction_session_timeout', :idle, true)"
        ),
        {
            "id": outgoing.endpoint_id,
            "hangs": outcome.timed_out,
            "pause": _pause(outcome),
            "idle": _IDLE_LIMIT,
        },
    )
    if outcome.status != GONE:
        return False
    gone = session.execute(
        text(
            "UPDATE webhook_endpoints SET enabled = false, disabled_reason = 'gone'"
            " WHERE id = :id AND enabled RETURNING 1"
        ),
        {"id": outgoing.endpoint_id},
    )
    return gone.scalar() is not None


def _pause(outcome: Outcome) -> float:
    return min(outcome.retry_after or 0.0, LONGEST_PAUSE)

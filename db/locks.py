"""The order in which transactions lock rows; docs/design.md, section 11, explains it.

A transaction locks rows of these tables in this order only, and rows of one job only. The job's own row comes
first and stands for all that hangs on it: who holds it may change stages, attempts, outbox, artifacts and
deliveries of that job.
"""

from sqlalchemy import text
from sqlalchemy.orm import Session

#: Tables from the first to be locked to the last; a foreign key's check locks the row that it names, too.
LOCK_ORDER = (
    "jobs",
    "stages",
    "attempts",
    "outbox",
    "erased_photos",
    "artifacts",
    "webhook_endpoints",
    "deliveries",
    "delivery_tries",
    "workers",
    "relays",
    "periodic_tasks",
    "event_subscriptions",
    "sign_ins",
)


def lock_job(session: Session, job_id: str) -> bool:
    """Wait for the job's row and lock it; False when there is no such job.

    In a statement of its own: one that waited for the lock would see the other rows as they were before.
    """
    statement = text("SELECT 1 FROM jobs WHERE id = :job_id FOR UPDATE")
    return session.execute(statement, {"job_id": job_id}).scalar() is not None


def try_lock_job(session: Session, job_id: str) -> bool:
    """Lock the job's row unless somebody holds it: what the relay does, which waits for nobody."""
    statement = text("SELECT 1 FROM jobs WHERE id = :job_id FOR UPDATE SKIP LOCKED")
    return session.execute(statement, {"job_id": job_id}).scalar() is not None


def lock_endpoints(session: Session, job_id: str) -> None:
    """Lock the endpoints of a job's deliveries, before the deliveries are changed.

    Removing or disabling an endpoint locks it and then its deliveries, in no order that we choose.
    """
    session.execute(
        text(
            "SELECT 1 FROM webhook_endpoints WHERE id IN"
            " (SELECT endpoint_id FROM deliveries WHERE job_id = :job_id) ORDER BY id FOR NO KEY UPDATE"
        ),
        {"job_id": job_id},
    )

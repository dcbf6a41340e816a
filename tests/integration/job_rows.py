"""Jobs in the database as a worker leads them through their stages, without a worker."""

from sqlalchemy.orm import Session, sessionmaker

from db import acceptance, leases, outbox
from db.leases import Decision, LeasedJob
from db.outbox import Publication
from db.results import StoredFile
from face3d.options import parse_options
from face3d.states import STAGES, Quality, StageName
from face3d.worker_spec import WorkerSpec

WORKER = WorkerSpec(name="w@test", gpu_type="cpu", device="cpu")


def accept(sessions: sessionmaker[Session], key: str = "a.jpg", **options: str) -> acceptance.Accepted:
    with sessions.begin() as session:
        return acceptance.accept(
            session,
            bucket="inbox",
            key=key,
            etag="e",
            size=1,
            content_type=None,
            options=parse_options(options),
            source="event",
        )


def publish(sessions: sessionmaker[Session]) -> list[Publication]:
    """Claim what is due and say that it was published, as the relay does."""
    with sessions.begin() as session:
        claimed = outbox.claim_publications(session, limit=10, seconds=20)
    with sessions.begin() as session:
        outbox.end_publications(session, claimed)
    return claimed


def take(
    sessions: sessionmaker[Session], job_id: str, stage: StageName, dispatch: int = 1, seconds: float = 30
) -> tuple[Decision, LeasedJob | None]:
    with sessions.begin() as session:
        return leases.take(
            session, job_id=job_id, stage=stage, dispatch=dispatch, worker=WORKER, seconds=seconds
        )


def complete(sessions: sessionmaker[Session], job: LeasedJob) -> None:
    prefix = f"{job.lease.job_id}/{job.lease.stage}/{job.lease.attempt}/"
    file = StoredFile(name="f", bucket="work", size=1, sha256="0", content_type="x/y")
    with sessions.begin() as session:
        leases.complete(
            session, job.lease, prefix=prefix, files=[file], timings={"compute": 1.0}, quality=Quality.GOOD
        )


def run_all(sessions: sessionmaker[Session], job_id: str) -> None:
    for stage in STAGES:
        decision, job = take(sessions, job_id, stage)
        assert decision is Decision.WORK
        assert job is not None
        complete(sessions, job)

"""What `face3d doctor` asks of the servers: each in a probe of its own, for any of them may hang."""

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from cli.probing import Finding, Probe, first_line
from face3d.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from storage.client import Storage

START = "start the local stack with `face3d up`, or set FACE3D_* to your servers"

#: kombu's module of each kind of broker.
_TRANSPORTS = {"redis": "kombu.transport.redis", "amqp": "kombu.transport.pyamqp"}

#: An object that is written and deleted: a full disk refuses it while listings still work.
_TRIAL_KEY = ".doctor"


def server_probes(settings: Settings) -> list[Probe]:
    """Return what looks at database, relays, broker, buckets, web server and workers."""
    return [
        Probe(
            subject="PostgreSQL",
            examine=lambda: examine_database(settings),
            remedy=START,
            modules=(
                *("psycopg", "sqlalchemy.dialects.postgresql.psycopg"),
                *("db.migrate", "db.symptoms", "db.workers", "cli.explain"),
            ),
        ),
        Probe(
            subject=f"broker ({settings.broker_kind})",
            examine=lambda: examine_broker(settings),
            remedy=START,
            modules=("web.watch", _TRANSPORTS[settings.broker_kind]),
        ),
        Probe(
            subject="buckets",
            examine=lambda: examine_buckets(settings),
            remedy=START,
            modules=("storage.client",),
        ),
        Probe(
            subject="inbox",
            examine=lambda: examine_inbox(settings),
            remedy=START,
            modules=("cli.inbox_diagnosis",),
        ),
        Probe(
            subject="web server",
            examine=lambda: examine_web(settings),
            remedy=START,
            modules=("httpx",),
        ),
    ]


def examine_database(settings: Settings) -> Iterator[Finding]:
    """Yield findings on PostgreSQL, its schema, and all that its rows tell of our processes."""
    from sqlalchemy import text
    from sqlalchemy.orm import Session

    from db.session import make_engine

    engine = make_engine(settings, pool_size=1)
    try:
        with Session(engine) as session:
            version = session.scalar(text("SHOW server_version"))
            yield Finding(subject="PostgreSQL", ok=True, detail=f"version {version}")
            if not schema_is_current(settings):
                yield Finding(
                    subject="schema",
                    ok=False,
                    detail="migrations are missing",
                    remedy="run `face3d up`, or `python -m compose.prepare` with your servers' settings",
                )
                return
            yield Finding(subject="schema", ok=True, detail="at head")
            yield from examine_workers(session, settings)
            yield from examine_symptoms(session, settings)
    finally:
        engine.dispose()


def schema_is_current(settings: Settings) -> bool:
    """Tell whether all migrations were made."""
    from db.migrate import is_current

    return is_current(settings)


def examine_workers(session: "Session", settings: Settings) -> Iterator[Finding]:
    """Yield a finding on the workers of the stages."""
    from cli.explain import describe_worker
    from db.workers import live_workers
    from face3d.states import STAGES

    alive = [
        worker
        for worker in live_workers(session, timeout_seconds=settings.worker_timeout_seconds)
        if set(worker.stages) & set(STAGES)
    ]
    names = ", ".join(describe_worker(worker) for worker in alive)
    unfit = sum(worker.state != "ready" for worker in alive)
    remedy = "start one with `face3d worker`"
    if not alive:
        yield Finding(subject="workers", ok=False, detail="none is alive", remedy=remedy)
    elif unfit == len(alive):
        yield Finding(subject="workers", ok=False, detail=f"none takes work: {names}", remedy=remedy)
    else:
        yield Finding(subject="workers", ok=True, detail=names, warning=unfit > 0, remedy="see the reason")


def examine_symptoms(session: "Session", settings: Settings) -> Iterator[Finding]:
    """Yield findings on relays, periodic work, outbox, webhooks, queues and retention."""
    from db.symptoms import judge, read_facts

    for symptom in judge(read_facts(session, settings), settings):
        yield Finding(
            subject=symptom.subject,
            ok=symptom.level != "fail",
            warning=symptom.level == "warn",
            detail=symptom.detail,
            remedy=symptom.remedy,
        )


def examine_broker(settings: Settings) -> Iterator[Finding]:
    """Yield a finding on the broker."""
    from web.watch import ping_broker

    ping_broker(settings)
    yield Finding(subject=f"broker ({settings.broker_kind})", ok=True, detail="answers")


def examine_buckets(settings: Settings) -> Iterator[Finding]:
    """Yield a finding on each bucket; in that of the artifacts an object is written and deleted."""
    from face3d.errors import Face3DError
    from storage.client import Storage, StorageConfig

    storage = Storage(
        StorageConfig.from_settings(
            settings,
            connect_timeout=2.0,
            read_timeout=3.0,
            attempts=1,
        )
    )
    for bucket in dict.fromkeys((settings.bucket_inbox, settings.bucket_work, settings.bucket_assets)):
        try:
            yield _examine_bucket(storage, bucket, write=bucket == settings.bucket_work)
        except Face3DError as error:
            yield Finding(subject=f"bucket {bucket}", ok=False, detail=error.message, remedy=START)


def _examine_bucket(storage: "Storage", bucket: str, *, write: bool) -> Finding:
    subject = f"bucket {bucket}"
    storage.ping(bucket)
    detail = "answers"
    if write:
        storage.put(bucket, _TRIAL_KEY, b"written by face3d doctor", content_type="text/plain")
        storage.delete(bucket, _TRIAL_KEY)
        detail = "answers and takes objects"
    versioning = storage.versioning(bucket)
    if versioning == "unknown":
        return Finding(
            subject=subject,
            ok=True,
            warning=True,
            detail=f"{detail}; whether it keeps old versions cannot be asked",
            remedy="allow s3:GetBucketVersioning: until then erasing deletes the newest version only",
        )
    return Finding(subject=subject, ok=True, detail=f"{detail}{', keeps versions' if versioning else ''}")


def examine_inbox(settings: Settings) -> Iterator[Finding]:
    """Yield what there is to say of the inbox; other probes tell of a server that is away."""
    from sqlalchemy.exc import SQLAlchemyError

    from cli import inbox_diagnosis
    from face3d.errors import Face3DError

    with suppress(SQLAlchemyError, Face3DError):
        yield from inbox_diagnosis.examine_inbox(settings)


def examine_web(settings: Settings) -> Iterator[Finding]:
    """Yield a finding on the web server."""
    import httpx

    try:
        answer = httpx.get(f"{settings.public_url}/readyz", timeout=3.0)
    except httpx.HTTPError as error:
        yield Finding(subject="web server", ok=False, detail=first_line(error), remedy=START)
        return
    ready = answer.status_code == 200
    told = "" if ready else f" answers, but is not ready: {answer.text[:100]}"
    if ready and _refuses_token(settings):
        ready, told = False, " refuses FACE3D_API_TOKEN: is it another installation's server?"
    yield Finding(subject="web server", ok=ready, detail=settings.public_url + told, remedy=START)


def _refuses_token(settings: Settings) -> bool:
    """Tell whether the server at our address takes another token; where there is none, nobody asks."""
    import httpx

    token = settings.api_token.get_secret_value()
    if not token:
        return False
    headers = {"Authorization": f"Bearer {token}"}
    try:
        answer = httpx.get(f"{settings.public_url}/v1/event-subscriptions", headers=headers, timeout=3.0)
    except httpx.HTTPError:
        return False
    return answer.status_code in (401, 403, 404)

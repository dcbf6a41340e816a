"""The examinations behind `face3d doctor`; each yields findings and raises nothing."""

import hashlib
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from face3d.settings import Settings

#: Free space that a stack and a few hundred assets need, bytes.
DISK_BYTES = 3 * 2**30
#: Memory that the local stack with one worker needs, bytes.
MEMORY_BYTES = 4 * 2**30

_START = "start the local stack with `face3d up`, or set FACE3D_* to your servers"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the doctor."""

    subject: str
    ok: bool
    detail: str
    #: What to do when it is not ok.
    remedy: str = ""


def examine(settings: Settings) -> Iterator[Finding]:
    """Yield all findings, the machine's first."""
    yield from examine_machine(settings)
    yield from examine_libraries()
    yield examine_sandbox(settings)
    yield from examine_models(settings)
    yield from examine_engine_hrn(settings)
    yield examine_stack(settings)
    yield from examine_servers(settings)


def examine_machine(settings: Settings) -> Iterator[Finding]:
    """Yield findings on Python, memory and disk."""
    import psutil

    version = platform.python_version()
    yield Finding(
        subject="Python",
        ok=version.startswith(("3.11.", "3.12.")),
        detail=f"{version} on {platform.machine()}",
        remedy="use Python 3.11 or 3.12",
    )
    memory = psutil.virtual_memory().total
    yield Finding(
        subject="memory",
        # A machine sold with 4 GB shows a little less.
        ok=memory > 0.9 * MEMORY_BYTES,
        detail=f"{memory / 2**30:.1f} GiB",
        remedy=f"{MEMORY_BYTES / 2**30:.0f} GiB are needed",
    )
    folder = _existing(settings.state_dir)
    free = shutil.disk_usage(folder).free
    yield Finding(
        subject="disk",
        ok=free > DISK_BYTES,
        detail=f"{free / 2**30:.1f} GiB free for {settings.state_dir}",
        remedy=f"{DISK_BYTES / 2**30:.0f} GiB are needed: free some, or set FACE3D_STATE_DIR elsewhere",
    )


def examine_libraries() -> Iterator[Finding]:
    """Yield findings on the libraries that load machine code."""
    for name in ("torch", "ai_edge_litert.interpreter", "simplejpeg", "pi_heif", "isal.isal_zlib", "psycopg"):
        try:
            import_module(name)
        except Exception as error:  # Whatever an extension raises while loading is the finding.
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            yield _wrong(f"library {name.split('.')[0]}", reason, "run `make env`")
        else:
            yield Finding(subject=f"library {name.split('.')[0]}", ok=True, detail="loads")


def examine_sandbox(settings: Settings) -> Finding:
    """Return what locks up the process that decodes photos; it is started as a worker here would start it."""
    from face3d.errors import EngineUnavailable
    from gpu_workers.engines.base import PhotoLimits
    from gpu_workers.photo import decoder_layers

    remedy = "use Linux 5.13 or later with Landlock and seccomp, and a container that allows both"
    if settings.decoder_sandbox == "off":
        return Finding(subject="photo sandbox", ok=True, detail="off (FACE3D_DECODER_SANDBOX)")
    try:
        layers = decoder_layers(PhotoLimits.from_settings(settings))
    except EngineUnavailable as error:
        return _wrong("photo sandbox", error.message, remedy)
    # Without files and network, either layer alone keeps a decoder from secrets.
    return Finding(
        subject="photo sandbox",
        ok=layers.seccomp or layers.landlock > 0,
        detail=f"{settings.decoder_sandbox}: {layers.describe()}",
        remedy=remedy,
    )


def examine_models(settings: Settings) -> Iterator[Finding]:
    """Yield findings on the model files of engine anny."""
    from gpu_workers.engines.anny.build import LANDMARK_MODEL_FILE, LANDMARK_MODEL_SHA256
    from gpu_workers.engines.anny.head_data import HEAD_DATA_FILE, load_head_data

    model = settings.landmark_model or settings.model_dir / LANDMARK_MODEL_FILE
    remedy = "run `make env`, which makes it"
    if not model.is_file():
        yield _wrong("landmark model", f"{model} is missing", remedy)
    elif settings.landmark_model:
        yield Finding(subject="landmark model", ok=True, detail=f"{model} (your own)")
    else:
        with model.open("rb") as stream:
            matches = hashlib.file_digest(stream, "sha256").hexdigest() == LANDMARK_MODEL_SHA256
        detail = f"{model}, SHA-256 {'as pinned' if matches else 'differs'}"
        yield Finding(subject="landmark model", ok=matches, detail=detail, remedy=f"delete it and {remedy}")
    path = settings.model_dir / HEAD_DATA_FILE
    yield _attempt(
        "head data",
        lambda: f"{path}, version {load_head_data(settings.model_dir).version}",
        f"delete {settings.model_dir / '.stamp'} and run `make env`",
    )


def examine_engine_hrn(settings: Settings) -> Iterator[Finding]:
    """Yield a finding on engine hrn where somebody means to use it; `face3d models check hrn` says more."""
    from gpu_workers.engines.hrn.environment import INSTALL, find_missing
    from gpu_workers.engines.hrn.files import find_model_folder

    folder = find_model_folder(settings)
    if settings.engine != "hrn" and not folder.is_dir():
        return
    missing = find_missing()
    if missing:
        yield _wrong("engine hrn", f"lacks {', '.join(missing)}", INSTALL)
    elif not folder.is_dir():
        yield _wrong("engine hrn", f"{folder} is missing", "face3d models fetch hrn")
    else:
        yield Finding(subject="engine hrn", ok=True, detail=f"libraries and {folder} are there")


def examine_stack(settings: Settings) -> Finding:
    """Return whether the local stack runs; that it does not is no fault."""
    from compose.local.lock import find_holder

    running = find_holder(settings.state_dir)
    detail = f"running: {running.url}" if running else "not running"
    return Finding(subject="local stack", ok=True, detail=detail)


def examine_servers(settings: Settings) -> Iterator[Finding]:
    """Yield findings on database, schema, broker, buckets, web server and workers."""
    database = _attempt("PostgreSQL", lambda: _database_version(settings), _START)
    yield database
    if database.ok:
        remedy = "run `face3d up`, or `python -m compose.prepare` with your servers' settings"
        yield _attempt("schema", lambda: _schema_state(settings), remedy)
    yield _attempt(f"broker ({settings.broker_kind})", lambda: _broker_answers(settings), _START)
    yield from _examine_buckets(settings)
    yield _attempt("web server", lambda: _web_answers(settings), _START)
    if database.ok:
        yield from _examine_inbox(settings)
        yield _attempt("workers", lambda: _live_workers(settings), "start one with `face3d worker`")


def _database_version(settings: Settings) -> str:
    from sqlalchemy import text

    from db.session import make_engine

    engine = make_engine(settings, pool_size=1)
    try:
        with engine.connect() as connection:
            return f"version {connection.scalar(text('SHOW server_version'))}"
    finally:
        engine.dispose()


def _schema_state(settings: Settings) -> str:
    from db.migrate import is_current

    if not is_current(settings):
        raise RuntimeError("migrations are missing")
    return "at head"


def _broker_answers(settings: Settings) -> str:
    from web.health import ping_broker

    ping_broker(settings)
    return "answers"


def _examine_buckets(settings: Settings) -> Iterator[Finding]:
    from storage.client import Storage, StorageConfig

    config = StorageConfig(
        endpoint=settings.s3_endpoint,
        public_endpoint=None,
        region=settings.s3_region,
        access_key=settings.s3_access_key.get_secret_value(),
        secret_key=settings.s3_secret_key.get_secret_value(),
        connect_timeout=2.0,
        read_timeout=5.0,
        attempts=1,
    )
    storage = Storage(config)
    for bucket in (settings.bucket_inbox, settings.bucket_work, settings.bucket_assets):

        def ask(name: str = bucket) -> str:
            storage.ping(name)
            return f"{name} answers"

        yield _attempt("bucket", ask, _START)


def _examine_inbox(settings: Settings) -> Iterator[Finding]:
    from face3d.cli.inbox_diagnosis import examine_inbox

    try:
        yield from examine_inbox(settings)
    except Exception as error:  # Whatever goes wrong is the finding.
        yield _wrong("inbox", type(error).__name__, _START)


def _web_answers(settings: Settings) -> str:
    import httpx

    answer = httpx.get(f"{settings.public_url}/readyz", timeout=5.0)
    if answer.status_code != 200:
        raise RuntimeError(f"{settings.public_url} answers, but is not ready: {answer.text[:200]}")
    return settings.public_url


def _live_workers(settings: Settings) -> str:
    from db.session import make_session_factory
    from db.workers import live_workers
    from face3d.cli.explain import describe_worker

    with make_session_factory(settings)() as session:
        alive = live_workers(session, timeout_seconds=settings.worker_timeout_seconds)
    if not alive:
        raise RuntimeError("none is alive")
    names = ", ".join(describe_worker(worker) for worker in alive)
    unfit = [worker for worker in alive if worker.state != "ready"]
    if len(unfit) == len(alive):
        raise RuntimeError(f"none takes work: {names}")
    return names


def _attempt(subject: str, ask: Callable[[], str], remedy: str) -> Finding:
    """Return what a question yields, or the first line of what it raises."""
    try:
        return Finding(subject=subject, ok=True, detail=ask())
    except Exception as error:  # Whatever goes wrong is the finding.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        return _wrong(subject, reason, remedy)


def _wrong(subject: str, detail: str, remedy: str) -> Finding:
    return Finding(subject=subject, ok=False, detail=detail, remedy=remedy)


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path
